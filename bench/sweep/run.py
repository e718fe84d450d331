"""A whole run, from a plan to a results folder: clean accuracy first, then the sweep."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from bench import protocols
from bench.config import BenchConfig
from bench.errors import BenchError, ConfigError
from bench.protocols import Protocol
from bench.results import manifest as manifests
from bench.results.manifest import Manifest, OffTarget
from bench.results.names import COSTS, IMAGES, MANIFEST, RATES, UNCOMPRESSED, statistics_path
from bench.results.rows import RateRow, to_csv, write_costs, write_images
from bench.sweep import manifest
from bench.sweep.execute import Run
from bench.sweep.plan import Experiment, PlannedModel, Point
from bench.sweep.rates import NEAR, away
from bench.sweep.spill import Spill
from bench.sweep.uncompressed import Views
from bench.sweep.unit import UnitResult

Say = Callable[[str], None]


CODED = pa.schema(
    [
        ("index", pa.int64()),
        ("view", pa.string()),
        ("point", pa.int64()),
        ("bits", pa.int64()),
        ("width", pa.int64()),
        ("height", pa.int64()),
        ("psnr", pa.float64()),
        ("ms_ssim", pa.float64()),
        ("qp", pa.int64()),
        ("lpips", pa.float64()),
    ]
)
MEASURED = ("bits", "width", "height", "psnr", "ms_ssim", "lpips")
SPENT = pa.schema(
    [
        ("index", pa.int64()),
        ("of", pa.string()),
        ("point", pa.int64()),
        ("stage", pa.string()),
        ("seconds", pa.float64()),
    ]
)


def _dataset_fingerprint(experiment: Experiment, views: list[Views | None]) -> str:
    """Of the images' pixels and the ground truth, whatever the folder is called."""
    digest = hashlib.sha256(experiment.dataset.annotations_sha256.encode())
    for seen in views:
        digest.update((seen["native"].sha256 if seen else "unreadable").encode())
    return "sha256:" + digest.hexdigest()


STATED_TOLERANCE = 0.002
"""Of scores that a model's documentation states, which are rounded to 0.1 or 0.01 percent."""


def _check_expected(
    experiment: Experiment, model: PlannedModel, fingerprint: str, scores: dict[str, float]
) -> str:
    """What to say of the expected scores: the config's, else those that the model's documentation
    states. Raises BenchError where they are missed on their set."""
    expected, stated = experiment.expected, model.stated
    if expected is not None:
        wanted, same = expected.scores, expected.dataset == fingerprint
    elif stated is not None and experiment.dataset.labelled:
        wanted = {name: (value, STATED_TOLERANCE) for name, value in stated.scores.items()}
        same = stated.on(experiment.dataset)
    else:
        return ""
    same = same and not experiment.limited
    unknown = wanted.keys() - scores.keys()
    if unknown:
        raise ConfigError(
            f"expected.{min(unknown)}: not measured here; there are: {', '.join(scores)}"
        )
    missed, said = [], []
    for name, (value, tolerance) in wanted.items():
        said.append(f"{name} {value:.4f} ± {tolerance:g}")
        if same and not abs(scores[name] - value) <= tolerance:
            missed.append(f"{name} is {scores[name]:.4f}, expected {value:.4f} ± {tolerance:g}")
    if missed:
        raise BenchError(
            f"the uncompressed accuracy of {model.spec.name} on {experiment.dataset.name} is not "
            f"what {'the config' if expected else 'its documentation'} expects of this very data "
            f"set: {'; '.join(missed)}. Weights, preprocessing or a "
            "library's version differ; nothing was coded"
        )
    where = "as expected of this data set" if same else "on another data set it should be"
    if experiment.limited:
        where = "not checked with --limit; on the whole set that it is stated for it should be"
    return f" ({where}: {', '.join(said)})"


def _write_statistics(
    folder: Path,
    table: pa.Table,
    experiment: Experiment,
    model: PlannedModel,
    point: Point | None,
) -> None:
    path = statistics_path(
        folder,
        experiment.task.name,
        experiment.dataset.name,
        model.spec.name,
        point.method if point else UNCOMPRESSED,
        point.qp if point else None,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, write_page_checksum=True)


def _images(experiment: Experiment, rows: pa.Table) -> pd.DataFrame:
    """The rows of images.parquet, ordered by view, operating point and image."""
    table = rows.to_pandas().sort_values(["view", "point", "index"], kind="stable")
    points, samples = experiment.points, experiment.dataset.samples
    return pd.DataFrame(
        {
            "dataset": experiment.dataset.name,
            "view": table["view"],
            "index": table["index"],
            "image": [samples[i].name for i in table["index"]],
            "method": [points[p].method for p in table["point"]],
            "qp": [points[p].qp for p in table["point"]],
            **{name: table[name] for name in MEASURED},
        }
    )


def _costs(experiment: Experiment, rows: pa.Table) -> pd.DataFrame:
    """The rows of costs.parquet, ordered by operating point, stage, view or model, and image."""
    table = rows.to_pandas()
    table["point"] = table["point"].fillna(-1).astype(int)
    table = table.sort_values(["point", "stage", "of", "index"], kind="stable")
    points = experiment.points
    return pd.DataFrame(
        {
            "dataset": experiment.dataset.name,
            "index": table["index"],
            "of": table["of"],
            "method": [points[p].method if p >= 0 else UNCOMPRESSED for p in table["point"]],
            "qp": pd.array([points[p].qp if p >= 0 else None for p in table["point"]], "Int64"),
            "stage": table["stage"],
            "seconds": table["seconds"],
        }
    )


