"""Operating points, and the curves they make."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from bench.analysis.bootstrap import (
    Interval,
    bca,
    interval,
    jackknife_weights,
    obstacle,
    resample_weights,
)
from bench.analysis.files import ResultsError
from bench.analysis.results import UNCOMPRESSED, Experiment, Model, Results
from bench.tasks import TASKS
from bench.tasks.base import Metric, Task

POINT_COLUMNS = [
    "dataset",
    "task",
    "model",
    "method",
    "qp",
    "bpp",
    "bpp_total",
    "metric",
    "value",
    "ci_low",
    "ci_high",
    "n_images",
    "n_failed",
    "bca_low",
    "bca_high",
    "change",
    "curve_bpp",
    "curve_value",
]

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


@dataclass(frozen=True)
class Measurement:
    """All operating points of one (dataset, task, model), the clean pictures first."""

    experiment: Experiment
    model: Model
    metrics: tuple[Metric, ...]
    """The task's, but for optional ones that this model does not have."""
    points: tuple[OperatingPoint, ...]
    n_images: int
    n_failed: int
    obstacle: str = ""
    """Why the resamples say nothing, so that there are no intervals; empty if they do."""

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


def measure(results: Results, experiment: Experiment, model: Model) -> Measurement:
    """Score every operating point, on all surviving images and on each resample of them, on every
    core.

    Raises ResultsError if the folder lacks something that it should hold.
    """
    task = TASKS.get(experiment.task)
    if task is None:
        raise ResultsError(
            f"{results.root / 'manifest.json'}: task {experiment.task!r}; there are: "
            f"{', '.join(TASKS)}"
        )
    surviving = results.surviving(experiment, model)
    analysis = results.manifest.analysis
    hindered = obstacle(int(surviving.sum()), analysis.resamples)
    count = 0 if hindered else analysis.resamples
    resamples = resample_weights(surviving, count, analysis.seed, experiment.dataset)
    weights = np.vstack([resamples, jackknife_weights(surviving)])
    unknown = np.full(len(weights), np.nan)

    def values(method: str, qp: int | None) -> Floats:
        table = results.statistics(experiment, model, method, qp)
        try:
            _check_schema(table, task)
            return task.score(table, weights)
        except (ArithmeticError, LookupError, TypeError, ValueError, pa.ArrowException) as error:
            raise ResultsError(
                f"{results.root}: the statistics of {experiment.dataset}, {model.name}, {method}, "
                f"QP {qp} do not fit task {task.name} or the {len(surviving)} images: {error}"
            ) from error

    def point(method: str, qp: int | None, bpp: Floats, bpp_total: float) -> OperatingPoint:
        scores, n = values(method, qp), len(resamples)
        return OperatingPoint(method, qp, scores[:n], bpp[:n], bpp_total, scores[n:], bpp[n:])

    planned: list[tuple[str, int | None, Floats, float]] = [(UNCOMPRESSED, None, unknown, np.nan)]
    for method, qps in experiment.methods.items():
        for qp in qps:
            bits, pixels = results.rates(experiment, model, method, qp)
            bits, pixels = bits[surviving], pixels[surviving]
            drawn = weights[:, surviving]
            if surviving.any():
                bpp = drawn @ (bits / pixels) / drawn.sum(axis=1)
                bpp_total = float(bits.sum() / pixels.sum())
            else:
                bpp, bpp_total = unknown, np.nan
            planned.append((method, qp, bpp, bpp_total))
    # Threads: nearly all of the time is spent in numpy and scipy, which let go of the interpreter.
    pool = joblib.Parallel(n_jobs=-1, prefer="threads")
    points: list[OperatingPoint] = pool(joblib.delayed(point)(*arguments) for arguments in planned)
    kept = [
        k
        for k, metric in enumerate(task.metrics)
        if not (metric.optional and all(np.isnan(p.values[0, k]) for p in points))
    ]
    metrics = tuple(task.metrics[k] for k in kept)
    points = [
        replace(p, values=p.values[:, kept], values_without=p.values_without[:, kept])
        for p in points
    ]
    if not hindered and all(map(_is_constant, points)):
        hindered = "all images give the same numbers"
    n = int(surviving.sum())
    return Measurement(experiment, model, metrics, tuple(points), n, len(surviving) - n, hindered)


