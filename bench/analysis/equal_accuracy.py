"""Rates at equal accuracy: the bits that it takes to stay within a few percent of the clean score.

What an engineer who deploys a codec asks, where BD-rate averages over accuracies that nobody would
accept. Levels are the manifest's `analysis.within`, in percent of the clean score.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.analysis.bootstrap import NONE, Interval
from bench.analysis.curves import CurveRows, Measurement
from bench.analysis.interpolation import INTERPOLATIONS, values
from bench.analysis.prepared import Prepared
from bench.results.rows import EqualAccuracyRow, distinct, known

Floats = NDArray[np.float64]


def rate_at(curves: CurveRows, quality: Floats, interpolation: str) -> Floats:
    """(R,) bpp at (R,) qualities; NaN where a curve does not reach one, or only starts above it."""
    log_rates = values(curves.quality, np.log(curves.rate), quality, interpolation)
    with np.errstate(over="ignore"):  # Akima may swing without bound on a resample
        return np.exp(log_rates)


def equal_accuracy_rows(prepared: Sequence[Prepared]) -> list[EqualAccuracyRow]:
    """A row per method × metric × interpolation × level of `analysis.within`."""
    rows = (row for p in prepared for row in _rows(p))
    return distinct(
        rows,
        lambda r: (
            *(r.dataset, r.task, r.model, r.metric, r.anchor, r.method, r.interpolation),
            r.within,
        ),
    )


def _rows(p: Prepared) -> Iterator[EqualAccuracyRow]:
    anchor, n = p.m.experiment.anchor, len(p.m.points[0].values)
    methods = [anchor, *(method for method in p.methods if method != anchor)]
    for interpolation in INTERPOLATIONS:
        for percent in p.analysis.within:
            wanted = p.below_clean(percent)
            rates = {
                name: rate_at(method.rows, wanted, interpolation)[:n]
                for name, method in p.methods.items()
            }
            level = _Level(p, percent, float(wanted[0]), rates)
            for method in methods:
                yield level.row(method, interpolation)


@dataclass(frozen=True)
class _Level:
    """Every method at one accuracy."""

    p: Prepared
    percent: float
    wanted: float
    """Quality (higher meaning better) on the images themselves."""
    rates: dict[str, Floats]
    """(1 + resamples,) bpp there."""

    @property
    def m(self) -> Measurement:
        return self.p.m

    def row(self, method: str, interpolation: str) -> EqualAccuracyRow:
        around, *reasons = self._bits(method)
        change, moved, reason = self._change(method, around)
        return EqualAccuracyRow(
            dataset=self.m.experiment.dataset,
            task=self.m.experiment.task,
            model=self.m.model.name,
            metric=self.p.metric.name,
            anchor=self.m.experiment.anchor,
            method=method,
            interpolation=interpolation,
            policy=self.p.analysis.policy,
            within=self.percent,
            target=known(self.p.sign * self.wanted),
            bpp=known(self.rates[method][0]),
            ci_low=known(around.low),
            ci_high=known(around.high),
            change=known(change),
            change_low=known(moved.low),
            change_high=known(moved.high),
            reason="; ".join(filter(None, [*reasons, reason])),
        )

    def _bits(self, method: str) -> tuple[Interval, str, str]:
        """The interval of a method's rate, and why something is missing."""
        rate, unreached = self.rates[method], self._unreached(method)
        if np.isnan(rate[0]):
            return NONE, unreached, ""
        around = self.m.interval(rate[1:])
        return around, unreached, around.reason

    def _change(self, method: str, around: Interval) -> tuple[float, Interval, str]:
        """Against the anchor, percent; `around` is the interval of the method's own rate."""
        anchor, rate = self.m.experiment.anchor, self.rates[method]
        if method == anchor or np.isnan(rate[0]):
            return np.nan, NONE, ""
        change = 100 * (rate / self.rates[anchor] - 1)
        if np.isnan(change[0]):
            return np.nan, NONE, self._unreached(anchor)
        moved = self.m.interval(change[1:])
        new = moved.reason and moved.reason != around.reason
        return float(change[0]), moved, f"change: {moved.reason}" if new else ""

    def _unreached(self, method: str) -> str:
        """Why a method has no rate on the images themselves; empty if it has one."""
        curves = self.p.methods[method].rows
        quality, rate = (v[0][~np.isnan(v[0])] for v in (curves.quality, curves.rate))
        if np.isnan(self.wanted) or len(quality) < 2:
            return f"{method} has {len(quality)} usable points, 2 are needed"
        if (np.diff(quality) <= 0).any():
            return f"accuracy of {method} falls somewhere as the rate rises"
        if self.wanted > quality[-1]:
            best = self.p.sign * quality[-1]
            return f"{method} does not reach it: {best:.4g} at {rate[-1]:.4g} bpp"
        if self.wanted < quality[0]:
            return f"{method} stays above it down to {rate[0]:.4g} bpp, its coarsest point"
        return ""
