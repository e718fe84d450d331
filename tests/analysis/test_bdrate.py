"""BD-rate against the bjontegaard package, closed forms, and the curves that have none."""

import warnings

import bjontegaard
import numpy as np
import pytest

from bench.analysis.bdrate import (
    BD,
    INTERPOLATIONS,
    bd,
    bd_metric_rows,
    bd_rate,
    bd_rate_rows,
    bd_rate_within,
    overlap,
)
from bench.analysis.curves import POLICIES, prepare, prepare_rows

RATE = np.array([0.17, 0.31, 0.45, 0.66, 0.91])
QUALITY = np.array([0.25, 0.28, 0.295, 0.297, 0.299])


def compare(rate_a, quality_a, rate_b, quality_b, interpolation="pchip", policy="pareto") -> BD:
    anchor = prepare(np.asarray(rate_a, float), np.asarray(quality_a, float), policy)
    test = prepare(np.asarray(rate_b, float), np.asarray(quality_b, float), policy)
    result = bd(anchor, test, interpolation)
    np.testing.assert_equal(bd_rate(anchor, test, interpolation), result.bd_rate)
    rows = [
        prepare_rows(np.atleast_2d(np.asarray(r, float)), np.atleast_2d(q).astype(float), policy)
        for r, q in ((rate_a, quality_a), (rate_b, quality_b))
    ]
    many = bd_rate_rows(*rows, interpolation), bd_metric_rows(*rows, interpolation)
    np.testing.assert_allclose(many[0], result.bd_rate, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(many[1], result.bd_metric, rtol=1e-9, atol=1e-9)
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
    assert result.reason == "rests on 67 % of the accuracy range"


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
    assert "share 2.5 % of the accuracy range, 10 % are needed" in result.reason


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


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_rows_are_what_one_curve_at_a_time_gives(interpolation: str, policy: str) -> None:
    """Falls, ties, gaps and shuffled rates among them."""
    rng = np.random.default_rng(0)
    rates = np.cumsum(rng.uniform(0.05, 0.3, (2, 60, 5)), axis=2)
    qualities = np.round(0.2 + np.cumsum(rng.uniform(-0.01, 0.08, (2, 60, 5)), axis=2), 2)
    rates[:, :10] = rates[:, :10, ::-1]
    rates[0, 3, 1] = rates[0, 3, 2]
    qualities[1, 5, 2] = np.nan
    qualities[1, 6] = 0.3
    rows = [prepare_rows(r, q, policy) for r, q in zip(rates, qualities, strict=True)]
    many = bd_rate_rows(*rows, interpolation), bd_metric_rows(*rows, interpolation)
    for i in range(60):
        curves = [prepare(rates[j, i], qualities[j, i], policy) for j in (0, 1)]
        for curve, row in zip(curves, rows, strict=True):
            np.testing.assert_array_equal(curve.rate, row.rate[i][~np.isnan(row.rate[i])])
            np.testing.assert_array_equal(curve.quality, row.quality[i][: len(curve.rate)])
        one = bd(*curves, interpolation)
        np.testing.assert_allclose(many[0][i], one.bd_rate, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(many[1][i], one.bd_metric, rtol=1e-9, atol=1e-9)
    assert 0 < np.isnan(many[0]).sum() < 60


KNEE = [0.050, 0.085, 0.169, 0.452, 1.000], [0.149, 0.271, 0.295, 0.297, 0.299]
KNEE_TEST = [0.048, 0.081, 0.161, 0.429, 0.950], [0.150, 0.274, 0.297, 0.298, 0.300]


def test_a_saturating_curve_on_which_the_cubic_fit_explodes() -> None:
    """The example of docs/bd-rate.md: about 5 % fewer bits, a little better."""
    arrays = [np.array(v) for v in (*KNEE, *KNEE_TEST)]
    assert bjontegaard.bd_rate(*arrays, "cubic", min_overlap=0) == pytest.approx(92699, abs=1)
    found = [compare(*arrays, interpolation=name).bd_rate for name in ("pchip", "akima")]
    assert found == pytest.approx([-7.64, -6.14], abs=0.01)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_a_range_of_accuracies(interpolation: str) -> None:
    """log2 rate = 10 q and 11 q − 1: over [0.3, 0.5] the mean difference is −0.6, over [0.5, 0.7],
    of which [0.5, 0.6] is shared, −0.45, and [0.55, 0.75] is covered by a quarter only."""
    qa, qb = np.linspace(0.1, 0.6, 6)[None], np.linspace(0.2, 0.7, 4)[None]
    anchor = prepare_rows(2 ** (10 * qa), qa, "pareto")
    test = prepare_rows(2 ** (11 * qb - 1), qb, "pareto")

    def over(low: float, high: float) -> tuple[float, float]:
        rate, covered = bd_rate_within(
            anchor, test, np.array([low]), np.array([high]), interpolation
        )
        return float(rate[0]), float(covered[0])

    assert over(0.3, 0.5) == pytest.approx((100 * (2**-0.6 - 1), 1.0))
    assert over(0.5, 0.7) == pytest.approx((100 * (2**-0.45 - 1), 0.5))
    rate, covered = over(0.55, 0.75)
    assert np.isnan(rate)
    assert covered == pytest.approx(0.25)
