"""Which images to show: where a method and the anchor differ at equal bits, by a stated rule.

The method is the one that saves most near the clean score, else over the whole overlap. The anchor
is taken at the QP where its score is nearest to nine tenths of the clean one; of each image the
method is taken at the QP whose bits are nearest to the anchor's. The change is that of the task's
last metric that has a value on every image alone: those nearest to its median are chosen, and the
worst.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.analysis.results import Results
from bench.results.manifest import Experiment, Model
from bench.results.names import UNCOMPRESSED
from bench.results.pictures import Rule
from bench.results.rows import BDRow, PointRow
from bench.tasks import scored

CANDIDATES = 500
"""Images that are looked at, spread over the data set: each is scored alone."""
NEAR = 0.9
"""Of the clean score, at which the anchor is shown."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Choice:
    index: int
    rule: Rule
    metric: str
    anchor_qp: int
    method: str
    method_qp: int
    clean: float
    by_anchor: float
    by_method: float
    """The metric on this image alone."""


def choose(
    results: Results,
    experiment: Experiment,
    model: Model,
    points: Sequence[PointRow],
    bd: Sequence[BDRow],
    each: int,
) -> list[Choice]:
    """Up to `each` images by each rule; none where no method has a BD-rate."""
    task = scored(experiment.task)
    alive = np.flatnonzero(results.surviving(experiment, model))
    own = [r for r in bd if (r.dataset, r.model) == (experiment.dataset, model.name)]
    method = _best(own, results.manifest.analysis.interpolation)
    if task is None or method is None or not len(alive):
        return []
    spread = np.linspace(0, len(alive) - 1, min(CANDIDATES, len(alive)))
    candidates = np.unique(alive[spread.round().astype(int)])
    weights = np.zeros((len(candidates), experiment.n_images), np.int64)
    weights[np.arange(len(candidates)), candidates] = 1

    def alone(name: str, qp: int | None) -> Floats:
        """(n_candidates, n_metrics)"""
        return task.score(results.statistics(experiment, model, name, qp), weights)

    anchor_qp = _anchor_qp(experiment, model, points)
    clean, by_anchor = alone(UNCOMPRESSED, None), alone(experiment.anchor, anchor_qp)
    nearest = _nearest(results, experiment, model, anchor_qp, method, candidates)
    by_method = np.full_like(by_anchor, np.nan)
    for qp in set(nearest.tolist()):
        by_method[nearest == qp] = alone(method, qp)[nearest == qp]
    k = _smooth(np.stack([clean, by_anchor, by_method]))
    metric = task.metrics[k]
    change = (by_method - by_anchor)[:, k] * (1 if metric.higher_is_better else -1)
    return [
        Choice(
            int(candidates[i]),
            rule,
            metric.name,
            anchor_qp,
            method,
            int(nearest[i]),
            *(float(values[i, k]) for values in (clean, by_anchor, by_method)),
        )
        for rule, i in _picked(change, each)
    ]


def _best(own: list[BDRow], interpolation: str) -> str | None:
    """Of the headline metric, which comes first."""
    rows = [r for r in own if r.metric == own[0].metric and r.interpolation == interpolation]
    near = [(r.range_bd_rate, r.method) for r in rows if r.range_bd_rate is not None]
    whole = [(r.bd_rate, r.method) for r in rows if r.bd_rate is not None]
    return min(near or whole, default=(0.0, None))[1]


def _anchor_qp(experiment: Experiment, model: Model, points: Sequence[PointRow]) -> int:
    own = [p for p in points if (p.dataset, p.model) == (experiment.dataset, model.name)]
    headline = [p for p in own if p.metric == own[0].metric and p.value is not None]
    clean = next(p.value or 0.0 for p in headline if p.qp is None)
    there = [p for p in headline if p.method == experiment.anchor]
    nearest = min(there, key=lambda p: abs((p.value or 0.0) - NEAR * clean), default=None)
    return (
        nearest.qp
        if nearest and nearest.qp is not None
        else experiment.methods[experiment.anchor][0]
    )


def _nearest(
    results: Results,
    experiment: Experiment,
    model: Model,
    anchor_qp: int,
    method: str,
    candidates: NDArray[np.int64],
) -> NDArray[np.int64]:
    """(n_candidates,) the method's QP whose bits are nearest to the anchor's, as a ratio."""
    qps = np.array(experiment.methods[method])
    wanted, _ = results.rates(experiment, model, experiment.anchor, anchor_qp)
    bits = np.array([results.rates(experiment, model, method, qp)[0] for qp in qps.tolist()])
    away = np.abs(np.log(bits[:, candidates] / wanted[candidates]))
    nearest: NDArray[np.int64] = qps[away.argmin(axis=0)]
    return nearest


def _smooth(values: Floats) -> int:
    """(3, n, n_metrics) → the last of the metrics that are known of the most images."""
    known = np.isfinite(values).all(axis=0).sum(axis=0)
    return int(len(known) - 1 - known[::-1].argmax())


def _picked(change: Floats, each: int) -> list[tuple[Rule, int]]:
    known = np.flatnonzero(np.isfinite(change))
    order = known[np.argsort(change[known], kind="stable")]
    worst = order[:each].tolist()
    rest = order[each:]
    middle = np.argsort(np.abs(change[rest] - np.median(change[known])), kind="stable")[:each]
    picked: list[tuple[Rule, int]] = [("median", int(i)) for i in rest[middle]]
    return [*picked, *(("worst", int(i)) for i in worst)]
