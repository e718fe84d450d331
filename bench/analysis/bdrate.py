"""BD-rate and BD-metric: two curves compared over the accuracies, or the rates, that they share.

G. Bjøntegaard, *Calculation of average PSNR differences between RD-curves*, ITU-T VCEG-M33, 2001,
with PCHIP or Akima in place of the cubic fit, which can explode on curves that saturate. The
numbers are those of the `bjontegaard` package; what it leaves to its caller (order, ties, overlap)
is decided here and in `curves.prepare`, so that a comparison without ground is `undefined`, never a
number.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.analysis import plain_matplotlib  # noqa: F401  bjontegaard imports it
from bench.analysis.bootstrap import NONE, Interval, bca
from bench.analysis.curves import (
    Curve,
    CurveRows,
    Measurement,
    OperatingPoint,
    prepare,
    prepare_rows,
)
from bench.analysis.diagnosis import falls, saturation
from bench.analysis.equal_accuracy import target
from bench.analysis.interpolation import INTERPOLATIONS, integrals
from bench.analysis.results import UNCOMPRESSED

BD_COLUMNS = [
    "dataset",
    "task",
    "model",
    "metric",
    "anchor",
    "method",
    "interpolation",
    "policy",
    "bd_rate",
    "ci_low",
    "ci_high",
    "bd_metric",
    "overlap",
    "n_points",
    "status",
    "reason",
    "bca_low",
    "bca_high",
    "wins",
    "undefined",
    "bd_metric_low",
    "bd_metric_high",
    "bd_metric_bca_low",
    "bd_metric_bca_high",
    "range",
    "range_bd_rate",
    "range_low",
    "range_high",
    "range_reason",
]

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
    status: Literal["ok", "undefined"]
    reason: str


def overlap(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Length of the range that a and b share, as a share of the range that they span together."""
    if len(a) == 0 or len(b) == 0:
        return 0.0
    span = max(a.max(), b.max()) - min(a.min(), b.min())
    shared = min(a.max(), b.max()) - max(a.min(), b.min())
    return float(max(shared, 0.0) / span) if span > 0 else 0.0


def bd(anchor: Curve, test: Curve, interpolation: str) -> BD:
    """Compare two prepared curves; `interpolation` is `pchip` or `akima`.

    Undefined if a curve has fewer than two points, if quality falls anywhere as the rate rises
    (which only the policy `raw` lets through), or if the overlap of qualities is under 10 %.
    Raises ValueError for another interpolation.
    """
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"interpolation {interpolation!r}; there are: {', '.join(INTERPOLATIONS)}")
    shared = overlap(anchor.quality, test.quality)
    n_points = min(len(anchor.rate), len(test.rate))
    reason = _obstacle(anchor, test, shared)
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
        notes.append(f"rests on {shared:.0%} of the accuracy range")
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


def _obstacle(anchor: Curve, test: Curve, shared: float) -> str:
    """Why no BD-rate can be given; empty if one can."""
    for name, curve in (("anchor", anchor), ("method", test)):
        if len(curve.rate) < MIN_POINTS:
            return f"{name} has {len(curve.rate)} usable points, {MIN_POINTS} are needed"
        if (np.diff(curve.quality) <= 0).any():
            return f"accuracy of the {name} falls somewhere as the rate rises"
    if shared == 0:
        return "the curves share no accuracy"
    if shared < MIN_OVERLAP:
        return f"the curves share {shared:.1%} of the accuracy range, {MIN_OVERLAP:.0%} are needed"
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


# --- the table ------------------------------------------------------------------------------------


def bd_table(
    measurements: Sequence[Measurement], policy: str, within: Sequence[float]
) -> pd.DataFrame:
    """bd.csv: every method but the anchor × metric × interpolation, columns `BD_COLUMNS`.

    Intervals are those of the number over the resamples, rate and accuracy resampled together;
    ci_low … ci_high is the percentile interval, bca_low … bca_high the BCa interval. They are
    withheld, and the reason says so, if more than 5 % of the resamples have no number; undefined is
    the share of those without a BD-rate, wins the share of the others in which the method saves
    bits. range_*: the BD-rate over the accuracies that lie the first to the last of `within`,
    percent, below the clean score.
    """
    rows = [row for m in measurements for row in _rows(m, policy, within)]
    table = pd.DataFrame(rows, columns=BD_COLUMNS)
    return table.drop_duplicates(
        ["dataset", "task", "model", "metric", "anchor", "method", "interpolation"],
        ignore_index=True,
    )


def resampled_bd_rates(
    m: Measurement, k: int, method: str, policy: str, interpolation: str
) -> Floats:
    """(1 + resamples,) BD-rates of a method on metric k, percent, NaN where undefined."""
    curves = [_Method.of(m, name, k, policy).rows for name in (m.experiment.anchor, method)]
    return bd_rate_rows(curves[0], curves[1], interpolation)[: len(m.points[0].values)]


