"""Operating points, and the curves they make."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import joblib
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bench.analysis.bootstrap import (
    NONE,
    Interval,
    bca,
    interval,
    jackknife_weights,
    obstacle,
    resample_weights,
)
from bench.analysis.halves import Halved, extrapolated, half_weights
from bench.analysis.perceptual import LPIPS, distances
from bench.analysis.results import Results
from bench.results.files import ResultsError
from bench.results.manifest import Experiment, Model
from bench.results.names import MANIFEST, UNCOMPRESSED, point_name
from bench.results.rows import PointRow, distinct, known
from bench.tasks import Scored, scored, scored_names
from bench.tasks.base import Metric

POLICIES = ("pareto", "isotonic", "raw")

TIE = 1e-9
"""Qualities, and rates, closer than this share of the largest count as equal: rounding, not gain,
and interpolation through them could swing without bound."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class OperatingPoint:
    """A method at one QP. Row 0 is on the surviving images, the others on resamples of them."""

    method: str
    qp: int | None
    values: Floats
    """(1 + resamples, n_metrics)"""
    bpp: Floats
    """(1 + resamples,) mean of bits/pixels; NaN for the clean pictures"""
    bpp_total: float
    """Σ bits / Σ pixels"""
    values_without: Floats = field(default_factory=lambda: np.empty((0, 0)))
    """(groups, n_metrics) without a group of images each, see `bootstrap.jackknife_weights`"""
    bpp_without: Floats = field(default_factory=lambda: np.empty(0))
    """(groups,)"""
    halved: Mapping[str, Halved] = field(default_factory=dict)
    """By name the metrics that are means of average precisions"""


@dataclass(frozen=True)
class Measurement:
    """All operating points of one (dataset, task, model), the clean pictures first."""

    experiment: Experiment
    model: Model
    metrics: tuple[Metric, ...]
    """The task's, but for optional ones that this model does not have."""
    points: tuple[OperatingPoint, ...]
    surviving: NDArray[np.bool_]
    """(images of the data set,) see `Results.surviving`"""
    obstacle: str = ""
    """Why the resamples say nothing, so that there are no intervals; empty if they do."""

    @property
    def n_images(self) -> int:
        return int(self.surviving.sum())

    @property
    def n_failed(self) -> int:
        return len(self.surviving) - self.n_images

    @property
    def rows(self) -> int:
        """How many rows of a point's values count: the first, and the resamples that say
        something."""
        return 1 if self.obstacle else len(self.points[0].values)

    def interval(self, resampled: Floats, around: float | None = None) -> Interval:
        """`bootstrap.interval`, withheld where the resamples say nothing."""
        if self.obstacle:
            return Interval(np.nan, np.nan, f"no interval: {self.obstacle}")
        return interval(resampled, around)

    def of(self, method: str) -> list[OperatingPoint]:
        return [point for point in self.points if point.method == method]


def measure(
    results: Results, experiment: Experiment, model: Model, lpips: bool = False
) -> Measurement:
    """Score every operating point, on all surviving images and on each resample of them, on every
    core. With `lpips` that is the last metric, where the run measured it.

    Raises ResultsError if the folder lacks something that it should hold.
    """
    task = scored(experiment.task)
    if task is None:
        raise ResultsError(
            f"{results.root / MANIFEST}: task {experiment.task!r}; there are: "
            f"{', '.join(scored_names())}"
        )
    analysis = results.manifest.analysis
    task = task.wider() if analysis.metrics == "all" else task
    surviving = results.surviving(experiment, model)
    hindered = obstacle(int(surviving.sum()), analysis.resamples)
    count = 0 if hindered else analysis.resamples
    resamples = resample_weights(surviving, count, analysis.seed, experiment.dataset)
    apart = distances(results, experiment, model, surviving) if lpips else {}
    scoring = _Scoring(
        results, experiment, model, task, surviving, resamples, jackknife_weights(surviving), apart
    )
    grid = [(method, qp) for method, qps in experiment.methods.items() for qp in qps]
    rates = [scoring.no_rates, *(scoring.rates(method, qp) for method, qp in grid)]
    # Threads: nearly all of the time is spent in numpy and scipy, which let go of the interpreter.
    pool = joblib.Parallel(n_jobs=-1, prefer="threads")
    points: list[OperatingPoint] = pool(
        joblib.delayed(scoring.point)(method, qp, *rate)
        for (method, qp), rate in zip([(UNCOMPRESSED, None), *grid], rates, strict=True)
    )
    asked = (*task.metrics, LPIPS) if apart else task.metrics
    kept = [
        k
        for k, metric in enumerate(asked)
        if not (metric.optional and all(np.isnan(p.values[0, k]) for p in points))
    ]
    metrics = tuple(asked[k] for k in kept)
    points = [
        replace(p, values=p.values[:, kept], values_without=p.values_without[:, kept])
        for p in points
    ]
    if not hindered and all(map(_is_constant, points)):
        hindered = "all images give the same numbers"
    return Measurement(experiment, model, metrics, tuple(points), surviving, hindered)


