"""Whether a curve moved: paired changes of BD-rate, and what they are worth."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.analysis.bdrate import MIN_POINTS, bd, bd_rate
from bench.analysis.bootstrap import MAX_UNDEFINED
from bench.analysis.curves import Curve

RESAMPLES = 1000
QUANTILES = (0.005, 0.995)
"""A gate judges many curves at every change of the code. With intervals of 95 % one harmless change
in ten would be called worse somewhere among four curves by chance alone, with 99 % one in fifty."""

Word = Literal["better", "same", "worse", "unclear"]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Change:
    """How much more rate the run takes at equal accuracy, percent; negative is better.

    low, high: the 99 % interval over resampled images; NaN if there is none, and `reason` says why.
    percent is NaN where undefined, likewise.
    """

    percent: float
    low: float
    high: float
    reason: str = ""

    @property
    def defined(self) -> bool:
        return not np.isnan(self.percent)


NONE_MOVED = Change(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Relative:
    """BD-rates against the anchor, percent, NaN if undefined, and the change between them: that of
    the rate as a multiple of the anchor's, so that from −30 % to −28 % it is +2.9 %."""

    before: float
    after: float
    change: Change


def own_change(baseline: Sequence[Curve], run: Sequence[Curve], interpolation: str) -> Change:
    """BD-rate of a run's curve against the same method's curve in the baseline.

    The curves are on the images themselves first, then on resamples of them, the same ones on both
    sides; without resamples there is no interval.
    """
    result = bd(baseline[0], run[0], interpolation)
    if result.status != "ok":
        return Change(np.nan, np.nan, np.nan, result.reason)
    resampled = [bd_rate(a, b, interpolation) for a, b in zip(baseline[1:], run[1:], strict=True)]
    return _with_interval(result.bd_rate, resampled)


def relative_change(
    baseline: tuple[Sequence[Curve], Sequence[Curve]],
    run: tuple[Sequence[Curve], Sequence[Curve]],
    interpolation: str,
) -> Relative:
    """How a method stands to the anchor on both sides, each (the anchor's curves, the method's)."""
    before, after = (bd(anchor[0], own[0], interpolation) for anchor, own in (baseline, run))
    if before.status != "ok" or after.status != "ok":
        reason = before.reason if before.status != "ok" else after.reason
        return Relative(before.bd_rate, after.bd_rate, Change(np.nan, np.nan, np.nan, reason))
    resampled = [
        _ratio(bd_rate(a0, m0, interpolation), bd_rate(a1, m1, interpolation))
        for a0, m0, a1, m1 in zip(
            baseline[0][1:], baseline[1][1:], run[0][1:], run[1][1:], strict=True
        )
    ]
    change = _with_interval(_ratio(before.bd_rate, after.bd_rate), resampled)
    return Relative(before.bd_rate, after.bd_rate, change)


def accuracy_change(baseline: Sequence[Curve], run: Sequence[Curve], interpolation: str) -> Change:
    """The mean loss of accuracy at equal rate, in the metric's unit; positive is worse.

    For curves that share too little accuracy for a BD-rate.
    """
    losses = [-bd(a, b, interpolation).bd_metric for a, b in zip(baseline, run, strict=True)]
    if np.isnan(losses[0]):
        reason = "the curves share too little accuracy, and too little rate"
        return Change(np.nan, np.nan, np.nan, reason)
    return _with_interval(losses[0], losses[1:])


def usable(curve: Curve) -> bool:
    """Whether a BD-rate could rest on it."""
    return len(curve.rate) >= MIN_POINTS


def beyond(change: Change, threshold: float) -> Word:
    """`worse` or `better` if the change is beyond the threshold (percent) and its interval excludes
    zero, `unclear` if it is beyond and its interval is withheld, else `same`.

    Without resamples the point estimate decides alone.
    """
    if abs(change.percent) <= threshold:
        return "same"
    if np.isnan(change.low):
        if change.reason:
            return "unclear"
    elif change.low <= 0 <= change.high:
        return "same"
    return "worse" if change.percent > 0 else "better"


def _ratio(before: float, after: float) -> float:
    return 100 * ((100 + after) / (100 + before) - 1)


def _with_interval(percent: float, resampled: Sequence[float]) -> Change:
    values: Floats = np.array(resampled, np.float64)
    undefined = int(np.isnan(values).sum())
    if len(values) == 0:
        return Change(percent, np.nan, np.nan)
    if undefined > MAX_UNDEFINED * len(values):
        reason = f"no interval: undefined in {undefined} of {len(values)} resamples"
        return Change(percent, np.nan, np.nan, reason)
    low, high = np.nanquantile(values, QUANTILES)
    return Change(percent, float(low), float(high))
