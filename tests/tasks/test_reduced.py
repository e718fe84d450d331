"""What a baseline keeps of matched detections gives the same metrics, digit for digit."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.tasks import scored
from bench.tasks.average_precision import average_recall, category_precisions, more_precisions
from bench.tasks.matching import ALL_IOUS, SCHEMA, match_detections
from bench.tasks.records import Detections, Objects
from bench.tasks.reduced import reduced

IMAGES = 6


def table(detections: list[tuple[int, int, float, int, int]], objects: Any) -> pa.Table:
    """Of (image, category, score, matched, ignored) and (image, category, ignored)."""
    n, m = len(detections), len(objects)
    found = sorted(detections, key=lambda d: (d[0], d[1], -d[2]))
    image, category, score, matched, ignored = zip(*found, strict=True) if n else [()] * 5
    kinds = list(zip(image, category, strict=True))
    rank = [kinds[:i].count(kind) for i, kind in enumerate(kinds)]
    there, kind, crowd = zip(*objects, strict=True) if m else [()] * 3
    nothing = [None] * m
    columns = [
        [False] * n + [True] * m,
        [*image, *there],
        [*category, *kind],
        [*score, *nothing],
        [*rank, *nothing],
        [*matched, *nothing],
        [*ignored, *(ALL_IOUS * c for c in crowd)],
    ]
    arrays = [pa.array(c, f.type) for c, f in zip(columns, SCHEMA, strict=True)]
    return pa.table(arrays, schema=SCHEMA)


def scene(seed: int) -> pa.Table:
    """With equal scores within and across images, crowds, objects that are outside the range of
    sizes, and detections of a category without an object."""
    rng = np.random.default_rng(seed)
    predictions, targets = [], []
    for _ in range(IMAGES):
        n, m = rng.integers(0, 12), rng.integers(0, 5)
        corners = 10.0 * rng.integers(0, 3, (n + m, 2)) + rng.integers(0, 4, (n + m, 2))
        boxes = np.hstack([corners, corners + 12])
        scores = rng.choice([0.1, 0.2, 0.3, 0.35, 0.5, 0.8], n)
        found = Detections(boxes[:n].astype(np.float32), scores, rng.integers(1, 4, n))
        crowd = rng.random(m) < 0.2
        area = rng.choice([144.0, 1e11], m, p=[0.9, 0.1])
        predictions.append(found)
        targets.append(Objects(boxes[n:], rng.integers(1, 3, m), area, crowd, np.zeros(m, bool)))
    return match_detections(predictions, targets)


def moved(statistics: pa.Table, places: list[int]) -> pa.Table:
    """With the images in another order."""
    image = np.array(places)[statistics["image"].to_numpy()]
    at = statistics.column_names.index("image")
    return statistics.set_column(at, SCHEMA.field("image"), pa.array(image, pa.int32()))


@settings(deadline=None)
@given(st.permutations(range(IMAGES)), st.integers(0, 2**32 - 1))
def test_nothing_moves_by_a_digit(places: list[int], seed: int) -> None:
    """Under any weights and order of the images."""
    whole = scene(seed)
    few = reduced(whole)
    rng = np.random.default_rng(seed)
    weights = np.vstack([np.ones(IMAGES, np.int64), rng.integers(0, 4, (20, IMAGES))])
    for before, after in ((whole, few), (moved(whole, places), moved(few, places))):
        for metric in (more_precisions, average_recall):
            np.testing.assert_array_equal(metric(before, weights), metric(after, weights))
        for old, new in zip(
            category_precisions(before, weights[1]),
            category_precisions(after, weights[1]),
            strict=True,
        ):
            np.testing.assert_array_equal(old, new)
    assert few.schema == whole.schema
    assert len(few) <= len(whole)
    assert reduced(few).equals(few)


def test_what_is_left_out() -> None:
    """Of one category, best first: a hit, two misses, a hit, a miss; and one without an object."""
    found = [(0, 1, 0.9, 1, 0), (2, 1, 0.8, 0, 0), (1, 1, 0.7, 0, 0), (1, 1, 0.5, 7, 0)]
    more = [(0, 1, 0.4, 0, 0), (0, 2, 0.9, 0, 0), (0, 1, 0.6, ALL_IOUS, ALL_IOUS)]
    few = reduced(table([*found, *more], [(0, 1, False), (1, 1, False)]))
    rows = few.filter(~few["is_object"].to_numpy()).select(["image", "score", "matched"])
    assert [tuple(row.values()) for row in rows.to_pylist()] == [
        (1, -1, 0), (2, -1, 0), (0, 0, 1), (1, -2, 7)
    ]  # fmt: skip


def test_losses_stay() -> None:
    task: Any = scored("det")
    whole = task.with_losses(table([(0, 1, 0.9, 1, 0)], [(0, 1, False)]), [(0, 0.25), (1, 0.5)])
    few = reduced(whole)
    weights = np.ones((1, IMAGES), np.int64)
    np.testing.assert_array_equal(task.score(few, weights), task.score(whole, weights))
    assert few["loss"].drop_null().to_pylist() == [0.25, 0.5]


@pytest.mark.parametrize("name", ["det", "ins", "det-agreement", "ins-agreement"])
def test_tasks_of_detections_reduce(name: str) -> None:
    task: Any = scored(name)
    whole = table([(0, 1, 0.9, 1, 0), (0, 1, 0.8, 0, 0)], [(0, 1, False)])
    assert len(task.reduced(whole)) == 2
    assert task.reduced(whole)[task.ground_truth].to_pylist() == [False, True]
    assert len(task.reduced(SCHEMA.empty_table())) == 0
