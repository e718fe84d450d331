"""A baseline's files: fingerprints and operating points in `NAME.json`, tables in Parquet beside.

`NAME.<task>.parquet` holds the statistics of every operating point, `NAME.images.parquet` the bits
of every image; the JSON lists their SHA-256. `NAME.costs.json` has what coding took. It differs
from run to run, so it stands apart, and all else is the same without it.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field

from bench.atomic import atomic, checksum, write_text
from bench.results.files import (
    ResultsError,
    check_columns,
    parse_table,
    read_bytes,
    read_json,
    validated,
)
from bench.results.manifest import Analysis, Failure, Int, Machine, Number, Published
from bench.results.manifest import Experiment as MeasuredExperiment
from bench.results.manifest import Model as MeasuredModel
from bench.results.rows import IMAGE_KINDS

FORMAT, VERSION = "rabench baseline", 2
"""Version 1 has no names, notes, untrained networks and published curves."""
READ = (1, 2)
COSTS = ".costs.json"
"""In place of `.json`."""

RATES = ["dataset", "view", "method", "qp", "index", "image", "bits", "width", "height"]
"""Columns of the images' table."""
POINT = ["dataset", "model", "method", "qp"]
"""Columns that the statistics of a point have besides."""

Numbers = dict[str, float | None]
"""By the name of a metric."""


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Model(MeasuredModel):
    n_measured: Int
    clean: Numbers
    points: dict[str, dict[int, Numbers]]
    """Method → QP → `bpp` and every metric"""


class Experiment(MeasuredExperiment):
    """The images' names stand in the table of images."""

    images: tuple[str, ...] = Field(default=(), exclude=True)
    categories: dict[int, str] = Field(default={}, exclude=True)
    models: tuple[Model, ...]
    tolerance: dict[str, Annotated[float, Field(ge=0)]]
    """Metric → how far it may differ across machines"""


class Environment(Part):
    versions: dict[str, str]
    device: Machine


class Baseline(Part):
    format: Literal["rabench baseline"] = "rabench baseline"
    version: Literal[1, 2] = 2
    name: str = ""
    analysis: Analysis
    environment: Environment
    experiments: tuple[Experiment, ...]
    failures: tuple[Failure, ...]
    random_weights: tuple[str, ...] = ()
    """Models and methods whose networks are untrained."""
    published: tuple[Published, ...] = ()
    statistics: dict[str, str] = {}
    """File beside this one → its SHA-256."""
    checksum: str = ""
    """Of all the rest."""


class Speed(Part):
    """What a step of coding took, all operating points and images together."""

    dataset: str
    view: str
    """`native`, or `model:<name>`."""
    method: str
    stage: str
    """preprocess, encode, decode or postprocess."""
    ms_per_megapixel: Number


class Costs(Part):
    format: Literal["rabench costs"] = "rabench costs"
    version: Literal[1] = 1
    speeds: tuple[Speed, ...]


# --- writing --------------------------------------------------------------------------------------