@dataclass(frozen=True)
class _Scoring:
    """What all operating points of one (dataset, task, model) share."""

    results: Results
    experiment: Experiment
    model: Model
    task: Scored[Any, Any]
    surviving: NDArray[np.bool_]
    """(n_images,)"""
    resamples: NDArray[np.int64]
    """(1 + resamples, n_images) weights"""
    groups: NDArray[np.int64]
    """(groups, n_images) weights"""
    distances: dict[tuple[str, int | None], Floats]
    """LPIPS by method and QP, (n_images,); empty without."""

    @cached_property
    def weights(self) -> NDArray[np.int64]:
        return np.vstack([self.resamples, self.groups])

    @cached_property
    def halves(self) -> NDArray[np.int64]:
        analysis = self.results.manifest.analysis
        return half_weights(self.surviving, analysis.seed, self.experiment.dataset)

    @property
    def no_rates(self) -> tuple[Floats, float]:
        return np.full(len(self.weights), np.nan), np.nan

    def rates(self, method: str, qp: int) -> tuple[Floats, float]:
        """bpp by each row of the weights, and total bpp. Raises ResultsError."""
        bits, pixels = self.results.rates(self.experiment, self.model, method, qp)
        if not self.surviving.any():
            return self.no_rates
        bits, pixels = bits[self.surviving], pixels[self.surviving]
        drawn = self.weights[:, self.surviving]
        bpp = drawn @ (bits / pixels) / drawn.sum(axis=1)
        return bpp, float(bits.sum() / pixels.sum())

    def point(self, method: str, qp: int | None, bpp: Floats, bpp_total: float) -> OperatingPoint:
        """Raises ResultsError."""
        (scores, halved), n = self._scores(method, qp), len(self.resamples)
        if self.distances:
            scores = np.column_stack([scores, self._mean_distance(method, qp)])
        return OperatingPoint(
            method, qp, scores[:n], bpp[:n], bpp_total, scores[n:], bpp[n:], halved
        )

    def _mean_distance(self, method: str, qp: int | None) -> Floats:
        """LPIPS by each row of the weights."""
        drawn = self.weights[:, self.surviving]
        apart = np.zeros(len(self.surviving)) if qp is None else self.distances[method, qp]
        return drawn @ apart[self.surviving] / drawn.sum(axis=1)

    def _scores(self, method: str, qp: int | None) -> tuple[Floats, dict[str, Halved]]:
        """By each row of the weights, and on halves of the images."""
        table = self.results.statistics(self.experiment, self.model, method, qp)
        try:
            _check_schema(table, self.task, self.results.manifest.analysis.metrics)
            return self.task.score(table, self.weights), self._halved(table)
        except (ArithmeticError, LookupError, TypeError, ValueError, pa.ArrowException) as error:
            at = "" if qp is None else f", {point_name(qp)}"
            raise ResultsError(
                f"{self.results.root}: the statistics of {self.experiment.dataset}, "
                f"{self.model.name}, {method}{at} do not fit task {self.task.name} or the "
                f"{len(self.surviving)} images: {error}"
            ) from error

    def _halved(self, table: pa.Table) -> dict[str, Halved]:
        counts = self.task.objects_by_category(table, self.surviving.astype(np.int64))
        if not counts:
            return {}
        scores = self.task.score(table, self.halves)
        return {
            metric.name: Halved(scores[:, k], float(np.median(counts[metric.name])))
            for k, metric in enumerate(self.task.metrics)
            if len(counts.get(metric.name, ()))
        }


def _check_schema(table: pa.Table, task: Scored[Any, Any], metrics: str) -> None:
    """Raises ValueError where a column is missing, of another type, or empty where it must not."""
    for wanted in task.statistics([], []).schema:
        if wanted.name not in table.column_names:
            unmeasured = "; analysis.metrics is all, but was not in the run: run it again"
            raise ValueError(f"no column {wanted.name}" + unmeasured * (metrics == "all"))
        column = table[wanted.name]
        if column.type != wanted.type:
            raise ValueError(f"column {wanted.name} is {column.type}, {wanted.type} is expected")
        if column.null_count and not wanted.nullable:
            raise ValueError(f"column {wanted.name} is empty in {column.null_count} rows")


def _is_constant(point: OperatingPoint) -> bool:
    """Whether all resamples give the same but for rounding."""
    rows = np.column_stack([point.bpp, point.values])
    return np.allclose(rows, rows[0], 1e-9, 1e-9, equal_nan=True)


