"""A method's BD-rates averaged over models and over data sets.

The arithmetic mean in percent, as the common test conditions of JVET and MPEG average BD-rates over
sequences. Undefined BD-rates are no part of it, and each row says how many those were and which.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.analysis.bootstrap import NONE, Interval, interval
from bench.analysis.pairs import Pair, joined
from bench.results.rows import MeanRow, known

Floats = NDArray[np.float64]
Numbers = Callable[[Pair], Floats]
"""(R,) percent of a pair, rows as those of `Pair.rates`."""


def mean_rows(pairs: Sequence[Pair]) -> list[MeanRow]:
    """Rows for each task, metric, method, anchor and interpolation: over the models of each data
    set that has several, and over the data sets where there are several.

    Over data sets it is the mean of their means over models. Intervals are percentiles of the means
    over the resamples: one resample draws the same images for every model of a data set, and each
    data set's own.
    """
    groups: defaultdict[tuple[str, ...], list[Pair]] = defaultdict(list)
    for pair in pairs:
        about = pair.m.experiment.task, pair.prepared.metric.name, pair.method, pair.against
        groups[*about, pair.interpolation].append(pair)
    return [row for group in groups.values() for row in _rows(group)]


def _rows(group: Sequence[Pair]) -> Iterator[MeanRow]:
    by_dataset: defaultdict[str, list[Pair]] = defaultdict(list)
    for pair in group:
        by_dataset[pair.m.experiment.dataset].append(pair)
    for dataset, own in by_dataset.items():
        if len(own) > 1:
            yield _row(f"models of {dataset}", [own])
    if len(by_dataset) > 1:
        yield _row("data sets", list(by_dataset.values()))


def _row(over: str, groups: Sequence[Sequence[Pair]]) -> MeanRow:
    first = groups[0][0]
    whole, near = _mean(groups, lambda p: p.rates), _mean(groups, lambda p: p.ranged)
    reasons = [whole.reason]
    if near.reason != whole.reason:
        reasons.append(f"{first.prepared.analysis.range}: {near.reason or 'all are defined'}")
    return MeanRow(
        task=first.m.experiment.task,
        metric=first.prepared.metric.name,
        method=first.method,
        anchor=first.against,
        over=over,
        n=whole.n,
        n_undefined=sum(map(len, groups)) - whole.n,
        interpolation=first.interpolation,
        policy=first.prepared.analysis.policy,
        bd_rate=known(whole.percent),
        ci_low=known(whole.bounds.low),
        ci_high=known(whole.bounds.high),
        range=first.prepared.analysis.range,
        range_bd_rate=known(near.percent),
        range_low=known(near.bounds.low),
        range_high=known(near.bounds.high),
        n_range=near.n,
        reason=joined(*reasons),
    )


@dataclass(frozen=True)
class _Mean:
    percent: float
    """NaN where no BD-rate is defined."""
    bounds: Interval
    n: int
    reason: str


def _mean(groups: Sequence[Sequence[Pair]], numbers: Numbers) -> _Mean:
    """Over the groups of their means over pairs; pairs without a number are left out."""
    kept = [[p for p in group if not np.isnan(numbers(p)[0])] for group in groups]
    n = sum(map(len, kept))
    left_out = [
        f"{p.m.model.name} on {p.m.experiment.dataset}"
        for group in groups
        for p in group
        if np.isnan(numbers(p)[0])
    ]
    reason = f"left out, as undefined: {', '.join(left_out)}" if left_out else ""
    defined = [group for group in kept if group]
    if not defined:
        return _Mean(np.nan, NONE, 0, reason)
    percent = float(np.mean([np.mean([numbers(p)[0] for p in group]) for group in defined]))
    bounds = _interval(defined, numbers)
    return _Mean(percent, bounds, n, joined(reason, bounds.reason))


def _interval(groups: Sequence[Sequence[Pair]], numbers: Numbers) -> Interval:
    for group in groups:
        one = group[0].m
        for m in (p.m for p in group):
            if m.obstacle:
                said = f"{m.model.name} on {m.experiment.dataset}: {m.obstacle}"
                return Interval(np.nan, np.nan, f"no interval: {said}")
            if not np.array_equal(m.surviving, one.surviving):
                dataset = m.experiment.dataset
                said = f"the models of {dataset} do not rest on the same images"
                return Interval(np.nan, np.nan, f"no interval: {said}")
    drawn = [[numbers(p)[1 : p.m.rows] for p in group] for group in groups]
    return interval(np.mean([np.mean(group, axis=0) for group in drawn], axis=0))
