"""The rows of a results folder's tables: a class for each file, whose fields are its columns.

In CSV files an empty field is None, floats are written so that reading gives the same ones back,
and text so that no spreadsheet runs it as a formula. A field with a default may be missing from a
file, and one whose default is None is written only where a row has a value.
"""

import csv
import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_type_hints

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bench.atomic import atomic
from bench.results.files import ResultsError
from bench.results.names import (
    BD,
    CATEGORIES,
    EQUAL_ACCURACY,
    FIDELITY,
    MEANS,
    PAIRS,
    POINTS,
    PUBLISHED,
)
from bench.results.spreadsheet import guarded, unguarded

Status = Literal["ok", "undefined"]


@dataclass(frozen=True)
class ImageRow:
    """images.parquet: a coded image. There are too many for objects: they stay in a data frame."""

    dataset: str
    view: str
    """`native`, or `model:<name>`."""
    index: int
    """The image's position in the data set."""
    image: str
    method: str
    qp: int
    bits: int | None
    """Of the coded file; in columns of numbers anything may be missing."""
    width: int | None
    height: int | None
    """Pixels of the view that was coded."""
    psnr: float | None
    """dB, of the decoded picture against the view."""
    ms_ssim: float | None
    """In [0, 1], likewise; none for a side under 11 pixels."""
    lpips: float | None = None
    """0 for equal pictures, likewise; a column only where `fidelity.lpips` asks for it, none for a
    side under 31 pixels."""


@dataclass(frozen=True)
class CostRow:
    """costs.parquet: what a step took for one picture when it was measured, as wall time in which
    other units of the run had the cores, too. It differs from run to run, so it stands apart."""

    dataset: str
    index: int
    """The image's position in the data set."""
    of: str
    """The view that was coded, or the model that predicted."""
    method: str
    qp: int | None
    """None for the uncompressed pictures."""
    stage: str
    """preprocess, encode, decode, postprocess or predict."""
    seconds: float | None


@dataclass(frozen=True)
class PointRow:
    """points.csv: one metric at one operating point, or on the uncompressed images.

    Values and intervals are in the metric's own unit. ci_low … ci_high is the interval freed of the
    resamples' bias, see `bootstrap.interval`, bca_low … bca_high the BCa interval, both of 95 %.
    Means of average precisions, as mAP is, have another one, see `analysis.halves`, and no BCa.
    """

    dataset: str
    task: str
    model: str
    method: str
    qp: int | None
    """None for the uncompressed images, which have no rate either."""
    bpp: float | None
    """Mean over images of bits per pixel."""
    bpp_total: float | None
    """All bits over all pixels."""
    metric: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    n_images: int
    n_failed: int
    """Images left out of every point, since they failed at one."""
    bca_low: float | None
    bca_high: float | None
    change: str
    """What the policy did to the point before BD-rates; empty for nothing. It begins with
    `published` where the point was not measured; there, `qp` counts from the finest point."""
    curve_bpp: float | None
    curve_value: float | None
    """Where BD-rates see it: None if it was dropped, the mean of its pool if it was pooled."""
    reason: str = ""
    """Why there is a value and no interval."""

    @property
    def published(self) -> bool:
        """Whether it was not measured."""
        return self.change.startswith(PUBLISHED)


@dataclass(frozen=True)
class BDRow:
    """bd.csv: a method against its anchor on one metric, with one interpolation.

    bd_rate: mean difference in rate at equal accuracy, percent; negative saves bits. bd_metric:
    mean difference in accuracy at equal rate, in the metric's unit; positive is better, also where
    lower is better. ci_… and …_low, …_high are percentile intervals, bca_… BCa intervals, of 95 %.
    """

    dataset: str
    task: str
    model: str
    metric: str
    anchor: str
    method: str
    interpolation: str
    policy: str
    bd_rate: float | None
    ci_low: float | None
    ci_high: float | None
    bd_metric: float | None
    overlap: float
    """Shared range of accuracy as a share of the range that both curves span, in [0, 1]."""
    n_points: int
    """Points used of the curve that has fewer."""
    status: Status
    reason: str
    """Why undefined, and, also if ok, what the number should be taken with."""
    bca_low: float | None
    bca_high: float | None
    wins: float | None
    """Share of the resamples with a BD-rate in which the method saves bits."""
    undefined: float | None
    """Share of the resamples without a BD-rate."""
    bd_metric_low: float | None
    bd_metric_high: float | None
    bd_metric_bca_low: float | None
    bd_metric_bca_high: float | None
    range: str
    """The accuracies near the clean score that range_bd_rate, percent, is over."""
    range_bd_rate: float | None
    range_low: float | None
    range_high: float | None
    range_reason: str


