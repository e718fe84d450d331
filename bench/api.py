"""What a Python program or a notebook uses: `run`, `load` and `bd_rate`; the command line too.

Importing this costs next to nothing: whatever is large is imported where it is used.
"""

import html
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import torch
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray

    from bench.config import BenchConfig
    from bench.progress import Progress
    from bench.protocols import Protocol
    from bench.results.manifest import Manifest
    from bench.sweep.cache import Cache
    from bench.sweep.limits import Limits
    from bench.sweep.plan import Experiment

    Numbers = NDArray[np.float64]

Place = str | os.PathLike[str]

MOST_JOBS = 256
MOST_IMAGES = 10**9
MOST_RESAMPLES = 10_000
BACKENDS = ("auto", "threading", "loky", "dask")
DEVICES = ("auto", "cpu", "cuda")


# --- runs -----------------------------------------------------------------------------------------


def run(
    config: "Place | Mapping[str, Any] | BenchConfig | None" = None,
    *,
    tasks: str | Sequence[str] | None = None,
    methods: str | Sequence[str] | None = None,
    qps: Sequence[int] | Literal["auto"] | None = None,
    data_root: Place | Mapping[str, Place] | None = None,
    weights: Place | Mapping[str, Place] | None = None,
    random_weights: bool = False,
    out: Place | None = None,
    cache: Place | None = None,
    limit: int | None = None,
    device: str = "auto",
    jobs: int | None = None,
    backend: str = "threading",
    scheduler: str | None = None,
    max_failures: float = 0.01,
    isolate: bool = False,
    timeout: float | None = None,
    trust: Place | Sequence[Place] = (),
    settings: Sequence[str] = (),
    quiet: bool = False,
    protocol: str | None = None,
) -> "Results":
    """Measure, analyse and draw: the command `run`, whose options have the same names.

    config: a file, the name of a config that ships, or the same as a dictionary; by default the
    built-in set. data_root, weights: one path, or a dictionary by task (weights: or by model). out:
    results/<the config's name>, or results/run; cache: .cache beside it. backend: where units run,
    see docs/scaling.md; the command line's default is `auto`, which may start processes, and then a
    script needs an `if __name__ == "__main__"`. max_failures: the share of
    images, 0 … 1. isolate: codecs in processes of their own. timeout: seconds for one call of a
    codec or a model. trust: configs of models that are files, hence programs, and may be run.
    settings: changes of the config such as "analysis.resamples=2000". protocol: the name of one
    that the run has to meet; without a config, what it describes is run, and no image may fail.
    Progress goes to stderr unless `quiet`; images left out and untrained networks are warnings.

    Raises ConfigError or DataError before anything is measured for what could not run to its end,
    BenchError later; what was measured until then is kept, and the same call goes on from there.
    """
    from bench import config as configs
    from bench.boundary import settled

    settled()
    name, loaded = described(config, protocol, settings)
    narrowed = configs.narrowed(
        loaded,
        tasks=_listed(tasks),
        methods=_listed(methods),
        qps=list(qps) if qps is not None and not isinstance(qps, str) else qps,
        data_root=_by_name(data_root),
        weights=_by_name(weights),
        random_weights=random_weights,
    )
    job = planned(
        narrowed,
        out=out or Path("results", name),
        cache=cache,
        limit=limit,
        device=device,
        jobs=jobs,
        backend=backend,
        scheduler=scheduler,
        max_failures=max_failures,
        isolate=isolate,
        timeout=timeout,
        trust=trust,
        protocol=protocol,
    )
    return _told(job, quiet)


def described(
    config: "Place | Mapping[str, Any] | BenchConfig | None",
    protocol: str | None,
    settings: Sequence[str] | None,
) -> "tuple[str, BenchConfig]":
    """A name for the results, and the config: without one what the protocol has, else the built-in
    set's. Raises ConfigError."""
    from bench import config as configs
    from bench import protocols

    if config is None and protocol is not None:
        return protocol, protocols.config(protocols.load(protocol), settings)
    if config is None or isinstance(config, str | os.PathLike):
        file = configs.found(Path(config)) if config is not None else configs.built_in("mini")
        return file.stem, configs.load(file, settings)
    return "run", configs.load(config, settings)


