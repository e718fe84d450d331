"""Many curves at once through piecewise cubic interpolation: their integrals and their values.

PCHIP (Fritsch and Butland, *A method for constructing local monotone piecewise cubic interpolants*,
SIAM J. Sci. Stat. Comput. 5(2), 1984) and Akima (*A new method of interpolation and smooth curve
fitting*, J. ACM 17(4), 1970), slope for slope as scipy's PchipInterpolator and Akima1DInterpolator,
which take one curve at a time where the abscissae differ.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

INTERPOLATIONS = ("pchip", "akima")


def integrals(x: Floats, y: Floats, low: Floats, high: Floats, interpolation: str) -> Floats:
    """(R, n) knots, NaN behind the last of each row → (R,) ∫ y dx from low to high.

    x rises strictly within a row and covers low ≤ high, (R,) each. NaN where a row has fewer than
    two knots, or a bound is NaN. Two knots are a straight line.
    """

    def integral(h: Floats, s: tuple[Floats, Floats], *ends: Floats) -> Floats:
        return (h * (_antiderivative(s[1], h, *ends) - _antiderivative(s[0], h, *ends))).sum(axis=1)

    return _piecewise(x, y, (low, high), interpolation, integral)


def values(x: Floats, y: Floats, at: Floats, interpolation: str) -> Floats:
    """(R, n) knots, NaN behind a row's last → (R,) y at (R,) `at`; NaN outside the knots."""

    def value(h: Floats, s: tuple[Floats, Floats], *ends: Floats) -> Floats:
        # The piece in which `at` lies: the first whose end is not before it.
        piece = (s[0] >= 1).sum(axis=1).clip(max=h.shape[1] - 1)[:, None]
        t, h, y0, y1, d0, d1 = (
            np.take_along_axis(v, piece, axis=1)[:, 0] for v in (s[0], h, *ends)
        )
        return (
            y0 * (1 + 2 * t) * (1 - t) ** 2
            + y1 * t**2 * (3 - 2 * t)
            + h * d0 * t * (1 - t) ** 2
            - h * d1 * t**2 * (1 - t)
        )

    outside = ~((at >= np.fmin.reduce(x, axis=1)) & (at <= np.fmax.reduce(x, axis=1)))
    return np.where(outside, np.nan, _piecewise(x, y, (at, at), interpolation, value))


def _piecewise(
    x: Floats,
    y: Floats,
    bounds: tuple[Floats, Floats],
    interpolation: str,
    function: Callable[..., Floats],
) -> Floats:
    """`function` of the pieces' widths, of where in them the bounds are (0 … 1), and of values and
    slopes at their ends; rows with the same number of knots together."""
    result = np.full(len(x), np.nan)
    slopes = {"pchip": _pchip_slopes, "akima": _akima_slopes}[interpolation]
    for rows, n in _by_count(x):
        knots, heights = x[rows, :n], y[rows, :n]
        h = np.diff(knots, axis=1)
        with np.errstate(all="ignore"):
            d = slopes(h, np.diff(heights, axis=1) / h)
            s0, s1 = (((b[rows, None] - knots[:, :-1]) / h).clip(0, 1) for b in bounds)
            ends = heights[:, :-1], heights[:, 1:], d[:, :-1], d[:, 1:]
            result[rows] = function(h, (s0, s1), *ends)
    return result


def _by_count(x: Floats) -> Iterator[tuple[Ints, int]]:
    counts = (~np.isnan(x)).sum(axis=1)
    for n in np.unique(counts).tolist():
        if n >= 2:
            yield np.flatnonzero(counts == n), n


def _antiderivative(s: Floats, h: Floats, y0: Floats, y1: Floats, d0: Floats, d1: Floats) -> Floats:
    """Of the cubic Hermite piece, from its start to the share s of its width h, over h."""
    s2, s3, s4 = s**2, s**3, s**4
    return (
        y0 * (s - s3 + s4 / 2)
        + y1 * (s3 - s4 / 2)
        + h * d0 * (s2 / 2 - 2 * s3 / 3 + s4 / 4)
        + h * d1 * (s4 / 4 - s3 / 3)
    )


def _pchip_slopes(h: Floats, m: Floats) -> Floats:
    """(R, n − 1) widths and secants → (R, n)"""
    if h.shape[1] == 1:
        return np.repeat(m, 2, axis=1)
    w1, w2 = 2 * h[:, 1:] + h[:, :-1], h[:, 1:] + 2 * h[:, :-1]
    inner = (w1 + w2) / (w1 / m[:, :-1] + w2 / m[:, 1:])
    inner[~(m[:, :-1] * m[:, 1:] > 0)] = 0

    def end(h0: Floats, h1: Floats, m0: Floats, m1: Floats) -> Floats:
        slope = ((2 * h0 + h1) * m0 - h0 * m1) / (h0 + h1)
        steep = (np.sign(m0) != np.sign(m1)) & (np.abs(slope) > 3 * np.abs(m0))
        slope = np.where(steep, 3 * m0, slope)
        return np.where(np.sign(slope) != np.sign(m0), 0.0, slope)

    first = end(h[:, 0], h[:, 1], m[:, 0], m[:, 1])
    last = end(h[:, -1], h[:, -2], m[:, -1], m[:, -2])
    return np.column_stack([first, inner, last])


def _akima_slopes(h: Floats, m: Floats) -> Floats:
    """(R, n − 1) widths and secants → (R, n)"""
    if h.shape[1] == 1:
        return np.repeat(m, 2, axis=1)
    before, after = 2 * m[:, 0] - m[:, 1], 2 * m[:, -1] - m[:, -2]
    m = np.column_stack([2 * before - m[:, 0], before, m, after, 2 * after - m[:, -1]])
    change = np.abs(np.diff(m, axis=1))
    f1, f2 = change[:, 2:], change[:, :-2]
    total = f1 + f2
    weighted = m[:, 1:-2] + f2 / total * (m[:, 2:-1] - m[:, 1:-2])
    defined = total > 1e-9 * total.max(axis=1, keepdims=True)
    return np.where(defined, weighted, 0.5 * (m[:, 3:] + m[:, :-3]))
