"""Object detection: COCO mAP@[.50:.95] and AP50, matched once and scored under image weights, and
the detector's own loss where the model gives it. The definition of mAP is in `bench.tasks.matching`
and `bench.tasks.average_precision`. The wider form has COCO's other numbers as well."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bench.results.pictures import Mark
from bench.tasks.agreement import DetectionAgreement
from bench.tasks.average_precision import (
    average_precisions,
    category_precisions,
    more_precisions,
    objects_by_category,
)
from bench.tasks.base import (
    TASKS,
    CategoryScore,
    DatasetLike,
    FullSet,
    Metric,
    ModelLike,
    Task,
    numbers_fault,
)
from bench.tasks.categories import categories_of_classes, label_matcher
from bench.tasks.matching import ALL_IOUS, SCHEMA, Ints, match_detections
from bench.tasks.records import Arrays, Detections, Objects
from bench.tasks.reduced import GROUND_TRUTH, reduced
from bench.tasks.sizes import size_metrics, size_objects, size_scores, with_sizes

LOSS_SCHEMA = SCHEMA.append(pa.field("loss", pa.float64()))
"""With the detector's own loss: a further row per image, which is no detection and no object."""
SHOWN = 0.3
"""Least score of detections that are drawn, as detectors' own demonstrations draw them."""
REGARDED = 0.05
"""Least score of detections that training regards: mAP counts faint ones, too."""


class Detection(Task[Detections, Objects]):
    """Metrics mAP (mean over categories, IoU .50:.05:.95 and 101 recalls) and AP50, in [0, 1], and
    loss, the mean over images of the detector's own training loss (lower is better)."""

    name = "det"
    metrics: tuple[Metric, ...] = (
        Metric("mAP", True),
        Metric("AP50", True),
        Metric("loss", False, optional=True),
    )
    ground_truth = GROUND_TRUTH
    undefined = "none of them has an object that counts; take others, or leave out --limit"
    prediction = Detections
    target = Objects
    model = "a detector"
    agreement = DetectionAgreement()
    full_sets = (FullSet("coco", images=5000, labels=36781, categories=80),)
    own_loss = True
    locates = True

    def fault(self, prediction: Detections) -> str:
        n = len(prediction.boxes) if np.ndim(prediction.boxes) else None
        wrong = numbers_fault(
            prediction.to_arrays(), {"boxes": (n, 4), "scores": (n,), "labels": (n,)}
        )
        if wrong:
            return wrong
        if prediction.labels.dtype.kind == "f" or (prediction.labels < 0).any():
            return "labels that are no class indices"
        return ""

    def match(
        self, model: ModelLike, dataset: DatasetLike, name: str
    ) -> Callable[[Detections], Detections]:
        """Class indices become category ids; of classes that the data set lacks there are no
        detections. Where the model names no classes they are category ids already."""
        match_labels = label_matcher(model, dataset, name)

        def matched(prediction: Detections) -> Detections:
            labels = match_labels(prediction.labels)
            return Detections(prediction.boxes, prediction.scores, labels).where(labels >= 0)

        return matched

    def statistics(
        self,
        predictions: Sequence[Detections | None],
        targets: Sequence[Objects | None],
        images: Sequence[int] | None = None,
    ) -> pa.Table:
        """See `bench.tasks.matching.match_detections`."""
        return match_detections(predictions, targets, images)

    def with_losses(self, statistics: pa.Table, losses: Sequence[tuple[int, float]]) -> pa.Table:
        """`LOSS_SCHEMA` and a row more per image: loss is set there, is null in all other rows, and
        what the other columns hold means nothing."""
        if not losses:
            return statistics
        rows = [
            {"is_object": False, "image": i, "category": 0, "ignored": ALL_IOUS, "loss": loss}
            for i, loss in losses
        ]
        table = statistics.append_column("loss", pa.nulls(len(statistics), pa.float64()))
        losses_alone = pa.Table.from_pylist(rows, schema=LOSS_SCHEMA)
        return pa.concat_tables([table, losses_alone], promote_options="default")

    def reduced(self, statistics: pa.Table) -> pa.Table:
        """See `bench.tasks.reduced`."""
        return reduced(statistics)

    def score(self, statistics: pa.Table, weights: Ints) -> NDArray[np.float64]:
        """(B, n_images) image weights → (B, 3): mAP and AP50, each in [0, 1], and the loss.

        mAP and AP50 equal COCOeval on the images repeated by weight, copies adjacent in data set
        order. Categories without an object that counts are left out; NaN (COCOeval's −1) if none is
        left. The loss is the weighted mean over images; NaN if no image is left, or none has one.
        """
        matches, losses = _parted(statistics)
        return np.column_stack([average_precisions(matches, weights), _mean_loss(losses, weights)])

    def objects_by_category(self, statistics: pa.Table, weights: Ints) -> Mapping[str, Ints]:
        return dict.fromkeys(("mAP", "AP50"), objects_by_category(statistics, weights))

    def wider(self) -> "WiderDetection":
        return WiderDetection()

    def by_category(self, statistics: pa.Table, weights: Ints) -> Sequence[CategoryScore]:
        """mAP's share of each category that has an object, over its objects that count."""
        scores = category_precisions(_parted(statistics)[0], weights)
        return [CategoryScore(*of) for of in zip(*map(np.ndarray.tolist, scores), strict=True)]

    def labels_of(self, target: Objects) -> int:
        return len(target.boxes)

    def training_targets(self, model: ModelLike, dataset: DatasetLike) -> list[Arrays]:
        """Boxes (n, 4) float32 x1 y1 x2 y2 in pixels and labels (n,) int64, the model's own class
        indices. Crowds are left out, and objects thinner than a pixel."""
        categories = categories_of_classes(model, dataset)
        index = {c: c for c in dataset.categories}
        if categories is not None:
            index = {c: i for i, c in enumerate(categories.tolist())}
        targets: list[Arrays] = []
        for sample in dataset.samples:
            there: Objects = sample.target
            boxes = there.boxes.astype(np.float32).reshape(-1, 4)
            labels = np.array([index[c] for c in there.labels.tolist()], np.int64)
            kept = (boxes[:, 2:] - boxes[:, :2] >= 1).all(axis=1) & ~there.iscrowd
            targets.append({"boxes": boxes[kept], "labels": labels[kept]})
        return targets

    def marks(
        self, prediction: Detections, target: Objects, categories: Mapping[int, str]
    ) -> list[Mark]:
        """Detections with a score of `SHOWN` or more, each the best of its object at an IoU of 0.5
        or false, and the objects that none found; of crowds there is nothing to miss."""
        marks, found = [], set()
        for i in np.argsort(-prediction.scores, kind="stable").tolist():
            score, label = float(prediction.scores[i]), int(prediction.labels[i])
            if score < SHOWN:
                break
            box = prediction.boxes[i].astype(float)
            same = [j for j in np.flatnonzero(target.labels == label).tolist() if j not in found]
            best = max(same, key=lambda j: _iou(box, target.boxes[j]), default=None)
            hit = best is not None and _iou(box, target.boxes[best]) >= 0.5
            if hit:
                found.add(best)
            text = f"{categories.get(label, label)} {score:.2f}"
            marks.append(Mark(state="true" if hit else "false", text=text, box=tuple(box.tolist())))
        for j in np.flatnonzero(~target.iscrowd).tolist():
            if j not in found:
                name, box = str(categories.get(int(target.labels[j]))), target.boxes[j].tolist()
                marks.append(Mark(state="missed", text=name, box=tuple(box)))
        return marks

    def regarded(self, prediction: Detections) -> Arrays:
        seen = prediction.where(prediction.scores > REGARDED)
        return {"boxes": seen.boxes, "scores": seen.scores}