def point_rows(measurements: Sequence[Measurement], policy: str) -> list[PointRow]:
    """A row per operating point and metric."""
    rows = (row for m in measurements for row in _rows(m, policy))
    return distinct(rows, lambda r: (r.dataset, r.task, r.model, r.method, r.qp, r.metric))


def _rows(m: Measurement, policy: str) -> Iterator[PointRow]:
    placed = {
        (method, qp, k): place
        for method in m.experiment.methods
        for k in range(len(m.metrics))
        for qp, place in _places(m, method, k, policy)
    }
    nowhere = _Place("", np.nan, np.nan)
    for point in m.points:
        for k in range(len(m.metrics)):
            yield _row(m, point, k, placed.get((point.method, point.qp, k), nowhere))


@dataclass(frozen=True)
class _Place:
    """What the policy did to a point, and where BD-rates see it, NaN if nowhere."""

    change: str
    bpp: float
    value: float


def _places(
    m: Measurement, method: str, k: int, policy: str
) -> Iterator[tuple[int | None, _Place]]:
    """By QP, those of a method on metric k."""
    sign = 1.0 if m.metrics[k].higher_is_better else -1.0
    points = m.of(method)
    rates = np.array([p.bpp[0] for p in points])
    curve = prepare(rates, np.array([sign * p.values[0, k] for p in points]), policy)
    changes = dict(curve.changes)
    for i, point in enumerate(points):
        at = next((v for v, made_of in enumerate(curve.members) if i in made_of), None)
        seen = (np.nan, np.nan) if at is None else (curve.rate[at], sign * curve.quality[at])
        yield point.qp, _Place(changes.get(i, ""), *seen)


def _row(m: Measurement, point: OperatingPoint, k: int, place: _Place) -> PointRow:
    value = point.values[0, k]
    bounds, accelerated = _intervals(m, point, k)
    return PointRow(
        dataset=m.experiment.dataset,
        task=m.experiment.task,
        model=m.model.name,
        method=point.method,
        qp=point.qp,
        bpp=known(point.bpp[0]),
        bpp_total=known(point.bpp_total),
        metric=m.metrics[k].name,
        value=known(value),
        ci_low=known(bounds.low),
        ci_high=known(bounds.high),
        n_images=m.n_images,
        n_failed=m.n_failed,
        bca_low=known(accelerated.low),
        bca_high=known(accelerated.high),
        change=place.change,
        curve_bpp=known(place.bpp),
        curve_value=known(place.value),
        reason="" if np.isnan(value) else bounds.reason,
    )


def _intervals(m: Measurement, point: OperatingPoint, k: int) -> tuple[Interval, Interval]:
    """Of metric k: the interval to quote, and the BCa interval; a mean of average precisions has
    none, because the resamples do not show its bias."""
    value, resampled = point.values[0, k], point.values[1:, k]
    without, halved = point.values_without[:, k], point.halved.get(m.metrics[k].name)
    bounds = m.interval(resampled, around=value)
    if bounds.reason:
        return bounds, bounds
    if halved:
        return extrapolated(value, halved, without), NONE
    return bounds, bca(resampled, value, without)


# --- a curve made ready for interpolation ---------------------------------------------------------


@dataclass(frozen=True)
class Curve:
    """Rates rise strictly; under `pareto` and `isotonic` qualities do, too.

    changes: (position of the point as given, what was done with it): `no value`, `tied` and
    `dominated` points were dropped, `pooled` ones were replaced by their mean. members: for each
    point of the curve the positions of those that it is made of.
    """

    rate: Floats
    quality: Floats
    changes: tuple[tuple[int, str], ...] = ()
    members: tuple[tuple[int, ...], ...] = ()

    def describe_changes(self, names: Sequence[str]) -> str:
        """E.g. "dominated: QP 25, QP 28; pooled: QP 37, QP 40"; empty if there were none."""
        groups: defaultdict[str, list[str]] = defaultdict(list)
        for position, change in sorted(self.changes):
            groups[change].append(names[position])
        return "; ".join(f"{change}: {', '.join(group)}" for change, group in groups.items())


