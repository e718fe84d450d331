"""Instance segmentation: COCO's mask mAP and AP50, matched once and scored under image weights.

The definition is that of detection (see `bench.tasks.matching`), but for what overlaps: the pixels
of masks instead of boxes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from bench.errors import ConfigError
from bench.results.pictures import Mark
from bench.tasks.agreement import REFERENCE_SCORE
from bench.tasks.average_precision import (
    average_precisions,
    more_precisions,
    objects_by_category,
)
from bench.tasks.base import (
    TASKS,
    Agreement,
    CategoryScore,
    DatasetLike,
    Metric,
    ModelLike,
    Task,
    numbers_fault,
)
from bench.tasks.categories import label_matcher
from bench.tasks.detection import Detection
from bench.tasks.masks import chosen, code_fault, codes_of
from bench.tasks.matching import Forms, match_detections, ranked
from bench.tasks.records import Arrays, Detections, Instances, MaskedObjects
from bench.tasks.reduced import GROUND_TRUTH, reduced
from bench.tasks.sizes import size_metrics, size_objects, size_scores, with_sizes

_OF_BOXES = Detection()


def _masks(found: Instances, target: MaskedObjects) -> Forms:
    """Raises ConfigError for masks of another size than the picture's."""
    (h, w), (height, width) = found.size.tolist(), target.size.tolist()
    if (h, w) != (height, width):
        raise ConfigError(
            f"the model gives masks of {w}×{h} pixels for an image of {width}×{height}; masks have "
            "to be as large as the image that the model was given"
        )
    codes = codes_of(found)
    return Forms(np.array(codes, object), _areas(found), np.array(codes_of(target), object))


def _areas(found: Instances) -> NDArray[np.float64]:
    """(n,) in pixels."""
    return np.array(coco_mask.area(codes_of(found)), np.float64)


class InstanceAgreement(Agreement[Instances, MaskedObjects]):
    """Metrics agreement-mask-mAP and agreement-mask-AP50: mask mAP and AP50 as COCO defines them,
    the objects being the uncompressed image's instances with a score of at least REFERENCE_SCORE.

    Masks without a pixel count on neither side: nothing overlaps with them, themselves included.
    """

    name = "ins-agreement"
    metrics = (Metric("agreement-mask-mAP", True), Metric("agreement-mask-AP50", True))
    ground_truth = GROUND_TRUTH
    undefined = (
        f"it finds nothing with a score of at least {REFERENCE_SCORE:g} on the uncompressed "
        "images, so there is nothing to agree with; check the weights, or take images of what the "
        "model knows"
    )
    note = f"instances of at least {REFERENCE_SCORE:g} are to be found again"

    def reference(self, clean: Instances) -> MaskedObjects:
        counting = np.zeros(len(clean.scores), np.bool_)
        counting[ranked(clean.scores, clean.labels)[0]] = True
        found = chosen(clean, counting & (clean.scores >= REFERENCE_SCORE) & (_areas(clean) > 0))
        n = len(found.scores)
        return MaskedObjects(
            boxes=found.boxes.astype(np.float64),
            labels=found.labels.astype(np.int64),
            area=_areas(found),
            iscrowd=np.zeros(n, np.bool_),
            ignore=np.zeros(n, np.bool_),
            counts=found.counts,
            ends=found.ends,
            size=found.size,
        )

    def statistics(
        self,
        predictions: Sequence[Instances | None],
        targets: Sequence[MaskedObjects | None],
        images: Sequence[int] | None = None,
    ) -> pa.Table:
        """As `InstanceSegmentation.statistics`, of the images that have a prediction and a
        reference."""
        found = [None if p is None else chosen(p, _areas(p) > 0) for p in predictions]
        return match_detections(found, targets, images, _masks)

    def reduced(self, statistics: pa.Table) -> pa.Table:
        """As `Detection.reduced`."""
        return reduced(statistics)

    def score(self, statistics: pa.Table, weights: NDArray[np.int64]) -> NDArray[np.float64]:
        """(B, n_images) image weights → (B, 2)"""
        return average_precisions(statistics, weights)

    def objects_by_category(
        self, statistics: pa.Table, weights: NDArray[np.int64]
    ) -> Mapping[str, NDArray[np.int64]]:
        counts = objects_by_category(statistics, weights)
        return dict.fromkeys((metric.name for metric in self.metrics), counts)


