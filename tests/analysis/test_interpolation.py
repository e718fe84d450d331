"""Integrals and values of many curves against scipy, one curve at a time."""

import numpy as np
import pytest
from scipy.interpolate import Akima1DInterpolator, PchipInterpolator

from bench.analysis.interpolation import INTERPOLATIONS, integrals, values

SCIPY = {"pchip": PchipInterpolator, "akima": Akima1DInterpolator}


def curves(rng: np.random.Generator, rows: int, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of different lengths, some flat, some straight, some that turn."""
    x = np.cumsum(rng.uniform(0.01, 1, (rows, longest)), axis=1)
    y = np.cumsum(rng.choice([-0.5, 0, 0, 0.3, 1.0], (rows, longest)), axis=1)
    y[: rows // 2] += rng.normal(size=(rows // 2, longest))
    y[-3:] = 2 * x[-3:] + 1
    for row, n in enumerate(rng.integers(2, longest + 1, rows)):
        x[row, n:] = y[row, n:] = np.nan
    return x, y


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_equals_scipy(interpolation: str) -> None:
    rng = np.random.default_rng(0)
    x, y = curves(rng, 120, 8)
    first, last = x[:, 0], np.nanmax(x, axis=1)
    low, high = np.sort(first + (last - first) * rng.random((2, len(x))), axis=0)
    low[:20], high[10:30] = first[:20], last[10:30]
    whole = integrals(x, y, low, high, interpolation)
    at = values(x, y, low, interpolation)
    for row in range(len(x)):
        known = ~np.isnan(x[row])
        reference = SCIPY[interpolation](x[row, known], y[row, known])
        assert whole[row] == pytest.approx(reference.integrate(low[row], high[row]), abs=1e-10)
        assert at[row] == pytest.approx(float(reference(low[row])), abs=1e-10)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_knots_are_met_and_nothing_is_said_beyond_them(interpolation: str) -> None:
    x, y = curves(np.random.default_rng(1), 40, 5)
    last = np.nanmax(x, axis=1)
    ends = np.array([row[~np.isnan(row)][-1] for row in y])
    np.testing.assert_allclose(values(x, y, x[:, 0], interpolation), y[:, 0], atol=1e-12)
    np.testing.assert_allclose(values(x, y, last, interpolation), ends, atol=1e-12)
    assert np.isnan(values(x, y, last + 1e-6, interpolation)).all()
    assert np.isnan(values(x, y, x[:, 0] - 1e-6, interpolation)).all()


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_rows_that_are_no_curves(interpolation: str) -> None:
    x = np.array([[np.nan, np.nan], [1.0, np.nan], [1.0, 3.0]])
    y = np.array([[np.nan, np.nan], [5.0, np.nan], [1.0, 2.0]])
    area = integrals(x, y, np.full(3, 1.0), np.array([2.0, 2.0, 3.0]), interpolation)
    np.testing.assert_allclose(area, [np.nan, np.nan, 3.0])
    bounds = np.array([1.0, 1.0, np.nan])
    assert np.isnan(integrals(x, y, bounds, bounds, interpolation)).all()
