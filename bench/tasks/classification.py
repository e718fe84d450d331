"""Image classification: top-1, top-5 and cross-entropy."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bench.errors import DataError
from bench.tasks.base import Metric, Prediction, Target, numbers_fault, placed

SCHEMA = pa.schema(
    [
        pa.field("image", pa.int32(), nullable=False),
        pa.field("label", pa.int64(), nullable=False),
        pa.field("rank", pa.int32(), nullable=False),
        pa.field("cross_entropy", pa.float64(), nullable=False),
    ]
)


def fault(prediction: Prediction) -> str:
    """What makes a classifier's answer unusable; empty if nothing."""
    return numbers_fault(prediction, {"logits": (None,)})


class Classification:
    """Metrics top1 and top5, shares in [0, 1], and cross-entropy in nats (lower is better)."""

    name = "cls"
    metrics: tuple[Metric, ...] = (
        Metric("top1", True),
        Metric("top5", True),
        Metric("cross-entropy", False),
    )
    undefined = "no image is left"

    def statistics(
        self,
        predictions: Sequence[Prediction | None],
        targets: Sequence[Target],
        images: Sequence[int] | None = None,
    ) -> pa.Table:
        """Table of `SCHEMA`, a row per image that has a prediction.

        - image: position in the data set; label: its true class
        - rank: how many other classes have a logit at least as high as the true class's: 0 if it is
          the argmax. Ties count against the true class (a constant output is never right), and so
          does NaN
        - cross_entropy: −log softmax of the true class, in float64, nats

        Raises DataError for a label outside 0 … n_classes − 1, ValueError if the lengths differ.
        """
        rows: list[tuple[int, int, int, float]] = []
        for image, prediction, target in placed(predictions, targets, images):
            logits = np.asarray(prediction["logits"], np.float64).reshape(-1)
            label = int(target["label"])
            if not 0 <= label < len(logits):
                raise DataError(
                    f"image {image}: label {label}, but the model knows classes 0 to "
                    f"{len(logits) - 1}; check that model and data set number classes alike"
                )
            rank = int(np.count_nonzero(~(logits < logits[label]))) - 1
            rows.append((image, label, rank, _cross_entropy(logits, label)))
        columns = list(zip(*rows, strict=True)) or [()] * len(SCHEMA)
        return pa.table([list(column) for column in columns], schema=SCHEMA)

    def score(self, statistics: pa.Table, weights: NDArray[np.int64]) -> NDArray[np.float64]:
        """(B, n_images) image weights → (B, 3): weighted means of top1, top5 and cross-entropy.

        With fewer than five classes top5 is 1. NaN where no image is left.
        """
        rank = statistics["rank"].to_numpy()
        values = np.column_stack([rank < 1, rank < 5, statistics["cross_entropy"].to_numpy()])
        return weighted_means(values, statistics["image"].to_numpy(), weights)


def weighted_means(
    values: NDArray[np.float64], image: NDArray[np.int32], weights: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(n, k) values of the images (n,), and (B, n_images) image weights → (B, k) means; NaN where
    no image is left."""
    chosen = np.asarray(weights, np.float64)[:, image]
    finite = np.isfinite(values)
    sums = chosen @ np.where(finite, values, 0.0)
    # 0 · inf is NaN: a broken output must not reach the samples that leave it out.
    for row, column in zip(*np.nonzero(~finite), strict=True):
        sums[chosen[:, row] > 0, column] += values[row, column]
    total = chosen.sum(axis=1, keepdims=True)
    means: NDArray[np.float64] = np.full_like(sums, np.nan)
    np.divide(sums, total, out=means, where=total > 0)
    return means


def _cross_entropy(logits: NDArray[np.float64], label: int) -> float:
    with np.errstate(invalid="ignore"):
        shifted = logits - logits.max()
        return float(np.log(np.exp(shifted).sum()) - shifted[label])
