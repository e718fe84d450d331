"""What a model says of an image, and what is true of it: a type for each, by task."""

import zlib
from collections.abc import Collection, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
"""By name, as the cache and training hold them."""


@dataclass(frozen=True, eq=False)
class Record:
    """A prediction or the ground truth of one image: every field is an array, or None where there
    is none. The cache and hashes of ground truth know the arrays by the fields' names."""

    @classmethod
    def names(cls) -> list[str]:
        return [field.name for field in fields(cls)]

    @classmethod
    def fits(cls, arrays: Collection[str]) -> bool:
        """Whether arrays of these names make one: all that it must have, and no others."""
        needed = {field.name for field in fields(cls) if field.default is MISSING}
        return needed <= set(arrays) <= set(cls.names())

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        return cls(**arrays)

    def __getitem__(self, name: str) -> NDArray[Any]:
        """An array by its name, as in `to_arrays`."""
        return self.to_arrays()[name]

    def to_arrays(self) -> Arrays:
        held = {name: getattr(self, name) for name in self.names()}
        return {name: array for name, array in held.items() if array is not None}


@dataclass(frozen=True, eq=False)
class Detections(Record):
    """What a detector finds: boxes (n, 4) float32 x1 y1 x2 y2 in pixels of the native image, scores
    (n,) float32, labels (n,) int64, the model's own class indices where it names its classes, else
    category ids of the data set."""

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]

    def where(self, kept: NDArray[Any]) -> "Detections":
        """Those that a mask or indices choose."""
        return Detections(self.boxes[kept], self.scores[kept], self.labels[kept])


@dataclass(frozen=True, eq=False)
class Objects(Record):
    """What there is to detect: boxes (n, 4) float64 x1 y1 x2 y2 in pixels, labels (n,) int64
    category ids, area (n,) float64, iscrowd (n,) bool, ignore (n,) bool; from COCO also xywh (n, 4)
    float64, exactly as annotated."""

    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    area: NDArray[np.float64]
    iscrowd: NDArray[np.bool_]
    ignore: NDArray[np.bool_]
    xywh: NDArray[np.float64] | None = None


@dataclass(frozen=True, eq=False)
class Logits(Record):
    """What a classifier says: logits (n_classes,) float32."""

    logits: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Label(Record):
    """The true class: label () int64, its index."""

    label: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class LabelMap(Record):
    """What a segmentation network says: labels (height, width) uint8 of every pixel of the image it
    was given, the model's own class indices where it names its classes, else category ids of the
    data set; log_probabilities (n_classes, h, w) float16 at the resolution of its own output, None
    where it gives labels alone."""

    labels: NDArray[np.uint8]
    log_probabilities: NDArray[np.float16] | None = None


@dataclass(frozen=True, eq=False)
class Regions(Record):
    """What every pixel shows: labels (height, width) uint8, category ids; IGNORED counts for
    nothing."""

    labels: NDArray[np.uint8]

    def present(self) -> frozenset[int]:
        """The categories that it shows."""
        counts = np.bincount(self.labels.reshape(-1), minlength=IGNORED + 1)
        return frozenset(np.flatnonzero(counts[:IGNORED]).tolist())


class PackedRegions(Regions):
    """The same, compressed: a data set holds thousands of them, a hundredth of their size."""

    _shape: tuple[int, ...]
    _packed: bytes
    _present: frozenset[int]

    def __init__(self, labels: NDArray[np.uint8]) -> None:
        object.__setattr__(self, "_shape", labels.shape)
        object.__setattr__(self, "_packed", zlib.compress(labels.tobytes(), 1))
        object.__setattr__(self, "_present", Regions(labels).present())

    @property
    def labels(self) -> NDArray[np.uint8]:
        """Unpacked anew."""
        return np.frombuffer(zlib.decompress(self._packed), np.uint8).reshape(self._shape)

    def present(self) -> frozenset[int]:
        return self._present


IGNORED = 255
"""The label of pixels that are not judged, as in Pascal VOC."""


@dataclass(frozen=True, eq=False)
class Instances(Record):
    """What an instance segmentation network finds: boxes, scores and labels as of `Detections`;
    masks in COCO's compressed run-length code: counts (bytes,) uint8 of all masks one after the
    other, ends (n,) int64 where each ends, size (2,) int64 height and width."""

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    counts: NDArray[np.uint8]
    ends: NDArray[np.int64]
    size: NDArray[np.int64]


@dataclass(frozen=True, eq=False, kw_only=True)
class MaskedObjects(Objects):
    """What there is to segment: `Objects` with masks, held as those of `Instances`."""

    counts: NDArray[np.uint8]
    ends: NDArray[np.int64]
    size: NDArray[np.int64]
