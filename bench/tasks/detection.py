"""Object detection: COCO mAP@[.50:.95] and AP50, matched once and scored under image weights, and
the detector's own loss where the model gives it.

The definition of mAP is pycocotools' COCOeval for boxes (area "all", 100 detections per image and
category); the tests hold this module to it. Two of its habits worth knowing: an annotation's
`ignore` is overwritten by its `iscrowd`, so it has no effect, and the 100 detections are counted
per category, not per image.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from bench.tasks.base import Metric, Prediction, Target

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALL_THRESHOLDS = np.linspace(0.0, 1.0, 101)
MAX_DETECTIONS = 100
"""Per image and category."""
AREA_RANGE = (0.0, 1e10)
"""Square pixels; objects, and unmatched detections, outside it are ignored."""

SCHEMA = pa.schema(
    [
        pa.field("is_object", pa.bool_(), nullable=False),
        pa.field("image", pa.int32(), nullable=False),
        pa.field("category", pa.int64(), nullable=False),
        pa.field("score", pa.float64()),
        pa.field("rank", pa.int16()),
        pa.field("matched", pa.uint16()),
        pa.field("ignored", pa.uint16(), nullable=False),
    ]
)

LOSS_SCHEMA = SCHEMA.append(pa.field("loss", pa.float64()))
"""With the detector's own loss: a further row per image, which is no detection and no object."""

_N_IOU = len(IOU_THRESHOLDS)
_ALL_IOUS = (1 << _N_IOU) - 1
_LEAST_IOUS = [min(t, 1 - 1e-10) for t in IOU_THRESHOLDS.tolist()]

Ints = NDArray[np.int64]


class Detection:
    """Metrics mAP (mean over categories, IoU .50:.05:.95 and 101 recalls) and AP50, in [0, 1], and
    loss, the mean over images of the detector's own training loss (lower is better)."""

    name = "det"
    metrics: tuple[Metric, ...] = (
        Metric("mAP", True),
        Metric("AP50", True),
        Metric("loss", False, optional=True),
    )

    def statistics(
        self, predictions: Sequence[Prediction | None], targets: Sequence[Target]
    ) -> pa.Table:
        """Match detections with objects, image by image.

        Table of `SCHEMA`, a row per detection kept (at most 100 per image and category, best first)
        and a row per object of ground truth:

        - is_object: whether the row is an object of ground truth
        - image: position in the data set; category: category id
        - score, rank (0 = best within image and category): detections only
        - matched: detections only; bit t is set if matched at IOU_THRESHOLDS[t]
        - ignored: bit t is set if the row counts for nothing at IOU_THRESHOLDS[t]; all ten bits or
          none for an object

        Where predictions have a loss, `LOSS_SCHEMA` and a row more per image: loss is set there, is
        null in all other rows, and what the other columns hold means nothing.

        Boxes go to x, y, width, height in float64. Raises ValueError if the lengths differ.
        """
        columns: list[tuple[NDArray[Any], ...]] = []
        for image, (prediction, target) in enumerate(zip(predictions, targets, strict=True)):
            if prediction is not None:
                columns.extend(_rows(image, prediction, target))
        return _with_losses(_table(columns), predictions)

    def score(self, statistics: pa.Table, weights: Ints) -> NDArray[np.float64]:
        """(B, n_images) image weights → (B, 3): mAP and AP50, each in [0, 1], and the loss.

        mAP and AP50 equal COCOeval on the images repeated by weight, copies adjacent in data set
        order. Categories without an object that counts are left out; NaN (COCOeval's −1) if none is
        left. The loss is the weighted mean over images; NaN if no image is left, or none has one.
        """
        loss = np.full(len(weights), np.nan)
        if "loss" in statistics.column_names:
            has_loss = pc.is_valid(statistics["loss"])
            loss = _mean_loss(statistics.filter(has_loss), weights)
            statistics = statistics.filter(pc.invert(has_loss))
        ranking = _rank(statistics)
        precisions = np.array([_average_precision(ranking, w) for w in weights]).reshape(-1, 2)
        return np.column_stack([precisions, loss])


# --- matching -------------------------------------------------------------------------------------