class InstanceSegmentation(Task[Instances, MaskedObjects]):
    """Metrics mask-mAP (mean over categories, IoU .50:.05:.95 and 101 recalls) and mask-AP50, in
    [0, 1]."""

    name = "ins"
    metrics: tuple[Metric, ...] = (Metric("mask-mAP", True), Metric("mask-AP50", True))
    ground_truth = GROUND_TRUTH
    undefined = Detection.undefined
    prediction = Instances
    target = MaskedObjects
    model = "an instance segmentation network"
    agreement = InstanceAgreement()
    full_sets = Detection.full_sets
    locates = True

    def fault(self, prediction: Instances) -> str:
        """Of the boxes as for detection, or of the masks."""
        n = len(prediction.labels) if np.ndim(prediction.labels) else None
        wrong = _OF_BOXES.fault(_boxes(prediction)) or numbers_fault(
            prediction.to_arrays(), {"counts": (None,), "ends": (n,), "size": (2,)}
        )
        if wrong:
            return wrong
        ends, size = prediction.ends.tolist(), tuple(prediction.size.tolist())
        if min(size) < 1 or ends != sorted(ends) or [0, *ends][-1] != len(prediction.counts):
            return "masks whose 'ends' and 'size' do not fit"
        for code in codes_of(prediction):
            if fault := code_fault(code["counts"], size):
                return f"an unusable mask: {fault}"
        return ""

    def match(
        self, model: ModelLike, dataset: DatasetLike, name: str
    ) -> Callable[[Instances], Instances]:
        """As for detection."""
        match_labels = label_matcher(model, dataset, name)

        def matched(prediction: Instances) -> Instances:
            labels = match_labels(prediction.labels)
            return chosen(replace(prediction, labels=labels), labels >= 0)

        return matched

    def statistics(
        self,
        predictions: Sequence[Instances | None],
        targets: Sequence[MaskedObjects | None],
        images: Sequence[int] | None = None,
    ) -> pa.Table:
        """See `bench.tasks.matching.match_detections`."""
        return match_detections(predictions, targets, images, _masks)

    def reduced(self, statistics: pa.Table) -> pa.Table:
        """As `Detection.reduced`."""
        return reduced(statistics)

    def score(self, statistics: pa.Table, weights: NDArray[np.int64]) -> NDArray[np.float64]:
        """(B, n_images) image weights → (B, 2): mask-mAP and mask-AP50, as `Detection.score` has
        those of boxes."""
        return average_precisions(statistics, weights)

    def objects_by_category(
        self, statistics: pa.Table, weights: NDArray[np.int64]
    ) -> Mapping[str, NDArray[np.int64]]:
        return dict.fromkeys(("mask-mAP", "mask-AP50"), objects_by_category(statistics, weights))

    def wider(self) -> "WiderInstanceSegmentation":
        return WiderInstanceSegmentation()

    def by_category(
        self, statistics: pa.Table, weights: NDArray[np.int64]
    ) -> Sequence[CategoryScore]:
        """As for detection."""
        return _OF_BOXES.by_category(statistics, weights)

    def labels_of(self, target: MaskedObjects) -> int:
        return len(target.labels)

    def marks(
        self, prediction: Instances, target: MaskedObjects, categories: Mapping[int, str]
    ) -> list[Mark]:
        """As for detection, of the instances' boxes."""
        return _OF_BOXES.marks(_boxes(prediction), target, categories)

    def regarded(self, prediction: Instances) -> Arrays:
        return _OF_BOXES.regarded(_boxes(prediction))


class WiderInstanceSegmentation(InstanceSegmentation):
    """Metrics mask-AP75, mask-AP-small, mask-AP-medium, mask-AP-large and mask-AR100 besides, as
    `bench.tasks.detection.WiderDetection` has those of boxes."""

    metrics = (
        *InstanceSegmentation.metrics,
        Metric("mask-AP75", True),
        *size_metrics("mask-"),
    )

    def statistics(
        self,
        predictions: Sequence[Instances | None],
        targets: Sequence[MaskedObjects | None],
        images: Sequence[int] | None = None,
    ) -> pa.Table:
        """With the columns of `bench.tasks.sizes`."""
        return with_sizes(
            super().statistics(predictions, targets, images),
            lambda area: match_detections(predictions, targets, images, _masks, area),
        )

    def objects_by_category(
        self, statistics: pa.Table, weights: NDArray[np.int64]
    ) -> Mapping[str, NDArray[np.int64]]:
        counts = super().objects_by_category(statistics, weights)
        by_size = size_objects(statistics, weights, "mask-")
        return {**counts, "mask-AP75": counts["mask-mAP"], **by_size}

    def score(self, statistics: pa.Table, weights: NDArray[np.int64]) -> NDArray[np.float64]:
        """(B, n_images) image weights → (B, 7)"""
        precisions = more_precisions(statistics, weights)
        return np.column_stack([precisions, size_scores(statistics, weights)])


def _boxes(found: Instances) -> Detections:
    return Detections(found.boxes, found.scores, found.labels)


TASKS.register("ins")(InstanceSegmentation())
