"""Operating points in the columns of the script `gen_mpeg_cttc_csv.py` of CompressAI-Vision, which
makes the sheets of MPEG's common test conditions: a CSV file for each model and method.

Columns and the order of lines are those of a run on images there: a data set's points by rising QP,
then those of all data sets together. `y_psnr` is empty, as the script leaves it, and so are times:
they differ from run to run and stand in costs.parquet.
"""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from bench.analysis.results import Results, load
from bench.atomic import atomic
from bench.results.files import ResultsError
from bench.results.manifest import Experiment, Manifest, Model
from bench.results.names import file_name
from bench.results.spreadsheet import guarded
from bench.tasks.base import scored

COLUMNS = (
    *("Dataset", "qp", "avg_bpp", "end_accuracy", "y_psnr"),
    *("nn_part_1", "encode", "decode", "nn_part_2"),
)
POOLED = "ALL"
"""In place of a data set: all of a task and model together."""

Part = tuple[Experiment, Model]
Row = tuple[str, int, float, float]
"""Data set, QP, bits per pixel and accuracy in percent."""


def wanted(manifest: Manifest) -> bool:
    """Whether the run's protocol asks for it."""
    return any(e.protocol and e.protocol.columns == "cttc" for e in manifest.experiments)


def write(folder: Path) -> list[Path]:
    """Write tables/cttc-*.csv into a results folder → the files. Raises ResultsError, OSError."""
    results = load(folder)
    groups: dict[tuple[str, str], list[Part]] = {}
    for experiment in results.manifest.experiments:
        for model in experiment.models:
            groups.setdefault((experiment.task, model.name), []).append((experiment, model))
    files = []
    for (_, model_name), parts in groups.items():
        for method in dict.fromkeys(m for e, _ in parts for m in e.methods):
            own = [(e, m) for e, m in parts if method in e.methods]
            path = folder / "tables" / f"cttc-{file_name(model_name)}-{file_name(method)}.csv"
            _write(path, [*_alone(results, own, method), *_pooled(results, own, method)])
            files.append(path)
    return files


def _write(path: Path, rows: Sequence[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as part, part.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for name, qp, bpp, accuracy in rows:
            writer.writerow([guarded(name), qp, repr(bpp), repr(accuracy), *[""] * 5])


def _alone(results: Results, parts: Sequence[Part], method: str) -> Iterator[Row]:
    for experiment, model in sorted(parts, key=lambda part: part[0].dataset):
        for qp in sorted(experiment.methods[method]):
            yield experiment.dataset, qp, *_scored(results, [(experiment, model, qp)], method)


def _pooled(results: Results, parts: Sequence[Part], method: str) -> Iterator[Row]:
    """The points of equal number from the finest. Accuracy is that of all images together, not a
    mean; `qp` is the point's number, as in the script."""
    counts = {len(e.methods[method]) for e, _ in parts}
    # Scores out of a baseline compare within a data set alone, and it may have been merged.
    if len(parts) < 2 or len(counts) > 1 or "merged" in results.manifest.config:
        return
    for i in range(counts.pop()):
        points = [(e, m, sorted(e.methods[method])[i]) for e, m in parts]
        yield POOLED, i, *_scored(results, points, method)


def _scored(
    results: Results, points: Sequence[tuple[Experiment, Model, int]], method: str
) -> tuple[float, float]:
    """All bits over all pixels, and the headline metric in percent."""
    bits = pixels = 0.0
    tables, alive, before = [], [], 0
    for experiment, model, qp in points:
        there = results.surviving(experiment, model)
        own_bits, own_pixels = results.rates(experiment, model, method, qp)
        bits, pixels = bits + own_bits[there].sum(), pixels + own_pixels[there].sum()
        table = results.statistics(experiment, model, method, qp)
        tables.append(_moved(table, before))
        alive.append(there.astype(np.int64))
        before += experiment.n_images
    task = scored(points[0][0].task)
    if task is None:
        raise ResultsError(f"{results.root}: there is no task {points[0][0].task}")
    together = pa.concat_tables(tables, promote_options="default").combine_chunks()
    value = task.score(together, np.concatenate(alive)[None])[0, 0]
    return float(bits / pixels), 100 * float(value)


def _moved(table: pa.Table, by: int) -> pa.Table:
    """Statistics under other positions of the images."""
    place = table.column_names.index("image")
    kind = table.schema.field("image")
    images = pa.array(table["image"].to_numpy() + by).cast(kind.type)
    return table.set_column(place, kind, images)
