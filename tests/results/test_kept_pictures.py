"""What a list of kept pictures may name, and what its files have to be."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bench.results import pictures
from bench.results.files import ResultsError
from bench.results.names import PICTURES
from bench.results.pictures import INDEX, KeptPicture, Look, Mark


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / PICTURES).mkdir()
    Image.new("RGB", (8, 6)).save(tmp_path / PICTURES / "a.webp")
    look = Look(method="bpg", qp=37, bits=9, value=None, file="a.webp", marks=())
    picture = KeptPicture(
        dataset="d",
        model="m",
        image="i",
        index=0,
        rule="worst",
        metric="mAP",
        width=8,
        height=6,
        original=look,
        anchor=look,
        method=look,
        removed="",
    )
    pictures.write(tmp_path, [picture])
    return tmp_path


def changed(root: Path, **values: Any) -> None:
    path = root / PICTURES / INDEX
    content = json.loads(path.read_text())
    content["pictures"][0] |= values
    path.write_text(json.dumps(content))


def test_what_is_written_is_read(root: Path) -> None:
    (kept,) = pictures.read(root).kept
    assert kept.anchor.file == "a.webp"
    assert pictures.read(root).data("a.webp").startswith(b"RIFF")
    assert pictures.read(root / "elsewhere").kept == ()


@pytest.mark.parametrize(
    "file", ["../../secret.webp", "/etc/passwd", "a.png", "", "a/b.webp", "a.webp\n", "..webp"]
)
def test_nothing_outside_the_folder_is_named(root: Path, file: str) -> None:
    look = {"method": "bpg", "qp": 37, "bits": 9, "value": None, "file": file, "marks": []}
    changed(root, anchor=look)
    with pytest.raises(ResultsError, match=r"pictures\.0\.anchor\.file"):
        pictures.read(root)


@pytest.mark.parametrize("values", [{"width": 0}, {"removed": "../x.webp"}, {"rule": "best"}])
def test_what_no_run_writes_is_refused(root: Path, values: dict[str, Any]) -> None:
    changed(root, **values)
    with pytest.raises(ResultsError, match=r"pictures\.json: pictures\.0"):
        pictures.read(root)


@pytest.mark.parametrize("data", [b"", b"<svg onload=x>", b"RIFF1234WEB"])
def test_a_file_that_is_no_picture_is_refused(root: Path, data: bytes) -> None:
    (root / PICTURES / "a.webp").write_bytes(data)
    with pytest.raises(ResultsError, match=r"a\.webp: this is no WebP picture"):
        pictures.read(root).data("a.webp")


def test_a_missing_file_is_named(root: Path) -> None:
    (root / PICTURES / "a.webp").unlink()
    with pytest.raises(ResultsError, match=r"a\.webp: missing"):
        pictures.read(root).data("a.webp")


def test_what_is_drawn_is_the_outline_or_else_the_box() -> None:
    box, shape = (1.0, 2.0, 5.0, 8.0), ((1.0, 2.0), (5.0, 4.0), (3.0, 8.0))
    assert Mark(state="true", text="cat").corners() == ()
    assert Mark(state="true", text="cat", box=box).corners() == ((1, 2), (5, 2), (5, 8), (1, 8))
    outlined = Mark(state="false", text="dog instead of cat", box=box, outline=shape)
    assert outlined.corners() == shape
    assert Mark.model_validate_json(outlined.model_dump_json()) == outlined
