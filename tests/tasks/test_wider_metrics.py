"""What `analysis.metrics: all` adds, against pycocotools and torchmetrics."""

from typing import Any

import numpy as np
import pytest
from test_detection import BOX, EMPTY, FAR, coco_evaluation, coco_mean, prediction, target

from bench.tasks import TASKS, scored, scored_names
from bench.tasks.classification import CONFIDENCE, Classification, WiderClassification
from bench.tasks.detection import Detection, WiderDetection
from bench.tasks.means import BINS, calibration_error
from bench.tasks.records import Detections, Label, Logits, Objects

CATEGORIES = range(1, 6)
"""Of `coco_evaluation`."""


def coco_scores(
    predictions: list[Detections], targets: list[Objects], weights: np.ndarray
) -> tuple[list[float], dict[int, float]]:
    """In the order of the metrics, without the loss, and AP by category."""
    found = coco_evaluation(predictions, targets, weights, ranges=4)
    precision, recall = found["precision"], found["recall"]
    scores = [precision[..., 0, :], precision[0, ..., 0, :], precision[5, ..., 0, :]]
    scores += [precision[..., a, :] for a in (1, 2, 3)]
    by_category = {c: coco_mean(precision[:, :, k, 0]) for k, c in enumerate(CATEGORIES)}
    known = {c: value for c, value in by_category.items() if not np.isnan(value)}
    return [*map(coco_mean, [*scores, recall[:, :, 0]])], known


def assert_equals_coco(
    predictions: list[Detections], targets: list[Objects], *more_weights: Any
) -> np.ndarray:
    """→ ours on the images themselves, with the loss, which there is none of."""
    task = WiderDetection()
    weights = np.array([np.ones(len(targets), np.int64), *more_weights], np.int64)
    table = task.statistics(predictions, targets)
    ours = task.score(table, weights)
    assert np.isnan(ours[:, 2]).all()
    for row, w in zip(ours, weights, strict=True):
        scores, by_category = coco_scores(predictions, targets, w)
        np.testing.assert_allclose(np.delete(row, 2), scores, rtol=0, atol=1e-9)
        categories = task.by_category(table, w)
        assert [of.category for of in categories] == [*by_category]
        values = [of.value for of in categories]
        np.testing.assert_allclose(values, [*by_category.values()], rtol=0, atol=1e-9)
        for of in categories:
            assert of.n == sum(w[i] * counting(t, of.category) for i, t in enumerate(targets))
    return ours[0]


def counting(there: Objects, category: int) -> int:
    return int(((there.labels == category) & ~there.iscrowd & (there.area <= 1e10)).sum())


def random_case(seed: int, n_images: int, levels: int) -> tuple[list[Detections], list[Objects]]:
    """Objects of all sizes, some at the ends of a range and crowds, and jittered copies of them
    among random boxes; scores on `levels` values, so they tie."""
    rng = np.random.default_rng(seed)
    predictions, targets = [], []
    for _ in range(n_images):
        n, m = rng.integers(0, 9), rng.integers(0, 40)
        corner = rng.integers(0, 200, (n, 2))
        boxes = np.hstack([corner, corner + rng.choice([8, 31, 32, 33, 96, 97, 150], (n, 2))])
        labels = rng.integers(1, 5, n)
        area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) * rng.choice([0.5, 1.0], n)
        area = np.where(rng.random(n) < 0.1, rng.choice([1024, 9216, 2e10], n), area)
        crowd, ignore = rng.random(n) < 0.2, rng.random(n) < 0.2
        targets.append(target(boxes, labels, area, crowd, ignore))
        source = rng.integers(0, max(n, 1), m)
        found = boxes[source] if n else rng.integers(0, 200, (m, 4))
        found_labels = np.where(rng.random(m) < 0.8, labels[source] if n else 1, 2)
        found = found + rng.integers(-4, 5, (m, 4))
        predictions.append(prediction(found, rng.integers(0, levels, m) / levels, found_labels))
    return predictions, targets


