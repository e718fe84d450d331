"""A method against another one: against the anchor in bd.csv, any against any in pairs.csv."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from bench.analysis.bdrate import (
    BD,
    GOOD_OVERLAP,
    MIN_RANGE,
    SIDES,
    bd,
    bd_metric_rows,
    bd_rate_rows,
    bd_rate_within,
)
from bench.analysis.bootstrap import NONE, Interval, bca
from bench.analysis.curves import Measurement
from bench.analysis.interpolation import INTERPOLATIONS
from bench.analysis.prepared import Method, Prepared
from bench.results.rows import BDRow, PairRow, distinct, known

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Pair:
    """A method and what it is compared with, on one metric and with one interpolation."""

    prepared: Prepared
    method: str
    against: str
    interpolation: str
    result: BD
    """On the surviving images."""
    rates: Floats
    """(R,) BD-rates, percent, NaN where undefined: row 0 on the surviving images, then on the
    resamples, then without a group of images each."""
    ranged: Floats
    """(R,) those over the accuracies near the clean score."""
    covered: float
    """Share of these accuracies that both curves cover on the surviving images, NaN for none."""

    @staticmethod
    def of(
        p: Prepared,
        method: str,
        against: str,
        interpolation: str,
        names: tuple[str, str] = SIDES,
    ) -> "Pair":
        """Reasons call the two sides by their `names`, that of `against` first."""
        one, other = p.methods[against], p.methods[method]
        result = bd(one.curve, other.curve, interpolation, names)
        rates = bd_rate_rows(one.rows, other.rows, interpolation)
        rates[0] = result.bd_rate  # the same but for rounding
        within = p.analysis.within
        bottom, top = p.below_clean(within[-1]), p.below_clean(within[0])
        ranged, covered = bd_rate_within(one.rows, other.rows, bottom, top, interpolation)
        return Pair(p, method, against, interpolation, result, rates, ranged, float(covered[0]))

    @property
    def m(self) -> Measurement:
        return self.prepared.m

    @property
    def remarks(self) -> tuple[str, ...]:
        """On the number, then on either curve; may be empty strings."""
        methods = self.prepared.methods
        own = methods[self.against].remarks, methods[self.method].remarks
        return (self.result.reason, *own[0], *own[1])

    def interval(self) -> Interval:
        """Of the BD-rate."""
        return _interval(self.m, self.result.bd_rate, self.rates)

    def range_interval(self) -> Interval:
        return _interval(self.m, self.ranged[0], self.ranged)

    def range_reason(self) -> str:
        """Why the range has no BD-rate or no interval, or on how little it rests."""
        share = 0.0 if np.isnan(self.covered) else self.covered
        if self.prepared.clean[0] == 0:
            return "the clean score is 0, so no range is some percent below it"
        if np.isnan(self.ranged[0]):
            needed = f"{100 * MIN_RANGE:.0f} % are needed"
            return f"the curves cover {100 * share:.0f} % of the range, {needed}"
        about = f"rests on {100 * share:.0f} % of the range" if share < GOOD_OVERLAP else ""
        return joined(about, self.range_interval().reason)


def resampled_bd_rates(
    m: Measurement, k: int, method: str, policy: str, interpolation: str
) -> Floats:
    """(1 + resamples,) BD-rates of a method on metric k, percent, NaN where undefined."""
    curves = [Method.of(m, name, k, policy).rows for name in (m.experiment.anchor, method)]
    return bd_rate_rows(curves[0], curves[1], interpolation)[: len(m.points[0].values)]


def joined(*reasons: str) -> str:
    return "; ".join(filter(None, reasons))


def _interval(m: Measurement, value: float, rows: Floats) -> Interval:
    """Percentiles; empty where the value is undefined."""
    return NONE if np.isnan(value) else m.interval(rows[1 : m.rows])


def _accelerated(m: Measurement, value: float, rows: Floats, plain: Interval) -> Interval:
    """BCa; empty where the value is undefined or the plain interval withheld."""
    if np.isnan(value) or plain.reason:
        return plain
    return bca(rows[1 : m.rows], value, rows[m.rows :])


# --- bd.csv ---------------------------------------------------------------------------------------


def against_anchor(prepared: Sequence[Prepared]) -> list[Pair]:
    """A pair per method but the anchor × metric × interpolation."""
    pairs = (
        Pair.of(p, method, p.m.experiment.anchor, interpolation)
        for p in prepared
        for method in p.methods
        if method != p.m.experiment.anchor
        for interpolation in INTERPOLATIONS
    )
    return distinct(pairs, _names)


def bd_rows(pairs: Sequence[Pair]) -> list[BDRow]:
    """A row for each of `against_anchor`.

    Intervals are those of the number over the resamples, rate and accuracy resampled together. They
    are withheld, and the reason says so, if more than 5 % of the resamples have no number. range_*:
    the BD-rate over the accuracies that lie the first to the last of `within`, percent, below the
    clean score.
    """
    return [_bd_row(pair) for pair in pairs]


def _names(pair: Pair) -> tuple[str, ...]:
    experiment = pair.m.experiment
    where = (experiment.dataset, experiment.task, pair.m.model.name, pair.prepared.metric.name)
    return (*where, pair.against, pair.method, pair.interpolation)


def _bd_row(pair: Pair) -> BDRow:
    m, result = pair.m, pair.result
    methods = pair.prepared.methods
    metrics = bd_metric_rows(
        methods[pair.against].rows, methods[pair.method].rows, pair.interpolation
    )
    bounds, metric_bounds = pair.interval(), _interval(m, result.bd_metric, metrics)
    accelerated = _accelerated(m, result.bd_rate, pair.rates, bounds)
    metric_accelerated = _accelerated(m, result.bd_metric, metrics, metric_bounds)
    near = pair.range_interval()
    drawn = pair.rates[1 : m.rows]
    defined = drawn[~np.isnan(drawn)]
    return BDRow(
        dataset=m.experiment.dataset,
        task=m.experiment.task,
        model=m.model.name,
        metric=pair.prepared.metric.name,
        anchor=pair.against,
        method=pair.method,
        interpolation=pair.interpolation,
        policy=pair.prepared.analysis.policy,
        bd_rate=known(result.bd_rate),
        ci_low=known(bounds.low),
        ci_high=known(bounds.high),
        bd_metric=known(result.bd_metric),
        overlap=result.overlap,
        n_points=result.n_points,
        status=result.status,
        reason=joined(*pair.remarks, bounds.reason or accelerated.reason),
        bca_low=known(accelerated.low),
        bca_high=known(accelerated.high),
        wins=float((defined < 0).mean()) if len(defined) else None,
        undefined=1 - len(defined) / len(drawn) if len(drawn) else None,
        bd_metric_low=known(metric_bounds.low),
        bd_metric_high=known(metric_bounds.high),
        bd_metric_bca_low=known(metric_accelerated.low),
        bd_metric_bca_high=known(metric_accelerated.high),
        range=pair.prepared.analysis.range,
        range_bd_rate=known(pair.ranged[0]),
        range_low=known(near.low),
        range_high=known(near.high),
        range_reason=pair.range_reason(),
    )


# --- pairs.csv ------------------------------------------------------------------------------------


def pair_rows(prepared: Sequence[Prepared]) -> list[PairRow]:
    """A row per two methods, in both directions, × metric × interpolation."""
    rows = (row for p in prepared for row in _pair_rows(p))
    return distinct(
        rows, lambda r: (r.dataset, r.task, r.model, r.metric, r.against, r.method, r.interpolation)
    )


def _pair_rows(p: Prepared) -> Iterator[PairRow]:
    # One at a time: the resampled numbers of all pairs would fill the memory.
    for method, against in permutations(p.methods, 2):
        names = f"method {against}", f"method {method}"
        for interpolation in INTERPOLATIONS:
            yield _pair_row(Pair.of(p, method, against, interpolation, names))


def _pair_row(pair: Pair) -> PairRow:
    bounds, near = pair.interval(), pair.range_interval()
    experiment = pair.m.experiment
    return PairRow(
        dataset=experiment.dataset,
        task=experiment.task,
        model=pair.m.model.name,
        metric=pair.prepared.metric.name,
        method=pair.method,
        against=pair.against,
        interpolation=pair.interpolation,
        policy=pair.prepared.analysis.policy,
        bd_rate=known(pair.result.bd_rate),
        ci_low=known(bounds.low),
        ci_high=known(bounds.high),
        overlap=pair.result.overlap,
        status=pair.result.status,
        reason=joined(*pair.remarks, bounds.reason),
        range=pair.prepared.analysis.range,
        range_bd_rate=known(pair.ranged[0]),
        range_low=known(near.low),
        range_high=known(near.high),
        range_reason=pair.range_reason(),
    )
