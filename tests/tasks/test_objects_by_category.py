"""How many objects a mean of average precisions rests on."""

import numpy as np
import pytest
from test_wider_metrics import random_case

from bench.tasks import scored, scored_names
from bench.tasks.average_precision import category_precisions, objects_by_category
from bench.tasks.detection import Detection, WiderDetection

NAMES = ("mAP", "AP50", "AP75", "AP-small", "AP-medium", "AP-large")


@pytest.mark.parametrize("seed", range(5))
def test_they_are_those_of_the_precisions(seed: int) -> None:
    table = Detection().statistics(*random_case(seed, 12, 3))
    weights = np.random.default_rng(seed).integers(0, 3, 12)
    np.testing.assert_array_equal(
        objects_by_category(table, weights), category_precisions(table, weights)[2]
    )


def test_of_each_size() -> None:
    predictions, targets = random_case(0, 20, 3)
    task, weights = WiderDetection(), np.ones(20, np.int64)
    counts = task.objects_by_category(task.statistics(predictions, targets), weights)
    assert tuple(counts) == NAMES
    area = np.concatenate([t.area[~t.iscrowd] for t in targets])
    assert counts["AP-small"].sum() == (area <= 32**2).sum()
    assert counts["AP-large"].sum() == ((area >= 96**2) & (area <= 1e10)).sum()


@pytest.mark.parametrize("name", scored_names())
def test_metrics_that_have_them(name: str) -> None:
    """Those called mAP or AP, whatever of, and no others; nothing where there is no image."""
    task = scored(name)
    assert task is not None
    for form in (task, task.wider()):
        counts = form.objects_by_category(form.statistics([], []), np.zeros(0, np.int64))
        called = {m.name for m in form.metrics if "AP" in m.name}
        assert set(counts) == called
        assert all(len(of) == 0 for of in counts.values())