@dataclass(frozen=True)
class EqualAccuracyRow:
    """equal_accuracy.csv: the bits that it takes a method to stay near the clean score."""

    dataset: str
    task: str
    model: str
    metric: str
    anchor: str
    method: str
    interpolation: str
    policy: str
    within: float
    """Percent of the clean score."""
    target: float | None
    """The accuracy that is meant, in the metric's unit."""
    bpp: float | None
    """None where the curve does not reach it."""
    ci_low: float | None
    ci_high: float | None
    change: float | None
    """Percent against the anchor's bpp at the same accuracy, negative saves bits; None for the
    anchor, with its paired interval of 95 %."""
    change_low: float | None
    change_high: float | None
    reason: str
    """Why a field is empty."""


@dataclass(frozen=True)
class PairRow:
    """pairs.csv: any method against any other, in both directions, so that it is a whole matrix.

    Numbers are those of `BDRow`; where `against` is the anchor they are the same ones.
    """

    dataset: str
    task: str
    model: str
    metric: str
    method: str
    against: str
    """The method that takes the anchor's place: bd_rate −20 is 20 % fewer bits than this one."""
    interpolation: str
    policy: str
    bd_rate: float | None
    ci_low: float | None
    ci_high: float | None
    """Paired percentile interval of 95 %, here and below."""
    overlap: float
    status: Status
    reason: str
    range: str
    range_bd_rate: float | None
    range_low: float | None
    range_high: float | None
    range_reason: str


@dataclass(frozen=True)
class MeanRow:
    """means.csv: the arithmetic mean of a method's BD-rates, percent, over models or data sets.

    Over data sets it is the mean of their means over models, so that each data set counts the same.
    Intervals are percentile intervals of 95 % over other images; models and data sets stay.
    """

    task: str
    metric: str
    method: str
    anchor: str
    over: str
    """`models of <data set>` or `data sets`."""
    n: int
    """BD-rates in the mean."""
    n_undefined: int
    """BD-rates left out of it because they are undefined; the reason names them."""
    interpolation: str
    policy: str
    bd_rate: float | None
    ci_low: float | None
    ci_high: float | None
    range: str
    range_bd_rate: float | None
    range_low: float | None
    range_high: float | None
    n_range: int
    """BD-rates in range_bd_rate."""
    reason: str
    """Which are left out, and why a number or an interval is missing."""


@dataclass(frozen=True)
class FidelityRow:
    """fidelity.csv: how near to the original a method's pictures are where it reaches an accuracy.

    They are means over images of each picture against the uncompressed view, and lie on a straight
    line over log bpp between the two operating points around the rate of `EqualAccuracyRow`.
    """

    dataset: str
    task: str
    model: str
    metric: str
    anchor: str
    method: str
    interpolation: str
    policy: str
    within: float
    """Percent of the clean score."""
    bpp: float | None
    """Where the method reaches it; None, and all else, where it does not."""
    psnr: float | None
    """dB"""
    psnr_change: float | None
    """dB against the anchor at the same accuracy; negative is farther from the original."""
    ms_ssim: float | None
    """In [0, 1]; None where it was not measured."""
    ms_ssim_change: float | None
    lpips: float | None = None
    """0 for equal pictures; a column, as is the next, only where `fidelity.lpips` asks for it."""
    lpips_change: float | None = None
    """Positive is farther from the original."""


