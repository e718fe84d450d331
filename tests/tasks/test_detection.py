"""Detection against pycocotools, on the images themselves and on resampled lists of them."""

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from bench.tasks.detection import LOSS_SCHEMA, Detection
from bench.tasks.matching import SCHEMA
from bench.tasks.records import Detections, Objects

EMPTY = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))


def prediction(boxes: Any, scores: Any, labels: Any = 1) -> Detections:
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    return Detections(
        boxes,
        np.asarray(scores, np.float32).reshape(-1),
        np.broadcast_to(np.asarray(labels, np.int64), len(boxes)),
    )


def target(
    boxes: Any = (), labels: Any = 1, area: Any = None, iscrowd: Any = False, ignore: Any = False
) -> Objects:
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    sides = boxes[:, 2:] - boxes[:, :2]
    n = len(boxes)
    return Objects(
        boxes=boxes,
        labels=np.broadcast_to(np.asarray(labels, np.int64), n),
        area=sides.prod(axis=1) if area is None else np.asarray(area, np.float64),
        iscrowd=np.broadcast_to(np.asarray(iscrowd, bool), n),
        ignore=np.broadcast_to(np.asarray(ignore, bool), n),
    )


def coco_evaluation(
    predictions: list[Detections], targets: list[Objects], weights: np.ndarray, ranges: int = 1
) -> dict[str, np.ndarray]:
    """What pycocotools accumulates, image i repeated weights[i] times, over the first `ranges` of
    all, small, medium and large."""
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    order = np.repeat(np.arange(len(targets)), weights)
    for image_id, i in enumerate(order.tolist(), start=1):
        t, p = targets[i], predictions[i]
        for k, (x1, y1, x2, y2) in enumerate(t.boxes.tolist()):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": int(t.labels[k]),
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": float(t.area[k]),
                    "iscrowd": int(t.iscrowd[k]),
                    "ignore": int(t.ignore[k]),
                }
            )
        for k, (x1, y1, x2, y2) in enumerate(p.boxes.tolist()):
            results.append(
                {
                    "image_id": image_id,
                    "category_id": int(p.labels[k]),
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "score": p.scores[k].item(),
                }
            )
    with contextlib.redirect_stdout(io.StringIO()):
        gt = COCO()
        gt.dataset = {
            "images": [{"id": i + 1} for i in range(len(order))],
            "categories": [{"id": c} for c in range(1, 6)],
            "annotations": annotations,
        }
        gt.createIndex()
        if results:
            dt = gt.loadRes(results)
        else:
            dt = COCO()
            dt.dataset = {**gt.dataset, "annotations": []}
            dt.createIndex()
        evaluation = COCOeval(gt, dt, "bbox")
        evaluation.params.areaRng = evaluation.params.areaRng[:ranges]
        evaluation.params.areaRngLbl = evaluation.params.areaRngLbl[:ranges]
        evaluation.params.maxDets = [100]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval


def coco_mean(values: np.ndarray) -> float:
    """As COCOeval summarizes, NaN for its −1."""
    return float(values[values > -1].mean()) if (values > -1).any() else np.nan


def coco_reference(
    predictions: list[Detections], targets: list[Objects], weights: np.ndarray
) -> tuple[float, float]:
    """mAP and AP50 by pycocotools."""
    precision = coco_evaluation(predictions, targets, weights)["precision"]
    return coco_mean(precision), coco_mean(precision[0])


def assert_equals_coco(
    predictions: list[Detections], targets: list[Objects], *more_weights: Any
) -> np.ndarray:
    task = Detection()
    weights = np.array([np.ones(len(targets), np.int64), *more_weights], np.int64)
    ours = task.score(task.statistics(predictions, targets), weights)[:, :2]
    theirs = [coco_reference(predictions, targets, w) for w in weights]
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9)
    return ours[0]


def random_case(
    seed: int, n_images: int, n_categories: int, n_objects: int, n_detections: int, levels: int
) -> tuple[list[Detections], list[Objects]]:
    """Jittered copies of the objects among random boxes; scores on `levels` values, so they tie."""
    rng = np.random.default_rng(seed)
    predictions, targets = [], []
    for _ in range(n_images):
        n = int(rng.integers(0, n_objects + 1))
        corner = rng.integers(0, 60, (n, 2))
        boxes = np.hstack([corner, corner + rng.integers(1, 40, (n, 2))]).astype(float)
        labels = rng.integers(1, n_categories + 1, n)
        targets.append(
            target(
                boxes,
                labels,
                area=np.where(rng.random(n) < 0.1, 2e10, 100.0),
                iscrowd=rng.random(n) < 0.2,
                ignore=rng.random(n) < 0.2,
            )
        )
        m = int(rng.integers(0, n_detections + 1))
        if n:
            source = rng.integers(0, n, m)
            found = boxes[source] + rng.integers(-3, 4, (m, 4))
            found_labels = np.where(
                rng.random(m) < 0.8, labels[source], rng.integers(1, n_categories + 1, m)
            )
        else:
            found = rng.integers(0, 60, (m, 4)).astype(float)
            found_labels = rng.integers(1, n_categories + 1, m)
        scores = rng.integers(0, levels, m) / levels
        predictions.append(prediction(found, scores, found_labels))
    return predictions, targets


