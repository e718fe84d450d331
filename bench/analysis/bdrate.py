"""BD-rate and BD-metric: two curves compared over the accuracies, or the rates, that they share.

G. Bjøntegaard, *Calculation of average PSNR differences between RD-curves*, ITU-T VCEG-M33, 2001,
with PCHIP or Akima in place of the cubic fit, which can explode on curves that saturate. The
numbers are those of the `bjontegaard` package; what it leaves to its caller (order, ties, overlap)
is decided here and in `curves.prepare`, so that a comparison without ground is `undefined`, never a
number.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import bjontegaard
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.analysis.bootstrap import interval
from bench.analysis.curves import Curve, Measurement, OperatingPoint, prepare
from bench.tasks.base import Metric

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
]

INTERPOLATIONS = ("pchip", "akima")

MIN_POINTS = 2
"""On each curve. Two make a straight line in both interpolations; Akima needs no more."""
MIN_OVERLAP = 0.1
"""Least share of the range that the two curves span together which both must cover. The union, not
the smaller range, is the measure: two flat ends of noise may cover each other wholly and still say
nothing of the curves."""
GOOD_OVERLAP = 0.75
"""Below this the number stands, and the reason says how little it rests on (the `bjontegaard`
package warns there)."""


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


def bd_table(measurements: Sequence[Measurement], policy: str) -> pd.DataFrame:
    """bd.csv: every method but the anchor × metric × interpolation, columns `BD_COLUMNS`.

    The interval is that of BD-rate over the resamples, rate and accuracy resampled together; it is
    withheld, and the reason says so, if more than 5 % of the resamples have no BD-rate.
    """
    rows = [row for m in measurements for row in _rows(m, policy)]
    table = pd.DataFrame(rows, columns=BD_COLUMNS)
    return table.drop_duplicates(
        ["dataset", "task", "model", "metric", "anchor", "method", "interpolation"],
        ignore_index=True,
    )


def _rows(m: Measurement, policy: str) -> list[tuple[object, ...]]:
    anchor = m.experiment.anchor
    anchor_names = [f"QP {point.qp}" for point in m.of(anchor)]
    rows: list[tuple[object, ...]] = []
    for k, metric in enumerate(m.metrics):
        anchors = _curves(m.of(anchor), k, metric, policy)
        for method in m.experiment.methods:
            if method == anchor:
                continue
            names = [f"QP {point.qp}" for point in m.of(method)]
            tests = _curves(m.of(method), k, metric, policy)
            for interpolation in INTERPOLATIONS:
                result = bd(anchors[0], tests[0], interpolation)
                reasons = [
                    result.reason,
                    _prefixed(anchor, anchors[0].describe_changes(anchor_names)),
                    _prefixed(method, tests[0].describe_changes(names)),
                ]
                low = high = np.nan
                if result.status == "ok":
                    resampled = [
                        bd_rate(a, t, interpolation)
                        for a, t in zip(anchors[1:], tests[1:], strict=True)
                    ]
                    bounds = interval(np.array(resampled, np.float64))
                    low, high = bounds.low, bounds.high
                    reasons.append(bounds.reason)
                rows.append(
                    (
                        m.experiment.dataset,
                        m.experiment.task,
                        m.model.name,
                        metric.name,
                        anchor,
                        method,
                        interpolation,
                        policy,
                        result.bd_rate,
                        low,
                        high,
                        result.bd_metric,
                        result.overlap,
                        result.n_points,
                        result.status,
                        "; ".join(reason for reason in reasons if reason),
                    )
                )
    return rows


def _curves(points: list[OperatingPoint], k: int, metric: Metric, policy: str) -> list[Curve]:
    """The method's curve on the surviving images, then on each resample."""
    sign = 1.0 if metric.higher_is_better else -1.0
    rates = np.column_stack([point.bpp for point in points])
    qualities = sign * np.column_stack([point.values[:, k] for point in points])
    return [prepare(r, q, policy) for r, q in zip(rates, qualities, strict=True)]


def _prefixed(method: str, changes: str) -> str:
    return f"{method} {changes}" if changes else ""
