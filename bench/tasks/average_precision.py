"""mAP, AP50 and AP75 of many resamples at once, from matches that were made once, and recall.

Equal to pycocotools' COCOeval (Lin et al., *Microsoft COCO*, ECCV 2014; area "all") on the images
repeated by weight, copies adjacent in data set order. Precision matters only where recall grows, at
the true positives. So only those are visited, from the last to the first, which is the order in
which the running maximum of precision is taken: one step for all IoUs and all resamples, with two
counts for each, so that memory does not grow with the detections.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALL_THRESHOLDS = np.linspace(0.0, 1.0, 101)

CHUNK = 512
"""Resamples in one step: enough to hide the interpreter, few enough to stay in the cache."""

_N_IOU = len(IOU_THRESHOLDS)
_AP75 = 5
"""Its place in IOU_THRESHOLDS."""
_LATE = np.arange(101) / 100 < RECALL_THRESHOLDS
"""linspace rounds some thresholds up; a recall of exactly k/100 does not reach those. It takes a
number of objects that is a multiple of `_LATE_OBJECTS`."""
_LATE_OBJECTS = int(np.gcd.reduce(100 // np.gcd(np.flatnonzero(_LATE), 100)))

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


def average_precisions(statistics: pa.Table, weights: Ints) -> Floats:
    """(B, n_images) image weights → (B, 2): mAP and AP50; NaN where no object that counts is left.

    `statistics` is matching.SCHEMA. Every row is computed by the same operations in the same order
    whatever stands beside it, so the result does not depend on B.
    """
    return np.ascontiguousarray(more_precisions(statistics, weights)[:, :2])


def more_precisions(statistics: pa.Table, weights: Ints) -> Floats:
    """As `average_precisions` → (B, 3): mAP, AP50 and AP75."""
    layout = _lay_out(statistics, weights.max(axis=0, initial=0))
    chunks = [
        _score(layout, weights[start : start + CHUNK]) for start in range(0, len(weights), CHUNK)
    ]
    return np.concatenate([np.empty((0, 3)), *chunks])


def category_precisions(statistics: pa.Table, weights: Ints) -> tuple[Ints, Floats, Ints]:
    """(n_images,) image weights → of the categories with an object that counts: their ids (n,),
    average precision (n,), the mean over IoUs, and number of such objects (n,)."""
    layout = _lay_out(statistics, weights)
    drawn = _drawn(layout, weights[None])
    n_objects = layout.objects @ drawn[: len(weights)]
    precisions = [
        _one_category(layout, c, drawn, n).mean() for c, n in enumerate(n_objects) if n > 0
    ]
    there = n_objects[:, 0] > 0
    return layout.categories[there], np.array(precisions), n_objects[there, 0].astype(np.int64)


def objects_by_category(statistics: pa.Table, weights: Ints) -> Ints:
    """(n_images,) image weights → (n,) how many objects that count each category has, without
    those that have none."""
    counts = statistics["is_object"].to_numpy() & (statistics["ignored"].to_numpy() == 0)
    category, image = (statistics[name].to_numpy()[counts] for name in ("category", "image"))
    drawn = np.bincount(np.unique(category, return_inverse=True)[1], weights[image])
    return drawn[drawn > 0].astype(np.int64)


def average_recall(statistics: pa.Table, weights: Ints) -> Floats:
    """(B, n_images) image weights → (B,): the mean over IoUs and categories of the share of their
    objects that is found; NaN where no object that counts is left. It equals COCOeval's AR under
    the same conditions as `average_precisions` equals its mAP."""
    is_object = statistics["is_object"].to_numpy()
    category, image = (statistics[name].to_numpy() for name in ("category", "image"))
    counts = is_object & (statistics["ignored"].to_numpy() == 0)
    categories = np.unique(category[counts])
    found = ~is_object & np.isin(category, categories)
    detections = statistics.filter(found)
    matched, ignored = (detections[name].to_numpy() for name in ("matched", "ignored"))
    n_hits = _bits(matched & ~ignored).sum(axis=1)  # over IoUs, which all count alike

    def drawn(rows: Bools, values: Floats) -> Floats:
        """(n_categories, B) sums of the values of these rows."""
        places = np.searchsorted(categories, category[rows]), image[rows].astype(np.int64)
        shape = len(categories), weights.shape[1]
        sums: Floats = sparse.csr_array((values, places), shape) @ weights.T.astype(np.float64)
        return sums

    n_objects = drawn(counts, np.ones(counts.sum()))
    recalls = drawn(found, n_hits.astype(np.float64)) / np.maximum(n_objects * _N_IOU, 1)
    total = np.zeros(len(weights))
    for recall in recalls:  # unlike sum(), in one order for any B
        total += recall
    present = (n_objects > 0).sum(axis=0)
    mean: Floats = np.full(len(weights), np.nan)
    np.divide(total, present, out=mean, where=present > 0)
    return mean


@dataclass(frozen=True)
class _Layout:
    """What does not depend on the weights, but for the largest of each image.

    Rows are detections in COCOeval's order: category, falling score, image, rank. A *unit* is a run
    of one image with one category and score: with weight w it stands w times as a whole (a b a b).
    A unit of several detections with a hit among them is therefore laid out copy by copy; copy k is
    an image of its own, with weight one where the image is drawn k times or more. A *step* is a row
    that is a hit (true positive) at one IoU or more, with the rows since the hit before it.
    """

    categories: Ints
    """(n_categories,) ids of those with an object that counts."""
    copies: Ints
    """(n_copies, 2) image and k; copy i is image n_images + i."""
    objects: Any
    """(n_categories, n_images) sparse: objects that count."""
    starts: Ints
    """(n_categories + 1,) each category's first step."""
    detections: Any
    """(n_steps, n_images + n_copies) sparse: how many detections a step has."""
    image: list[int]
    """Of the hit of a step."""
    hit: list[Floats]
    """(n_IoU, 1) of a step: one where it is a hit."""
    ignored: dict[int, list[tuple[int, Floats]]]
    """Step → (image, (n_IoU, 1) one where ignored) of those of its detections that are."""