@pytest.mark.parametrize("levels", [2, 5, 10**6])
@pytest.mark.parametrize("seed", range(4))
def test_equals_pycocotools_under_resampling(seed: int, levels: int) -> None:
    predictions, targets = random_case(seed, 12, 4, 8, 40, levels)
    draws = np.random.default_rng(seed).integers(0, 12, (3, 12))
    assert_equals_coco(predictions, targets, *(np.bincount(d, minlength=12) for d in draws))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_categories=st.integers(1, 3),
    n_detections=st.integers(0, 12),
    levels=st.integers(1, 4),
    weights=st.lists(st.integers(0, 4), min_size=3, max_size=3),
)
def test_equals_pycocotools_on_small_cases(
    seed: int, n_categories: int, n_detections: int, levels: int, weights: list[int]
) -> None:
    predictions, targets = random_case(seed, 3, n_categories, 4, n_detections, levels)
    assert_equals_coco(predictions, targets, weights)


def test_more_than_a_hundred_detections_per_image_and_category() -> None:
    _, targets = random_case(0, 3, 2, 12, 0, 1)
    rng = np.random.default_rng(0)
    crowded = []
    for t in targets:
        source = rng.integers(0, max(len(t.boxes), 1), 350)
        boxes = t.boxes[source] if len(t.boxes) else np.tile([0, 0, 9, 9], (350, 1))
        crowded.append(
            prediction(
                boxes + rng.integers(-4, 5, (350, 4)),
                rng.integers(0, 60, 350) / 60,
                rng.integers(1, 3, 350),
            )
        )
    assert_equals_coco(crowded, targets, [2, 0, 3])
    table = Detection().statistics(crowded, targets).to_pandas()
    kept = table[~table.is_object].groupby(["image", "category"]).size()
    assert kept.tolist() == [100] * 6


BOX = [10.0, 10.0, 30.0, 30.0]
FAR = [50.0, 50.0, 60.0, 60.0]


@pytest.mark.parametrize(
    ("predictions", "targets", "expected"),
    [
        pytest.param([EMPTY], [target([BOX])], 0.0, id="no detections"),
        pytest.param([prediction([BOX], [0.5])], [target()], np.nan, id="no ground truth"),
        pytest.param([EMPTY, EMPTY], [target(), target()], np.nan, id="nothing at all"),
        pytest.param(
            [prediction([BOX], [0.5]), EMPTY], [target([BOX]), target()], 1.0, id="an empty image"
        ),
        pytest.param(
            [prediction([BOX], [0.5])], [target([BOX], iscrowd=True)], np.nan, id="only a crowd"
        ),
        pytest.param(
            [prediction([BOX, BOX, BOX, FAR], [0.9, 0.8, 0.7, 0.6])],
            [target([[0, 0, 40, 40], FAR], iscrowd=[True, False])],
            1.0,
            id="a crowd is matched many times",
        ),
        pytest.param(
            [prediction([BOX], [0.5])],
            [target([BOX, BOX], iscrowd=[True, False])],
            1.0,
            id="object before crowd",
        ),
        pytest.param(
            [prediction([BOX], [0.5])],
            [target([BOX, FAR], ignore=[True, False])],
            None,
            id="the ignore flag changes nothing",
        ),
        pytest.param(
            [prediction([BOX, FAR], [0.5, 0.4])],
            [target([BOX, FAR], area=[2e10, 100])],
            1.0,
            id="object outside the area range",
        ),
        pytest.param(
            [prediction([[0, 0, 2e5, 2e5], BOX], [0.9, 0.5])],
            [target([BOX])],
            1.0,
            id="unmatched detection outside the area range",
        ),
        pytest.param(
            [prediction([[5, 5, 5, 5], [9, 9, 3, 12], [3, 3, 1, 1]], [0.9, 0.8, 0.7])],
            [target([[5, 5, 5, 5], BOX, [3, 3, 1, 1]])],
            None,
            id="degenerate boxes",
        ),
        pytest.param(
            [prediction([[0, 0, 1e-3, 1e-3], [5, 5, 6, 5.5]], [0.9, 0.8])],
            [target([[0, 0, 1e-3, 1e-3], [5, 5, 6, 5.5]])],
            None,
            id="tiny boxes",
        ),
        pytest.param(
            [prediction([BOX], [0.5], 3)], [target([BOX], 2)], 0.0, id="the wrong category"
        ),
        pytest.param(
            [prediction([BOX, FAR], [np.nan, np.nan]), prediction([BOX], [0.5])],
            [target([FAR]), target([BOX])],
            None,
            id="NaN scores",
        ),
    ],
)
def test_degenerate(
    predictions: list[Detections], targets: list[Objects], expected: float | None
) -> None:
    more = [np.arange(len(targets)) + 2, np.zeros(len(targets))]
    ours = assert_equals_coco(predictions, targets, *more)
    if expected is not None:
        np.testing.assert_allclose(ours, expected, atol=1e-12)