@dataclass(frozen=True)
class CategoryRow:
    """categories.csv: a task's first metric on one category; written if all metrics are asked for.

    Without intervals: most categories have too few objects.
    """

    dataset: str
    task: str
    model: str
    method: str
    qp: int | None
    """None for the uncompressed images."""
    category: int
    """Its id in the data set."""
    name: str
    metric: str
    value: float | None
    """Of mAP the category's average precision, of top1 the share of its images."""
    n: int
    """Objects that count, or images, of the category."""


@dataclass(frozen=True)
class RateRow:
    """rates.csv: what an image took where a method has target rates; written if one has."""

    dataset: str
    view: str
    """`native`, or `model:<name>`."""
    image: str
    method: str
    target: float
    """Bits per pixel. The point's `qp` in other files is the target as well: less than 0, in
    thousandths, so that −250 is 0.25 bpp and a larger one is coarser."""
    bpp: float
    qp: int
    """The codec's, with which the image was coded."""
    within: str
    """`yes` if bpp is within 3 % of the target, else `no`."""


T = TypeVar("T")
R = TypeVar(
    "R",
    PointRow,
    BDRow,
    EqualAccuracyRow,
    PairRow,
    MeanRow,
    FidelityRow,
    CategoryRow,
    RateRow,
)


@dataclass(frozen=True)
class Tables:
    """What analysis makes of a results folder."""

    points: list[PointRow]
    bd: list[BDRow]
    equal_accuracy: list[EqualAccuracyRow]
    pairs: list[PairRow] = field(default_factory=list)
    means: list[MeanRow] = field(default_factory=list)
    fidelity: list[FidelityRow] = field(default_factory=list)
    categories: list[CategoryRow] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        """Raises OSError."""
        to_csv(PointRow, self.points, folder / POINTS)
        to_csv(BDRow, self.bd, folder / BD)
        to_csv(EqualAccuracyRow, self.equal_accuracy, folder / EQUAL_ACCURACY)
        to_csv(PairRow, self.pairs, folder / PAIRS)
        to_csv(MeanRow, self.means, folder / MEANS)
        to_csv(FidelityRow, self.fidelity, folder / FIDELITY)
        if self.categories:
            to_csv(CategoryRow, self.categories, folder / CATEGORIES)

    @staticmethod
    def read(folder: Path) -> "Tables":
        """What an older version did not write is empty; `report` makes it.

        Raises ResultsError naming file and line.
        """
        return Tables(
            from_csv(PointRow, folder / POINTS),
            from_csv(BDRow, folder / BD),
            from_csv(EqualAccuracyRow, folder / EQUAL_ACCURACY),
            _if_there(PairRow, folder / PAIRS),
            _if_there(MeanRow, folder / MEANS),
            _if_there(FidelityRow, folder / FIDELITY),
            _if_there(CategoryRow, folder / CATEGORIES),
        )


def _if_there(kind: type[R], path: Path) -> list[R]:
    return from_csv(kind, path) if path.exists() else []


def columns(kind: type[Any]) -> list[str]:
    return [column.name for column in fields(kind)]


def by_option(kind: type[Any]) -> set[str]:
    """Those that are left out where no row has a value."""
    return {column.name for column in fields(kind) if column.default is None}


def _present(kind: type[R], rows: Sequence[R]) -> list[str]:
    """The columns that these rows have."""
    optional = by_option(kind)
    empty = {name for name in optional if all(getattr(row, name) is None for row in rows)}
    return [name for name in columns(kind) if name not in empty]


def distinct(rows: Iterable[T], key: Callable[[T], Hashable]) -> list[T]:
    """The first of the rows that have the same key."""
    found: dict[Hashable, T] = {}
    for row in rows:
        found.setdefault(key(row), row)
    return list(found.values())


def known(value: float) -> float | None:
    """NaN, which arithmetic has for no value → None, which rows have."""
    return None if math.isnan(value) else float(value)


# --- data frames ----------------------------------------------------------------------------------

_TYPES: dict[Any, str] = {
    str: "str",
    int: "int64",
    int | None: "Int64",
    float: "float64",
    float | None: "float64",
    Status: "str",
}


