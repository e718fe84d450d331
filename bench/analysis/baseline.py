"""A baseline: what a run measured, kept small enough to be committed and compared with later.

`bench.results.baseline` says what lies in its files, from which a paired interval is computed. A
results folder can stand in for a baseline file: `Side` is either.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bench.analysis import fingerprints
from bench.analysis.bootstrap import too_few
from bench.analysis.costs import speeds
from bench.analysis.curves import Curve, measure, prepare
from bench.analysis.results import Results, check_images, load
from bench.results import baseline as files
from bench.results.baseline import RATES, Baseline, Environment, labelled, of_point
from bench.results.files import ResultsError, is_folder
from bench.results.manifest import (
    Analysis,
    Device,
    Experiment,
    Failure,
    Machine,
    Manifest,
    Model,
    check,
)
from bench.results.names import MANIFEST, UNCOMPRESSED, point_name, points_name
from bench.tasks import Scored, scored, scored_names
from bench.tasks.base import Metric

DIGITS = 10
"""Significant ones of every number in the JSON: rounding of other machines stays out of diffs."""
SMALL = 0.002
"""Least tolerance of an accuracy across machines, in the metric's unit."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """What one task model on one data set got. Row 0 is on the images themselves."""

    metrics: tuple[Metric, ...]
    clean: Floats
    """(n_metrics,)"""
    points: dict[str, dict[int, tuple[Floats, Floats]]]
    """Method → QP → (1 + resamples,) bpp and (1 + resamples, n_metrics) values"""
    n_images: int
    obstacle: str
    """Why nothing can be told from chance on these images; empty if something can."""

    def curves(self, method: str, policy: str) -> list[Curve]:
        """The headline metric's, ready for a BD-rate: on the images, then on each resample."""
        sign = 1.0 if self.metrics[0].higher_is_better else -1.0
        points = self.points[method].values()
        rates = np.column_stack([bpp for bpp, _ in points])
        qualities = sign * np.column_stack([values[:, 0] for _, values in points])
        return [prepare(r, q, policy) for r, q in zip(rates, qualities, strict=True)]


@dataclass(frozen=True)
class Side:
    """A baseline file or a results folder."""

    path: Path
    manifest: Manifest
    results: Results | None
    """None: no statistics, so that only point estimates can be judged."""
    stored: dict[tuple[str, str], Scores] = field(default_factory=dict)
    """(data set, model) → what the JSON of a baseline says."""
    tolerances: dict[str, dict[str, float]] = field(default_factory=dict)
    """Data set → metric → how far accuracy may differ across machines."""
    notes: tuple[str, ...] = ()

    def measured(self) -> Results:
        """Raises ResultsError where there are no statistics."""
        if self.results is None:
            missing = "; ".join(self.notes) or "it holds published curves alone"
            raise ResultsError(f"{self.path}: nothing of single images is there: {missing}")
        return self.results

    def models(self) -> Iterator[tuple[Experiment, Model]]:
        for experiment in self.manifest.experiments:
            for model in experiment.models:
                yield experiment, model

    def scores(
        self,
        experiment: Experiment,
        model: Model,
        methods: Sequence[str],
        failures: Sequence[Failure],
        analysis: Analysis,
    ) -> Scores:
        """Of some of its methods, without the images of `failures`, from the statistics; from the
        JSON where there are none. Raises ResultsError."""
        if self.results is None:
            return self.stored[experiment.dataset, model.name]
        update = {"analysis": analysis, "failures": tuple(failures)}
        results = replace(self.results, manifest=self.manifest.model_copy(update=update))
        kept = {m: qps for m, qps in experiment.methods.items() if m in methods}
        measured = measure(results, experiment.model_copy(update={"methods": kept}), model)
        clean, *points = measured.points
        by_method: dict[str, dict[int, tuple[Floats, Floats]]] = {m: {} for m in kept}
        for point in points:
            by_method[point.method][point.qp or 0] = point.bpp, point.values
        obstacle = measured.obstacle if analysis.resamples else too_few(measured.n_images)
        return Scores(measured.metrics, clean.values[0], by_method, measured.n_images, obstacle)


def open_side(path: Path) -> Side:
    """Raises ResultsError for what is missing, unfinished, damaged or of another version."""
    return _folder(path) if is_folder(path) else _file(path)


# --- a results folder -----------------------------------------------------------------------------


def _folder(path: Path) -> Side:
    results = load(path)
    fingerprints.require(results.manifest, str(path / MANIFEST))
    manifest = _standard(results.manifest)
    tolerances = {
        e.dataset: default_tolerance(task.metrics, e.n_images)
        for e in manifest.experiments
        if (task := scored(e.task))
    }
    return Side(path, manifest, results, tolerances=tolerances)


