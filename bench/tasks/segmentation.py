"""Semantic segmentation: mean intersection over union, pixel accuracy and cross-entropy per pixel.

An image's statistics are its confusions: how many of its pixels are of one category and were taken
for another. Sums of them give every metric, under any image weights, exactly.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bench.errors import ConfigError, DataError
from bench.results.pictures import Mark
from bench.tasks.base import (
    TASKS,
    Agreement,
    CategoryScore,
    DatasetLike,
    Metric,
    ModelLike,
    Task,
    numbers_fault,
    placed,
)
from bench.tasks.categories import categories_of_classes
from bench.tasks.outlines import wrong_regions
from bench.tasks.records import IGNORED, Arrays, LabelMap, Regions

SCHEMA = pa.schema(
    [
        pa.field("image", pa.int32(), nullable=False),
        pa.field("truth", pa.uint8(), nullable=False),
        pa.field("predicted", pa.uint8(), nullable=False),
        pa.field("pixels", pa.int64(), nullable=False),
        pa.field("cross_entropy", pa.float64()),
    ]
)
LABELS = 256
"""That 8 bits can tell apart."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Matched(LabelMap):
    """A label map in the data set's categories: labels of classes that it lacks are IGNORED.
    channels (n_classes,) uint8 are the categories of the log-probabilities; None: 0, 1, 2, …"""

    channels: NDArray[np.uint8] | None = None


class SegmentationAgreement(Agreement[LabelMap, Regions]):
    """Metrics agreement-mIoU and agreement-pixels, mIoU and pixel accuracy, the ground truth being
    the label map of the uncompressed image."""

    name = "seg-agreement"
    metrics = (Metric("agreement-mIoU", True), Metric("agreement-pixels", True))
    undefined = "nothing was predicted"

    def reference(self, clean: LabelMap) -> Regions:
        return Regions(clean.labels)

    def statistics(
        self,
        predictions: Sequence[LabelMap | None],
        targets: Sequence[Regions | None],
        images: Sequence[int] | None = None,
    ) -> pa.Table:
        """As `Segmentation.statistics`, without cross-entropy."""
        labels = [None if p is None else LabelMap(p.labels) for p in predictions]
        return _confusions(labels, targets, images)

    def score(self, statistics: pa.Table, weights: NDArray[np.int64]) -> Floats:
        """(B, n_images) image weights → (B, 2)"""
        return _scores(statistics, weights)[:, :2]