class WiderDetection(Detection):
    """Metrics AP75, AP-small, AP-medium, AP-large and AR100 besides, each in [0, 1] and equal to
    COCOeval's as mAP is; those of a size only where a data set has objects of it."""

    metrics = (*Detection.metrics, Metric("AP75", True), *size_metrics())

    def statistics(
        self,
        predictions: Sequence[Detections | None],
        targets: Sequence[Objects | None],
        images: Sequence[int] | None = None,
    ) -> pa.Table:
        """With the columns of `bench.tasks.sizes`."""
        return with_sizes(
            super().statistics(predictions, targets, images),
            lambda area: match_detections(predictions, targets, images, area=area),
        )

    def objects_by_category(self, statistics: pa.Table, weights: Ints) -> Mapping[str, Ints]:
        counts = super().objects_by_category(statistics, weights)
        by_size = size_objects(statistics, weights)
        return {**counts, "AP75": counts["mAP"], **by_size}

    def score(self, statistics: pa.Table, weights: Ints) -> NDArray[np.float64]:
        """(B, n_images) image weights → (B, 8)"""
        matches, losses = _parted(statistics)
        precisions, loss = more_precisions(matches, weights), _mean_loss(losses, weights)
        sizes = size_scores(matches, weights)
        return np.column_stack([precisions[:, :2], loss, precisions[:, 2:], sizes])


def _iou(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Of two boxes x1 y1 x2 y2."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    both = float(np.prod(np.maximum(sides, 0)))
    either = float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - both
    return both / either if either > 0 else 0.0


def _parted(statistics: pa.Table) -> tuple[pa.Table, pa.Table]:
    """The matches, and the rows of the detector's own loss."""
    if "loss" not in statistics.column_names:
        return statistics, LOSS_SCHEMA.empty_table()
    has_loss = pc.is_valid(statistics["loss"])
    return statistics.filter(pc.invert(has_loss)), statistics.filter(has_loss)


def _mean_loss(losses: pa.Table, weights: Ints) -> NDArray[np.float64]:
    """(B, n_images) → (B,)"""
    chosen = weights[:, losses["image"].to_numpy()]
    total = chosen.sum(axis=1)
    mean: NDArray[np.float64] = np.full(len(weights), np.nan)
    np.divide(chosen @ losses["loss"].to_numpy(), total, out=mean, where=total > 0)
    return mean


TASKS.register("det")(Detection())
