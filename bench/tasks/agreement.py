"""Agreement of a model's predictions with its own on the uncompressed images.

For images without ground truth. The reference is the model itself, so the uncompressed images
score 1 (and a divergence of 0) by definition, and a curve says how much of what the model saw is
still seen after coding. It is not accuracy: a mistake that survives coding counts as agreement.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bench.tasks.average_precision import average_precisions, objects_by_category
from bench.tasks.base import Agreement, Metric, placed
from bench.tasks.matching import match_detections, ranked
from bench.tasks.means import weighted_means
from bench.tasks.records import Detections, Logits, Objects
from bench.tasks.reduced import GROUND_TRUTH, reduced

REFERENCE_SCORE = 0.3
"""Least score of a detection that counts as an object of the uncompressed image. The metric ranks
all detections whatever their score; the threshold only says which of them are to be found again.
Detectors' own demonstrations draw boxes from 0.3 (mmdet's `pred_score_thr`)."""

SCHEMA = pa.schema(
    [
        pa.field("image", pa.int32(), nullable=False),
        pa.field("label", pa.int64(), nullable=False),
        pa.field("agrees", pa.bool_(), nullable=False),
        pa.field("divergence", pa.float64(), nullable=False),
    ]
)


class ClassificationAgreement(Agreement[Logits, Logits]):
    """Metrics agreement, the share of images in [0, 1] that keep their most probable class, and
    divergence, the mean KL(uncompressed ‖ decoded) of the class probabilities in nats."""

    name = "cls-agreement"
    metrics = (Metric("agreement", True), Metric("divergence", False))
    undefined = "nothing was predicted"

    def reference(self, clean: Logits) -> Logits:
        return clean

    def statistics(
        self,
        predictions: Sequence[Logits | None],
        targets: Sequence[Logits | None],
        images: Sequence[int] | None = None,
    ) -> pa.Table:
        """Table of `SCHEMA`, a row per image that has a prediction and a reference.

        - label: the reference's most probable class (of equal ones the first); agrees: whether it
          is the prediction's, too
        - divergence: KL(reference ‖ prediction) of their softmax, in float64, nats

        Raises ValueError if the lengths differ.
        """
        rows: list[tuple[int, int, bool, float]] = []
        for image, prediction, target in placed(predictions, targets, images):
            clean, decoded = _log_softmax(target.logits), _log_softmax(prediction.logits)
            label = int(clean.argmax())
            divergence = float(np.exp(clean) @ (clean - decoded))
            rows.append((image, label, bool(decoded.argmax() == label), max(0.0, divergence)))
        columns = list(zip(*rows, strict=True)) or [()] * len(SCHEMA)
        return pa.table([list(column) for column in columns], schema=SCHEMA)

    def score(self, statistics: pa.Table, weights: NDArray[np.int64]) -> NDArray[np.float64]:
        """(B, n_images) image weights → (B, 2): weighted means. NaN where no image is left."""
        values = np.column_stack([statistics[name].to_numpy() for name in ("agrees", "divergence")])
        return weighted_means(values.astype(np.float64), statistics["image"].to_numpy(), weights)


def _log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64).reshape(-1)
    shifted -= shifted.max()
    log: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum())
    return log


class DetectionAgreement(Agreement[Detections, Objects]):
    """Metrics agreement-mAP and agreement-AP50: mAP and AP50 as COCO defines them, the objects
    being the uncompressed image's detections with a score of at least REFERENCE_SCORE.

    Boxes without area count on neither side: nothing overlaps with them, themselves included.
    """

    name = "det-agreement"
    metrics = (Metric("agreement-mAP", True), Metric("agreement-AP50", True))
    ground_truth = GROUND_TRUTH
    undefined = (
        f"it detects nothing with a score of at least {REFERENCE_SCORE:g} on the uncompressed "
        "images, so there is nothing to agree with; check the weights, or take images of what the "
        "model knows"
    )
    note = f"detections of at least {REFERENCE_SCORE:g} are to be found again"

    def reference(self, clean: Detections) -> Objects:
        found = _with_area(clean)
        order, _ = ranked(found.scores, found.labels)
        order = order[found.scores[order] >= REFERENCE_SCORE]
        boxes = found.boxes[order].astype(np.float64).reshape(-1, 4)
        sides = boxes[:, 2:] - boxes[:, :2]
        return Objects(
            boxes=boxes,
            labels=found.labels[order].astype(np.int64),
            area=sides[:, 0] * sides[:, 1],
            iscrowd=np.zeros(len(order), np.bool_),
            ignore=np.zeros(len(order), np.bool_),
        )

    def statistics(
        self,
        predictions: Sequence[Detections | None],
        targets: Sequence[Objects | None],
        images: Sequence[int] | None = None,
    ) -> pa.Table:
        """As `Detection.statistics`, of the images that have a prediction and a reference."""
        found = [None if p is None else _with_area(p) for p in predictions]
        return match_detections(found, targets, images)

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


def _with_area(found: Detections) -> Detections:
    boxes = np.asarray(found.boxes, np.float64).reshape(-1, 4)
    kept: NDArray[np.bool_] = np.all(boxes[:, 2:] > boxes[:, :2], axis=1)
    return found.where(kept)
