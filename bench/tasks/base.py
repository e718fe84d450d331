"""What a task is: ground truth and predictions in, statistics out, and metrics from statistics."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Prediction = dict[str, NDArray[Any]]
"""What a task model says of one image, as arrays.

det: boxes (n, 4) float32 x1 y1 x2 y2 in pixels of the native image, scores (n,) float32,
     labels (n,) int64 category ids of the data set; from some models loss () float64, the
     detector's own training loss on the image
cls: logits (n_classes,) float32
"""

Target = dict[str, NDArray[Any]]
"""Ground truth of one image, as arrays.

det: boxes (n, 4) float64 x1 y1 x2 y2 in pixels, labels (n,) int64 category ids, area (n,) float64,
     iscrowd (n,) bool, ignore (n,) bool; from COCO also xywh (n, 4) float64, exactly as annotated
cls: label () int64 class index
"""


def numbers_fault(prediction: Prediction, shapes: Mapping[str, tuple[int | None, ...]]) -> str:
    """What is wrong with the arrays named in `shapes` (None: of any length) or with the loss;
    empty if they are numbers, finite and of these shapes."""
    for name, shape in {**shapes, **({"loss": ()} if "loss" in prediction else {})}.items():
        array = prediction.get(name)
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
            return f"no array of numbers {name!r}"
        fits = len(array.shape) == len(shape) and all(
            n in (None, given) for n, given in zip(shape, array.shape, strict=True)
        )
        if not fits:
            return f"{name!r} of shape {array.shape}"
        if not np.isfinite(array).all():
            return f"a value of {name!r} that is not finite"
    return ""


def placed(
    predictions: Sequence[Prediction | None],
    targets: Sequence[Target],
    images: Sequence[int] | None,
) -> Iterator[tuple[int, Prediction, Target]]:
    """(position, prediction, target) of the images that have a prediction. Raises ValueError if the
    lengths differ."""
    where = range(len(predictions)) if images is None else images
    for image, prediction, target in zip(where, predictions, targets, strict=True):
        if prediction is not None:
            yield image, prediction, target


@dataclass(frozen=True)
class Metric:
    name: str
    higher_is_better: bool
    optional: bool = False
    """Whether there are models that have none; results leave it out for those."""
    version: int = 1
    """Of its definition, matching included: numbers of another version are not comparable."""

    def describe(self) -> str:
        """What two results must share to be compared on it."""
        direction = "higher" if self.higher_is_better else "lower"
        return f"{direction} is better, version {self.version}"


class Task(Protocol):
    name: str
    metrics: tuple[Metric, ...]
    """The first is the headline."""

    undefined: str
    """What it means that the headline is undefined on the uncompressed images, and what to do."""

    def statistics(
        self,
        predictions: Sequence[Prediction | None],
        targets: Sequence[Target],
        images: Sequence[int] | None = None,
    ) -> pa.Table:
        """Everything that the metrics need, a few rows per image, column `image` being the image's
        position in the data set: `images`, or its place among the predictions. An image whose
        prediction is None (it failed) has no rows."""
        ...

    def score(self, statistics: pa.Table, weights: NDArray[np.int64]) -> NDArray[np.float64]:
        """(B, n_images) non-negative integer image weights → (B, n_metrics).

        A weight w counts the image w times (copies adjacent in data set order), 0 leaves it out,
        ground truth included; weights of one give the metric itself. NaN where undefined.
        """
        ...