@dataclass(frozen=True)
class _Method:
    """A method's curves on one metric."""

    curve: Curve
    """On the surviving images."""
    rows: CurveRows
    """Row 0 the same, then the resamples, then without a group of images each."""
    remarks: list[str]

    @staticmethod
    def of(m: Measurement, method: str, k: int, policy: str) -> "_Method":
        points = m.of(method)
        sign = 1.0 if m.metrics[k].higher_is_better else -1.0
        rates = np.column_stack([np.r_[p.bpp, p.bpp_without] for p in points])
        qualities = sign * np.column_stack([_all(p, k) for p in points])
        curve = prepare(rates[0], qualities[0], policy)
        changes = curve.describe_changes([f"QP {point.qp}" for point in points])
        finest = np.argsort(-rates[0])
        qps = [points[i].qp for i in finest.tolist()]
        paired = qualities[: len(points[0].values), finest]
        clean = sign * m.of(UNCOMPRESSED)[0].values[:, k]
        remarks = [
            f"{method} {changes}" if changes else "",
            falls(method, qps, paired),
            saturation(method, qps, paired, clean),
        ]
        return _Method(curve, prepare_rows(rates, qualities, policy), remarks)


def _all(point: OperatingPoint, k: int) -> Floats:
    """On the surviving images, the resamples, and without a group of images each."""
    without = point.values_without[:, k] if point.values_without.size else np.empty(0)
    return np.r_[point.values[:, k], without]


def _rows(m: Measurement, policy: str, within: Sequence[float]) -> Iterator[tuple[object, ...]]:
    anchor, n = m.experiment.anchor, m.rows
    for k, metric in enumerate(m.metrics):
        sign = 1.0 if metric.higher_is_better else -1.0
        methods = {x: _Method.of(m, x, k, policy) for x in m.experiment.methods}
        clean = sign * _all(m.of(UNCOMPRESSED)[0], k)
        bottom, top = (target(clean, percent) for percent in (within[-1], within[0]))
        one = methods[anchor]
        for name, other in methods.items():
            if name == anchor:
                continue
            for interpolation in INTERPOLATIONS:
                result = bd(one.curve, other.curve, interpolation)
                rates = bd_rate_rows(one.rows, other.rows, interpolation)
                metrics = bd_metric_rows(one.rows, other.rows, interpolation)
                bounds, accelerated = _intervals(m, result.bd_rate, rates)
                metric_bounds, metric_accelerated = _intervals(m, result.bd_metric, metrics)
                ranged, covered = bd_rate_within(one.rows, other.rows, bottom, top, interpolation)
                range_bounds, _ = _intervals(m, ranged[0], ranged)
                known = rates[1:n][~np.isnan(rates[1:n])]
                reasons = [
                    result.reason,
                    *one.remarks,
                    *other.remarks,
                    bounds.reason or accelerated.reason,
                ]
                yield (
                    m.experiment.dataset,
                    m.experiment.task,
                    m.model.name,
                    metric.name,
                    anchor,
                    name,
                    interpolation,
                    policy,
                    result.bd_rate,
                    bounds.low,
                    bounds.high,
                    result.bd_metric,
                    result.overlap,
                    result.n_points,
                    result.status,
                    "; ".join(reason for reason in reasons if reason),
                    accelerated.low,
                    accelerated.high,
                    float((known < 0).mean()) if len(known) else np.nan,
                    1 - len(known) / (n - 1) if n > 1 else np.nan,
                    metric_bounds.low,
                    metric_bounds.high,
                    metric_accelerated.low,
                    metric_accelerated.high,
                    f"{within[0]:g}–{within[-1]:g} % below clean",
                    ranged[0],
                    range_bounds.low,
                    range_bounds.high,
                    "; ".join(
                        reason
                        for reason in (_about_range(ranged[0], covered[0]), range_bounds.reason)
                        if reason
                    ),
                )


def _intervals(m: Measurement, value: float, rows: Floats) -> tuple[Interval, Interval]:
    """Percentile and BCa; empty where the value is undefined."""
    if np.isnan(value):
        return NONE, NONE
    n = m.rows
    plain = m.interval(rows[1:n])
    return plain, plain if plain.reason else bca(rows[1:n], value, rows[n:])


def _about_range(value: float, covered: float) -> str:
    """Why the range has no BD-rate, or on how little it rests."""
    share = 0.0 if np.isnan(covered) else covered
    if np.isnan(value):
        return f"the curves cover {share:.0%} of the range, {MIN_RANGE:.0%} are needed"
    return f"rests on {share:.0%} of the range" if share < GOOD_OVERLAP else ""