def _rows(image: int, prediction: Prediction, target: Target) -> Iterator[tuple[NDArray[Any], ...]]:
    """The columns of one image's detections, then of its objects."""
    boxes, areas = _xywh(prediction["boxes"])
    scores = np.asarray(prediction["scores"], np.float64).reshape(-1)
    labels = np.asarray(prediction["labels"], np.int64).reshape(-1)
    order, rank = ranked(scores, labels)
    boxes, areas, scores, labels = boxes[order], areas[order], scores[order], labels[order]

    # Annotated widths where they are known: (x + w) − x is seldom w in floating point.
    gt_boxes = target["xywh"] if "xywh" in target else _xywh(target["boxes"])[0]
    gt_labels = np.asarray(target["labels"], np.int64).reshape(-1)
    gt_crowd = np.asarray(target["iscrowd"], bool).reshape(-1)
    gt_ignored = gt_crowd | _outside(np.asarray(target["area"], np.float64).reshape(-1))
    order = np.lexsort((gt_ignored, gt_labels))  # ignored last within a category
    gt_boxes, gt_labels = gt_boxes[order], gt_labels[order]
    gt_crowd, gt_ignored = gt_crowd[order], gt_ignored[order]

    matched = np.zeros(len(labels), np.uint16)
    ignored = np.zeros(len(labels), np.uint16)
    for category in np.intersect1d(labels, gt_labels):
        d = slice(*np.searchsorted(labels, [category, category + 1]))
        g = slice(*np.searchsorted(gt_labels, [category, category + 1]))
        ious = coco_mask.iou(boxes[d], gt_boxes[g], gt_crowd[g].astype(np.uint8))
        matched[d], ignored[d] = _match(ious, gt_ignored[g].tolist(), gt_crowd[g].tolist())
    ignored |= np.where(_outside(areas), ~matched & _ALL_IOUS, 0).astype(np.uint16)

    n, m = len(labels), len(gt_labels)
    yield np.zeros(n, bool), np.full(n, image), labels, scores, rank, matched, ignored
    yield (
        np.ones(m, bool),
        np.full(m, image),
        gt_labels,
        np.zeros(m),
        np.zeros(m, np.int64),
        np.zeros(m, np.uint16),
        np.where(gt_ignored, _ALL_IOUS, 0).astype(np.uint16),
    )


def ranked(scores: NDArray[Any], labels: NDArray[Any]) -> tuple[Ints, Ints]:
    """The detections that count, best first within their category, and their rank there, from 0."""
    order = np.lexsort((-scores, labels))
    rank = np.arange(len(order)) - np.searchsorted(labels[order], labels[order])
    return order[rank < MAX_DETECTIONS], rank[rank < MAX_DETECTIONS]