class Segmentation(Task[LabelMap, Regions]):
    """Metrics mIoU and pixel-accuracy, shares in [0, 1], and pixel-cross-entropy in nats (lower is
    better), of models that give log-probabilities."""

    name = "seg"
    metrics = (
        Metric("mIoU", True),
        Metric("pixel-accuracy", True),
        Metric("pixel-cross-entropy", False, optional=True),
    )
    undefined = f"all their pixels are labelled {IGNORED}, ignored; take others, or more of them"
    prediction = LabelMap
    target = Regions
    model = "a semantic segmentation network"
    agreement = SegmentationAgreement()

    def fault(self, prediction: LabelMap) -> str:
        arrays = prediction.to_arrays()
        shapes = {"labels": (None, None), "log_probabilities": (None, None, None)}
        wrong = numbers_fault(arrays, {k: v for k, v in shapes.items() if k in arrays})
        if wrong:
            return wrong
        if prediction.labels.dtype != np.uint8:
            return f"'labels' of type {prediction.labels.dtype} instead of uint8"
        return ""

    def match(
        self, model: ModelLike, dataset: DatasetLike, name: str
    ) -> Callable[[LabelMap], LabelMap]:
        """Class indices become category ids, and IGNORED where the data set lacks the class: such
        a pixel is wrong. Where the model names no classes they are category ids already."""
        if not dataset.labelled:
            return lambda prediction: prediction
        classes = model.classes
        used = _used(dataset)
        table = _table(model, dataset, used)

        def matched(prediction: LabelMap) -> LabelMap:
            answers = prediction.log_probabilities
            if classes is not None:
                _require_named(prediction, len(classes), name)
            elif answers is not None:
                _require_classes(len(answers), max(used, default=0), dataset, name)
            channels = None if answers is None else table[: len(answers)]
            return Matched(table[prediction.labels], answers, channels)

        return matched

    def statistics(
        self,
        predictions: Sequence[LabelMap | None],
        targets: Sequence[Regions | None],
        images: Sequence[int] | None = None,
    ) -> pa.Table:
        """Table of `SCHEMA`, a row per image and pair of categories that meet in a pixel.

        - image: position in the data set
        - truth, predicted: category ids; predicted is IGNORED for classes that the data set lacks
        - pixels: how many pixels are of the one and were taken for the other
        - cross_entropy: the sum over these pixels of −log softmax of the true category, in nats,
          of the log-probabilities resized bilinearly to the picture; null where there are none

        Pixels of label IGNORED have no row. Raises DataError for a label map of another size than
        the ground truth's, ValueError if the lengths differ.
        """
        return _confusions(predictions, targets, images)

    def score(self, statistics: pa.Table, weights: NDArray[np.int64]) -> Floats:
        """(B, n_images) image weights → (B, 3): mIoU, pixel accuracy, mean cross-entropy.

        mIoU is the mean over the categories that occur in ground truth or predictions of the
        weighted images of intersection / union, each counted over all their pixels, as
        torchmetrics' MulticlassJaccardIndex has it (macro average) and mmsegmentation. NaN where no
        pixel is judged.
        """
        return _scores(statistics, weights)

    def by_category(
        self, statistics: pa.Table, weights: NDArray[np.int64]
    ) -> Sequence[CategoryScore]:
        """IoU of each category of the ground truth; n is how many images show it."""
        areas = _areas(statistics, np.asarray(weights, np.float64)[None])
        shown = statistics.group_by(["image", "truth"]).aggregate([]).to_pydict()
        n: Counter[int] = Counter()
        for image, category in zip(shown["image"], shown["truth"], strict=True):
            n[category] += int(weights[image])
        found = zip(areas.categories.tolist(), areas.ious[0].tolist(), strict=True)
        return [CategoryScore(c, iou, n[c]) for c, iou in found if n[c]]

    def labels_of(self, target: Regions) -> int:
        """How many categories an image shows."""
        return len(target.present())

    def marks(
        self, prediction: LabelMap, target: Regions, categories: Mapping[int, str]
    ) -> list[Mark]:
        """Outlines of what is labelled wrongly, see `bench.tasks.outlines`."""
        named = {**categories, IGNORED: "another class"}
        marks = []
        for region in wrong_regions(target.labels, prediction.labels):
            said, truth = (named.get(i, i) for i in (region.said, region.truth))
            x, y = zip(*region.corners, strict=True)
            marks.append(
                Mark(
                    state="false",
                    text=f"{said} instead of {truth}",
                    box=(min(x), min(y), max(x), max(y)),
                    outline=region.corners,
                )
            )
        return marks

    def training_targets(self, model: ModelLike, dataset: DatasetLike) -> list[Arrays]:
        """regions (height, width) uint8, the model's own class indices, IGNORED without one."""
        table = _table(model, dataset, _used(dataset))
        back = np.full(LABELS, IGNORED, np.uint8)
        for index in range(LABELS - 1, -1, -1):
            back[table[index]] = index
        back[IGNORED] = IGNORED
        return [{"regions": back[s.target.labels]} for s in dataset.samples]


# --- a model's classes and the data set's categories ----------------------------------------------


def _used(dataset: DatasetLike) -> frozenset[int]:
    """The categories that occur in the ground truth."""
    return frozenset().union(*(s.target.present() for s in dataset.samples))


def _table(model: ModelLike, dataset: DatasetLike, used: frozenset[int]) -> NDArray[np.uint8]:
    """(LABELS,) class index → category id, IGNORED without one. Raises ConfigError, see
    `categories_of_classes`."""
    table = np.full(LABELS, IGNORED, np.uint8)
    mapping = categories_of_classes(model, dataset, used)
    if mapping is None:
        known = [*dataset.categories]
        table[known] = known
    else:
        table[: len(mapping)] = np.where(mapping < 0, IGNORED, mapping)
    return table


def _require_named(prediction: LabelMap, named: int, name: str) -> None:
    """Raises ConfigError for a class index without a name, and for other log-probabilities."""
    answers = prediction.log_probabilities
    n = int(prediction.labels.max(initial=0)) + 1 if answers is None else len(answers)
    if n > named or (answers is not None and n != named):
        raise ConfigError(f"model {name} gives {n} classes, but names {named}")


def _require_classes(given: int, largest: int, dataset: DatasetLike, name: str) -> None:
    """Raises ConfigError if the classes of a model without names are not the data set's."""
    if largest >= given or dataset.n_classes not in (None, given):
        there = f"{dataset.n_classes} classes" if dataset.n_classes else f"class index {largest}"
        raise ConfigError(
            f"data set {dataset.name} has {there}, but model {name}, which does not name its "
            f"classes, gives {given} (0 to {given - 1}); take a model that was trained on the data "
            "set's classes"
        )


# --- statistics -----------------------------------------------------------------------------------


def _confusions(
    predictions: Sequence[LabelMap | None],
    targets: Sequence[Regions | None],
    images: Sequence[int] | None,
) -> pa.Table:
    parts = [_of_image(i, p, t) for i, p, t in placed(predictions, targets, images)]
    return pa.concat_tables(parts) if parts else SCHEMA.empty_table()