def _bits(masks: NDArray[np.uint16]) -> Bools:
    """(n,) → (n, n_IoU)"""
    return ((masks[:, None] >> np.arange(_N_IOU, dtype=np.uint16)) & 1).astype(bool)


def _lay_out(statistics: pa.Table, most: Ints) -> _Layout:
    is_object = statistics["is_object"].to_numpy()
    objects = statistics.filter(is_object)
    counts = objects["ignored"].to_numpy() == 0
    categories, object_category = np.unique(
        objects["category"].to_numpy()[counts], return_inverse=True
    )
    detections = statistics.filter(
        ~is_object & np.isin(statistics["category"].to_numpy(), categories)
    )
    category = np.searchsorted(categories, detections["category"].to_numpy())
    score, image, rank, matched, ignored = (
        detections[name].to_numpy() for name in ("score", "image", "rank", "matched", "ignored")
    )
    order = np.lexsort((rank, image, -score, category))
    category, score, image = category[order], score[order], image[order].astype(np.int64)
    hit = _bits((matched & ~ignored)[order])
    skipped = _bits(ignored[order])

    is_hit: Bools = np.any(hit, axis=1)
    rows, copy = _repeat(category, score, image, is_hit, most)
    category, hit, skipped, image = category[rows], hit[rows], skipped[rows], image[rows]
    copies, position = np.unique(
        np.column_stack([image, copy])[copy > 0], axis=0, return_inverse=True
    )
    image[copy > 0] = len(most) + position.reshape(-1)

    hits = np.flatnonzero(hit.any(axis=1))
    step = np.searchsorted(hits, np.arange(len(rows)))
    # What follows the last hit of its category changes nothing.
    kept = np.flatnonzero(step < len(hits))
    kept = kept[category[hits[step[kept]]] == category[kept]]
    skips = defaultdict(list)
    for row in kept[skipped[kept].any(axis=1)].tolist():
        skips[int(step[row])].append((int(image[row]), skipped[row].astype(np.float64)[:, None]))

    def count(row: Ints, column: Ints, shape: tuple[int, int]) -> Any:
        return sparse.csr_array((np.ones(len(row)), (row, column)), shape)

    return _Layout(
        categories=categories,
        copies=copies,
        objects=count(
            object_category,
            objects["image"].to_numpy()[counts].astype(np.int64),
            (len(categories), len(most)),
        ),
        starts=np.searchsorted(category[hits], np.arange(len(categories) + 1)),
        detections=count(step[kept], image[kept], (len(hits), len(most) + len(copies))),
        image=image[hits].tolist(),
        hit=list(hit[hits].astype(np.float64)[:, :, None]),
        ignored=dict(skips),
    )


