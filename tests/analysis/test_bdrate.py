"""BD-rate against the bjontegaard package, closed forms, and the curves that have none."""

import warnings

import bjontegaard
import numpy as np
import pytest

from bench.analysis.bdrate import BD, INTERPOLATIONS, bd, bd_rate, overlap
from bench.analysis.curves import prepare

RATE = np.array([0.17, 0.31, 0.45, 0.66, 0.91])
QUALITY = np.array([0.25, 0.28, 0.295, 0.297, 0.299])


def compare(rate_a, quality_a, rate_b, quality_b, interpolation="pchip", policy="pareto") -> BD:
    anchor = prepare(np.asarray(rate_a, float), np.asarray(quality_a, float), policy)
    test = prepare(np.asarray(rate_b, float), np.asarray(quality_b, float), policy)
    result = bd(anchor, test, interpolation)
    np.testing.assert_equal(bd_rate(anchor, test, interpolation), result.bd_rate)
    return result


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("factor", [0.8, 1.0, 1.25])
def test_a_factor_in_rate(interpolation: str, factor: float) -> None:
    shuffled = [3, 0, 4, 1, 2]
    result = compare(
        RATE, QUALITY, factor * RATE[shuffled], QUALITY[shuffled], interpolation=interpolation
    )
    assert result.bd_rate == pytest.approx(100 * (factor - 1), abs=1e-9)
    assert (result.status, result.reason) == ("ok", "")
    assert (result.overlap, result.n_points) == (1.0, 5)
    assert np.sign(result.bd_metric) == np.sign(1 - factor)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_straight_lines_in_log_rate(interpolation: str) -> None:
    """log2 rate = 10 q and 10 q − 1 + q: the mean difference over the shared [0.2, 0.6] is −0.6."""
    qa, qb = np.linspace(0.1, 0.6, 6), np.linspace(0.2, 0.7, 4)
    result = compare(2 ** (10 * qa), qa, 2 ** (11 * qb - 1), qb, interpolation=interpolation)
    assert result.bd_rate == pytest.approx(100 * (2**-0.6 - 1), abs=1e-9)
    assert result.overlap == pytest.approx(0.4 / 0.6)
    assert result.reason == "rests on 67% of the accuracy range"


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("seed", range(5))
def test_equals_the_package_on_monotone_data(seed: int, interpolation: str) -> None:
    rng = np.random.default_rng(seed)
    ra, rb = (np.cumsum(rng.uniform(0.05, 0.3, n)) for n in (5, 6))
    qa, qb = (0.2 + np.cumsum(rng.uniform(0.01, 0.1, n)) for n in (5, 6))
    result = compare(ra, qa, rb, qb, interpolation=interpolation)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rate = bjontegaard.bd_rate(ra, qa, rb, qb, interpolation, require_matching_points=False)
        psnr = bjontegaard.bd_psnr(ra, qa, rb, qb, interpolation, require_matching_points=False)
    assert result.status == "ok"
    assert (result.bd_rate, result.bd_metric) == (rate, psnr)


def test_no_shared_accuracy_leaves_the_metric() -> None:
    result = compare(RATE, QUALITY, RATE, QUALITY + 0.2)
    assert result.status == "undefined"
    assert np.isnan(result.bd_rate)
    assert result.bd_metric == pytest.approx(0.2)
    assert result.reason == "the curves share no accuracy"


def test_too_little_shared_accuracy() -> None:
    result = compare([1, 2, 3], [0.1, 0.2, 0.3], [1, 2, 3], [0.29, 0.4, 0.5])
    assert result.status == "undefined"
    assert result.overlap == pytest.approx(0.01 / 0.4)
    assert "share 2.5% of the accuracy range, 10% are needed" in result.reason


def test_a_flat_end_inside_the_other_curve_is_too_little() -> None:
    """The whole of one range is shared, yet it is all noise."""
    result = compare([1, 2, 3], [0.1, 0.2, 0.3], [1, 2, 3], [0.296, 0.297, 0.298])
    assert result.status == "undefined"


@pytest.mark.parametrize("quality", [[0.3, 0.2, 0.1], [0.3, 0.3, 0.3], [np.nan] * 3])
def test_too_few_points(quality: list[float]) -> None:
    result = compare(RATE, QUALITY, [1, 2, 3], quality)
    assert result.status == "undefined"
    assert result.n_points < 2
    assert "2 are needed" in result.reason
    assert np.isnan(result.bd_metric)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_two_points_are_a_line_and_said_to_be(interpolation: str) -> None:
    result = compare([1, 4], [0.1, 0.3], [2, 8], [0.1, 0.3], interpolation=interpolation)
    assert result.bd_rate == pytest.approx(100)
    assert "only 2 points" in result.reason


SATURATING = np.array([0.25, 0.28, 0.295, 0.294, 0.2955])


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_non_monotone_curve_by_policy(interpolation: str) -> None:
    raw = compare(RATE, QUALITY, RATE, SATURATING, interpolation, "raw")
    assert (raw.status, raw.n_points) == ("undefined", 5)
    assert raw.reason == "accuracy of the method falls somewhere as the rate rises"
    assert np.isfinite(raw.bd_metric)
    for policy in ("pareto", "isotonic"):
        result = compare(RATE, QUALITY, RATE, SATURATING, interpolation, policy)
        assert (result.status, result.n_points) == ("ok", 4)
        assert -100 < result.bd_rate < 100


def test_overlap() -> None:
    assert overlap(np.array([0.0, 2.0]), np.array([1.0, 4.0])) == 0.25
    assert overlap(np.array([0.0, 1.0]), np.array([2.0, 3.0])) == 0
    assert overlap(np.array([1.0]), np.array([1.0])) == 0
    assert overlap(np.array([]), np.array([1.0])) == 0


def test_a_difference_too_large_for_a_number() -> None:
    result = compare([1e-300, 2e-300], [0, 1], [1e300, 2e300], [0, 1])
    assert result.status == "undefined"
    assert "finite" in result.reason


def test_unknown_interpolation() -> None:
    with pytest.raises(ValueError, match="pchip, akima"):
        compare(RATE, QUALITY, RATE, QUALITY, interpolation="cubic")