def write(path: Path, baseline: Baseline, tables: dict[str, pa.Table]) -> list[Path]:
    """The baseline, which lists no tables yet, and its tables → all files.

    Raises ResultsError where `path` is there and no baseline, OSError where it cannot be written.
    """
    _require_ours(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    files = [_write_table(path.with_suffix(f".{name}.parquet"), t) for name, t in tables.items()]
    listed = {file.name: _sha256(file.read_bytes()) for file in files}
    content = baseline.model_dump(mode="json") | {"statistics": listed}
    content["checksum"] = checksum(content)
    text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")
    return [path, *files]


def _require_ours(path: Path) -> None:
    try:
        known = read_json(path, "baseline").get("format") == FORMAT
    except FileNotFoundError:
        return
    except ResultsError:
        known = False
    if not known:
        raise ResultsError(
            f"{path}: a file of that name is there, and it is no baseline; name another one"
        )


def _write_table(path: Path, table: pa.Table) -> Path:
    # Floats are the bulk, or positions; split into their bytes they compress best, and as
    # differences where they count up.
    encoded = {f.name: "BYTE_STREAM_SPLIT" for f in table.schema if pa.types.is_floating(f.type)}
    encoded |= {
        f.name: "DELTA_BINARY_PACKED" if _counts_up(table[f.name]) else "BYTE_STREAM_SPLIT"
        for f in table.schema
        if f.name in ("image", "index") and pa.types.is_integer(f.type)
    }
    with atomic(path) as part:
        pq.write_table(
            table.replace_schema_metadata(None),
            part,
            compression="zstd",
            compression_level=19,
            use_dictionary=[name for name in table.column_names if name not in encoded],
            column_encoding=encoded or None,
        )
    return path


def _counts_up(positions: pa.ChunkedArray) -> bool:
    """In most rows."""
    steps = np.diff(positions.to_numpy())
    return bool(2 * np.count_nonzero(steps == 1) > len(steps))


def write_costs(path: Path, speeds: Sequence[Speed]) -> Path:
    """Beside the baseline `path`. Raises OSError."""
    file = path.with_suffix(COSTS)
    text = json.dumps(Costs(speeds=tuple(speeds)).model_dump(mode="json"), indent=1)
    write_text(file, text + "\n")
    return file


def labelled(table: pa.Table, dataset: str, model: str, method: str, qp: int | None) -> pa.Table:
    """The statistics of a point as rows of a task's table."""
    for name, value in reversed(list(zip(POINT, (dataset, model, method, qp), strict=True))):
        kind = pa.int32() if name == "qp" else pa.string()
        table = table.add_column(0, name, pa.array([value] * len(table), kind))
    return table


def of_point(table: pa.Table, dataset: str, model: str, method: str, qp: int | None) -> pa.Table:
    """The statistics of a point, out of a task's table."""
    chosen = pc.is_null(table["qp"]) if qp is None else pc.equal(table["qp"], qp)
    for name, value in zip(POINT, (dataset, model, method), strict=False):
        chosen = pc.and_(chosen, pc.equal(table[name], value))
    return table.filter(chosen).drop_columns(POINT)


# --- reading --------------------------------------------------------------------------------------


def read(path: Path) -> Baseline:
    """Raises ResultsError for what is missing, damaged or of another version."""
    try:
        content = read_json(path, "baseline")
    except FileNotFoundError:
        raise ResultsError(
            f"{path}: there is no such baseline or results folder; `run_bench.py baseline RESULTS "
            f"{path}` makes one"
        ) from None
    if content.get("format") != FORMAT:
        raise ResultsError(f"{path}: format: this is no baseline of `run_bench.py baseline`")
    _require_version(path, content.get("version"))
    if content.get("checksum") != checksum(content):
        raise ResultsError(
            f"{path}: checksum: it does not fit the rest of the file, which was edited by hand, "
            "merged or damaged; make the baseline anew from a run"
        )
    return validated(Baseline, content, path)


def _require_version(path: Path, version: object) -> None:
    if version in READ and not isinstance(version, bool):
        return
    newer = isinstance(version, int) and version > max(READ)
    raise ResultsError(
        f"{path}: version: {version!r}, this rabench reads {' and '.join(map(str, READ))}; "
        + ("a newer one wrote it: update rabench, or " if newer else "")
        + "make the baseline anew"
    )


def read_costs(path: Path) -> tuple[Speed, ...]:
    """Of the baseline `path`; none where there is no such file. Raises ResultsError."""
    file = path.with_suffix(COSTS)
    try:
        content = read_json(file, "list of costs")
    except FileNotFoundError:
        return ()
    return validated(Costs, content, file).speeds


def read_tables(path: Path, baseline: Baseline) -> tuple[dict[str, pa.Table], tuple[str, ...]]:
    """By task, and `images`; nothing at all, and a note, if one is not there. Raises
    ResultsError."""
    tables: dict[str, pa.Table] = {}
    if not baseline.experiments:
        return tables, ()
    for name, digest in baseline.statistics.items():
        if not re.fullmatch(r"[^/\\]+\.parquet", name):
            raise ResultsError(f"{path}: statistics.{name}: this is no Parquet file beside it")
        file = path.with_name(name)
        if not file.exists():
            return {}, (f"{file} is missing: point estimates are judged alone",)
        data = read_bytes(file)
        if _sha256(data) != digest:
            raise ResultsError(
                f"{path}: statistics.{name}: {file} is not the file that this baseline was written "
                "with; restore it, or make the baseline anew"
            )
        tables[name.removesuffix(".parquet").rpartition(".")[2]] = parse_table(file, data)
    missing = {"images", *(e.task for e in baseline.experiments)} - tables.keys()
    if missing:
        raise ResultsError(f"{path}: statistics: no file for {', '.join(sorted(missing))}")
    check_columns(path, tables["images"], {name: IMAGE_KINDS[name] for name in RATES})
    return tables, ()


def _sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()