def _check_schema(table: pa.Table, task: Task) -> None:
    """Raises ValueError where a column is missing, of another type, or empty where it must not."""
    for wanted in task.statistics([], []).schema:
        if wanted.name not in table.column_names:
            raise ValueError(f"no column {wanted.name}")
        column = table[wanted.name]
        if column.type != wanted.type:
            raise ValueError(f"column {wanted.name} is {column.type}, {wanted.type} is expected")
        if column.null_count and not wanted.nullable:
            raise ValueError(f"column {wanted.name} is empty in {column.null_count} rows")


def _is_constant(point: OperatingPoint) -> bool:
    """Whether all resamples give the same but for rounding."""
    rows = np.column_stack([point.bpp, point.values])
    return np.allclose(rows, rows[0], 1e-9, 1e-9, equal_nan=True)


def points_table(measurements: Sequence[Measurement], policy: str) -> pd.DataFrame:
    """points.csv: a row per operating point and metric, columns `POINT_COLUMNS`.

    bpp in bits per pixel, value and interval in the metric's own unit, qp an integer or empty.
    Intervals ci_low … ci_high are freed of the resamples' bias, see `bootstrap.interval`. change:
    what the policy did to the point (see `Curve`), empty for nothing; curve_bpp and curve_value:
    where BD-rates see the point, empty if it was dropped, the mean of its pool if it was pooled.
    """
    rows = [row for m in measurements for row in _point_rows(m, policy)]
    table = pd.DataFrame(rows, columns=POINT_COLUMNS)
    return table.astype({"qp": "Int64"}).drop_duplicates(
        ["dataset", "task", "model", "method", "qp", "metric"], ignore_index=True
    )


def _point_rows(m: Measurement, policy: str) -> Iterator[tuple[object, ...]]:
    placed: dict[tuple[str, int | None, int], tuple[str, float, float]] = {}
    for method in m.experiment.methods:
        for k, metric in enumerate(m.metrics):
            sign = 1.0 if metric.higher_is_better else -1.0
            points = m.of(method)
            curve = prepare(
                np.array([p.bpp[0] for p in points]),
                np.array([sign * p.values[0, k] for p in points]),
                policy,
            )
            changes = dict(curve.changes)
            for i, point in enumerate(points):
                at = next((v for v, made_of in enumerate(curve.members) if i in made_of), None)
                place = (
                    (np.nan, np.nan) if at is None else (curve.rate[at], sign * curve.quality[at])
                )
                placed[method, point.qp, k] = (changes.get(i, ""), *place)
    for point in m.points:
        for k, metric in enumerate(m.metrics):
            value, resampled = point.values[0, k], point.values[1:, k]
            bounds = m.interval(resampled, around=value)
            accelerated = (
                bounds if bounds.reason else bca(resampled, value, point.values_without[:, k])
            )
            yield (
                m.experiment.dataset,
                m.experiment.task,
                m.model.name,
                point.method,
                point.qp,
                point.bpp[0],
                point.bpp_total,
                metric.name,
                value,
                bounds.low,
                bounds.high,
                m.n_images,
                m.n_failed,
                accelerated.low,
                accelerated.high,
                *placed.get((point.method, point.qp, k), ("", np.nan, np.nan)),
            )


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
        pools: list[list[int]] = []
        for i in kept:
            pools.append([i])
            while len(pools) > 1 and _mean(qualities, pools[-1]) <= (
                _mean(qualities, pools[-2]) + near
            ):
                last = pools.pop()
                pools[-1] += last
        changes += [(i, "pooled") for pool in pools if len(pool) > 1 for i in pool]
        pooled_rate = [
            rates[pool[0]] if len(pool) == 1 else float(np.exp(np.mean(np.log(rate[pool]))))
            for pool in pools
        ]
        pooled_quality = [_mean(qualities, pool) for pool in pools]
        members = tuple(map(tuple, pools))
        return Curve(np.array(pooled_rate), np.array(pooled_quality), tuple(changes), members)

    rising: list[int] = []
    for i in kept:
        if rising and abs(qualities[i] - qualities[rising[-1]]) <= near:
            changes.append((i, "tied"))
        elif rising and policy == "pareto" and qualities[i] < qualities[rising[-1]]:
            changes.append((i, "dominated"))
        else:
            rising.append(i)
    return Curve(rate[rising], quality[rising], tuple(changes), tuple((i,) for i in rising))


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