def _of_image(image: int, prediction: LabelMap, target: Regions) -> pa.Table:
    truth, said = target.labels, prediction.labels
    if truth.shape != said.shape:
        sizes = [f"{m.shape[1]}×{m.shape[0]}" for m in (said, truth)]
        raise DataError(
            f"image {image}: the model's label map has {sizes[0]} pixels, the ground truth "
            f"{sizes[1]}: a label for each pixel of the picture is expected"
        )
    judged = truth != IGNORED
    pairs = truth[judged].astype(np.intp) * LABELS + said[judged]
    counts = np.bincount(pairs, minlength=LABELS * LABELS)
    found = np.flatnonzero(counts)
    entropy = pa.nulls(len(found), pa.float64())
    if prediction.log_probabilities is not None:
        lost = _cross_entropy(prediction, truth)[judged]
        entropy = pa.array(np.bincount(pairs, lost, minlength=LABELS * LABELS)[found])
    columns = [np.full(len(found), image), found // LABELS, found % LABELS, counts[found]]
    arrays = [
        pa.array(values.astype(field.type.to_pandas_dtype()))
        for field, values in zip(SCHEMA, columns, strict=False)
    ]
    return pa.table([*arrays, entropy], schema=SCHEMA)


def _cross_entropy(prediction: LabelMap, truth: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(H, W) −log softmax of the true category, nats. A plane at a time: those of a large picture
    would take a gigabyte together."""
    planes = prediction.log_probabilities
    assert planes is not None
    categories = range(len(planes))
    if isinstance(prediction, Matched) and prediction.channels is not None:
        categories = prediction.channels.tolist()
    size = truth.shape[1], truth.shape[0]

    def resized(plane: NDArray[np.float16]) -> NDArray[np.float32]:
        # Of half-pixel centres, as torch's interpolate with align_corners=False.
        return np.asarray(
            cv2.resize(plane.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
        )

    top = np.full(truth.shape, -np.inf, np.float32)
    for plane in planes:
        np.maximum(top, resized(plane), out=top)
    total, wanted = np.zeros_like(top), np.full_like(top, -np.inf)
    for plane, category in zip(planes, categories, strict=True):
        here = resized(plane)
        total += np.exp(here - top)
        np.logaddexp(wanted, here, out=wanted, where=truth == category)
    lost: NDArray[np.float32] = np.log(total) + (top - wanted)
    return lost


# --- scores ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Areas:
    """Of each category (K,), pixels under each of the image weights, (B, K): both in ground truth
    and predictions, and in either."""

    categories: NDArray[np.uint8]
    both: Floats
    either: Floats

    @property
    def ious(self) -> Floats:
        """(B, K), 0 for a category that does not occur."""
        ious: Floats = np.zeros_like(self.both)
        np.divide(self.both, self.either, out=ious, where=self.either > 0)
        return ious


def _areas(table: pa.Table, chosen: Floats) -> _Areas:
    """Counts of pixels are whole numbers far below 2⁵³, so that their sums in float64 are exact, in
    whatever order."""
    image, truth, said, pixels = (
        table[name].to_numpy() for name in ("image", "truth", "predicted", "pixels")
    )
    categories = np.setdiff1d(np.concatenate([truth, said]), [IGNORED])
    n, k = chosen.shape[1], len(categories)

    def counted(labels: NDArray[np.uint8], rows: NDArray[np.bool_]) -> Floats:
        """(B, K) pixels of the rows, by label."""
        rows = rows & (labels != IGNORED)
        place = image[rows].astype(np.int64) * k + np.searchsorted(categories, labels[rows])
        per_image = np.bincount(place, pixels[rows], minlength=n * k).astype(np.float64)
        return chosen @ per_image.reshape(n, k)

    every = np.ones(len(image), np.bool_)
    both = counted(truth, truth == said)
    return _Areas(categories, both, counted(truth, every) + counted(said, every) - both)


def _scores(table: pa.Table, weights: NDArray[np.int64]) -> Floats:
    """(B, n_images) → (B, 3)"""
    chosen = np.asarray(weights, np.float64)
    areas = _areas(table, chosen)
    image, pixels = table["image"].to_numpy(), table["pixels"].to_numpy()
    lost = table["cross_entropy"].to_numpy()
    told = np.isfinite(lost)
    # (n_images, 3) summed over the rows of an image
    sums = [(pixels, image), (lost[told], image[told]), (pixels[told], image[told])]
    per_image = [np.bincount(i, v, minlength=chosen.shape[1]) for v, i in sums]
    judged, entropy, answered = (chosen @ np.column_stack(per_image)).T
    return np.column_stack(
        [
            _ratio(areas.ious.sum(axis=1), (areas.either > 0).sum(axis=1)),
            _ratio(areas.both.sum(axis=1), judged),
            _ratio(entropy, answered),
        ]
    )


def _ratio(part: Floats, whole: NDArray[np.float64 | np.int64]) -> Floats:
    """NaN of nothing."""
    ratio: Floats = np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
    return ratio


TASKS.register("seg")(Segmentation())
