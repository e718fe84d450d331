"""BD-rate and BD-metric: two curves compared over the accuracies, or the rates, that they share.

G. Bjøntegaard, *Calculation of average PSNR differences between RD-curves*, ITU-T VCEG-M33, 2001,
with PCHIP or Akima in place of the cubic fit, which can explode on curves that saturate. The
numbers are those of the `bjontegaard` package; what it leaves to its caller (order, ties, overlap)
is decided here and in `curves.prepare`, so that a comparison without ground is `undefined`, never a
number.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.analysis import plain_matplotlib  # noqa: F401  bjontegaard imports it
from bench.analysis.curves import Curve, CurveRows
from bench.analysis.interpolation import INTERPOLATIONS, integrals
from bench.results.rows import Status

Floats = NDArray[np.float64]

MIN_POINTS = 2
"""On each curve. Two make a straight line in both interpolations; Akima needs no more."""
MIN_OVERLAP = 0.1
"""Least share of the range that the two curves span together which both must cover. The union, not
the smaller range, is the measure: two flat ends of noise may cover each other wholly and still say
nothing of the curves."""
GOOD_OVERLAP = 0.75
"""Below this the number stands, and the reason says how little it rests on (the `bjontegaard`
package warns there)."""
MIN_RANGE = 0.5
"""Least share of a named accuracy range that both curves must cover."""

SIDES = ("anchor", "method")
"""What reasons call the two curves."""


@dataclass(frozen=True)
class BD:
    """A curve compared with its anchor.

    bd_rate: mean difference in rate at equal accuracy, percent; negative saves bits; NaN if
    undefined. bd_metric: mean difference in accuracy at equal (log) rate, in the metric's unit;
    positive is better, also for a metric where lower is better; NaN where the curves share too
    little rate. overlap: shared range of accuracy as a share of the range that both span together,
    in [0, 1]. n_points: points used of the curve that has fewer. reason: why undefined, and, also
    if ok, what the number should be taken with.
    """

    bd_rate: float
    bd_metric: float
    overlap: float
    n_points: int
    status: Status
    reason: str


def overlap(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Length of the range that a and b share, as a share of the range that they span together."""
    if len(a) == 0 or len(b) == 0:
        return 0.0
    span = max(a.max(), b.max()) - min(a.min(), b.min())
    shared = min(a.max(), b.max()) - max(a.min(), b.min())
    return float(max(shared, 0.0) / span) if span > 0 else 0.0


def bd(
    anchor: Curve,
    test: Curve,
    interpolation: str,
    names: tuple[str, str] = SIDES,
) -> BD:
    """Compare two prepared curves; `interpolation` is `pchip` or `akima`. A reason calls them by
    their `names`.

    Undefined if a curve has fewer than two points, if quality falls anywhere as the rate rises
    (which only the policy `raw` lets through), or if the overlap of qualities is under 10 %.
    Raises ValueError for another interpolation.
    """
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"interpolation {interpolation!r}; there are: {', '.join(INTERPOLATIONS)}")
    shared = overlap(anchor.quality, test.quality)
    n_points = min(len(anchor.rate), len(test.rate))
    reason = _obstacle(anchor, test, shared, names)
    rate = np.nan if reason else _bd_rate(anchor, test, interpolation)
    if not reason and np.isnan(rate):
        reason = "the curves are too steep for a finite difference in rate"
    if reason:
        return BD(
            np.nan, _bd_metric(anchor, test, interpolation), shared, n_points, "undefined", reason
        )
    notes = []
    if n_points == MIN_POINTS:
        notes.append("only 2 points on a curve: straight lines")
    if shared < GOOD_OVERLAP:
        notes.append(f"rests on {100 * shared:.0f} % of the accuracy range")
    metric = _bd_metric(anchor, test, interpolation)
    return BD(rate, metric, shared, n_points, "ok", "; ".join(notes))


def bd_rate(anchor: Curve, test: Curve, interpolation: str) -> float:
    """`bd(…).bd_rate` alone, percent or NaN: the fast way for resamples."""
    if _obstacle(anchor, test, overlap(anchor.quality, test.quality)):
        return np.nan
    return _bd_rate(anchor, test, interpolation)


def bd_rate_rows(anchor: CurveRows, test: CurveRows, interpolation: str) -> Floats:
    """`bd_rate` of (R,) pairs of curves, percent, NaN where undefined."""
    low, high, shared = _shared(anchor.quality, test.quality)
    rising = np.ones(len(low), bool)
    for curve in (anchor, test):
        rising &= ~(np.diff(curve.quality, axis=1) <= 0).any(axis=1)
    low, high = np.where(rising & (shared >= MIN_OVERLAP), (low, high), np.nan)
    return _mean_rate_difference(anchor, test, low, high, interpolation)


