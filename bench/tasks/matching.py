"""Detections matched with objects, image by image, once for all resamples and IoUs.

The definition is pycocotools' COCOeval for boxes and for masks (area "all", 100 detections per
image and category); the tests hold this module to it. Two of its habits worth knowing: an
annotation's `ignore` is overwritten by its `iscrowd`, so it has no effect, and the 100 detections
are counted per category, not per image.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from bench.tasks.average_precision import IOU_THRESHOLDS
from bench.tasks.base import placed
from bench.tasks.records import Detections, Instances, Objects

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

_N_IOU = len(IOU_THRESHOLDS)
ALL_IOUS = (1 << _N_IOU) - 1
_LEAST_IOUS = [min(t, 1 - 1e-10) for t in IOU_THRESHOLDS.tolist()]

Ints = NDArray[np.int64]
Found = Detections | Instances
F = TypeVar("F", Detections, Instances)
T = TypeVar("T", bound=Objects)


@dataclass(frozen=True)
class Forms:
    """What overlaps on one image, as pycocotools takes it: boxes (n, 4) x y width height, or (n,)
    run-length codes of masks."""

    found: NDArray[Any]
    areas: NDArray[np.float64]
    """(n,) of what was found, square pixels."""
    there: NDArray[Any]
    """Of the objects."""


def boxes(found: Found, target: Objects) -> Forms:
    xywh, areas = _xywh(found.boxes)
    # Annotated widths where they are known: (x + w) − x is seldom w in floating point.
    return Forms(xywh, areas, _xywh(target.boxes)[0] if target.xywh is None else target.xywh)


def match_detections(
    predictions: Sequence[F | None],
    targets: Sequence[T | None],
    images: Sequence[int] | None = None,
    forms: Callable[[F, T], Forms] = boxes,
    area: tuple[float, float] = AREA_RANGE,
) -> pa.Table:
    """Table of `SCHEMA`, a row per detection kept (at most 100 per image and category, best first)
    and a row per object of ground truth:

    - is_object: whether the row is an object of ground truth
    - image: position in the data set; category: category id
    - score, rank (0 = best within image and category): detections only
    - matched: detections only; bit t is set if matched at IOU_THRESHOLDS[t]
    - ignored: bit t is set if the row counts for nothing at IOU_THRESHOLDS[t]; all ten bits or none
      for an object. Objects outside `area`, square pixels, count for nothing, nor do detections
      outside it that are matched with none

    `forms` gives what overlaps. Boxes go to x, y, width, height in float64. Raises ValueError if
    the lengths differ.
    """
    columns: list[tuple[NDArray[Any], ...]] = []
    for image, prediction, target in placed(predictions, targets, images):
        columns.extend(_rows(image, prediction, target, forms(prediction, target), area))
    return _table(columns)


def _rows(
    image: int, found: Found, target: Objects, forms: Forms, area: tuple[float, float]
) -> Iterator[tuple[NDArray[Any], ...]]:
    """The columns of one image's detections, then of its objects."""
    scores = np.asarray(found.scores, np.float64).reshape(-1)
    labels = np.asarray(found.labels, np.int64).reshape(-1)
    order, rank = ranked(scores, labels)
    shapes, areas = forms.found[order], forms.areas[order]
    scores, labels = scores[order], labels[order]

    gt_labels = np.asarray(target.labels, np.int64).reshape(-1)
    gt_crowd = np.asarray(target.iscrowd, bool).reshape(-1)
    gt_ignored = gt_crowd | _outside(np.asarray(target.area, np.float64).reshape(-1), area)
    order = np.lexsort((gt_ignored, gt_labels))  # ignored last within a category
    gt_shapes, gt_labels = forms.there[order], gt_labels[order]
    gt_crowd, gt_ignored = gt_crowd[order], gt_ignored[order]

    matched = np.zeros(len(labels), np.uint16)
    ignored = np.zeros(len(labels), np.uint16)
    for category in np.intersect1d(labels, gt_labels):
        d = slice(*np.searchsorted(labels, [category, category + 1]))
        g = slice(*np.searchsorted(gt_labels, [category, category + 1]))
        ious = coco_mask.iou(shapes[d].tolist(), gt_shapes[g].tolist(), gt_crowd[g].tolist())
        matched[d], ignored[d] = _match(ious, gt_ignored[g].tolist(), gt_crowd[g].tolist())
    ignored |= np.where(_outside(areas, area), ~matched & ALL_IOUS, 0).astype(np.uint16)

    n, m = len(labels), len(gt_labels)
    yield np.zeros(n, bool), np.full(n, image), labels, scores, rank, matched, ignored
    yield (
        np.ones(m, bool),
        np.full(m, image),
        gt_labels,
        np.zeros(m),
        np.zeros(m, np.int64),
        np.zeros(m, np.uint16),
        np.where(gt_ignored, ALL_IOUS, 0).astype(np.uint16),
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


def _outside(areas: NDArray[np.float64], area: tuple[float, float]) -> NDArray[np.bool_]:
    outside: NDArray[np.bool_] = (areas < area[0]) | (areas > area[1])
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
