"""Images without labels."""

import os
from pathlib import Path

import pytest
from PIL import Image

from bench import datasets
from bench.datasets.check import check
from bench.datasets.folder import load
from bench.errors import ConfigError, DataError


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 8), (200, 30, 30)).save(path)


def test_every_image_below_in_the_order_of_paths(tmp_path: Path) -> None:
    for file in ("b/2.png", "a's.JPG", "b/1.jpeg", ".hidden/3.png", "c/.4.png"):
        picture(tmp_path / file)
    (tmp_path / "b" / "notes.txt").touch()
    data = load(tmp_path, "cls")
    assert [s.name for s in data.samples] == ["a's.JPG", "b/1.jpeg", "b/2.png"]
    assert not data.labelled
    assert [s.target for s in data.samples] == [None] * 3
    assert data.samples[1].load().shape == (8, 12, 3)
    assert "not how right" in data.notes[0]
    assert data.notes[1] == "files that are not taken for images: 1 (b/notes.txt)"


def test_it_serves_both_tasks(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    for task in ("det", "cls"):
        assert datasets.make("folder", task, tmp_path, {}).task == task


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        load(tmp_path / "absent", "cls")
    (tmp_path / "a.txt").touch()
    with pytest.raises(DataError, match=r"no images in it or below it; .*\.png"):
        load(tmp_path, "cls")
    with pytest.raises(ConfigError, match=r"dataset\.labels.*folder has the options: none"):
        datasets.make("folder", "cls", tmp_path, {"labels": "x"})
    with pytest.raises(ConfigError, match=r"dataset\.annotation:.*annotations, images"):
        datasets.make("coco", "det", tmp_path, {"annotation": "x"})
    with pytest.raises(ConfigError, match=r"give --data-root DIR"):
        datasets.make("folder", "cls", None, {})
    (tmp_path / "labels.csv").write_text("file,class_index\na.png,0\n")
    picture(tmp_path / "images" / "a.png")
    with pytest.raises(ConfigError, match="imagenet is for cls, not for det"):
        datasets.make("imagenet", "det", tmp_path, {})


def test_both_parts_of_a_run_keep_their_names_apart(tmp_path: Path) -> None:
    picture(tmp_path / "trip" / "a.png")
    names = [load(tmp_path / "trip", task).name for task in ("det", "cls")]
    assert names == ["trip-det", "trip-cls"]


def test_links_are_followed_and_loops_are_said(tmp_path: Path) -> None:
    picture(tmp_path / "set" / "a" / "1.png")
    picture(tmp_path / "store" / "2.png")
    (tmp_path / "set" / "linked").symlink_to(tmp_path / "store")
    (tmp_path / "set" / "a" / "up").symlink_to(tmp_path / "set")
    data = load(tmp_path / "set", "cls")
    assert [s.name for s in data.samples] == ["a/1.png", "linked/2.png"]
    assert [s.load().shape for s in data.samples] == [(8, 12, 3)] * 2
    assert data.notes[1:] == ["links to folders that are taken already: 1 (a/up)"]


@pytest.mark.parametrize("name", ["gone", "gone.png", "deep/gone.png"])
def test_a_link_that_leads_nowhere_is_refused(tmp_path: Path, name: str) -> None:
    picture(tmp_path / "deep" / "a.png")
    (tmp_path / name).symlink_to(tmp_path / "nothing")
    with pytest.raises(DataError, match=rf"{name}: the link leads nowhere; fetch .* or remove"):
        load(tmp_path, "cls")
    found = check(tmp_path, "folder", {}, False, lambda what, n: lambda steps: None)
    assert len(found.faults["links that lead nowhere"]) == 1


def test_names_of_undecodable_bytes_are_refused(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    os.rename(tmp_path / "a.png", os.fsencode(tmp_path) + b"/\xe9.png")  # noqa: PTH104
    with pytest.raises(DataError, match="one that is no text: rename it") as refused:
        load(tmp_path, "cls")
    str(refused.value).encode()


@pytest.mark.parametrize("value", [5, ["a"], None, True])
def test_options_of_another_type_are_refused(tmp_path: Path, value: object) -> None:
    for format, option in (("coco", "annotations"), ("coco", "images"), ("mini", "split")):
        with pytest.raises(ConfigError, match=rf"dataset\.{option}: .*a text is expected"):
            datasets.make(format, "det", tmp_path, {option: value})
    if value is not None:
        with pytest.raises(ConfigError, match=r"dataset\.split: .*a text is expected"):
            datasets.make("voc", "det", tmp_path, {"split": value})
