"""Image weights of the resamples, and percentile intervals."""

import numpy as np
import pytest
from scipy import stats

from bench.analysis.bootstrap import bca, interval, jackknife_weights, resample_weights


def test_weights() -> None:
    surviving = np.array([True, False, True, True])
    weights = resample_weights(surviving, 50, 0, "coco_dev")
    assert weights.shape == (51, 4)
    np.testing.assert_array_equal(weights[0], surviving)
    np.testing.assert_array_equal(weights.sum(axis=1), 3)
    assert (weights[:, 1] == 0).all()
    assert len(np.unique(weights[1:], axis=0)) > 5


def test_weights_depend_on_seed_and_dataset_alone() -> None:
    surviving = np.ones(20, bool)
    first = resample_weights(surviving, 5, 0, "a")
    np.testing.assert_array_equal(first, resample_weights(surviving, 5, 0, "a"))
    assert (first != resample_weights(surviving, 5, 1, "a")).any()
    assert (first != resample_weights(surviving, 5, 0, "b")).any()


def test_more_resamples_begin_alike() -> None:
    few, many = (resample_weights(np.ones(9, bool), b, 0, "a") for b in (5, 50))
    np.testing.assert_array_equal(few, many[:6])


def test_no_survivors() -> None:
    assert (resample_weights(np.zeros(3, bool), 4, 0, "a") == 0).all()


def test_percentiles() -> None:
    bounds = interval(np.arange(1001.0))
    assert (bounds.low, bounds.high) == pytest.approx((25, 975))
    assert bounds.reason == ""


def test_bias_is_taken_off_beyond_noise() -> None:
    values = np.arange(1001.0)
    shifted = interval(values + 300, around=500)
    assert (shifted.low, shifted.high) == pytest.approx((25, 975))
    assert interval(values, around=510) == interval(values)


def test_a_few_undefined_are_left_out() -> None:
    values = np.r_[np.full(5, np.nan), np.full(95, 2.0)]
    assert interval(values).high == 2
    withheld = interval(np.r_[values, np.nan])
    assert np.isnan([withheld.low, withheld.high]).all()
    assert withheld.reason == "no interval: undefined in 6 of 101 resamples"


@pytest.mark.parametrize("values", [np.array([]), np.full(3, np.nan)])
def test_nothing_to_go_by(values: np.ndarray) -> None:
    assert interval(values).reason.startswith("no interval")


def test_covers_the_mean_of_a_normal_sample() -> None:
    """The interval of a mean is about ± 1.96 σ/√n."""
    values = np.random.default_rng(0).normal(size=400)
    weights = resample_weights(np.ones(400, bool), 4000, 0, "a")
    bounds = interval(weights[1:] @ values / 400)
    half = 1.96 * values.std() / 20
    assert bounds.low == pytest.approx(values.mean() - half, abs=0.01)
    assert bounds.high == pytest.approx(values.mean() + half, abs=0.01)


def test_bca_is_that_of_scipy() -> None:
    """On a skewed sample, where it differs from the percentiles by 0.05; scipy's own differs by
    0.01 between seeds."""
    values = np.random.default_rng(0).gamma(0.5, size=60)
    everyone = np.ones(60, bool)
    weights = resample_weights(everyone, 20_000, 0, "a")[1:]
    without = jackknife_weights(everyone)
    assert without.shape == (60, 60)
    drawn = weights @ values / 60
    bounds = bca(drawn, values.mean(), without @ values / 59)
    reference = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(1)
    ).confidence_interval
    assert bounds.low == pytest.approx(reference.low, abs=0.01)
    assert bounds.high == pytest.approx(reference.high, abs=0.02)
    assert bounds.low > interval(drawn).low + 0.015
    assert bounds.high > interval(drawn).high + 0.04


def test_groups_of_many_images_give_nearly_the_same_acceleration() -> None:
    values = np.random.default_rng(0).gamma(0.3, size=2000)
    weights = jackknife_weights(np.ones(2000, bool))
    assert weights.shape == (200, 2000)
    assert (weights.sum(axis=1) == 1990).all()
    assert (weights.sum(axis=0) == 199).all()
    drawn = resample_weights(np.ones(2000, bool), 2000, 0, "a")[1:] @ values / 2000
    single = (values.sum() - values) / 1999
    grouped = weights @ values / 1990
    alone, together = (bca(drawn, values.mean(), v) for v in (single, grouped))
    assert together.low == pytest.approx(alone.low, abs=0.003)
    assert together.high == pytest.approx(alone.high, abs=0.003)


def test_groups_leave_out_survivors_alone() -> None:
    weights = jackknife_weights(np.array([True, False, True, True]))
    np.testing.assert_array_equal(weights, [[0, 0, 1, 1], [1, 0, 0, 1], [1, 0, 1, 0]])
    assert jackknife_weights(np.array([True, False])).shape == (0, 2)


def test_bca_withheld() -> None:
    values = np.arange(100.0)
    assert "one side" in bca(values, 200, np.arange(5.0)).reason
    assert "without some" in bca(values, 50, np.array([1, np.nan])).reason
    assert "undefined in 10 of 100" in bca(np.where(values < 10, np.nan, values), 50, values).reason
    assert bca(np.full(50, 2.0), 2.0, np.full(9, 2.0)).low == 2