def prepare(rate: Floats, quality: Floats, policy: str) -> Curve:
    """Sort points by rate, resolve ties, and make quality rise with rate as `policy` says.

    rate (n,) in bits per pixel, quality (n,) with higher meaning better. Points without a finite
    value or a positive rate are dropped. Of two points equal in rate the better stays, of two equal
    in quality the cheaper.

    - pareto: keeps the points that no other one dominates (as cheap or cheaper, as good or better)
    - isotonic: least-squares rising qualities over rate (pool adjacent violators, Barlow et al.
      1972); a pool becomes one point at its mean quality and geometric mean rate, because a curve
      that is flat has no rate for a quality
    - raw: nothing more

    Raises ValueError for another policy.
    """
    if policy not in POLICIES:
        raise ValueError(f"policy {policy!r}; there are: {', '.join(POLICIES)}")
    usable = np.isfinite(quality) & np.isfinite(rate) & (rate > 0)
    changes = [(int(i), "no value") for i in np.flatnonzero(~usable)]
    rates, qualities = rate.tolist(), quality.tolist()
    order = sorted(np.flatnonzero(usable).tolist(), key=lambda i: (rates[i], -qualities[i]))
    near = TIE * max((abs(qualities[i]) for i in order), default=0.0)

    kept: list[int] = []
    for i in order:
        if kept and rates[i] <= rates[kept[-1]] * (1 + TIE):
            # The order puts the better first, but nearly equal rates may come the other way.
            worse = i if qualities[i] <= qualities[kept[-1]] else kept.pop()
            changes.append((worse, "tied"))
            if worse == i:
                continue
        kept.append(i)
    if policy == "isotonic":
        return _pooled(rate, qualities, kept, near, changes)
    rising: list[int] = []
    for i in kept:
        if rising and abs(qualities[i] - qualities[rising[-1]]) <= near:
            changes.append((i, "tied"))
        elif rising and policy == "pareto" and qualities[i] < qualities[rising[-1]]:
            changes.append((i, "dominated"))
        else:
            rising.append(i)
    return Curve(rate[rising], quality[rising], tuple(changes), tuple((i,) for i in rising))


def _pooled(
    rate: Floats,
    qualities: list[float],
    kept: list[int],
    near: float,
    changes: list[tuple[int, str]],
) -> Curve:
    """The points `kept`, by rising rate, with adjacent violators pooled."""
    pools: list[list[int]] = []
    for i in kept:
        pools.append([i])
        while len(pools) > 1 and _mean(qualities, pools[-1]) <= _mean(qualities, pools[-2]) + near:
            last = pools.pop()
            pools[-1] += last
    pooled = [(i, "pooled") for pool in pools if len(pool) > 1 for i in pool]
    pooled_rate = [
        float(rate[pool[0]] if len(pool) == 1 else np.exp(np.mean(np.log(rate[pool]))))
        for pool in pools
    ]
    pooled_quality = [_mean(qualities, pool) for pool in pools]
    return Curve(
        np.array(pooled_rate),
        np.array(pooled_quality),
        tuple(changes + pooled),
        tuple(map(tuple, pools)),
    )


def _mean(values: list[float], positions: list[int]) -> float:
    return sum(values[i] for i in positions) / len(positions)


@dataclass(frozen=True)
class CurveRows:
    """Prepared curves, a row each: (R, n), NaN behind a row's last point."""

    rate: Floats
    quality: Floats

    @property
    def count(self) -> NDArray[np.int64]:
        """(R,) points left."""
        return (~np.isnan(self.rate)).sum(axis=1)


def prepare_rows(rates: Floats, qualities: Floats, policy: str) -> CurveRows:
    """`prepare` for (R, n) rates and qualities; row by row the same."""
    rates, qualities = (np.ascontiguousarray(v, np.float64) for v in (rates, qualities))
    rate, quality = np.full(rates.shape, np.nan), np.full(rates.shape, np.nan)
    order = np.argsort(rates, axis=1, kind="stable")
    r, q = np.take_along_axis(rates, order, 1), np.take_along_axis(qualities, order, 1)
    with np.errstate(invalid="ignore"):
        usable = (np.isfinite(q) & np.isfinite(r) & (r > 0)).all(axis=1)
        apart = (np.diff(r, axis=1) > TIE * r[:, :-1]).all(axis=1)
    # What needs more than dropping the dominated goes the slow way, a row at a time.
    plain: NDArray[np.bool_] = np.logical_and(usable & apart, policy == "pareto")
    near = TIE * np.abs(q).max(axis=1, initial=0.0)
    best = np.full(len(q), -np.inf)
    kept = np.zeros(q.shape, bool)
    for j in range(q.shape[1]):
        kept[:, j] = plain & (q[:, j] > best + near)
        best = np.where(kept[:, j], q[:, j], best)
    first = np.argsort(~kept, axis=1, kind="stable")
    shown = np.take_along_axis(kept, first, 1)
    rate[shown] = np.take_along_axis(r, first, 1)[shown]
    quality[shown] = np.take_along_axis(q, first, 1)[shown]
    for i in np.flatnonzero(~plain).tolist():
        curve = prepare(rates[i], qualities[i], policy)
        rate[i, : len(curve.rate)] = curve.rate
        quality[i, : len(curve.rate)] = curve.quality
    return CurveRows(rate, quality)