def frame(kind: type[R], rows: Sequence[R]) -> pd.DataFrame:
    """Rows as a data frame, columns in the order of the fields; without a value there is NaN."""
    hints = get_type_hints(kind)
    return pd.DataFrame(
        {
            name: pd.Series([getattr(row, name) for row in rows], dtype=_TYPES[hints[name]])
            for name in _present(kind, rows)
        }
    )


# --- CSV ------------------------------------------------------------------------------------------


def to_csv(kind: type[R], rows: Sequence[R], path: Path) -> None:
    """Raises OSError; what is there stays whole until the new file is."""
    names = _present(kind, rows)
    with atomic(path) as part, part.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([_written(getattr(row, name)) for name in names] for row in rows)


def _written(value: str | float | None) -> str:
    if value is None:
        return ""
    return guarded(value) if isinstance(value, str) else repr(value)


def from_csv(kind: type[R], path: Path) -> list[R]:
    """What `to_csv` wrote; an infinity, like nothing, is None.

    Raises ResultsError naming the file, and the line or the column.
    """
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            return list(_rows(kind, path, csv.DictReader(stream)))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ResultsError(f"{path}: cannot be read: {error}") from error


def _rows(kind: type[R], path: Path, lines: "csv.DictReader[str]") -> Iterator[R]:
    there = lines.fieldnames or ()
    needed = (column.name for column in fields(kind) if column.default is MISSING)
    missing = [name for name in needed if name not in there]
    if missing:
        raise ResultsError(f"{path}: no column {', '.join(map(repr, missing))}")
    hints = get_type_hints(kind)
    readers = {name: _READERS[hints[name]] for name in columns(kind) if name in there}
    for line in lines:
        try:
            if None in line or None in line.values():
                raise ValueError(
                    "as many fields as in the first line are expected; was the file cut?"
                )
            yield kind(**{name: read(line[name]) for name, read in readers.items()})
        except ValueError as error:
            raise ResultsError(f"{path}, line {lines.line_num}: {error}") from error


def _number(text: str) -> float | None:
    value = float(text) if text.strip() else math.nan
    return value if math.isfinite(value) else None


def _integer(text: str) -> int | None:
    value = _number(text)
    if value is not None and value != int(value):
        raise ValueError(f"{text!r}: an integer is expected")
    return None if value is None else int(value)


def _there(read: Callable[[str], float | None]) -> Callable[[str], float]:
    def checked(text: str) -> float:
        value = read(text)
        if value is None:
            raise ValueError(f"{text!r}: a number is expected")
        return value

    return checked


def _status(text: str) -> str:
    if text not in get_args(Status):
        raise ValueError(f"{text!r}: {' or '.join(get_args(Status))} is expected")
    return text


_READERS: dict[Any, Callable[[str], Any]] = {
    str: unguarded,
    int: _there(_integer),
    int | None: _integer,
    float: _there(_number),
    float | None: _number,
    Status: _status,
}


# --- images.parquet -------------------------------------------------------------------------------

IMAGE_KINDS = {
    name: {str: "text", int: "integer"}.get(hint, "number")
    for name, hint in get_type_hints(ImageRow).items()
}
"""Column → what `files.check_columns` is to expect."""
LATER = {"ms_ssim", *by_option(ImageRow)}
"""Columns that folders may lack."""


def write_images(images: pd.DataFrame, path: Path) -> None:
    """`images` has the columns of `ImageRow`. Raises OSError."""
    optional = by_option(ImageRow)
    empty = {name for name in optional if name not in images or images[name].isna().all()}
    _write_parquet(images[[name for name in columns(ImageRow) if name not in empty]], path)


def write_costs(costs: pd.DataFrame, path: Path) -> None:
    """`costs` has the columns of `CostRow`. Raises OSError."""
    _write_parquet(costs[columns(CostRow)], path)


def _write_parquet(table: pd.DataFrame, path: Path) -> None:
    rows = pa.Table.from_pandas(table, preserve_index=False)
    pq.write_table(rows, path, write_page_checksum=True)