def _standard(manifest: Manifest) -> Manifest:
    """Without the wider metrics, so that a run with them compares with one without."""
    experiments = []
    for e in manifest.experiments:
        further = _further(scored(e.task), lambda task: [m.name for m in task.metrics])
        kept = {name: about for name, about in e.metrics.items() if name not in further}
        experiments.append(e.model_copy(update={"metrics": kept}))
    analysis = manifest.analysis.model_copy(update={"metrics": "standard"})
    return manifest.model_copy(update={"experiments": tuple(experiments), "analysis": analysis})


def _further(
    task: Scored[Any, Any] | None, names: Callable[[Scored[Any, Any]], list[str]]
) -> set[str]:
    """The names that the task's wider form adds."""
    return set(names(task.wider())) - set(names(task)) if task else set()


def default_tolerance(metrics: Sequence[Metric], n_images: int) -> dict[str, float]:
    """Metric → how far it may differ between two machines that measure the same.

    Shares move by whole images (one at a time where rounding tips a decision), losses do not.
    """
    return {
        m.name: float(f"{max(SMALL, 1 / n_images):.3g}") if m.higher_is_better else SMALL
        for m in metrics
    }


# --- writing a baseline ---------------------------------------------------------------------------


def write(folder: Path, file: Path) -> list[Path]:
    """A results folder → the baseline file and the Parquet files beside it; returns them all.

    Raises ResultsError for a folder that cannot be compared with later.
    """
    if file.suffix != ".json":
        raise ResultsError(f"{file}: a baseline file is called NAME.json")
    side = _folder(folder)
    results, manifest = side.measured(), side.manifest
    if not list(side.models()):
        raise ResultsError(f"{folder / MANIFEST}: experiments: empty, nothing was measured")
    device = manifest.device or Device()
    baseline = Baseline(
        name=manifest.name,
        analysis=manifest.analysis,
        environment=Environment(
            versions=manifest.versions, device=Machine(kind=device.kind, name=device.name)
        ),
        experiments=tuple(_described(side, e) for e in manifest.experiments),
        failures=manifest.failures,
        random_weights=manifest.random_weights,
        published=manifest.published,
    )
    written = files.write(file, baseline, _tables(side, results))
    spent = speeds(results)
    return [*written, files.write_costs(file, spent)] if spent else written


def _described(side: Side, experiment: Experiment) -> files.Experiment:
    fields = experiment.model_dump(exclude={"images", "models"})
    return files.Experiment(
        **fields,
        tolerance=side.tolerances.get(experiment.dataset, {}),
        models=tuple(_described_model(side, experiment, model) for model in experiment.models),
    )


def _described_model(side: Side, experiment: Experiment, model: Model) -> files.Model:
    failures, analysis = side.manifest.failures, _no_resamples(side.manifest.analysis)
    scores = side.scores(experiment, model, list(experiment.methods), failures, analysis)
    names = [m.name for m in scores.metrics]

    def numbers(values: Floats) -> files.Numbers:
        return {n: _rounded(v) for n, v in zip(names, values.tolist(), strict=True)}

    points: dict[str, dict[int, files.Numbers]] = {}
    for method, by_qp in scores.points.items():
        points[method] = {}
        for qp, (bpp, values) in by_qp.items():
            if not np.isfinite(values[0, 0]):
                raise ResultsError(
                    f"{side.path}: {names[0]} of {experiment.dataset}, {model.name}, {method}, "
                    f"{point_name(qp)} is undefined: nothing could be compared with it"
                )
            points[method][qp] = {"bpp": _rounded(float(bpp[0])), **numbers(values[0])}
    return files.Model(
        **model.model_dump(),
        n_measured=scores.n_images,
        clean=numbers(scores.clean),
        points=points,
    )


def _no_resamples(analysis: Analysis) -> Analysis:
    return analysis.model_copy(update={"resamples": 0})


def _rounded(value: float) -> float | None:
    return float(f"{value:.{DIGITS}g}") if np.isfinite(value) else None


def _tables(side: Side, results: Results) -> dict[str, pa.Table]:
    """The bits of every image, and the statistics by task."""
    images = results.images[RATES].sort_values(RATES[:5])
    tables = {"images": pa.Table.from_pandas(images, preserve_index=False)}
    statistics = results.statistics
    for name in sorted({e.task for e in side.manifest.experiments}):
        task = scored(name)
        further = _further(task, lambda t: t.statistics([], []).schema.names)
        parts = []
        for e, m in side.models():
            points = [(method, qp) for method, qps in e.methods.items() for qp in qps]
            for method, qp in [(UNCOMPRESSED, None), *points] if e.task == name else []:
                table = _without(further, statistics(e, m, method, qp))
                table = task.reduced(table) if task else table
                parts.append(labelled(table, e.dataset, m.name, method, qp))
        tables[name] = together(parts, task)
    return tables


