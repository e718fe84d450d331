"""A whole run, from a plan to a results folder: clean accuracy first, then the sweep."""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from bench.analysis.results import IMAGE_COLUMNS, UNCOMPRESSED, statistics_path
from bench.config import BenchConfig
from bench.errors import BenchError, ConfigError
from bench.results.folder import write_manifest
from bench.sweep import manifest
from bench.sweep.coding import Coded, Picture
from bench.sweep.execute import Run
from bench.sweep.plan import Experiment, PlannedModel, Point
from bench.tasks import AGREEMENTS
from bench.tasks.agreement import REFERENCE_SCORE
from bench.tasks.base import Prediction, Target

Say = Callable[[str], None]


def _dataset_fingerprint(experiment: Experiment, pictures: list[Picture | None]) -> str:
    """Of the images' pixels and the ground truth, whatever the folder is called."""
    digest = hashlib.sha256(experiment.dataset.annotations_sha256.encode())
    for picture in pictures:
        digest.update((picture.sha256 if picture else "unreadable").encode())
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


def _targets(
    experiment: Experiment, model: PlannedModel, clean: list[Prediction | None]
) -> list[Target]:
    """The ground truth, or what the model itself says of the uncompressed images."""
    dataset = experiment.dataset
    if dataset.labelled:
        return [s.target for s in dataset.samples]
    references = AGREEMENTS[dataset.task].references(clean)
    if dataset.task == "det" and not any(r and len(r["boxes"]) for r in references):
        raise BenchError(
            f"model {model.spec.name} detects nothing with a score of at least {REFERENCE_SCORE:g} "
            f"on the uncompressed images of {dataset.name}, so there is nothing to agree with; "
            "check the weights, or take images of what the model knows"
        )
    return references


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


def _image_rows(
    experiment: Experiment,
    view: str,
    pictures: list[Picture | None],
    table: list[list[Coded | None]],
) -> list[dict[str, Any]]:
    return [
        {
            "dataset": experiment.dataset.name,
            "view": view,
            "index": i,
            "image": experiment.dataset.samples[i].name,
            "method": point.method,
            "qp": point.qp,
            "bits": coded.bits,
            "width": picture.width,
            "height": picture.height,
            "psnr": coded.psnr,
        }
        for point, row in zip(experiment.points, table, strict=True)
        for i, (picture, coded) in enumerate(zip(pictures, row, strict=True))
        if picture and coded
    ]


def run(
    config: BenchConfig,
    experiments: list[Experiment],
    measure: Run,
    device: torch.device,
    out: Path,
    name: str,
    say: Say,
) -> dict[str, Any]:
    """Measure everything planned into the empty folder `out`; returns its manifest.

    Raises BenchError where a clean score misses what is expected of this data set, or too many
    images fail; whatever was measured until then stays in the cache.
    """
    timings: dict[str, float] = {}
    fingerprints: dict[str, str] = {}
    looks: list[dict[str, list[Picture | None]]] = []
    truth: dict[PlannedModel, list[Target]] = {}
    rows: list[dict[str, Any]] = []

    started = time.perf_counter()
    for experiment in experiments:
        dataset = experiment.dataset
        for note in dataset.notes:
            say(f"{dataset.name}: {note}")
        pictures = measure.look(experiment)
        looks.append(pictures)
        fingerprints[dataset.name] = _dataset_fingerprint(experiment, pictures["native"])
        task = experiment.task
        for model in experiment.models:
            hashes = [p.sha256 if p else None for p in pictures[model.view]]
            advance = measure.progress(f"{dataset.name}: {model.spec.name}", len(hashes))
            read = measure.clean_reader(experiment, model)
            predictions = measure.predict(experiment, model, None, hashes, read, advance)
            targets = truth[model] = _targets(experiment, model, predictions)
            table = task.statistics(predictions, targets)
            _write_statistics(out, table, experiment, model, None)
            alive = np.array([[p is not None for p in predictions]], np.int64)
            names = [m.name for m in task.metrics]
            scores = dict(zip(names, task.score(table, alive)[0].tolist(), strict=True))
            said = _check_expected(experiment, model, fingerprints[dataset.name], scores)
            listed = ", ".join(
                f"{m.name} {scores[m.name]:.4f}"
                for m in task.metrics
                if not (m.optional and np.isnan(scores[m.name]))
            )
            say(f"{dataset.name}: {model.spec.name} on uncompressed images: {listed}{said}")
    timings["uncompressed"] = time.perf_counter() - started

    tables: list[dict[str, list[list[Coded | None]]]] = []
    started = time.perf_counter()
    for experiment, pictures in zip(experiments, looks, strict=True):
        coded = {v: measure.code(experiment, v, pictures[v]) for v in experiment.views}
        tables.append(coded)
        for view in experiment.views:
            rows += _image_rows(experiment, view, pictures[view], coded[view])
    timings["coding"] = time.perf_counter() - started

    started = time.perf_counter()
    for experiment, pictures, coded in zip(experiments, looks, tables, strict=True):
        for model in experiment.models:
            total = len(experiment.points) * len(experiment.dataset.samples)
            advance = measure.progress(
                f"{experiment.dataset.name}: {model.spec.name} on decoded images", total
            )
            for point, row in zip(experiment.points, coded[model.view], strict=True):
                read = measure.decoded_reader(experiment, model, point, pictures[model.view], row)
                hashes = [c.decoded_sha256 if c else None for c in row]
                predictions = measure.predict(experiment, model, point, hashes, read, advance)
                table = experiment.task.statistics(predictions, truth[model])
                _write_statistics(out, table, experiment, model, point)
    timings["inference"] = time.perf_counter() - started

    description = manifest.describe(
        name=name,
        config=config,
        experiments=experiments,
        fingerprints=fingerprints,
        device=device,
        record=measure.record,
        timings=timings,
    )
    images = pa.Table.from_pandas(
        pd.DataFrame(rows, columns=list(IMAGE_COLUMNS)), preserve_index=False
    )
    pq.write_table(images, out / "images.parquet", write_page_checksum=True)
    write_manifest(out, description)
    return description