@pytest.mark.parametrize(("seed", "levels"), [(0, 3), (1, 10**6)])
def test_equals_pycocotools_on_twenty_weightings(seed: int, levels: int) -> None:
    predictions, targets = random_case(seed, 12, levels)
    draws = np.random.default_rng(seed).integers(0, 12, (20, 12))
    ours = assert_equals_coco(
        predictions, targets, *(np.bincount(d, minlength=12) for d in draws), np.zeros(12)
    )
    assert (np.delete(ours, 2) > 0.01).all()


@pytest.mark.parametrize(
    ("predictions", "targets", "undefined"),
    [
        pytest.param([EMPTY, EMPTY], [target(), target()], "smL", id="nothing at all"),
        pytest.param([EMPTY], [target([BOX])], "mL", id="no detections"),
        pytest.param([prediction([BOX], [0.5])], [target()], "smL", id="no ground truth"),
        pytest.param([prediction([BOX], [0.5])], [target([BOX])], "mL", id="small alone"),
        pytest.param(
            [prediction([[0, 0, 200, 200], BOX], [0.9, 0.5])],
            [target([[0, 0, 190, 190]])],
            "sm",
            id="large alone",
        ),
        pytest.param(
            [prediction([BOX, [0, 0, 50, 50]], [0.5, 0.6])],
            [target([BOX, [0, 0, 50, 50]], iscrowd=[False, True])],
            "mL",
            id="of a size only a crowd",
        ),
        pytest.param(
            [prediction([BOX], [0.5])], [target([BOX], iscrowd=True)], "smL", id="only a crowd"
        ),
        pytest.param(
            [prediction([BOX, FAR], [0.5, 0.4])],
            [target([BOX, FAR], area=[2e10, 100], ignore=[False, True])],
            "mL",
            id="outside every range, and the ignore flag",
        ),
        pytest.param(
            [prediction([BOX, BOX, FAR], [0.5, 0.4, 0.5])],
            [target([BOX, BOX, FAR], area=[100, 5000, 1024])],
            "L",
            id="two sizes compete for one detection",
        ),
        pytest.param(
            [prediction([BOX], [0.5], 3)], [target([BOX], 2)], "mL", id="the wrong category"
        ),
    ],
)
def test_degenerate(predictions: list[Detections], targets: list[Objects], undefined: str) -> None:
    more = [np.arange(len(targets)) + 2, np.zeros(len(targets))]
    ours = assert_equals_coco(predictions, targets, *more)
    assert np.isnan(ours[4:7]).tolist() == [size in undefined for size in "smL"]


def test_the_wider_form_leaves_the_other_columns_as_they_are() -> None:
    predictions, targets = random_case(2, 8, 5)
    usual, wider = Detection(), WiderDetection()
    plain, table = (task.statistics(predictions, targets) for task in (usual, wider))
    losses = [(i, 0.1 * i) for i in range(8)]
    weights = np.random.default_rng(0).integers(0, 3, (4, 8))
    assert table.select(plain.column_names).equals(plain)
    before, after = usual.with_losses(plain, losses), wider.with_losses(table, losses)
    assert after.select(before.column_names).equals(before)
    assert {f.name for f in wider.statistics([], []).schema} == {*table.column_names}
    np.testing.assert_array_equal(wider.score(after, weights)[:, :3], usual.score(before, weights))
    np.testing.assert_array_equal(
        wider.score(after, weights)[:, 3:], wider.score(table, weights)[:, 3:]
    )


def test_no_row_depends_on_those_beside_it() -> None:
    predictions, targets = random_case(3, 10, 5)
    task = WiderDetection()
    table = task.statistics(predictions, targets)
    weights = np.random.default_rng(0).integers(0, 3, (5, 10))
    alone = [task.score(table, w[None])[0] for w in weights]
    np.testing.assert_array_equal(task.score(table, weights), alone)


def test_metrics_of_the_wider_form_follow_the_others() -> None:
    for name in scored_names():
        task = scored(name)
        assert task is not None
        wider = task.wider()
        assert wider.name == task.name
        assert wider.metrics[: len(task.metrics)] == task.metrics
        assert len({m.name for m in wider.metrics}) == len(wider.metrics)
        assert wider.score(wider.statistics([], []), np.ones((1, 1), np.int64)).shape == (
            1,
            len(wider.metrics),
        )
    further = [m.name for m in TASKS.get("det").wider().metrics[3:]]
    assert further == ["AP75", "AP-small", "AP-medium", "AP-large", "AR100"]


