"""Published curves from a CSV file, checked row by row."""

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from bench.errors import DataError
from bench.results import baseline as files
from bench.results.baseline import Baseline, Environment
from bench.results.files import validated
from bench.results.manifest import Analysis, Machine, Manifest
from bench.results.names import UNCOMPRESSED
from bench.tasks import scored, scored_names

NAMES = ("dataset", "model", "metric")
COLUMNS = (*NAMES, "bpp", "accuracy")
MOST_BPP = 48.0
"""Beyond what any 16-bit picture takes as it is: another unit."""

Key = tuple[str, ...]


@dataclass(frozen=True)
class _Row:
    line: int
    key: Key
    """Data set, model and metric."""
    bpp: float
    value: float


def imported(path: Path, name: str, file: Path) -> tuple[list[Path], list[str]]:
    """The curves of the CSV file `path` as the method `name` of a baseline `file` → the files
    written, and what to take the curves with.

    Raises DataError, naming the file, the row and the values, for what is no such curve.
    """
    if file.suffix != ".json":
        raise DataError(f"--out {file}: a baseline file is called NAME.json")
    if not name.strip() or name == UNCOMPRESSED or not name.isprintable():
        raise DataError(f"--as {name!r}: the name of a method is expected, on one line")
    curves = _curves(path)
    warnings = [said for rows in curves.values() for said in _checked(path, rows)]
    published = [
        {
            **dict(zip(NAMES, key, strict=True)),
            "method": name,
            "points": [(row.bpp, row.value) for row in rows],
            "source": path.name,
        }
        for key, rows in curves.items()
    ]
    # As a manifest would be read, so that names are what they may be.
    manifest = validated(Manifest, {"experiments": [], "published": published}, path)
    baseline = Baseline(
        name=name,
        analysis=Analysis(),
        environment=Environment(versions={}, device=Machine()),
        experiments=(),
        failures=(),
        published=manifest.published,
    )
    return files.write(file, baseline, {}), warnings


def _curves(path: Path) -> dict[Key, list[_Row]]:
    """(data set, model, metric) → its rows as they stand. Raises DataError."""
    curves: dict[Key, list[_Row]] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            for row in _rows(path, csv.DictReader(stream)):
                curves.setdefault(row.key, []).append(row)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as CSV: {error}") from error
    if not curves:
        raise DataError(f"{path}: no rows below the header {','.join(COLUMNS)}")
    return curves


def _rows(path: Path, lines: "csv.DictReader[str]") -> Iterator[_Row]:
    header = [str(name).strip() for name in lines.fieldnames or ()]
    lines.fieldnames = header
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise DataError(
            f"{path}: no column {', '.join(missing)}; there are {', '.join(header) or 'none'}, and "
            f"{', '.join(COLUMNS)} are needed"
        )
    twice = [name for name in COLUMNS if header.count(name) > 1]
    if twice:
        raise DataError(f"{path}: two columns {twice[0]}")
    for line in lines:
        where = f"{path}, row {lines.line_num}"
        if any(line[name] is None for name in COLUMNS):
            raise DataError(f"{where}: fewer fields than the header has")
        key = tuple(line[name].strip() for name in NAMES)
        if "" in key:
            raise DataError(f"{where}: {NAMES[key.index('')]} is empty")
        bpp, value = (_number(where, name, line[name]) for name in ("bpp", "accuracy"))
        _check_values(where, key[2], bpp, value)
        yield _Row(lines.line_num, key, bpp, value)


def _number(where: str, name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise DataError(f"{where}: {name}: {text!r} is no number") from None
    if not math.isfinite(value):
        raise DataError(f"{where}: {name}: {text!r} is not finite")
    return value


def _check_values(where: str, metric: str, bpp: float, value: float) -> None:
    higher = _directions()
    if metric not in higher:
        raise DataError(f"{where}: metric: {metric!r}; there are: {', '.join(higher)}")
    if not 0 < bpp <= MOST_BPP:
        raise DataError(
            f"{where}: bpp: {bpp:g}; bits per pixel are expected, above 0 and up to {MOST_BPP:g}"
        )
    if higher[metric] and not 0 <= value <= 1:
        percent = f": is it in percent? Write {value / 100:g}" if 1 < value <= 100 else ""
        raise DataError(f"{where}: accuracy: {value:g}; {metric} is a share from 0 to 1{percent}")
    if value < 0:
        raise DataError(f"{where}: accuracy: {value:g}; {metric} is not below 0")


def _directions() -> dict[str, bool]:
    """Metric of any task → whether higher is better, in which case it is a share."""
    tasks = filter(None, map(scored, scored_names()))
    return {m.name: m.higher_is_better for task in tasks for m in task.wider().metrics}


def _checked(path: Path, rows: list[_Row]) -> list[str]:
    """What to take a curve with. Raises DataError where its rates do not rise."""
    about = f"{path}, {', '.join(rows[0].key)}"
    if len(rows) < 2:
        raise DataError(f"{about}: one row ({rows[0].line}); a curve has two points or more")
    better = 1 if _directions()[rows[0].key[2]] else -1
    warnings = []
    for before, after in pairwise(rows):
        lines = f"rows {before.line} and {after.line}"
        if after.bpp == before.bpp:
            raise DataError(f"{about}: {lines} have the same bpp, {after.bpp:g}")
        if after.bpp < before.bpp:
            raise DataError(
                f"{about}: bpp falls from {before.bpp:g} to {after.bpp:g} in {lines}; write each "
                "curve by rising bpp, and different methods in different files"
            )
        if better * after.value < better * before.value:
            warnings.append(
                f"{about}: accuracy gets worse as the rate rises, from {before.value:g} to "
                f"{after.value:g} in {lines}; is it so in the publication?"
            )
    return warnings
