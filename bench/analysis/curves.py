"""Operating points, and the curves they make."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.analysis.bootstrap import interval, resample_weights
from bench.analysis.results import UNCOMPRESSED, Experiment, Model, Results, ResultsError
from bench.tasks import TASKS
from bench.tasks.base import Metric

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

    def of(self, method: str) -> list[OperatingPoint]:
        return [point for point in self.points if point.method == method]


def measure(results: Results, experiment: Experiment, model: Model) -> Measurement:
    """Score every operating point, on all surviving images and on each resample of them.

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
    weights = resample_weights(surviving, analysis.resamples, analysis.seed, experiment.dataset)
    unknown = np.full(len(weights), np.nan)

    def values(method: str, qp: int | None) -> Floats:
        table = results.statistics(experiment, model, method, qp)
        try:
            return task.score(table, weights)
        except (KeyError, IndexError) as error:
            raise ResultsError(
                f"{results.root}: the statistics of {experiment.dataset}, {model.name}, {method}, "
                f"QP {qp} do not fit task {task.name} or the {len(surviving)} images: {error}"
            ) from error

    points = [OperatingPoint(UNCOMPRESSED, None, values(UNCOMPRESSED, None), unknown, np.nan)]
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
            points.append(OperatingPoint(method, qp, values(method, qp), bpp, bpp_total))
    kept = [
        k
        for k, metric in enumerate(task.metrics)
        if not (metric.optional and all(np.isnan(point.values[0, k]) for point in points))
    ]
    metrics = tuple(task.metrics[k] for k in kept)
    points = [replace(point, values=point.values[:, kept]) for point in points]
    n = int(surviving.sum())
    return Measurement(experiment, model, metrics, tuple(points), n, len(surviving) - n)


def points_table(measurements: Sequence[Measurement]) -> pd.DataFrame:
    """points.csv: a row per operating point and metric, columns `POINT_COLUMNS`.

    bpp in bits per pixel, value and interval in the metric's own unit, qp an integer or empty.
    Intervals are freed of the resamples' bias, see `bootstrap.interval`.
    """
    rows = [
        (
            m.experiment.dataset,
            m.experiment.task,
            m.model.name,
            point.method,
            point.qp,
            point.bpp[0],
            point.bpp_total,
            metric.name,
            point.values[0, k],
            bounds.low,
            bounds.high,
            m.n_images,
            m.n_failed,
        )
        for m in measurements
        for point in m.points
        for k, metric in enumerate(m.metrics)
        for bounds in [interval(point.values[1:, k], around=point.values[0, k])]
    ]
    table = pd.DataFrame(rows, columns=POINT_COLUMNS)
    return table.astype({"qp": "Int64"}).drop_duplicates(
        ["dataset", "task", "model", "method", "qp", "metric"], ignore_index=True
    )


# --- a curve made ready for interpolation ---------------------------------------------------------


@dataclass(frozen=True)
class Curve:
    """Rates rise strictly; under `pareto` and `isotonic` qualities do, too.

    changes: (position of the point as given, what was done with it): `no value`, `tied` and
    `dominated` points were dropped, `pooled` ones were replaced by their mean.
    """

    rate: Floats
    quality: Floats
    changes: tuple[tuple[int, str], ...] = ()

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
        return Curve(np.array(pooled_rate), np.array(pooled_quality), tuple(changes))

    rising: list[int] = []
    for i in kept:
        if rising and abs(qualities[i] - qualities[rising[-1]]) <= near:
            changes.append((i, "tied"))
        elif rising and policy == "pareto" and qualities[i] < qualities[rising[-1]]:
            changes.append((i, "dominated"))
        else:
            rising.append(i)
    return Curve(rate[rising], quality[rising], tuple(changes))


def _mean(values: list[float], positions: list[int]) -> float:
    return sum(values[i] for i in positions) / len(positions)
