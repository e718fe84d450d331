"""The pictures that are kept with a run's results, and what is written about them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from bench.atomic import write_text
from bench.results.files import ResultsError, read_bytes, read_json, validated
from bench.results.names import PICTURES

INDEX = "pictures.json"

Rule = Literal["median", "worst"]
# Whatever a list from elsewhere says, nothing outside its folder is read.
File = Annotated[str, Field(pattern=r"^[0-9a-z-]+\.webp$")]
Size = Annotated[int, Field(ge=1)]


class Mark(BaseModel):
    """What a model said of a picture, or missed in it."""

    model_config = ConfigDict(frozen=True)

    state: Literal["true", "false", "missed"]
    text: str
    box: tuple[float, float, float, float] | None = None
    """x1 y1 x2 y2 in pixels of the coded view; None where it is about the whole picture."""
    outline: tuple[tuple[float, float], ...] = ()
    """x y of the corners of what lies in the box, where its own shape is known."""

    def corners(self) -> tuple[tuple[float, float], ...]:
        """Of the closed line to draw, the outline or the box; none of a whole picture."""
        if self.outline or self.box is None:
            return self.outline
        x1, y1, x2, y2 = self.box
        return (x1, y1), (x2, y1), (x2, y2), (x1, y2)


class Look(BaseModel):
    """One state of a picture, and what the model says of it."""

    model_config = ConfigDict(frozen=True)

    method: str
    """`uncompressed` for the original."""
    qp: int | None
    bits: int | None
    value: float | None
    """Of the metric, on this image alone."""
    file: File
    """WebP, in the same folder."""
    marks: tuple[Mark, ...]


class KeptPicture(BaseModel):
    """An image at about equal bits by the anchor and by the best method."""

    model_config = ConfigDict(frozen=True)

    dataset: str
    model: str
    image: str
    index: int
    rule: Rule
    """How it was chosen: nearest to the median change of the metric from anchor to method, or among
    the worst."""
    metric: str
    width: Size
    height: Size
    """Of the coded view; the files may be smaller."""
    original: Look
    anchor: Look
    method: Look
    removed: File | Literal[""]
    """File of what the preprocessor took away, amplified around gray; empty without one."""


@dataclass(frozen=True)
class Pictures:
    folder: Path
    kept: tuple[KeptPicture, ...]

    def data(self, file: str) -> bytes:
        """Of a WebP file. Raises ResultsError where it is none."""
        path = self.folder / file
        data = read_bytes(path)
        if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
            raise ResultsError(f"{path}: this is no WebP picture; run it again to keep it anew")
        return data


class _Index(BaseModel):
    schema_version: Literal[1] = 1
    pictures: tuple[KeptPicture, ...]


def write(root: Path, kept: list[KeptPicture]) -> None:
    """Raises OSError."""
    content = _Index(pictures=tuple(kept)).model_dump()
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    write_text(root / PICTURES / INDEX, text + "\n")


def read(root: Path) -> Pictures:
    """Those of a results folder, none where none were kept. Raises ResultsError."""
    path = root / PICTURES / INDEX
    try:
        content = read_json(path, "list of pictures")
    except FileNotFoundError:
        return Pictures(root / PICTURES, ())
    return Pictures(root / PICTURES, validated(_Index, content, path).pictures)