def together(parts: Sequence[pa.Table], task: Scored[Any, Any] | None) -> pa.Table:
    """Ground truth, the same at all points, is last: it repeats itself within what is compressed as
    one."""
    whole = pa.concat_tables(parts, promote_options="default")
    if task is None or task.ground_truth is None:
        return whole
    is_truth = whole[task.ground_truth]
    return pa.concat_tables([whole.filter(pc.invert(is_truth)), whole.filter(is_truth)])


def _without(names: Collection[str], table: pa.Table) -> pa.Table:
    return table.drop_columns([name for name in table.column_names if name in names])


# --- a baseline file ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Stored(Results):
    """Results out of a baseline's Parquet files."""

    tables: dict[str, pa.Table] = field(default_factory=dict)

    def statistics(
        self, experiment: Experiment, model: Model, method: str, qp: int | None
    ) -> pa.Table:
        table = self.tables[experiment.task]
        return of_point(table, experiment.dataset, model.name, method, qp)


def _file(path: Path) -> Side:
    baseline = files.read(path)
    tables, notes = files.read_tables(path, baseline)
    manifest = Manifest(
        experiments=tuple(
            _with_images(path, e, baseline.failures, tables) for e in baseline.experiments
        ),
        name=baseline.name,
        random_weights=baseline.random_weights,
        published=baseline.published,
        analysis=baseline.analysis,
        failures=baseline.failures,
        versions=baseline.environment.versions,
        device=Device(**baseline.environment.device.model_dump()),
    )
    check(path, manifest)
    fingerprints.require(manifest, str(path))
    images = tables.pop("images").to_pandas() if tables else pd.DataFrame(columns=RATES)
    check_images(path, images, manifest)
    return Side(
        path,
        manifest,
        _Stored(path, manifest, images, tables) if tables else None,
        {(e.dataset, m.name): _scores(path, e, m) for e in baseline.experiments for m in e.models},
        {e.dataset: e.tolerance for e in baseline.experiments},
        notes,
    )


def _with_images(
    path: Path,
    experiment: files.Experiment,
    failures: Sequence[Failure],
    tables: dict[str, pa.Table],
) -> Experiment:
    """With the names of its images, as far as anything says them."""
    said = [(f.index, f.image) for f in failures if f.dataset == experiment.dataset]
    if tables:
        table = tables["images"]
        rows = table.filter(pc.equal(table["dataset"], experiment.dataset))
        said += zip(rows["index"].to_pylist(), rows["image"].to_pylist(), strict=True)
    names = [f"image {i}" for i in range(experiment.n_images)]
    for i, name in said:
        if not 0 <= i < len(names):
            raise ResultsError(
                f"{path}: image {name!r} stands at index {i} of {experiment.dataset}, which has "
                f"{len(names)} images"
            )
        names[i] = name
    fields = experiment.model_dump(include=set(Experiment.model_fields) - {"images"})
    return Experiment.model_validate(fields | {"images": names})


def _scores(path: Path, experiment: files.Experiment, model: files.Model) -> Scores:
    task = scored(experiment.task)
    if task is None:
        raise ResultsError(
            f"{path}: task {experiment.task!r} of {experiment.dataset}; there are: "
            f"{', '.join(scored_names())}"
        )
    metrics = tuple(m for m in task.metrics if m.name in model.clean)
    where = f"{path}: {experiment.dataset}, {model.name}"
    if task.metrics[0] not in metrics:
        raise ResultsError(f"{where}: clean: no {task.metrics[0].name}, which decides")
    for method, qps in experiment.methods.items():
        if set(qps) != model.points.get(method, {}).keys():
            raise ResultsError(f"{where}: points.{method}: should be of {points_name(qps)}")

    def row(values: files.Numbers) -> Floats:
        return np.array([[_or_nan(values.get(m.name)) for m in metrics]])

    points = {
        method: {
            qp: (np.array([_or_nan(values.get("bpp"))]), row(values))
            for qp, values in by_qp.items()
        }
        for method, by_qp in model.points.items()
    }
    few = too_few(model.n_measured)
    return Scores(metrics, row(model.clean)[0], points, model.n_measured, few)


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value