def _told(job: "Job", quiet: bool) -> "Results":
    """Measured, with progress on stderr; what to know of it are warnings at the caller of `run`."""
    from rich.console import Console

    from bench.progress import Progress

    if job.untrained:
        warnings.warn(job.untrained, stacklevel=3)
    console = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)
    results = measured(job, Progress(console, quiet))
    for failure in results.failures:
        warnings.warn(failure, stacklevel=3)
    return results


@dataclass(frozen=True)
class Job:
    """A run that is checked and planned; nothing is measured or written yet."""

    config: "BenchConfig"
    experiments: "list[Experiment]"
    out: Path
    cache: "Cache"
    limit: int | None
    device: "torch.device"
    jobs: int
    backend: str
    scheduler: str | None
    max_failures: float
    limits: "Limits"
    protocol: "Protocol | None" = None

    @property
    def untrained(self) -> str:
        """What to say of untrained networks, naming them; empty if all are trained."""
        from bench.sweep import plan

        names = plan.random_weights(self.experiments)
        return f"{plan.UNTRAINED} {', '.join(names)}" if names else ""


def planned(
    config: "BenchConfig",
    *,
    out: Place,
    cache: Place | None,
    limit: int | None,
    device: str,
    jobs: int | None,
    backend: str,
    scheduler: str | None,
    max_failures: float,
    isolate: bool = False,
    timeout: float | None = None,
    trust: Place | Sequence[Place] = (),
    protocol: str | None = None,
) -> Job:
    """Check everything. Raises ConfigError or DataError for what could not run to its end."""
    from joblib import cpu_count

    from bench import protocols
    from bench.models.programs import require_trusted
    from bench.results import folder as folders
    from bench.sweep import manifest, pictures, plan
    from bench.sweep.cache import Cache
    from bench.sweep.limits import Limits, require_sendable

    pictures.require()
    held_to = protocols.load(protocol) if protocol is not None else None
    _require_whole("limit", limit, 1, MOST_IMAGES)
    _require_whole("jobs", jobs, 1, MOST_JOBS)
    _require_one_of("backend", backend, BACKENDS)
    if scheduler is not None and backend != "dask":
        raise ConfigError(f"scheduler {scheduler}: it goes with the backend dask, not {backend}")
    if not 0 <= max_failures <= 1:
        raise ConfigError(f"max_failures {max_failures}: a share from 0 to 1 is expected")
    limits = Limits(isolate, timeout)
    limits.require(backend)
    on, out = chosen_device(device), Path(out)
    named = out if out.name not in ("", "..") else out.resolve()
    store = Cache(Path(cache) if cache else named.parent / ".cache")
    folders.check(out, store.folder)
    data = [e.dataset for e in config.experiments]
    folders.require_outside(out, [(d.format, d.root) for d in data if d.root])
    models = [(model.library, model.name) for e in config.experiments for model in e.models]
    require_trusted(models, [trust] if isinstance(trust, str | os.PathLike) else trust)
    experiments = limits.applied(plan.plan(config, on, limit))
    require_sendable(experiments)
    if held_to:
        protocols.require(held_to, manifest.started("", config, experiments, on))
        max_failures = 0  # with an image less they are not the same images
    n = jobs or cpu_count()
    return Job(
        config,
        experiments,
        out,
        store,
        limit,
        on,
        n,
        backend,
        scheduler,
        max_failures,
        limits,
        held_to,
    )


def measured(job: Job, progress: "Progress") -> "Results":
    """Carry it out. Raises BenchError; what was measured until then is in the cache."""
    from bench import report
    from bench.analysis import analyse
    from bench.codecs import isolated
    from bench.results import folder as folders
    from bench.results import reuse
    from bench.sweep import execute, pictures, run, versions, workers, workshop

    with (
        progress,
        folders.writing(job.out, job.cache.folder) as place,
        workshop.opened(
            job.config, job.experiments, job.device, job.limit, job.cache, job.jobs, job.limits
        ) as setup,
        isolated.processes(),
        workers.opened(job.backend, job.jobs, job.scheduler, setup) as there,
    ):
        if note := job.limits.note(job.backend):
            progress.say(note)
        measure = execute.Run(setup, job.experiments, there, progress.start, job.max_failures)
        name = place.root.name
        run.run(job.config, measure, job.device, place.work, name, progress.say, job.protocol)
        progress.say("analysing and drawing")
        try:
            drawn_from = reuse.drawn_from(place.work, versions.here())
            if reuse.taken_over(place, drawn_from):
                report.write_page_of(place.work)
            else:
                pictures.keep(setup, place.work, analyse(place.work))
                report.write(place.work)
        except Exception:
            place.publish()  # what was measured, whatever became of its figures
            raise
        place.publish(drawn_from)
    return load(job.out)