def _rates(experiment: Experiment, rows: pa.Table) -> list[RateRow]:
    """Of the methods that have target rates; ordered by view, operating point and image."""
    points, samples = experiment.points, experiment.dataset.samples
    found = sorted(rows.to_pylist(), key=lambda row: (row["view"], row["point"], row["index"]))
    told = []
    for row in found:
        point = points[row["point"]]
        if point.rate is not None:
            bpp = row["bits"] / (row["width"] * row["height"])
            told.append(
                RateRow(
                    dataset=experiment.dataset.name,
                    view=row["view"],
                    image=samples[row["index"]].name,
                    method=point.method,
                    target=point.rate,
                    bpp=bpp,
                    qp=row["qp"],
                    within="yes" if away(bpp, point.rate) <= NEAR else "no",
                )
            )
    return told


def run(
    config: BenchConfig,
    measure: Run,
    device: torch.device,
    out: Path,
    name: str,
    say: Say,
    protocol: Protocol | None = None,
) -> Manifest:
    """Measure everything planned into the empty folder `out`; returns its manifest, which says
    `running` until all else is there.

    Raises BenchError where a clean score misses what is expected of this data set, where the images
    are not those of the protocol, or too many fail; whatever was measured until then stays in the
    cache.
    """
    timings: dict[str, float] = {}
    begun = manifest.started(name, config, measure.experiments, device)
    manifests.write(out / MANIFEST, begun)
    with Spill(out / ".rows") as spill:
        started = time.perf_counter()
        seen = [
            _clean(number, measure, spill, out, say) for number in range(len(measure.experiments))
        ]
        timings["uncompressed"] = time.perf_counter() - started
        fingerprints = {
            e.dataset.name: _dataset_fingerprint(e, views)
            for e, views in zip(measure.experiments, seen, strict=True)
        }
        begun = manifest.seen(begun, fingerprints)
        if protocol:
            begun = protocols.held(protocol, begun)
        started = time.perf_counter()
        if any(experiment.auto for experiment in measure.experiments):
            from bench.sweep import pilot  # not before: it imports scipy's optimisers

            pilot.choose(measure, seen, lambda n, m: spill.table((n, m, None, None)), say)
            timings["pilot"] = time.perf_counter() - started
            started = time.perf_counter()
        off_target = _points(seen, measure, spill, out)
        timings["points"] = time.perf_counter() - started
    complete = manifest.completed(begun, measure, off_target, timings)
    manifests.write(out / MANIFEST, complete)
    return complete


def _clean(number: int, measure: Run, spill: Spill, out: Path, say: Say) -> list[Views | None]:
    """The uncompressed pictures of an experiment → their fingerprints. Raises BenchError."""
    experiment = measure.experiments[number]
    dataset, task = experiment.dataset, experiment.task
    for note in dataset.notes:
        say(f"{dataset.name}: {note}")
    views: list[Views | None] = [None] * len(dataset.samples)
    for result in measure.clean(number):
        views[result.unit.start : result.unit.stop] = result.views
        _spill_rows(number, result, spill)
    fingerprint = _dataset_fingerprint(experiment, views)
    lost = [f for f in measure.failures if f.dataset == dataset.name]
    for model in experiment.models:
        table = spill.table((number, model.spec.name, None, None))
        _write_statistics(out, table, experiment, model, None)
        dead = [f.index for f in lost if f.model in (None, model.spec.name)]
        alive = np.ones((1, len(dataset.samples)), np.int64)
        alive[0, dead] = 0
        names = [m.name for m in task.metrics]
        scores = dict(zip(names, task.score(table, alive)[0].tolist(), strict=True))
        if np.isnan(scores[names[0]]):
            raise BenchError(
                f"{names[0]} of model {model.spec.name} is undefined on the uncompressed images of "
                f"{dataset.name}: {task.undefined}"
            )
        said = _check_expected(experiment, model, fingerprint, scores)
        listed = ", ".join(
            f"{m.name} {scores[m.name]:.4f}"
            for m in task.metrics
            if not (m.optional and np.isnan(scores[m.name]))
        )
        say(f"{dataset.name}: {model.spec.name} on uncompressed images: {listed}{said}")
    return views


def _points(
    seen: list[list[Views | None]], measure: Run, spill: Spill, out: Path
) -> list[OffTarget]:
    """Every operating point of every experiment → the images that are not near a target rate.
    Writes the statistics, and the tables of images, rates and costs."""
    for result in measure.points(seen):
        number = result.unit.experiment
        coded = pa.Table.from_pylist([vars(row) for row in result.coded], schema=CODED)
        spill.add((number, "coded"), result.unit.start, coded)
        _spill_rows(number, result, spill)
    for number, experiment in enumerate(measure.experiments):
        for model in experiment.models:
            for place in experiment.places:
                point = experiment.points[place]
                table = spill.table((number, model.spec.name, point.method, point.qp))
                _write_statistics(out, table, experiment, model, point)
    numbered = list(enumerate(measure.experiments))
    images = [_images(e, spill.table((number, "coded"))) for number, e in numbered]
    write_images(pd.concat(images, ignore_index=True), out / IMAGES)
    rates = [row for number, e in numbered for row in _rates(e, spill.table((number, "coded")))]
    if rates:
        to_csv(RateRow, rates, out / RATES)
    costs = [_costs(e, spill.table((number, "costs"))) for number, e in numbered]
    write_costs(pd.concat(costs, ignore_index=True), out / COSTS)
    return [OffTarget(**asdict(row)) for row in rates if row.within == "no"]


def _spill_rows(number: int, result: UnitResult, spill: Spill) -> None:
    for where, table in result.statistics.items():
        spill.add((number, *where), result.unit.start, table)
    costs = pa.Table.from_pylist([vars(row) for row in result.costs], schema=SPENT)
    spill.add((number, "costs"), result.unit.start, costs)