def _xywh(boxes: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(n, 4) x1 y1 x2 y2 → (n, 4) x y width height, and (n,) width · height."""
    corners = np.asarray(boxes, np.float64).reshape(-1, 4)
    sides = corners[:, 2:] - corners[:, :2]
    return np.hstack([corners[:, :2], sides]), sides[:, 0] * sides[:, 1]


def _outside(area: NDArray[np.float64]) -> NDArray[np.bool_]:
    outside: NDArray[np.bool_] = (area < AREA_RANGE[0]) | (area > AREA_RANGE[1])
    return outside


def _match(
    ious: NDArray[np.float64], gt_ignored: list[bool], gt_crowd: list[bool]
) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Greedy matching of COCOeval.evaluateImg at the ten IoUs.

    ious is (detections best first, objects with the ignored ones last). Returns the bit masks
    (detections,) matched, and matched to an ignored object.
    """
    matched = np.zeros(len(ious), np.uint16)
    ignored = np.zeros(len(ious), np.uint16)
    # Pairs under the least threshold are never looked at; "not <" because a NaN IoU matches.
    candidates = [
        (d, [(g, row[g]) for g in range(len(row)) if not row[g] < _LEAST_IOUS[0]])
        for d, row in enumerate(ious.tolist())
    ]
    candidates = [(d, pairs) for d, pairs in candidates if pairs]
    for t, least in enumerate(_LEAST_IOUS):
        taken = [False] * len(gt_ignored)
        for d, pairs in candidates:
            best, best_iou = -1, least
            for g, iou in pairs:
                if taken[g] and not gt_crowd[g]:
                    continue
                if best >= 0 and not gt_ignored[best] and gt_ignored[g]:
                    break  # a proper match is never given up for an ignored object
                if iou < best_iou:
                    continue
                best, best_iou = g, iou
            if best >= 0:
                taken[best] = True
                matched[d] |= 1 << t
                ignored[d] |= gt_ignored[best] << t
    return matched, ignored


def _table(columns: list[tuple[NDArray[Any], ...]]) -> pa.Table:
    if not columns:
        return SCHEMA.empty_table()
    joined = [np.concatenate(parts) for parts in zip(*columns, strict=True)]
    is_object = joined[0]
    return pa.table(
        [
            pa.array(
                values.astype(field.type.to_pandas_dtype()),
                mask=is_object if field.nullable else None,
            )
            for field, values in zip(SCHEMA, joined, strict=True)
        ],
        schema=SCHEMA,
    )


def _with_losses(table: pa.Table, predictions: Sequence[Prediction | None]) -> pa.Table:
    losses = [(i, float(p["loss"])) for i, p in enumerate(predictions) if p and "loss" in p]
    if not losses:
        return table
    rows = [
        {"is_object": False, "image": i, "category": 0, "ignored": _ALL_IOUS, "loss": loss}
        for i, loss in losses
    ]
    table = table.append_column("loss", pa.nulls(len(table), pa.float64()))
    return pa.concat_tables([table, pa.Table.from_pylist(rows, schema=LOSS_SCHEMA)])


# --- scoring --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Ranking:
    """All of a table that does not depend on the weights.

    Detections (N,) stand in COCOeval's order: category, falling score, image, rank. A *unit* is a
    run of detections of one image with one category and score: with weight w it appears w times as
    a whole (a b a b), which is where tied scores within an image make plain weighting wrong.
    A *hit* (E,) is a detection that is a true positive at one IoU, a *segment* an (IoU, category)
    pair, IoU-major; hits stand in order of segment, then detection.
    """

    n_categories: int
    image: Ints  # (N,)
    object_image: Ints  # (M,) objects that count
    object_category: Ints  # (M,) 0 … n_categories − 1
    ignored_image: Ints  # (I,) images of the ignored detections, by IoU, then order
    hit_image: Ints  # (E,) and so are all below
    hit_segment: Ints
    first_in_segment: Ints  # hits: the first of this hit's segment
    first_in_unit: Ints  # hits: the first of this hit's segment and unit
    category_start: Ints  # detections: where this hit's category starts
    unit_start: Ints  # detections: where its unit starts
    ignored_at_category: Ints  # ignored detections before the category, and before the unit
    ignored_at_unit: Ints
    unit_hits: Ints  # hits in the unit, and among them up to and with this one
    unit_hits_here: Ints
    unit_counted: Ints  # detections not ignored in the unit, and up to and with this one
    unit_counted_here: Ints


def _rank(statistics: pa.Table) -> _Ranking:
    is_object = statistics["is_object"].to_numpy()
    objects = statistics.filter(is_object)
    counts = objects["ignored"].to_numpy() == 0
    categories, object_category = np.unique(
        objects["category"].to_numpy()[counts], return_inverse=True
    )
    detections = statistics.filter(np.isin(statistics["category"].to_numpy(), categories))
    detections = detections.filter(~detections["is_object"].to_numpy())
    category = np.searchsorted(categories, detections["category"].to_numpy())
    score, image, rank, matched, ignored = (
        detections[name].to_numpy() for name in ("score", "image", "rank", "matched", "ignored")
    )
    order = np.lexsort((rank, image, -score, category))
    category, score, image = category[order], score[order], image[order].astype(np.int64)
    matched, ignored = matched[order], ignored[order]

    n = len(order)
    new_unit = np.ones(n + 1, bool)
    if n:
        same_score = (score[1:] == score[:-1]) | (np.isnan(score[1:]) & np.isnan(score[:-1]))
        new_unit[1:-1] = ~(same_score & (np.diff(image) == 0) & (np.diff(category) == 0))
    bounds = np.flatnonzero(new_unit)
    unit = np.cumsum(new_unit[:-1]) - 1

    def bits(mask: NDArray[np.uint16]) -> NDArray[np.bool_]:
        shifted = mask[None, :] >> np.arange(_N_IOU, dtype=np.uint16)[:, None]
        return (shifted & 1).astype(bool)

    hits, skipped = bits(matched & ~ignored), bits(ignored)
    iou, row = np.nonzero(hits)
    hit_key = iou * n + row
    skipped_iou, skipped_row = np.nonzero(skipped)
    skipped_key = skipped_iou * n + skipped_row
    hit_segment = iou * len(categories) + category[row]
    start, end = bounds[unit[row]], bounds[unit[row] + 1]
    category_start = np.searchsorted(category, category[row])
    ignored_at_unit = np.searchsorted(skipped_key, iou * n + start)
    first_in_unit = np.searchsorted(hit_key, iou * n + start)
    return _Ranking(
        n_categories=len(categories),
        image=image,
        object_image=objects["image"].to_numpy()[counts].astype(np.int64),
        object_category=object_category,
        ignored_image=image[skipped_row],
        hit_image=image[row],
        hit_segment=hit_segment,
        first_in_segment=np.searchsorted(hit_segment, hit_segment),
        first_in_unit=first_in_unit,
        category_start=category_start,
        unit_start=start,
        ignored_at_category=np.searchsorted(skipped_key, iou * n + category_start),
        ignored_at_unit=ignored_at_unit,
        unit_hits=np.searchsorted(hit_key, iou * n + end) - first_in_unit,
        unit_hits_here=np.arange(len(row)) - first_in_unit + 1,
        unit_counted=end - start - (np.searchsorted(skipped_key, iou * n + end) - ignored_at_unit),
        unit_counted_here=row
        + 1
        - start
        - (np.searchsorted(skipped_key, hit_key) - ignored_at_unit),
    )


def _mean_loss(losses: pa.Table, weights: Ints) -> NDArray[np.float64]:
    """(B, n_images) → (B,)"""
    chosen = weights[:, losses["image"].to_numpy()]
    total = chosen.sum(axis=1)
    mean: NDArray[np.float64] = np.full(len(weights), np.nan)
    np.divide(chosen @ losses["loss"].to_numpy(), total, out=mean, where=total > 0)
    return mean


def _average_precision(r: _Ranking, weights: Ints) -> tuple[float, float]:
    """(n_images,) weights → (mAP, AP50).

    Precision matters only where recall grows, that is at the hits, so only those are laid out, each
    as often as its image's weight; how many detections stand before them comes from running sums.
    """
    n_objects = np.bincount(
        r.object_category, weights=weights[r.object_image], minlength=r.n_categories
    )
    present = n_objects > 0
    if not present.any():
        return np.nan, np.nan

    detections_before = _running_sum(weights[r.image])
    ignored_before = _running_sum(weights[r.ignored_image])
    copies = weights[r.hit_image]
    hits_before = _running_sum(copies)
    counted = (detections_before[r.unit_start] - detections_before[r.category_start]) - (
        ignored_before[r.ignored_at_unit] - ignored_before[r.ignored_at_category]
    )
    segment_start = hits_before[r.first_in_segment]

    # Copy k of a hit comes after k whole copies of its unit.
    copy = np.arange(hits_before[-1]) - np.repeat(hits_before[:-1], copies)
    position = np.repeat(hits_before[r.first_in_unit] + r.unit_hits_here - 1, copies)
    position += copy * np.repeat(r.unit_hits, copies)
    n_counted = np.empty(len(copy), np.float64)
    n_counted[position] = np.repeat(counted + r.unit_counted_here, copies) + copy * np.repeat(
        r.unit_counted, copies
    )
    n_hits = np.arange(1, len(copy) + 1) - np.repeat(segment_start, copies)
    segment = np.repeat(r.hit_segment, copies)

    precision = n_hits / (n_counted + np.spacing(1))
    # Complex numbers compare by real, then imaginary part: a running maximum per segment.
    keyed = np.empty(len(copy), np.complex128)
    keyed.real, keyed.imag = -segment, precision
    envelope = np.maximum.accumulate(keyed[::-1])[::-1].imag
    recall = n_hits / n_objects[segment % r.n_categories]
    reached = np.searchsorted(RECALL_THRESHOLDS, recall, side="right")
    newly = np.diff(reached, prepend=0)
    newly[n_hits == 1] = reached[n_hits == 1]
    area = np.bincount(segment, envelope * newly, minlength=_N_IOU * r.n_categories)
    ap = area.reshape(_N_IOU, r.n_categories)[:, present] / len(RECALL_THRESHOLDS)
    return float(ap.mean()), float(ap[0].mean())


def _running_sum(values: Ints) -> Ints:
    """(n,) → (n + 1,): the sum of what comes before each position."""
    total = np.zeros(len(values) + 1, np.int64)
    np.cumsum(values, out=total[1:])
    return total
