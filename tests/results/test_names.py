"""Names as file names: inside their folder, short enough, and different for different names."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.results.names import LONGEST, file_name, points_name

TEXT = st.text(st.characters(), max_size=400)


@pytest.mark.parametrize(
    "name", ["bpg", "qa-npp+bpg", "mini-det", "my photos (2024)", "naïve", "漢字", "a.b_c,d"]
)
def test_ordinary_names_stay_as_they_are(name: str) -> None:
    assert file_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../../up", "/abs/olute", "a/b", "a\\b", "nul\0x", "new\nline", "x" * 300,
     "漢" * 200, "\ud800", " ", ".hidden", "a:b", "*?", "\x1b[31m", "%2F", "|<>\""],
)  # fmt: skip
def test_odd_names_make_one_file_inside_their_folder(tmp_path: Path, name: str) -> None:
    path = tmp_path / file_name(name)
    assert path.parent == tmp_path
    path.with_name(path.name + ".parquet").write_text("x")
    assert len([*tmp_path.iterdir()]) == 1
    assert not file_name(name).startswith(".")


@given(TEXT)
def test_any_text_makes_a_component(name: str) -> None:
    made = file_name(name)
    assert 0 < len(made.encode()) <= LONGEST
    assert not set(made) & set('/\\\0\n:*?"<>|')
    assert made not in (".", "..")


@given(TEXT, TEXT)
def test_different_names_make_different_files(a: str, b: str) -> None:
    assert (file_name(a) == file_name(b)) == (a == b)


def test_an_escaped_name_is_not_the_name_it_was_made_from() -> None:
    assert file_name("a/b") != file_name("a%2Fb")
    assert file_name("x" * 300) != file_name("x" * 299 + "y")


@pytest.mark.parametrize(
    ("labels", "name"),
    [
        ((41, 37), "QP 37, 41"),
        ((-250, -60, -500), "0.5, 0.25, 0.06 bpp"),
        ((0,), "QP 0"),
        ((), "QP "),
    ],
)
def test_points_of_a_curve(labels: tuple[int, ...], name: str) -> None:
    assert points_name(labels) == name
