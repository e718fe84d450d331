"""Ceilings and falls, in words."""

import numpy as np

from bench.analysis.diagnosis import falls, saturation, within_noise

QPS = [25, 28, 31, 34, 37]


def resampled(values: list[float], spread: float, shared: float = 0.0) -> np.ndarray:
    """(1 + 400, n): noise of its own per point, and noise that all points share."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, spread, (401, len(values))) + rng.normal(0, shared, (401, 1))
    noise[0] = 0
    return np.array(values) + noise


def test_three_finest_at_the_ceiling() -> None:
    values = resampled([0.30, 0.299, 0.298, 0.27, 0.2, 0.301], 0.003)
    assert saturation("bpg", QPS, values[:, :5], values[:, 5]) == (
        "the three finest QPs of bpg are within noise of the ceiling: BD-rate below QP 31 carries "
        "no information"
    )


def test_noise_that_the_clean_score_shares_is_none() -> None:
    """Paired: 0.002 below clean in every resample is a loss, however much both move."""
    values = resampled([0.30, 0.299, 0.298, 0.27, 0.2, 0.302], 1e-5, shared=0.05)
    assert saturation("bpg", QPS, values[:, :5], values[:, 5]) == ""


def test_one_point_at_the_ceiling_is_where_a_curve_should_end() -> None:
    values = resampled([0.30, 0.28, 0.26, 0.24, 0.2, 0.301], 0.003)
    assert saturation("bpg", QPS, values[:, :5], values[:, 5]) == ""


def test_all_at_the_ceiling() -> None:
    values = resampled([0.3] * 6, 0.003)
    assert saturation("bpg", QPS, values[:, :5], values[:, 5]).startswith("all QPs of bpg")


def test_falls_within_and_beyond_noise() -> None:
    values = resampled([0.295, 0.297, 0.26, 0.27, 0.2], 0.002)
    assert falls("webp", QPS, values) == (
        "accuracy of webp falls from QP 34 to QP 31 (beyond noise), from QP 28 to QP 25 "
        "(within noise)"
    )
    assert falls("webp", QPS, resampled([0.3, 0.29, 0.28, 0.27, 0.2], 0.0)) == ""


def test_without_resamples_nothing_is_noise() -> None:
    assert not within_noise(np.array([0.0]))
    assert saturation("bpg", QPS, np.full((1, 5), 0.3), np.array([0.301])) == ""
