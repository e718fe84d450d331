"""Classification against closed forms."""

import math

import numpy as np
import pytest

from bench.errors import DataError
from bench.tasks import TASKS, scored, scored_names
from bench.tasks.classification import SCHEMA, Classification
from bench.tasks.records import Label, Logits


def table(logits: list[list[float]], labels: list[int]):
    return Classification().statistics(
        [Logits(np.array(x, np.float32)) for x in logits],
        [Label(np.array(x, np.int64)) for x in labels],
    )


def score(statistics, *weights: list[int]) -> np.ndarray:
    return Classification().score(statistics, np.array(weights, np.int64))


def test_rank_and_cross_entropy() -> None:
    rows = table([[1, 3, 2], [0, 0, 0]], [2, 0]).to_pylist()
    assert rows[0]["rank"] == 1
    assert rows[0]["cross_entropy"] == pytest.approx(
        math.log(math.e + math.e**3 + math.e**2) - 2, abs=1e-15
    )
    assert rows[1]["rank"] == 2  # a tie counts against the true class
    assert rows[1]["cross_entropy"] == pytest.approx(math.log(3), abs=1e-15)


def test_weighted_means() -> None:
    logits = [[9, 8, 7, 6, 5, 4], [4, 5, 6, 7, 8, 9], [9, 8, 7, 6, 5, 4]]
    statistics = table(logits, [0, 0, 4])
    assert statistics["rank"].to_pylist() == [0, 5, 4]
    values = score(statistics, [1, 1, 1], [2, 1, 0], [0, 0, 0])
    np.testing.assert_allclose(values[:2, :2], [[1 / 3, 2 / 3], [2 / 3, 2 / 3]])
    entropies = statistics["cross_entropy"].to_numpy()
    np.testing.assert_allclose(values[1, 2], (2 * entropies[0] + entropies[1]) / 3)
    assert np.isnan(values[2]).all()


def test_top1_is_argmax_without_ties() -> None:
    rng = np.random.default_rng(0)
    logits = rng.permuted(np.tile(np.arange(10.0), (50, 1)), axis=1)
    labels = rng.integers(0, 10, 50)
    statistics = table(logits.tolist(), labels.tolist())
    top1, top5, _ = score(statistics, [1] * 50)[0]
    assert top1 == np.mean(logits.argmax(axis=1) == labels)
    top_five = np.argsort(-logits, axis=1)[:, :5]
    assert top5 == np.mean((top_five == labels[:, None]).any(axis=1))


def test_few_classes_make_top5_one() -> None:
    assert score(table([[0, 1], [1, 0]], [0, 0]), [1, 1])[0, 1] == 1


def test_large_logits_do_not_overflow() -> None:
    value = table([[1e4, 0.0]], [1]).to_pylist()[0]["cross_entropy"]
    assert value == pytest.approx(1e4)


def test_broken_outputs_reach_only_the_samples_they_are_in() -> None:
    statistics = table([[math.nan, 1], [5, 1], [-math.inf, 0]], [1, 0, 0])
    assert statistics["rank"].to_pylist() == [1, 0, 1]
    values = score(statistics, [1, 1, 0], [0, 1, 0], [0, 1, 1])
    assert np.isnan(values[0, 2])
    assert values[0, 0] == 0.5
    assert np.isfinite(values[1]).all()
    assert values[2, 2] == math.inf


def test_failed_images_weigh_nothing() -> None:
    task = Classification()
    statistics = task.statistics(
        [None, Logits(np.array([0.0, 1.0], np.float32))], [Label(np.array(0)), Label(np.array(1))]
    )
    assert statistics.schema == SCHEMA
    assert score(statistics, [1, 1])[0, 0] == 1
    empty = task.statistics([None], [Label(np.array(0))])
    assert empty.schema == SCHEMA
    assert np.isnan(score(empty, [1])).all()


@pytest.mark.parametrize("label", [-1, 2])
def test_label_outside_the_classes(label: int) -> None:
    with pytest.raises(DataError, match=f"label {label}"):
        table([[0, 1]], [label])


def test_tasks_by_name() -> None:
    names = ["cls", "det", "ins", "seg"]
    assert TASKS.names() == names
    assert scored_names() == [*names, *(f"{name}-agreement" for name in names)]
    for name in scored_names():
        task = scored(name)
        assert task is not None
        assert task.name == name
    assert scored("pose") is scored("pose-agreement") is None
    assert TASKS.get("cls").metrics[-1].higher_is_better is False
    assert [m.name for m in TASKS.get("det").metrics] == ["mAP", "AP50", "loss"]
