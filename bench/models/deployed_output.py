"""What the outputs of a deployed file mean: logits, boxes, label maps."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, Self

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage
from pydantic import Field, model_validator

from bench.errors import ConfigError
from bench.models.deployed_input import Frame, Port, Size, Strict
from bench.tasks.records import IGNORED, Detections, LabelMap, Logits, Record

Place = Annotated[int, Field(strict=True, ge=0)] | str
"""The number or the name of an output."""
Floats = NDArray[np.float32]

CLASSIFIERS = ("logits",), ("probabilities",)
DETECTORS = ("boxes", "scores", "labels"), ("boxes", "scores", "labels", "count")
SEGMENTERS = ("pixel_logits",), ("pixel_probabilities",), ("pixel_labels",)
SETS = (*CLASSIFIERS, *DETECTORS, *SEGMENTERS)


class Outputs(Strict):
    """Where the answers are, one of `SETS`: a value per class; boxes, scores and labels of what is
    left after non-maximum suppression, and how many they are; or a value per class and pixel."""

    logits: Place | None = None
    probabilities: Place | None = None
    boxes: Place | None = None
    scores: Place | None = None
    labels: Place | None = None
    count: Place | None = None
    pixel_logits: Place | None = None
    pixel_probabilities: Place | None = None
    pixel_labels: Place | None = None
    box_format: Literal["xyxy", "yxyx"] = "xyxy"
    box_unit: Literal["pixels", "relative"] = "pixels"
    """Of the pixels that the file is shown, or shares of them."""

    @property
    def places(self) -> dict[str, int | str]:
        named = {key: getattr(self, key) for kind in SETS for key in kind}
        return {key: place for key, place in named.items() if place is not None}

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if tuple(self.places) not in SETS:
            known = "; ".join(" and ".join(keys) for keys in SETS)
            raise ValueError(f"one of these is expected: {known}")
        return self


@dataclass(frozen=True)
class File:
    """What a message and a check need to know of it; `classes` is their number, None where it is
    not said."""

    path: Path
    ports: Sequence[Port]
    classes: int | None
    first_class: int
    channels_first: bool

    def refused(self, key: str, place: int, why: str) -> ConfigError:
        return ConfigError(f"{self.path}: outputs.{key}, {self.ports[place].name!r}, {why}")

    def place(self, key: str, wanted: int | str) -> int:
        """Raises ConfigError naming the outputs that there are."""
        names = [port.name for port in self.ports]
        if wanted in names:
            return names.index(str(wanted))
        if isinstance(wanted, int) and wanted < len(names):
            return wanted
        listed = ", ".join(f"{i} ({name})" for i, name in enumerate(names))
        raise ConfigError(
            f"{self.path}: outputs.{key}: {wanted!r} is none of its outputs, which are: {listed}"
        )

    def values(self, arrays: Sequence[NDArray[Any]], key: str, place: int, rank: int) -> Floats:
        """An output without its batch of one. Raises ConfigError for one of another rank."""
        array = arrays[place]
        leading = array.shape[: max(0, array.ndim - rank)]
        if array.ndim < rank or any(n != 1 for n in leading):
            raise self.refused(
                key, place, f"is of shape {array.shape}: {rank} dimensions for a picture expected"
            )
        return self.ports[place].values(array).reshape(array.shape[len(leading) :])


class Reader(Protocol):
    """Of all outputs, as they are stored. Raises ConfigError for what the config says otherwise."""

    @property
    def task(self) -> str: ...

    @property
    def locates(self) -> bool:
        """Whether what it reads has places in the picture."""
        ...

    def __call__(self, arrays: Sequence[NDArray[Any]], frame: Frame) -> Record: ...


def reader(outputs: Outputs, file: File) -> Reader:
    """Raises ConfigError for an output that is not there."""
    places = {key: file.place(key, place) for key, place in outputs.places.items()}
    if tuple(places) in DETECTORS:
        return Boxes(file, places, outputs.box_format == "yxyx", outputs.box_unit == "relative")
    ((key, place),) = places.items()
    if tuple(places) in CLASSIFIERS:
        return Classes(file, key, place)
    if file.first_class:
        raise ConfigError(f"{file.path}: first_class: labels of pixels have no class to leave out")
    return Labels(file, key, place) if key == "pixel_labels" else Scores(file, key, place)


@dataclass(frozen=True)
class Classes:
    """Of a classifier; of probabilities the logarithm."""

    file: File
    key: str
    at: int
    task: str = "cls"
    locates: bool = False

    def __call__(self, arrays: Sequence[NDArray[Any]], frame: Frame) -> Logits:
        file, found = self.file, arrays[self.at]
        if max(found.shape, default=0) != found.size:
            raise file.refused(self.key, self.at, f"is of shape {found.shape}: a value per class")
        wanted = None if file.classes is None else file.classes + file.first_class
        if found.size != (wanted or found.size) or found.size <= file.first_class:
            raise file.refused(
                self.key,
                self.at,
                f"has {found.size} values, but there are {file.classes or 'some'} classes from "
                f"first_class {file.first_class} on",
            )
        port = file.ports[self.at]
        answer = port.values(found).reshape(-1)[file.first_class :]
        return Logits(logarithm(answer, port) if self.key == "probabilities" else answer)


@dataclass(frozen=True)
class Boxes:
    """Of a detector, cut to the picture."""

    file: File
    at: dict[str, int]
    swapped: bool
    relative: bool
    task: str = "det"
    locates: bool = True

    def __call__(self, arrays: Sequence[NDArray[Any]], frame: Frame) -> Detections:
        file = self.file
        boxes = file.values(arrays, "boxes", self.at["boxes"], 2)
        scores = file.values(arrays, "scores", self.at["scores"], 1)
        labels = np.rint(file.values(arrays, "labels", self.at["labels"], 1)).astype(np.int64)
        if not (boxes.shape[1] == 4 and len(boxes) == len(scores) == len(labels)):
            raise ConfigError(
                f"{file.path}: boxes {boxes.shape}, scores {scores.shape} and labels "
                f"{labels.shape}: 4 numbers, a score and a label for each box are expected"
            )
        n = len(boxes)
        if "count" in self.at:
            n = int(file.values(arrays, "count", self.at["count"], 0))
        labels = labels[:n] - file.first_class
        largest = labels.max(initial=-1)
        if file.classes is not None and largest >= file.classes:
            raise file.refused(
                "labels",
                self.at["labels"],
                f"has class {largest} from first_class on, but there are {file.classes}",
            )
        found = Detections(self._placed(boxes[:n], frame), scores[:n], labels)
        return found.where(labels >= 0)

    def _placed(self, boxes: Floats, frame: Frame) -> Floats:
        """In pixels of the picture."""
        if self.swapped:
            boxes = boxes[:, [1, 0, 3, 2]]
        if self.relative:
            boxes = boxes * _twice(frame.shown)
        scale = _twice(frame.picture) / _twice((frame.height, frame.width))
        boxes = (boxes - _twice((frame.top, frame.left))) * scale
        return boxes.clip(0, _twice(frame.picture))


def _twice(down_and_across: Size) -> Floats:
    """As boxes have them: x y x y."""
    down, across = down_and_across
    return np.array([across, down, across, down], np.float32)


@dataclass(frozen=True)
class Labels:
    """Of a segmentation network that gives the class of each pixel."""

    file: File
    key: str
    at: int
    task: str = "seg"
    locates: bool = True

    def __call__(self, arrays: Sequence[NDArray[Any]], frame: Frame) -> LabelMap:
        found = arrays[self.at].reshape([n for n in arrays[self.at].shape if n != 1])
        if found.ndim != 2:
            raise self.file.refused(
                self.key,
                self.at,
                f"is of shape {arrays[self.at].shape}: a label per pixel",
            )
        limit = self.file.classes or IGNORED
        if not 0 <= found.min() <= found.max() < min(limit, IGNORED):
            raise self.file.refused(
                self.key, self.at, f"has labels {found.min()} to {found.max()}: 0 to {limit - 1} "
                "are expected"
            )  # fmt: skip
        own = PILImage.fromarray(_cut(found, frame).astype(np.uint8))
        height, width = frame.picture
        return LabelMap(np.asarray(own.resize((width, height), PILImage.Resampling.NEAREST)))


@dataclass(frozen=True)
class Scores:
    """Of a segmentation network that gives a value per class and pixel."""

    file: File
    key: str
    at: int
    task: str = "seg"
    locates: bool = True

    def __call__(self, arrays: Sequence[NDArray[Any]], frame: Frame) -> LabelMap:
        planes = self.file.values(arrays, self.key, self.at, 3)
        if not self.file.channels_first:
            planes = np.moveaxis(planes, 2, 0)
        n = len(planes)
        if n != (self.file.classes or n) or n > IGNORED:
            raise self.file.refused(
                self.key,
                self.at,
                f"has {n} classes, {self.file.classes or f'{IGNORED} at most'} are expected",
            )
        planes = np.stack([_cut(plane, frame) for plane in planes])
        labels = _likeliest(planes, frame.picture)
        if self.key == "pixel_probabilities":
            planes = logarithm(planes, self.file.ports[self.at])
        return LabelMap(labels, _log_softmax(planes).astype(np.float16))


def logarithm(probabilities: Floats, port: Port) -> Floats:
    """Classes first. Of a quantised output the half step that a zero may hide is shared among the
    classes: together they still add little to one. Elsewhere a zero is the least float."""
    least = np.float32(port.scale / 2 / len(probabilities) or np.finfo(np.float32).tiny)
    logarithms: Floats = np.log(np.maximum(probabilities, least))
    return logarithms


def _cut(plane: NDArray[Any], frame: Frame) -> NDArray[Any]:
    """(h, w) of what was shown → its part that is the picture."""
    down, across = plane.shape[0] / frame.shown[0], plane.shape[1] / frame.shown[1]
    top, left = int(frame.top * down), int(frame.left * across)
    bottom = max(top + 1, round((frame.top + frame.height) * down))
    right = max(left + 1, round((frame.left + frame.width) * across))
    return plane[top:bottom, left:right]


def _likeliest(planes: Floats, size: Size) -> NDArray[np.uint8]:
    """(n, h, w) → (height, width) the class whose plane, resized bilinearly, is highest. A plane at
    a time: those of a large picture would take a gigabyte together."""
    labels, top = np.zeros(size, np.uint8), np.full(size, -np.inf, np.float32)
    for label, plane in enumerate(planes):
        here = cv2.resize(plane, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
        labels[here > top] = label
        np.maximum(top, here, out=top)
    return labels


def _log_softmax(planes: Floats) -> Floats:
    shifted = planes - planes.max(axis=0)
    answer: Floats = shifted - np.log(np.exp(shifted).sum(axis=0))
    return answer
