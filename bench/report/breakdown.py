"""Accuracy by category and by size of objects at one rate: what the anchor loses, what others keep.

A run with `analysis.metrics: all` has it.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.report.results import Results
from bench.report.text import metric_label
from bench.results.names import UNCOMPRESSED
from bench.results.rows import CategoryRow, PointRow
from bench.tasks.sizes import SIZES

FEW = 10
"""With fewer objects or images a category's number is mostly noise."""

Group = tuple[str, str, str]
"""Data set, task and model."""
Values = dict[tuple[str, int | None], float | None]
"""(method, QP) → accuracy."""
Rates = Mapping[str, Mapping[int | None, float]]
"""Method → QP → bits per pixel; without the anchor."""


@dataclass(frozen=True)
class Part:
    """A category, or objects of one size. Accuracy is in the metric's own unit."""

    name: str
    n: int | None
    """Objects or images of the category; None of a size."""
    clean: float | None
    """On the uncompressed images; None, here and below, where it is undefined."""
    anchor: float | None
    """At the operating point."""
    methods: Mapping[str, float | None]
    """Of the others at the anchor's rate; None, too, where one has no QP on a side of it."""

    @property
    def lost(self) -> float | None:
        """By the anchor against the uncompressed images; negative is a loss."""
        return _difference(self.anchor, self.clean)

    def gained(self, method: str) -> float | None:
        """Against the anchor, at its rate."""
        return _difference(self.methods.get(method), self.anchor)

    @property
    def few(self) -> bool:
        return self.n is not None and self.n < FEW


@dataclass(frozen=True)
class Breakdown:
    """A data set and model on its headline metric."""

    dataset: str
    model: str
    metric: str
    anchor: str
    at: PointRow | None
    """The anchor's point that all is compared at, see `_middle`; None if no point or no
    uncompressed score is known."""
    clean: float | None
    """The headline on the uncompressed images."""
    methods: Sequence[str]
    """Without the anchor."""
    sizes: Sequence[Part]
    """Small, medium, large, after all objects."""
    categories: Sequence[Part]
    """Those that lose most with the anchor first, and those of few objects last."""


def breakdowns(results: Results) -> list[Breakdown]:
    """Of every data set and model that has categories or sizes."""
    categories = defaultdict(list)
    for row in results.categories:
        categories[row.dataset, row.task, row.model].append(row)
    sized = {task: _of_sizes(results.metrics(task)) for _, task, _ in results.groups()}
    return [
        _breakdown(results, group, sized[group[1]], categories[group])
        for group in results.groups()
        if sized[group[1]] or categories[group]
    ]


def _breakdown(
    results: Results, group: Group, sized: Sequence[str], rows: Sequence[CategoryRow]
) -> Breakdown:
    dataset, task, model = group
    points = [p for p in results.points if (p.dataset, p.task, p.model) == group]
    headline = [p for p in points if p.metric == results.metrics(task)[0]]
    anchor = results.anchor(dataset, model)
    clean = next((p.value for p in headline if p.method == UNCOMPRESSED), None)
    # A curve that was not measured here has a headline alone.
    split = {r.method for r in rows} or {p.method for p in points if p.metric in sized}
    rates = {
        method: {p.qp: p.bpp for p in headline if p.method == method and p.bpp}
        for method in results.methods()
        if method != anchor and method in split
    }
    within = results.manifest.analysis.within
    at = _middle([p for p in headline if p.method == anchor], clean, within, rates)
    of_size: dict[str, Values] = {metric: {} for metric in sized}
    of_category: dict[int, Values] = {r.category: {} for r in rows}
    known = {r.category: (r.name, r.n) for r in rows}
    for p in points:
        if p.metric in of_size:
            of_size[p.metric][p.method, p.qp] = p.value
    for r in rows:
        of_category[r.category][r.method, r.qp] = r.value
    parts = [_part(*known[c], values, at, rates) for c, values in of_category.items()]
    return Breakdown(
        dataset,
        model,
        results.metrics(task)[0],
        anchor,
        at,
        clean,
        [*rates],
        [_part(metric_label(m), None, values, at, rates) for m, values in of_size.items()],
        sorted(parts, key=lambda p: (p.few, p.lost is None, p.lost or 0.0)),
    )


def _of_sizes(metrics: Sequence[str]) -> list[str]:
    """Average precision of each size, and of all sizes before them; none where there is no size."""
    sized = [metric for metric in metrics if metric.rpartition("-")[2] in SIZES]
    whole = {f"{metric.rpartition('AP-')[0]}mAP" for metric in sized}
    return [metric for metric in metrics if metric in whole or metric in sized]


def _middle(
    points: Iterable[PointRow], clean: float | None, within: Sequence[float], rates: Rates
) -> PointRow | None:
    """Of the anchor's points that nearest the middle of the acceptable range; only of those whose
    rate half of the other methods can be read off at, if there are any."""
    if clean is None:
        return None
    wanted = clean - (within[0] + within[-1]) / 200 * abs(clean)
    usable = [(abs(p.value - wanted), p) for p in points if p.value is not None and p.bpp]
    reached = [(off, p) for off, p in usable if 2 * _reach(rates, p.bpp) >= len(rates)]
    return min(reached or usable, key=lambda found: found[0], default=(0.0, None))[1]


def _reach(rates: Rates, rate: float | None) -> int:
    """How many methods have points on both sides of a rate."""
    known = [own.values() for own in rates.values() if own]
    return sum(rate is not None and min(own) <= rate <= max(own) for own in known)


def _part(
    name: str,
    n: int | None,
    values: Values,
    at: PointRow | None,
    rates: Rates,
) -> Part:
    def read(method: str) -> float | None:
        if at is None or at.bpp is None:
            return None
        curve = ((bpp, values.get((method, qp))) for qp, bpp in rates[method].items())
        return read_off(curve, at.bpp)

    return Part(
        name,
        n,
        values.get((UNCOMPRESSED, None)),
        values.get((at.method, at.qp)) if at else None,
        {method: read(method) for method in rates},
    )


def read_off(curve: Iterable[tuple[float, float | None]], rate: float) -> float | None:
    """A straight line over log rate through (rate, value): its value there; None beyond its ends
    and beside a point without a value. Rates are positive."""
    points = sorted(curve, key=lambda point: point[0])
    below = [point for point in points if point[0] <= rate]
    above = [point for point in points if point[0] >= rate]
    if not below or not above:
        return None
    (x0, y0), (x1, y1) = below[-1], above[0]
    if y0 is None or y1 is None:
        return None
    return y0 if x0 == x1 else y0 + (y1 - y0) * math.log(rate / x0) / math.log(x1 / x0)


def _difference(value: float | None, reference: float | None) -> float | None:
    return None if value is None or reference is None else value - reference