def _repeat(
    category: Ints, score: Floats, image: Ints, is_hit: Bools, most: Ints
) -> tuple[Ints, Ints]:
    """→ (rows,) in the order of the layout, and the copy that each belongs to (0: repeated by
    weight)."""
    n = len(category)
    new = np.ones(n, bool)
    same_score = (score[1:] == score[:-1]) | (np.isnan(score[1:]) & np.isnan(score[:-1]))
    new[1:] = ~(same_score & (np.diff(image) == 0) & (np.diff(category) == 0))
    unit = np.cumsum(new) - 1
    size = np.bincount(unit)
    together = (size > 1) & (np.bincount(unit, is_hit) > 0)
    if not together.any():
        return np.arange(n), np.zeros(n, np.int64)
    times = np.where(together[unit], most[image], 1)
    rows = np.repeat(np.arange(n), times)
    copy = np.arange(len(rows)) - np.repeat(np.cumsum(times) - times, times) + 1
    copy[~together[unit[rows]]] = 0
    order = np.lexsort((rows, copy, unit[rows]))
    return rows[order], copy[order]


def _score(layout: _Layout, weights: Ints) -> Floats:
    """(B, n_images) → (B, 3)"""
    drawn = _drawn(layout, weights)
    n_objects = layout.objects @ drawn[: weights.shape[1]]
    precisions = np.zeros((_N_IOU, len(weights)))
    for c in range(len(n_objects)):
        precisions += _one_category(layout, c, drawn, n_objects[c])
    present = (n_objects > 0).sum(axis=0)
    score = np.full((len(weights), 3), np.nan)
    known = present > 0
    total = np.cumsum(precisions, axis=0)[-1]  # unlike sum(), in one order for any B
    score[known, 0] = total[known] / (present[known] * _N_IOU)
    score[known, 1] = precisions[0, known] / present[known]
    score[known, 2] = precisions[_AP75, known] / present[known]
    return score


def _drawn(layout: _Layout, weights: Ints) -> Floats:
    """(B, n_images) → (n_images + n_copies, B)"""
    drawn = weights.T.astype(np.float64)
    copied = drawn[layout.copies[:, 0]] >= layout.copies[:, 1:]
    return np.ascontiguousarray(np.vstack([drawn, copied]))


def _one_category(layout: _Layout, category: int, drawn: Floats, n_objects: Floats) -> Floats:
    """(n_ext, B) weights, (B,) objects → (n_IoU, B) average precision, 0 without objects."""
    steps = range(*layout.starts[category : category + 2].tolist())
    shape = (_N_IOU, drawn.shape[1])
    area, envelope = np.zeros(shape), np.zeros(shape)
    if not steps:
        return area
    detections = layout.detections[steps.start : steps.stop] @ drawn
    # The counts at the last step, to be taken apart going back.
    hits, counted = np.zeros(shape), np.zeros(shape) + detections.sum(axis=0)
    for step in steps:
        hits += layout.hit[step] * drawn[layout.image[step]]
        for image, skipped in layout.ignored.get(step, ()):
            counted -= skipped * drawn[image]

    objects = np.maximum(n_objects, 1)  # without objects there are no hits
    late = np.flatnonzero(n_objects % _LATE_OBJECTS == 0)
    precision = np.empty(shape)
    reached = _thresholds_reached(hits, objects, late)
    for step in reversed(steps):
        # Of a hit's copies the last has the highest precision, and all lie under its envelope.
        np.add(counted, np.spacing(1), out=precision)
        np.divide(hits, precision, out=precision)
        np.maximum(envelope, precision, out=envelope)
        hits -= layout.hit[step] * drawn[layout.image[step]]
        before = _thresholds_reached(hits, objects, late)
        reached -= before
        reached *= envelope
        area += reached
        reached = before
        counted -= detections[step - steps.start]
        for image, skipped in layout.ignored.get(step, ()):
            counted += skipped * drawn[image]
    area += envelope  # the threshold 0, which everything reaches
    area /= len(RECALL_THRESHOLDS)
    return area


def _thresholds_reached(hits: Floats, objects: Floats, late: Ints) -> Floats:
    """How many of the thresholds .01 … 1 a recall of hits / objects reaches."""
    percent = hits * 100
    percent /= objects
    reached = np.floor(percent)
    if len(late):
        some = reached[:, late]
        reached[:, late] -= (some == percent[:, late]) & _LATE[some.astype(np.intp)]
    return reached
