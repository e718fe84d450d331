"""Listing folders: links, loops, what is passed over, and names that leave the folder."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.datasets import tree
from bench.errors import DataError


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_links_to_folders_and_files_are_followed(tmp_path: Path) -> None:
    root = tmp_path / "set"
    touch(root / "a" / "1.png", tmp_path / "store" / "deep" / "2.png", tmp_path / "3.png")
    (root / "linked").symlink_to(tmp_path / "store")
    (root / "4.png").symlink_to(tmp_path / "3.png")
    found = tree.below(root)
    assert found.images == ["4.png", "a/1.png", "linked/deep/2.png"]
    assert found.broken == found.again == found.others == []


@pytest.mark.parametrize("target", [".", "..", "a", "../..", "a/b"])
def test_loops_end_and_are_named(tmp_path: Path, target: str) -> None:
    root = tmp_path / "x" / "set"
    touch(root / "a" / "b" / "1.png", tmp_path / "x" / "beside.png")
    (root / "a" / "b" / "loop").symlink_to((root / target).resolve())
    found = tree.below(root)
    assert found.images == ["a/b/1.png"]
    assert found.again == ["a/b/loop"]


def test_two_links_into_each_other(tmp_path: Path) -> None:
    root = tmp_path / "set"
    touch(root / "a" / "1.png", root / "b" / "2.png")
    (root / "a" / "to_b").symlink_to(root / "b")
    (root / "b" / "to_a").symlink_to(root / "a")
    found = tree.below(root)
    assert found.images == ["a/1.png", "b/2.png"]
    assert found.again == ["a/to_b", "b/to_a"]


def test_folders_that_link_to_each_other_are_walked_in_no_time(tmp_path: Path) -> None:
    n = 12  # n! paths, if each could be entered again
    for i in range(n):
        touch(tmp_path / "store" / f"{i}" / f"{i}.png")
    for i in range(n):
        for j in range(n):
            (tmp_path / "store" / f"{i}" / f"to{j}").symlink_to(tmp_path / "store" / f"{j}")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "first").symlink_to(tmp_path / "store" / "0")
    assert len(tree.below(tmp_path / "set").images) == n


def test_links_that_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "gone.png").symlink_to(tmp_path / "nothing.png")
    (tmp_path / "gone").symlink_to(tmp_path / "nothing")
    (tmp_path / "self").symlink_to(tmp_path / "self")
    assert tree.below(tmp_path).broken == ["gone", "gone.png", "self"]


@pytest.mark.parametrize(
    "name",
    ["._1.png", ".DS_Store", ".hidden/1.png", "__MACOSX/1.png", "Thumbs.db", "desktop.ini",
     "@eaDir/1.png", "$RECYCLE.BIN/1.png", ".ipynb_checkpoints/1.png", "THUMBS.DB"],
)  # fmt: skip
def test_what_systems_leave_behind_is_passed_over(tmp_path: Path, name: str) -> None:
    touch(tmp_path / "1.png", tmp_path / name)
    assert tree.below(tmp_path) == tree.Tree(images=["1.png"])


def test_what_is_an_image_goes_by_its_ending_and_by_being_a_file(tmp_path: Path) -> None:
    touch(tmp_path / "a.PNG", tmp_path / "b.txt", tmp_path / "c.png" / "d.webp")
    os.mkfifo(tmp_path / "e.png")
    found = tree.below(tmp_path)
    assert found.images == ["a.PNG", "c.png/d.webp"]
    assert found.others == ["b.txt", "e.png"]


def test_a_folder_that_cannot_be_listed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "closed" / "1.png", tmp_path / "2.png")
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"closed: cannot be read: Permission denied"):
        tree.below(tmp_path)


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("a.png", "a.png"),
        ("./a.png", "a.png"),
        ("b//a.png", "b/a.png"),
        ("b/../a.png", "a.png"),
        ("../images/a.png", "a.png"),
        ("..a.png", "..a.png"),
        ("[red] x [/red].png", "[red] x [/red].png"),
        ("ä é 中.png", "ä é 中.png"),
    ],
)
def test_names_in_their_shortest_form(tmp_path: Path, name: str, short: str) -> None:
    folder = tmp_path / "images"
    assert tree.inside(folder, name) == short
    assert tree.inside(folder, str(folder / name)) == short


@pytest.mark.parametrize(
    "name",
    ["../a.png", "b/../../a.png", "/etc/passwd", "//a.png", "..", ".", "", "../imagesx/a.png",
     "/tmp/../etc/a.png"],
)  # fmt: skip
def test_names_that_leave_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"leaves the folder .*images: names are relative"):
        tree.inside(tmp_path / "images", name)


@pytest.mark.parametrize("name", ["a\0.png", "\ud800.png", "a\nb.png", "x\udce9.png", "\x1b[31m"])
def test_names_that_are_no_text(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="control character or one that is no text") as refused:
        tree.inside(tmp_path, name)
    str(refused.value).encode()  # and the message can be printed


def test_what_is_printed_has_escapes() -> None:
    assert tree.printable("a\x1b[31m \udce9 é [b]") == "a\\x1b[31m \\udce9 é [b]"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-16-be", "latin-1"])
def test_text_in_another_encoding(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "a.txt"
    mark = b"\xfe\xff" if encoding == "utf-16-be" else b""
    file.write_bytes(mark + "é".encode(encoding))
    with pytest.raises(DataError, match=r"a\.txt: it is .*; save it as UTF-8"):
        tree.read_text(file)
    file.write_bytes("é".encode("utf-8-sig"))
    assert tree.read_text(file) == "é"


PARTS = st.sampled_from(["..", ".", "", "a", "b.png", "images", "/", "\0", "\ud800", " "])


@given(st.one_of(st.text(max_size=20), st.lists(PARTS, max_size=8).map("/".join)))
def test_no_name_leaves_the_folder(name: str) -> None:
    folder = Path("/set/images")
    try:
        short = tree.inside(folder, name)
    except DataError:
        return
    path = os.path.normpath(folder / short)
    assert path.startswith("/set/images/")
    assert path == os.path.normpath(folder / name)
    short.encode()