# --- classification -------------------------------------------------------------------------------


def classified(
    seed: int, n: int = 300, classes: int = 7
) -> tuple[list[Logits], list[Label], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (n, classes)).astype(np.float32)
    labels = np.where(rng.random(n) < 0.6, logits.argmax(axis=1), rng.integers(0, classes, n))
    return [*map(Logits, logits)], [Label(np.array(i)) for i in labels], logits, labels


def by_formula(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Σ over bins of share · |accuracy − mean confidence|."""
    error = 0.0
    for k in range(BINS):
        inside = (confidence >= k / BINS) & (confidence < (k + 1) / BINS)
        inside |= (k == BINS - 1) & (confidence == 1)
        if inside.any():
            error += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    return error


def test_calibration_error_equals_its_formula_and_torchmetrics() -> None:
    predictions, targets, logits, labels = classified(0)
    task = WiderClassification()
    table = task.statistics(predictions, targets)
    drawn = np.random.default_rng(1).integers(0, 300, (20, 300))
    weights = np.array([np.ones(300, int), *(np.bincount(d, minlength=300) for d in drawn)])
    ours = task.score(table, weights)[:, 3]
    assert len(np.unique(ours)) == 21
    assert ours.min() > 0.01
    exponents = np.exp(logits.astype(np.float64))
    confidence = exponents.max(axis=1) / exponents.sum(axis=1)
    correct = logits.argmax(axis=1) == labels
    repeated = [np.repeat(np.arange(300), w) for w in weights]
    expected = [by_formula(confidence[i], correct[i]) for i in repeated]
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-12)

    classification = pytest.importorskip(
        "torchmetrics.classification", reason="torchmetrics is not installed"
    )
    torch = pytest.importorskip("torch")
    for value, i in zip(ours, repeated, strict=True):
        metric = classification.MulticlassCalibrationError(7, n_bins=BINS, norm="l1")
        metric.update(torch.from_numpy(logits[i]), torch.from_numpy(labels[i]))
        assert value == pytest.approx(metric.compute().item(), abs=1e-6)


def test_a_confidence_on_an_edge_is_in_the_bin_above_and_one_in_the_last() -> None:
    confidence = np.array([1.0, 0.95, 0.0])
    correct, image = np.array([False, True, False]), np.arange(3, dtype=np.int32)
    weights = np.array([[1, 1, 0], [0, 0, 3], [0, 0, 0]])
    ours = calibration_error(confidence, correct, image, weights)
    np.testing.assert_allclose(ours, [0.475, 0, np.nan], atol=1e-12)


def test_a_constant_answer_is_never_right_and_a_sure_one_is_not_torn_by_overflow() -> None:
    task = WiderClassification()
    rows = [Logits(np.zeros(4, np.float32)), Logits(np.array([1e4, 0, 0, 0], np.float32))]
    table = task.statistics(rows, [Label(np.array(0)), Label(np.array(0))])
    assert table.schema.field("confidence") == CONFIDENCE
    assert table["confidence"].to_pylist() == [0.25, 1.0]
    np.testing.assert_allclose(task.score(table, np.array([[1, 0], [0, 1]]))[:, 3], [0.25, 0])


def test_top1_by_class() -> None:
    predictions, targets, logits, labels = classified(2)
    usual, wider = Classification(), WiderClassification()
    plain, table = (task.statistics(predictions, targets) for task in (usual, wider))
    assert table.select(plain.column_names).equals(plain)
    weights = np.random.default_rng(0).integers(0, 3, 300)
    weights[labels == 4] = 0
    np.testing.assert_array_equal(
        wider.score(table, weights[None])[:, :3], usual.score(plain, weights[None])
    )
    drawn = np.repeat(np.arange(300), weights)
    found = usual.by_category(plain, weights)
    assert [of.category for of in found] == [0, 1, 2, 3, 5, 6]
    for of in found:
        own = drawn[labels[drawn] == of.category]
        assert of.n == len(own)
        assert of.value == pytest.approx(np.mean(logits[own].argmax(axis=1) == of.category))
    top1 = usual.score(plain, weights[None])[0, 0]
    assert sum(of.value * of.n for of in found) / len(drawn) == pytest.approx(top1)