def test_copies_with_ties_interleave() -> None:
    """Twice (hit, miss) at one score is hit miss hit miss: precision 2/3 at full recall."""
    predictions = [prediction([BOX, FAR], [0.5, 0.5])]
    targets = [target([BOX])]
    assert_equals_coco(predictions, targets, [2], [3])
    task = Detection()
    mean_ap = task.score(task.statistics(predictions, targets), np.array([[2]]))[0, 0]
    assert mean_ap == pytest.approx((51 * 1.0 + 50 * 2 / 3) / 101)


def test_single_and_double_precision_scores_tie_alike() -> None:
    near = np.float32(0.1)
    predictions = [prediction([FAR, BOX], [near, np.nextafter(near, np.float32(1))])]
    assert_equals_coco(predictions, [target([BOX])], [2])


def test_failed_images_have_no_rows_and_weigh_nothing() -> None:
    task = Detection()
    good = prediction([BOX], [0.5])
    table = task.statistics([good, None], [target([BOX]), target([FAR])])
    assert set(table["image"].to_pylist()) == {0}
    np.testing.assert_allclose(task.score(table, np.array([[1, 1], [0, 1]]))[0, :2], 1.0)
    assert np.isnan(task.score(table, np.array([[0, 1]]))).all()
    none = task.statistics([None], [target([BOX])])
    assert none.schema == SCHEMA
    assert np.isnan(task.score(none, np.array([[1]]))).all()


def test_statistics_table() -> None:
    table = Detection().statistics(
        [prediction([BOX, [10, 10, 30, 23]], [0.3, 0.9])], [target([BOX, FAR], iscrowd=[0, 1])]
    )
    assert table.schema == SCHEMA
    rows = table.to_pylist()
    assert [r["is_object"] for r in rows] == [False, False, True, True]
    assert [r["rank"] for r in rows] == [0, 1, None, None]
    # The loose box comes first and takes the object up to its IoU of 0.65, the exact one above.
    assert rows[0]["matched"] | rows[1]["matched"] == 0b1111111111
    assert rows[0]["matched"] & rows[1]["matched"] == 0
    assert [r["ignored"] for r in rows] == [0, 0, 0, 0b1111111111]


def test_own_loss_is_a_mean_over_images_and_moves_nothing_else() -> None:
    predictions, targets = random_case(0, 12, 4, 8, 40, 5)
    losses = np.random.default_rng(0).gamma(2, size=12)
    predictions_left: list[Detections | None] = [*predictions]
    predictions_left[3] = None
    task = Detection()
    plain = task.statistics(predictions_left, targets)
    assert task.with_losses(plain, []) is plain
    table = task.with_losses(plain, [(i, v) for i, v in enumerate(losses.tolist()) if i != 3])
    assert plain.schema == SCHEMA
    assert table.schema == LOSS_SCHEMA
    assert len(table) == len(plain) + 11
    draws = np.random.default_rng(1).integers(0, 11, (5, 11))
    drawn = np.stack([np.bincount(d, minlength=11) for d in draws])
    weights = np.insert(np.vstack([np.ones((1, 11), np.int64), drawn]), 3, 0, axis=1)
    ours, without = task.score(table, weights), task.score(plain, weights)
    np.testing.assert_array_equal(ours[:, :2], without[:, :2])
    assert np.isnan(without[:, 2]).all()
    expected = [np.repeat(losses, w).mean() for w in weights]
    np.testing.assert_allclose(ours[:, 2], expected, rtol=1e-12)
    assert np.isnan(task.score(table, np.zeros((1, 12), np.int64))).all()


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="is shorter"):
        Detection().statistics([EMPTY], [])
