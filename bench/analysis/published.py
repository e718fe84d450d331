"""Curves that were published elsewhere, beside what was measured: numbers without an interval."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.analysis.curves import CurveRows, prepare
from bench.analysis.equal_accuracy import equal_accuracy_rows
from bench.analysis.pairs import against_anchor, bd_rows
from bench.analysis.prepared import Method, Prepared
from bench.results.manifest import Published
from bench.results.names import PUBLISHED
from bench.results.rows import BDRow, EqualAccuracyRow, PointRow, known

WITHHELD = "a published curve, without the images behind it"
"""Why there is no interval."""


@dataclass(frozen=True)
class Rows:
    points: list[PointRow]
    bd: list[BDRow]
    equal: list[EqualAccuracyRow]


def published_rows(curves: Sequence[Published], prepared: Sequence[Prepared]) -> Rows:
    """The rows of each curve on the data set, model and metric that it names, where these were
    measured."""
    found = [
        (curve, p)
        for curve in curves
        for p in prepared
        if (curve.dataset, curve.model, curve.metric)
        == (p.m.experiment.dataset, p.m.model.name, p.metric.name)
    ]
    beside = [_beside_anchor(curve, p) for curve, p in found]
    names = {curve.method for curve in curves}
    return Rows(
        [row for curve, p in found for row in _points(curve, p)],
        bd_rows(against_anchor(beside)),
        [row for row in equal_accuracy_rows(beside) if row.method in names],
    )


def _beside_anchor(curve: Published, p: Prepared) -> Prepared:
    """The anchor and the curve, without resamples: of the curve there are none, and those of the
    anchor alone would say nothing of the difference."""
    anchor = p.m.experiment.anchor
    measured = p.methods[anchor]
    methods = {
        anchor: replace(measured, rows=_first(measured.rows)),
        curve.method: _method(curve, p),
    }
    m = replace(p.m, obstacle=WITHHELD)
    return replace(p, m=m, methods=methods, clean=p.clean[:1])


def _method(curve: Published, p: Prepared) -> Method:
    rate, value = np.array(curve.points).T
    drawn = prepare(rate, p.sign * value, p.analysis.policy)
    changes = drawn.describe_changes([f"point {len(rate) - i}" for i in range(len(rate))])
    remark = f"{curve.method} {changes}" if changes else ""
    return Method(drawn, CurveRows(drawn.rate[None], drawn.quality[None]), (remark,))


def _first(rows: CurveRows) -> CurveRows:
    return CurveRows(rows.rate[:1], rows.quality[:1])


def _points(curve: Published, p: Prepared) -> Iterator[PointRow]:
    rate, value = np.array(curve.points).T
    drawn = prepare(rate, p.sign * value, p.analysis.policy)
    changes = dict(drawn.changes)
    for i, (bpp, score) in enumerate(curve.points):
        at = next((v for v, made_of in enumerate(drawn.members) if i in made_of), None)
        yield PointRow(
            dataset=curve.dataset,
            task=p.m.experiment.task,
            model=curve.model,
            method=curve.method,
            qp=len(curve.points) - i,
            bpp=bpp,
            bpp_total=None,
            metric=curve.metric,
            value=score,
            ci_low=None,
            ci_high=None,
            n_images=0,
            n_failed=0,
            bca_low=None,
            bca_high=None,
            change=", ".join(filter(None, (PUBLISHED, changes.get(i, "")))),
            curve_bpp=None if at is None else known(drawn.rate[at]),
            curve_value=None if at is None else known(p.sign * drawn.quality[at]),
        )
