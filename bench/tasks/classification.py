"""Image classification: top-1, top-5 and cross-entropy; in its wider form calibration, too."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bench.errors import ConfigError, DataError
from bench.results.pictures import Mark
from bench.tasks.agreement import ClassificationAgreement
from bench.tasks.base import (
    TASKS,
    CategoryScore,
    DatasetLike,
    FullSet,
    Metric,
    ModelLike,
    Task,
    numbers_fault,
    placed,
)
from bench.tasks.means import calibration_error, weighted_means
from bench.tasks.records import Arrays, Label, Logits

SCHEMA = pa.schema(
    [
        pa.field("image", pa.int32(), nullable=False),
        pa.field("label", pa.int64(), nullable=False),
        pa.field("rank", pa.int32(), nullable=False),
        pa.field("cross_entropy", pa.float64(), nullable=False),
    ]
)

CONFIDENCE = pa.field("confidence", pa.float64(), nullable=False)
"""The column of the wider form."""


class Classification(Task[Logits, Label]):
    """Metrics top1 and top5, shares in [0, 1], and cross-entropy in nats (lower is better)."""

    name = "cls"
    metrics: tuple[Metric, ...] = (
        Metric("top1", True),
        Metric("top5", True),
        Metric("cross-entropy", False),
    )
    undefined = "no image is left"
    prediction = Logits
    target = Label
    model = "a classifier"
    agreement = ClassificationAgreement()
    full_sets = (FullSet("imagenet", images=50000, labels=50000, categories=1000),)

    def fault(self, prediction: Logits) -> str:
        return numbers_fault(prediction.to_arrays(), {"logits": (None,)})

    def match(
        self, model: ModelLike, dataset: DatasetLike, name: str
    ) -> Callable[[Logits], Logits]:
        """Classes are known by their number alone, which says whether they can be the same."""

        def matched(prediction: Logits) -> Logits:
            if dataset.labelled:
                _require_classes(len(prediction.logits), dataset, name)
            return prediction

        return matched

    def statistics(
        self,
        predictions: Sequence[Logits | None],
        targets: Sequence[Label | None],
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
            logits = np.asarray(prediction.logits, np.float64).reshape(-1)
            label = int(target.label)
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

    def wider(self) -> "WiderClassification":
        return WiderClassification()

    def by_category(
        self, statistics: pa.Table, weights: NDArray[np.int64]
    ) -> Sequence[CategoryScore]:
        """Top-1 of each class, over its images."""
        label, right = statistics["label"].to_numpy(), statistics["rank"].to_numpy() < 1
        weight = weights[statistics["image"].to_numpy()]
        return [
            CategoryScore(int(c), float((weight * right)[label == c].sum() / n), n)
            for c in np.unique(label)
            if (n := int(weight[label == c].sum()))
        ]

    def marks(self, prediction: Logits, target: Label, categories: Mapping[int, str]) -> list[Mark]:
        """The most probable class; where it is false the true one is missed."""
        logits = prediction.logits.astype(np.float64)
        likely, true = int(logits.argmax()), int(target.label)
        probability = float(1 / np.exp(logits - logits[likely]).sum())
        said = f"{categories.get(likely, likely)} {probability:.2f}"
        if likely == true:
            return [Mark(state="true", text=said)]
        missed = Mark(state="missed", text=str(categories.get(true, true)))
        return [Mark(state="false", text=said), missed]

    def training_targets(self, model: ModelLike, dataset: DatasetLike) -> list[Arrays]:
        """The label () int64."""
        return [s.target.to_arrays() for s in dataset.samples]


def _require_classes(given: int, dataset: DatasetLike, name: str) -> None:
    """Raises ConfigError if a classifier's classes are not those of the data set's labels."""
    largest = max(dataset.categories)
    if dataset.n_classes is not None and dataset.n_classes != given:
        raise ConfigError(
            f"data set {dataset.name} has {dataset.n_classes} classes, but model {name} gives "
            f"{given}: the class numbers of the two mean different things. Take a model that was "
            "trained on these classes, or list the images in labels.csv with the model's own "
            "class_index"
        )
    if largest >= given:
        raise ConfigError(
            f"data set {dataset.name} has class index {largest}, but model {name} gives {given} "
            f"classes (0 to {given - 1}); take a model that was trained on the data set's classes, "
            "or correct the indices"
        )


def _confidence(logits: NDArray[np.float32]) -> float:
    with np.errstate(invalid="ignore"):
        shifted = np.asarray(logits, np.float64).reshape(-1)
        return float(1 / np.exp(shifted - shifted.max()).sum())


def _cross_entropy(logits: NDArray[np.float64], label: int) -> float:
    with np.errstate(invalid="ignore"):
        shifted = logits - logits.max()
        return float(np.log(np.exp(shifted).sum()) - shifted[label])


class WiderClassification(Classification):
    """Metric ECE besides, the expected calibration error in [0, 1] (lower is better), see
    `bench.tasks.means.calibration_error`. Correct is what top-1 counts."""

    metrics = (*Classification.metrics, Metric("ECE", False))

    def statistics(
        self,
        predictions: Sequence[Logits | None],
        targets: Sequence[Label | None],
        images: Sequence[int] | None = None,
    ) -> pa.Table:
        """With the column confidence, the softmax of the most probable class, in float64."""
        table = super().statistics(predictions, targets, images)
        both = placed(predictions, targets, images)
        confidence = pa.array([_confidence(p.logits) for _, p, _ in both], pa.float64())
        return table.append_column(CONFIDENCE, confidence)

    def score(self, statistics: pa.Table, weights: NDArray[np.int64]) -> NDArray[np.float64]:
        """(B, n_images) image weights → (B, 4)"""
        confidence, rank, image = (
            statistics[name].to_numpy() for name in ("confidence", "rank", "image")
        )
        error = calibration_error(confidence, rank < 1, image, weights)
        return np.column_stack([super().score(statistics, weights), error])


TASKS.register("cls")(Classification())
