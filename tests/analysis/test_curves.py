"""Preparing a curve: order, ties, and the three policies."""

import numpy as np
import pytest

from bench.analysis.curves import Curve, prepare

POLICIES = ["pareto", "isotonic", "raw"]


def prepared(rate: list[float], quality: list[float], policy: str) -> Curve:
    return prepare(np.array(rate, float), np.array(quality, float), policy)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_rising_curve_is_only_sorted(policy: str) -> None:
    curve = prepared([0.3, 0.1, 0.2], [0.9, 0.5, 0.7], policy)
    np.testing.assert_array_equal(curve.rate, [0.1, 0.2, 0.3])
    np.testing.assert_array_equal(curve.quality, [0.5, 0.7, 0.9])
    assert curve.changes == ()


def test_pareto_drops_what_is_dominated() -> None:
    curve = prepared([1, 2, 3, 4, 5], [0.5, 0.7, 0.6, 0.69, 0.8], "pareto")
    np.testing.assert_array_equal(curve.rate, [1, 2, 5])
    assert curve.changes == ((2, "dominated"), (3, "dominated"))
    assert curve.describe_changes(["QP 5", "QP 4", "QP 3", "QP 2", "QP 1"]) == (
        "dominated: QP 3, QP 2"
    )


def test_isotonic_pools_adjacent_violators() -> None:
    curve = prepared([1, 2, 4, 8], [0.5, 0.8, 0.6, 0.9], "isotonic")
    np.testing.assert_allclose(curve.rate, [1, np.sqrt(8), 8])
    np.testing.assert_allclose(curve.quality, [0.5, 0.7, 0.9])
    assert curve.changes == ((1, "pooled"), (2, "pooled"))


def test_isotonic_pools_run_backwards() -> None:
    curve = prepared([1, 2, 3, 4], [0.6, 0.7, 0.8, 0.1], "isotonic")
    np.testing.assert_allclose(curve.quality, [0.55])


def test_raw_keeps_a_fall() -> None:
    curve = prepared([1, 2, 3], [0.5, 0.7, 0.6], "raw")
    np.testing.assert_array_equal(curve.quality, [0.5, 0.7, 0.6])


@pytest.mark.parametrize("policy", POLICIES)
def test_of_equal_rates_the_better_stays(policy: str) -> None:
    curve = prepared([1, 1, 2], [0.5, 0.6, 0.7], policy)
    np.testing.assert_array_equal(curve.quality, [0.6, 0.7])
    assert curve.changes == ((0, "tied"),)


@pytest.mark.parametrize("policy", ["pareto", "raw"])
def test_of_equal_qualities_the_cheaper_stays(policy: str) -> None:
    curve = prepared([1, 2, 3], [0.5, 0.7, 0.7 + 1e-13], policy)
    np.testing.assert_array_equal(curve.rate, [1, 2])
    assert curve.changes == ((2, "tied"),)


@pytest.mark.parametrize("policy", POLICIES)
def test_points_without_a_number_are_dropped(policy: str) -> None:
    curve = prepared([1, np.nan, 0, 4], [np.nan, 0.5, 0.6, 0.7], policy)
    np.testing.assert_array_equal(curve.rate, [4])
    assert curve.describe_changes(["a", "b", "c", "d"]) == "no value: a, b, c"
    assert len(prepared([], [], policy).rate) == 0


def test_unknown_policy() -> None:
    with pytest.raises(ValueError, match="pareto, isotonic, raw"):
        prepared([1], [1], "cubic")
