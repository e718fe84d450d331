"""Rates at equal accuracy: the bits that it takes to stay within a few percent of the clean score.

What an engineer who deploys a codec asks, where BD-rate averages over accuracies that nobody would
accept. Levels are the manifest's `analysis.within`, in percent of the clean score.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.analysis.bootstrap import NONE
from bench.analysis.curves import CurveRows, Measurement, prepare_rows
from bench.analysis.interpolation import INTERPOLATIONS, values
from bench.analysis.results import UNCOMPRESSED

EQUAL_COLUMNS = [
    "dataset",
    "task",
    "model",
    "metric",
    "anchor",
    "method",
    "interpolation",
    "policy",
    "within",
    "target",
    "bpp",
    "ci_low",
    "ci_high",
    "change",
    "change_low",
    "change_high",
    "reason",
]

Floats = NDArray[np.float64]


def target(clean: Floats, percent: float) -> Floats:
    """Quality (higher meaning better) that is `percent` of the clean score below it."""
    return clean - percent / 100 * np.abs(clean)


def rate_at(curves: CurveRows, quality: Floats, interpolation: str) -> Floats:
    """(R,) bpp at (R,) qualities; NaN where a curve does not reach one, or only starts above it."""
    log_rates = values(curves.quality, np.log(curves.rate), quality, interpolation)
    with np.errstate(over="ignore"):  # Akima may swing without bound on a resample
        return np.exp(log_rates)


def equal_accuracy_table(
    measurements: Sequence[Measurement], policy: str, within: Sequence[float]
) -> pd.DataFrame:
    """equal_accuracy.csv: a row per method × metric × interpolation × level, `EQUAL_COLUMNS`.

    within: percent of the clean score; target: the accuracy meant, in the metric's unit; bpp with
    its interval; change: percent against the anchor's bpp at the same accuracy with its paired
    interval, negative saves bits, empty for the anchor. reason: why a field is empty.
    """
    rows = [row for m in measurements for row in _rows(m, policy, within)]
    table = pd.DataFrame(rows, columns=EQUAL_COLUMNS)
    return table.drop_duplicates(
        ["dataset", "task", "model", "metric", "anchor", "method", "interpolation", "within"],
        ignore_index=True,
    )


def _rows(m: Measurement, policy: str, within: Sequence[float]) -> Iterator[tuple[object, ...]]:
    anchor = m.experiment.anchor
    methods = [anchor, *(method for method in m.experiment.methods if method != anchor)]
    clean = m.of(UNCOMPRESSED)[0]
    for k, metric in enumerate(m.metrics):
        sign = 1.0 if metric.higher_is_better else -1.0
        curves = {
            method: prepare_rows(
                np.column_stack([p.bpp for p in m.of(method)]),
                sign * np.column_stack([p.values[:, k] for p in m.of(method)]),
                policy,
            )
            for method in methods
        }
        for interpolation in INTERPOLATIONS:
            for percent in within:
                wanted = target(sign * clean.values[:, k], percent)
                rates = {x: rate_at(c, wanted, interpolation) for x, c in curves.items()}
                for method in methods:
                    rate = rates[method]
                    change = 100 * (rate / rates[anchor] - 1)
                    reasons = [_unreached(method, curves[method], wanted[0], sign)]
                    around, moved = m.interval(rate[1:]), m.interval(change[1:])
                    if np.isnan(rate[0]):
                        around = moved = NONE
                    else:
                        reasons.append(around.reason)
                    if method == anchor:
                        change, moved = np.full(1, np.nan), NONE
                    elif np.isnan(change[0]):
                        moved = NONE
                        if not np.isnan(rate[0]):
                            reasons.append(_unreached(anchor, curves[anchor], wanted[0], sign))
                    elif moved.reason != around.reason:
                        reasons.append(f"change: {moved.reason}" if moved.reason else "")
                    yield (
                        m.experiment.dataset,
                        m.experiment.task,
                        m.model.name,
                        metric.name,
                        anchor,
                        method,
                        interpolation,
                        policy,
                        percent,
                        sign * wanted[0],
                        rate[0],
                        around.low,
                        around.high,
                        change[0],
                        moved.low,
                        moved.high,
                        "; ".join(reason for reason in reasons if reason),
                    )


def _unreached(method: str, curves: CurveRows, wanted: float, sign: float) -> str:
    """Why there is no rate on the images themselves; empty if there is one."""
    quality, rate = (v[0][~np.isnan(v[0])] for v in (curves.quality, curves.rate))
    if np.isnan(wanted) or len(quality) < 2:
        return f"{method} has {len(quality)} usable points, 2 are needed"
    if (np.diff(quality) <= 0).any():
        return f"accuracy of {method} falls somewhere as the rate rises"
    if wanted > quality[-1]:
        return f"{method} does not reach it: {sign * quality[-1]:.4g} at {rate[-1]:.4g} bpp"
    if wanted < quality[0]:
        return f"{method} stays above it down to {rate[0]:.4g} bpp, its coarsest point"
    return ""