def chosen_device(name: str) -> "torch.device":
    """`auto` takes a GPU where there is one. Raises ConfigError."""
    from bench import devices

    _require_one_of("device", name, DEVICES)
    return devices.chosen(name)


def _listed(names: str | Sequence[str] | None) -> list[str] | None:
    if names is None:
        return None
    return [names] if isinstance(names, str) else list(names)


def _by_name(places: Place | Mapping[str, Place] | None) -> dict[str, str]:
    """By task or model; the empty name stands for all."""
    if places is None:
        return {}
    named = places if isinstance(places, Mapping) else {"": places}
    return {name: os.fspath(place) for name, place in named.items()}


def _require_whole(name: str, value: int | None, least: int, most: int) -> None:
    if value is not None and not (isinstance(value, int) and least <= value <= most):
        raise ConfigError(f"{name} {value!r}: a whole number from {least} to {most:,} is expected")


def _require_one_of(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ConfigError(f"{name} {value!r}: there are: {', '.join(allowed)}")


# --- results --------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Results:
    """A results folder. The tables are points.csv, bd.csv, equal_accuracy.csv, pairs.csv,
    means.csv, fidelity.csv and categories.csv, whose columns and units bench/results/rows.py
    describes; an undefined or withheld number is NaN."""

    folder: Path
    """Absolute."""
    manifest: "Manifest" = field(repr=False)
    """What was measured, and with what."""
    points: "pd.DataFrame" = field(repr=False)
    """Rates in bits per pixel, values in the metric's unit."""
    bd: "pd.DataFrame" = field(repr=False)
    """Against the anchor: BD-rates in percent of rate, negative saves bits; BD-metrics in the
    metric's unit."""
    equal_accuracy: "pd.DataFrame" = field(repr=False)
    """Rates in bits per pixel, changes in percent of the anchor's."""
    pairs: "pd.DataFrame" = field(repr=False)
    """BD-rates of any method against any other, percent; none in a folder of an older version, here
    and below, until the command `report` makes them."""
    means: "pd.DataFrame" = field(repr=False)
    """BD-rates averaged over models and over data sets, percent; none where there is only one."""
    fidelity: "pd.DataFrame" = field(repr=False)
    """PSNR in dB, MS-SSIM in [0, 1] and, if measured, LPIPS against the original, where methods are
    equally accurate."""
    categories: "pd.DataFrame" = field(repr=False)
    """The headline metric of every category; none unless `analysis.metrics` is all."""

    @property
    def summary(self) -> "pd.DataFrame":
        """The BD-rates by the interpolation that counts, as text: percent of rate with 95 %
        intervals, near the clean score first, then over all accuracies that both curves reach."""
        import pandas as pd

        analysis = self.manifest.analysis
        names = ["data set", "model", "metric", "method"]
        columns = [*names, f"BD-rate at {analysis.range}", "BD-rate, whole overlap", "remarks"]
        rows = []
        for row in self.bd[self.bd["interpolation"] == analysis.interpolation].itertuples():
            near = _shown(row.range_bd_rate, row.range_low, row.range_high, row.range_reason)
            whole = _shown(row.bd_rate, row.ci_low, row.ci_high, row.reason)
            remarks = dict.fromkeys(filter(None, (near[1], whole[1])))
            named = (row.dataset, row.model, row.metric, f"{row.method} vs {row.anchor}")
            rows.append((*named, near[0], whole[0], "; ".join(remarks)))
        return pd.DataFrame(rows, columns=columns)

    @property
    def failures(self) -> list[str]:
        """A sentence on each failure of an image, which is left out everywhere."""
        from bench.results.names import point_name

        said = []
        for f in self.manifest.failures:
            point = "as it is" if f.qp is None else f"{f.method} at {point_name(f.qp)}"
            who = f"{f.model}, " if f.model else ""
            said.append(
                f"{f.dataset}: {f.image} is left out everywhere "
                f"({who}{point}: {f.stage}: {f.error})"
            )
        return said

    def figure(self, metric: str, dataset: str | None = None, model: str | None = None) -> "Figure":
        """The rate–accuracy curves of a metric, as in the folder's figures.

        Raises ConfigError, naming what there is, unless these fit one data set and model.
        """
        from matplotlib import rc_context

        from bench.report import figures
        from bench.report.results import read

        content = read(self.folder)
        there = content.curves()
        fit = [
            c
            for c in there
            if c.metric == metric and dataset in (None, c.dataset) and model in (None, c.model)
        ]
        if len(fit) != 1:
            listed = "\n".join(f"  {c.metric!r}, {c.dataset!r}, {c.model!r}" for c in there)
            raise ConfigError(
                f"figure({metric!r}, {dataset!r}, {model!r}) fits {len(fit)} of the figures here; "
                f"there are, by metric, data set and model:\n{listed}"
            )
        (curves,) = fit
        if all(p.value is None for points in curves.methods.values() for p in points):
            raise ConfigError(f"{metric} of {curves.model} on {curves.dataset} has no values")
        looks = figures.looks_of(content, curves.anchor)
        title = "random weights: these numbers mean nothing" if content.random_weights else ""
        with rc_context(figures.SETTINGS):
            return figures.draw(
                curves, looks, figures.labels(content, curves), title, content.accepted(curves)
            )

    def _repr_html_(self) -> str:
        import pandas as pd

        with pd.option_context("display.max_colwidth", None):
            table: str = self.summary.to_html(index=False)
        untrained = html.escape(", ".join(self.manifest.random_weights))
        remark = f"<p>Random weights, so the numbers mean nothing: {untrained}.</p>"
        return table + (remark if untrained else "")


def load(folder: Place) -> Results:
    """Read a results folder. Raises DataError for one that is missing, unfinished or damaged."""
    from bench.results import manifest, names, rows
    from bench.results.folder import complete

    root = Path(folder).absolute()
    complete(root)
    described, tables = manifest.read(root / names.MANIFEST), rows.Tables.read(root)
    return Results(
        root,
        described,
        rows.frame(rows.PointRow, tables.points),
        rows.frame(rows.BDRow, tables.bd),
        rows.frame(rows.EqualAccuracyRow, tables.equal_accuracy),
        rows.frame(rows.PairRow, tables.pairs),
        rows.frame(rows.MeanRow, tables.means),
        rows.frame(rows.FidelityRow, tables.fidelity),
        rows.frame(rows.CategoryRow, tables.categories),
    )


def _shown(value: float, low: float, high: float, reason: str) -> tuple[str, str]:
    """A BD-rate with its interval, and of the reason what says why one of them is missing."""
    parts = reason.split("; ")
    if value != value:
        return "undefined", parts[0]
    if low != low:
        withheld = [part for part in parts if part.startswith("no interval")]
        return f"{value:+.1f} % (no interval)", "".join(withheld[:1])
    return f"{value:+.1f} % ({low:+.1f} … {high:+.1f})", ""


# --- BD-rate of any numbers -----------------------------------------------------------------------


@dataclass(frozen=True)
class BDRate:
    """A method compared with an anchor.

    bd_rate: mean difference in rate at equal accuracy, percent; negative saves bits; NaN if
    undefined. bd_metric: mean difference in accuracy at equal rate, in its own unit; positive is
    better. ci_low, ci_high: 95 % interval of bd_rate; NaN without numbers per image, and where it
    is withheld. reason: why undefined, and, also if ok, what the number should be taken with.
    """

    bd_rate: float
    bd_metric: float
    ci_low: float
    ci_high: float
    status: Literal["ok", "undefined"]
    reason: str


def bd_rate(
    anchor: "ArrayLike | pd.DataFrame",
    method: "ArrayLike | pd.DataFrame",
    *,
    metric: str | None = None,
    higher_is_better: bool = True,
    interpolation: str = "pchip",
    policy: str = "pareto",
    resamples: int = 1000,
    seed: int = 0,
) -> BDRate:
    """Compare any two curves as runs compare theirs.

    Each is one of
    - (n_points, 2) pairs of rate and accuracy, in any order: an array, or a table of two columns;
    - rows of `Results.points` of one data set, model and method; `metric` chooses among them;
    - a pair (rates, accuracies) of shape (n_points, n_images) each, whose means over the images
      are the curve. Then there is an interval: images are drawn with replacement, the same for
      both methods, so image i has to be the same one everywhere. An accuracy that is no mean over
      images, such as mAP, has none of this kind.

    Rates are positive, in any one unit. Raises ConfigError for anything else.
    """
    from bench.analysis.curves import POLICIES
    from bench.analysis.interpolation import INTERPOLATIONS

    _require_one_of("interpolation", interpolation, INTERPOLATIONS)
    _require_one_of("policy", policy, POLICIES)
    _require_whole("resamples", resamples, 0, MOST_RESAMPLES)
    _require_whole("seed", seed, 0, 2**32 - 1)
    one, other = _numbers("anchor", anchor, metric), _numbers("method", method, metric)
    if one.shape[2] != other.shape[2]:
        raise ConfigError(
            "anchor and method are to have numbers of the same images, or both of none: here the "
            f"last axes are {one.shape[2]} and {other.shape[2]} long"
        )
    if not higher_is_better:
        one[1], other[1] = -one[1], -other[1]
    return _compared({"anchor": one, "method": other}, interpolation, policy, resamples, seed)


def _compared(
    given: "dict[str, Numbers]", interpolation: str, policy: str, resamples: int, seed: int
) -> BDRate:
    """`given`: of the anchor, then of the method."""
    import numpy as np

    from bench.analysis import bdrate, bootstrap
    from bench.analysis.curves import prepare, prepare_rows

    n_images = given["anchor"].shape[2]
    hindered = bootstrap.obstacle(n_images, resamples)
    if all(np.allclose(values, values[..., :1], 1e-9, 0) for values in given.values()):
        hindered = hindered or "all images give the same numbers"
    count = 0 if hindered else resamples
    weights = bootstrap.resample_weights(np.ones(n_images, bool), count, seed, "")
    # (rates and qualities, 1 + resamples, n_points): row 0 is of the images themselves.
    drawn = [np.moveaxis(v @ weights.T / weights.sum(axis=1), 2, 1) for v in given.values()]
    curves = [prepare(rates[0], qualities[0], policy) for rates, qualities in drawn]
    result = bdrate.bd(curves[0], curves[1], interpolation)
    interval = bootstrap.NONE
    if n_images > 1 and result.status == "ok":
        rows = [prepare_rows(rates, qualities, policy) for rates, qualities in drawn]
        resampled = bdrate.bd_rate_rows(rows[0], rows[1], interpolation)[1:]
        withheld = bootstrap.Interval(np.nan, np.nan, f"no interval: {hindered}")
        interval = withheld if hindered else bootstrap.interval(resampled)
    remarks = [result.reason]
    for name, curve in zip(given, curves, strict=True):
        points = [f"point {i + 1}" for i in range(given[name].shape[1])]
        changes = curve.describe_changes(points)
        remarks.append(f"{name} {changes}" if changes else "")
    reason = "; ".join(filter(None, [*remarks, interval.reason]))
    low, high = interval.low, interval.high
    return BDRate(result.bd_rate, result.bd_metric, low, high, result.status, reason)


def _numbers(name: str, given: "ArrayLike | pd.DataFrame", metric: str | None) -> "Numbers":
    """(2, n_points, n_images) rates and accuracies, n_images being 1 where there are none."""
    import numpy as np
    import pandas as pd

    if isinstance(given, pd.DataFrame):
        given = _two_columns(name, given, metric)
    elif metric is not None:
        raise ConfigError(f"metric {metric!r}: it chooses rows of tables, and {name} is none")
    try:
        values = np.array(given, np.float64)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{name}: an array of numbers is expected: {error}") from None
    if values.ndim == 2 and values.shape[1] == 2:
        return np.ascontiguousarray(values.T)[..., None]
    if values.ndim != 3 or values.shape[0] != 2 or values.shape[2] == 0:
        raise ConfigError(
            f"{name} is of shape {values.shape}: (n_points, 2) is expected, a row being rate and "
            "accuracy, or a pair (rates, accuracies) of shape (n_points, n_images) each"
        )
    if not np.isfinite(values).all():
        raise ConfigError(f"{name}: a number is missing; leave the image out of both methods")
    return values


def _two_columns(name: str, table: "pd.DataFrame", metric: str | None) -> "pd.DataFrame":
    """The rates and accuracies of a table. Raises ConfigError."""
    if metric is not None:
        if "metric" not in table or metric not in set(table["metric"]):
            raise ConfigError(f"{name}: the table has no metric {metric!r}")
        table = table[table["metric"] == metric]
    if not {"bpp", "value"} <= set(table):
        return table
    for column in ("dataset", "model", "metric", "method"):
        if column in table and table[column].nunique() > 1:
            listed = ", ".join(map(str, table[column].unique()))
            raise ConfigError(f"{name}: rows of one {column} are expected, these are of {listed}")
    return table[["bpp", "value"]]