def bd_rate_within(
    anchor: CurveRows, test: CurveRows, bottom: Floats, top: Floats, interpolation: str
) -> tuple[Floats, Floats]:
    """BD-rate over the qualities from (R,) bottom to top → (R,) percent, and the share of that
    range that both curves cover; NaN where that is under a half."""
    low, high, _ = _shared(anchor.quality, test.quality)
    low, high = np.maximum(low, bottom), np.minimum(high, top)
    for curve in (anchor, test):
        low[(np.diff(curve.quality, axis=1) <= 0).any(axis=1)] = np.nan
    with np.errstate(invalid="ignore", divide="ignore"):
        covered = ((high - low) / (top - bottom)).clip(min=0)
        low = np.where(covered >= MIN_RANGE, low, np.nan)
    return _mean_rate_difference(anchor, test, low, high, interpolation), covered


def bd_metric_rows(anchor: CurveRows, test: CurveRows, interpolation: str) -> Floats:
    """`bd(…).bd_metric` of (R,) pairs of curves, NaN where undefined."""
    x, y = np.log(anchor.rate), np.log(test.rate)
    low, high, shared = _shared(x, y)
    low, high = np.where(shared >= MIN_OVERLAP, (low, high), np.nan)
    area = integrals(y, test.quality, low, high, interpolation)
    with np.errstate(invalid="ignore"):
        return (area - integrals(x, anchor.quality, low, high, interpolation)) / (high - low)


def _shared(a: Floats, b: Floats) -> tuple[Floats, Floats, Floats]:
    """(R, n) each → (R,) bounds of the shared range, and `overlap`; NaN with under 2 points."""
    few = np.minimum((~np.isnan(a)).sum(axis=1), (~np.isnan(b)).sum(axis=1)) < MIN_POINTS
    a, b = (np.where(few[:, None], np.nan, v) for v in (a, b))
    lows = np.fmin.reduce(a, axis=1), np.fmin.reduce(b, axis=1)
    highs = np.fmax.reduce(a, axis=1), np.fmax.reduce(b, axis=1)
    low, high = np.maximum(*lows), np.minimum(*highs)
    with np.errstate(invalid="ignore", divide="ignore"):
        shared = (high - low).clip(min=0) / (np.maximum(*highs) - np.minimum(*lows))
    return low, high, shared


def _mean_rate_difference(
    anchor: CurveRows, test: CurveRows, low: Floats, high: Floats, interpolation: str
) -> Floats:
    """(R,) percent over the qualities from low to high."""
    area = integrals(test.quality, np.log(test.rate), low, high, interpolation)
    area -= integrals(anchor.quality, np.log(anchor.rate), low, high, interpolation)
    with np.errstate(all="ignore"):
        percent = np.expm1(area / (high - low)) * 100
    return np.where(np.isfinite(percent), percent, np.nan)


def _obstacle(anchor: Curve, test: Curve, shared: float, names: tuple[str, str] = SIDES) -> str:
    """Why no BD-rate can be given; empty if one can."""
    for name, curve in zip(names, (anchor, test), strict=True):
        if len(curve.rate) < MIN_POINTS:
            return f"{name} has {len(curve.rate)} usable points, {MIN_POINTS} are needed"
        if (np.diff(curve.quality) <= 0).any():
            return f"accuracy of the {name} falls somewhere as the rate rises"
    if shared == 0:
        return "the curves share no accuracy"
    if shared < MIN_OVERLAP:
        needed = f"{100 * MIN_OVERLAP:.0f} % are needed"
        return f"the curves share {100 * shared:.1f} % of the accuracy range, {needed}"
    return ""


def _bd_rate(anchor: Curve, test: Curve, interpolation: str) -> float:
    import bjontegaard

    with np.errstate(over="ignore", invalid="ignore"):
        percent = float(
            bjontegaard.bd_rate(
                anchor.rate,
                anchor.quality,
                test.rate,
                test.quality,
                interpolation,
                require_matching_points=False,
                min_overlap=0,
            )
        )
    return percent if np.isfinite(percent) else np.nan


def _bd_metric(anchor: Curve, test: Curve, interpolation: str) -> float:
    if min(len(anchor.rate), len(test.rate)) < MIN_POINTS:
        return np.nan
    if overlap(np.log(anchor.rate), np.log(test.rate)) < MIN_OVERLAP:
        return np.nan
    import bjontegaard

    return float(
        bjontegaard.bd_psnr(
            anchor.rate,
            anchor.quality,
            test.rate,
            test.quality,
            interpolation,
            require_matching_points=False,
            min_overlap=0,
        )
    )
