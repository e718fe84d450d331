"""Agreement with the prediction on the uncompressed image."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.special import log_softmax, rel_entr, softmax

from bench.tasks import TASKS, Agreement, scored, scored_names
from bench.tasks.agreement import REFERENCE_SCORE
from bench.tasks.records import Detections, Logits, Objects, Record


def agreement(name: str) -> Agreement[Any, Any]:
    found = TASKS.get(name).agreement
    assert found is not None
    return found


def references(task: Agreement[Any, Any], clean: Sequence[Record | None]) -> list[Record | None]:
    """Of each image; None for one that has no prediction."""
    return [None if p is None else task.reference(p) for p in clean]


def score(name: str, predictions: Sequence[Any], clean: Sequence[Any]) -> dict[str, float]:
    task = agreement(name)
    table = task.statistics(predictions, references(task, clean))
    values = task.score(table, np.ones((1, len(predictions)), np.int64))[0]
    return dict(zip([m.name for m in task.metrics], values.tolist(), strict=True))


def logits(n: int, seed: int) -> list[Logits]:
    values = np.random.default_rng(seed).normal(0, 3, (n, 10)).astype(np.float32)
    return [Logits(row) for row in values]


def detections(n_images: int, seed: int, n: int = 40) -> list[Detections]:
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n_images):
        corner, side = rng.uniform(0, 200, (n, 2)), rng.uniform(0, 60, (n, 2))
        found.append(
            Detections(
                np.hstack([corner, corner + side]).astype(np.float32),
                rng.uniform(0.01, 1, n).astype(np.float32),
                rng.integers(0, 4, n),
            )
        )
    return found


def test_names_differ_from_those_of_accuracy() -> None:
    names = [m.name for task in map(scored, scored_names()) if task for m in task.metrics]
    assert len(names) == len(set(names)) == 19


def test_classification_against_scipy() -> None:
    clean, decoded = logits(30, 0), logits(30, 1)
    p = np.stack([c.logits for c in clean]).astype(np.float64)
    q = np.stack([d.logits for d in decoded]).astype(np.float64)
    values = score("cls", decoded, clean)
    assert values["agreement"] == pytest.approx((p.argmax(1) == q.argmax(1)).mean())
    kl = rel_entr(softmax(p, 1), softmax(q, 1)).sum(1).mean()
    assert values["divergence"] == pytest.approx(kl, rel=1e-9)
    # Far apart: the probability of what was sure underflows, its logarithm does not.
    far = np.array([[800.0, 0.0], [0.0, 800.0]], np.float32)
    value = score("cls", [Logits(far[1])], [Logits(far[0])])["divergence"]
    assert value == pytest.approx(-log_softmax(far[1].astype(float))[0])


@pytest.mark.parametrize("name", ["det", "cls"])
def test_clean_images_agree_with_themselves_exactly(name: str) -> None:
    clean = detections(20, 3) if name == "det" else logits(20, 3)
    values = score(name, clean, clean)
    assert list(values.values()) == pytest.approx([1.0, 1.0] if name == "det" else [1.0, 0.0])


def test_clean_detections_agree_whatever_a_detector_puts_out() -> None:
    """Boxes twice, boxes without area, and more than a category's hundred."""
    many = replace(detections(1, 5, n=900)[0], labels=np.zeros(900, np.int64))
    many.boxes[1] = many.boxes[0]
    many.scores[:3] = 0.9
    many.boxes[2, 2] = many.boxes[2, 0]
    nothing = many.where(np.zeros(900, bool))
    values = score("det", [many, nothing], [many, nothing])
    assert list(values.values()) == pytest.approx([1.0, 1.0], abs=1e-12)


def test_a_lost_and_a_moved_detection_cost_agreement() -> None:
    box = np.array([[10, 10, 50, 50], [100, 100, 140, 140]], np.float32)
    clean = Detections(box, np.array([0.9, 0.8], np.float32), np.array([1, 1]))
    lost = clean.where(np.array([0]))
    values = score("det", [lost], [clean])
    assert values["agreement-AP50"] == pytest.approx(51 / 101)  # recall stops at one half
    moved = replace(clean, boxes=box + np.array([10, 0, 10, 0], np.float32))  # IoU 0.6
    values = score("det", [moved], [clean])
    assert values["agreement-AP50"] == pytest.approx(1.0)
    assert values["agreement-mAP"] == pytest.approx(0.3)  # found at 0.50, 0.55 and 0.60


def test_only_sure_detections_are_to_be_found_again() -> None:
    boxes = np.array([[0, 0, 9, 9], [20, 20, 30, 30]], np.float32)
    clean = Detections(boxes, np.array([REFERENCE_SCORE, 0.29], np.float32), np.array([1, 1]))
    (reference,) = references(agreement("det"), [clean])
    assert isinstance(reference, Objects)
    assert reference.boxes.tolist() == [[0, 0, 9, 9]]
    lost = clean.where(np.array([0]))
    assert list(score("det", [lost], [clean]).values()) == pytest.approx([1.0, 1.0], abs=1e-12)


@pytest.mark.parametrize("name", ["det", "cls"])
def test_images_without_prediction_or_reference_have_no_rows(name: str) -> None:
    clean = detections(4, 7) if name == "det" else logits(4, 7)
    task = agreement(name)
    table = task.statistics([None, *clean[1:]], references(task, [*clean[:3], None]))
    assert set(table["image"].to_pylist()) == {1, 2}
