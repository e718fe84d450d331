"""A results folder, read: operating points, BD-rates and the manifest."""

import csv
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict

from bench.analysis.files import is_folder, read_json
from bench.analysis.results import validated
from bench.analysis.spreadsheet import unguarded
from bench.errors import ConfigError, DataError

UNCOMPRESSED = "uncompressed"
T = TypeVar("T")
Row = dict[str, str]


@dataclass(frozen=True)
class Point:
    """One metric at one operating point. Rates in bits per pixel; None where there is no value."""

    dataset: str
    task: str
    model: str
    method: str
    qp: int | None
    bpp: float | None
    bpp_total: float | None
    metric: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    n_images: int | None
    n_failed: int | None
    change: str = ""
    """What the policy did to it before BD-rates; empty for nothing."""
    curve_bpp: float | None = None
    """Where BD-rates see it; None if it was dropped."""
    curve_value: float | None = None


@dataclass(frozen=True)
class BDRate:
    """A method against its anchor on one (dataset, model, metric). Percent; negative saves bits.

    bd_rate is None where it is undefined, and `reason` says why; where it is defined, `reason`
    is a remark (what the policy dropped, say) or empty. bd_metric is the mean difference in
    accuracy at equal rate, in the metric's unit; positive is better.
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
    reason: str
    wins: float | None = None
    """Share of the resamples in which it saves bits."""


@dataclass(frozen=True)
class EqualAccuracy:
    """Bits to stay within a few percent of the clean score, by one method.

    within in percent; bpp None where the curve does not reach that accuracy, and `reason` says so;
    change in percent against the anchor at the same accuracy, negative saves bits.
    """

    dataset: str
    model: str
    metric: str
    anchor: str
    method: str
    interpolation: str
    within: float
    bpp: float | None
    ci_low: float | None
    ci_high: float | None
    change: float | None
    change_low: float | None
    change_high: float | None
    reason: str


@dataclass(frozen=True)
class Curves:
    """Every method's points on one (dataset, model, metric), by ascending bpp, anchor first."""

    dataset: str
    task: str
    model: str
    metric: str
    anchor: str
    methods: dict[str, list[Point]]
    clean: Point | None


@dataclass(frozen=True)
class Results:
    folder: Path
    manifest: dict[str, Any]
    points: list[Point]
    bd: list[BDRate]
    equal: list[EqualAccuracy]

    @property
    def interpolation(self) -> str:
        """The one that counts; other interpolations in bd.csv stand beside it."""
        named = str(self.analysis.get("interpolation", ""))
        present = list(dict.fromkeys(row.interpolation for row in self.bd))
        return named if named in present or not present else present[0]

    @property
    def analysis(self) -> dict[str, Any]:
        value = self.manifest.get("analysis")
        return value if isinstance(value, dict) else {}

    @property
    def resamples(self) -> int | None:
        """How many were drawn; None where the manifest does not say."""
        value = self.analysis.get("resamples")
        return value if isinstance(value, int) else None

    @property
    def experiments(self) -> list[dict[str, Any]]:
        value = self.manifest.get("experiments")
        return [e for e in value if isinstance(e, dict)] if isinstance(value, list) else []

    @property
    def random_weights(self) -> str:
        """What to say of untrained networks, naming them; empty if all are trained."""
        names = self.manifest.get("random_weights")
        if not isinstance(names, list) or not names:
            return ""
        return f"Random weights, so the numbers mean nothing: {', '.join(map(str, names))}."

    def methods(self) -> list[str]:
        """Every coded method of the run: anchors first, then as configured, then as measured."""
        configured = [m for e in self.experiments for m in (e.get("methods") or {})]
        measured = [p.method for p in self.points if p.method != UNCOMPRESSED]
        present = {*measured, *(row.method for row in self.bd)}
        wanted = [*self._anchors(), *configured, *measured, *(row.method for row in self.bd)]
        return [m for m in dict.fromkeys(wanted) if m in present]

    def groups(self) -> list[tuple[str, str, str]]:
        """The (dataset, task, model) measured, in the order of points.csv."""
        return list(dict.fromkeys((p.dataset, p.task, p.model) for p in self.points))

    def metrics(self, task: str) -> list[str]:
        """A task's metrics, the headline first."""
        return list(dict.fromkeys(p.metric for p in self.points if p.task == task))

    def anchor(self, dataset: str, model: str) -> str:
        for experiment in self.experiments:
            models = [m.get("name") for m in experiment.get("models") or [] if isinstance(m, dict)]
            if experiment.get("dataset") == dataset and model in models and "anchor" in experiment:
                return str(experiment["anchor"])
        for row in self.bd:
            if (row.dataset, row.model) == (dataset, model):
                return row.anchor
        return ""

    def limited(self, dataset: str) -> bool:
        """Whether only the first images of the data set were measured."""
        return any(e.get("dataset") == dataset and e.get("limited") for e in self.experiments)

    def view(self, dataset: str, model: str) -> str:
        """Which pixels were coded, as the manifest says; empty where it does not."""
        for experiment in self.experiments:
            for entry in experiment.get("models") or []:
                named = isinstance(entry, dict) and entry.get("name") == model
                if named and experiment.get("dataset") == dataset:
                    return str(entry.get("view", ""))
        return ""

    def curves(self) -> list[Curves]:
        return [
            self._curves(dataset, task, model, metric)
            for dataset, task, model in self.groups()
            for metric in self.metrics(task)
        ]

    def _curves(self, dataset: str, task: str, model: str, metric: str) -> Curves:
        wanted = (dataset, task, model, metric)
        points = [p for p in self.points if (p.dataset, p.task, p.model, p.metric) == wanted]
        anchor = self.anchor(dataset, model)
        methods: dict[str, list[Point]] = {}
        for method in sorted(self.methods(), key=lambda m: m != anchor):
            own = [p for p in points if p.method == method and p.bpp is not None]
            if own:
                methods[method] = sorted(own, key=lambda p: p.bpp or 0.0)
        clean = next((p for p in points if p.method == UNCOMPRESSED), None)
        return Curves(dataset, task, model, metric, anchor, methods, clean)

    def _anchors(self) -> list[str]:
        return [str(e["anchor"]) for e in self.experiments if "anchor" in e] + [
            row.anchor for row in self.bd
        ]


class _Part(BaseModel):
    """What the report needs of a part of the manifest, if it is there."""

    model_config = ConfigDict(extra="ignore", strict=True)


class _Model(_Part):
    name: str = ""
    view: str = ""


class _Experiment(_Part):
    dataset: str = ""
    models: list[_Model] | None = None
    anchor: str = ""
    methods: dict[str, list[int]] | None = None
    limited: bool | None = None


class _Analysis(_Part):
    interpolation: str = ""
    resamples: int | None = None


class _Manifest(_Part):
    name: str | None = None
    experiments: list[_Experiment] | None = None
    analysis: _Analysis | None = None
    failures: list[dict[str, Any]] | None = None
    random_weights: list[str] | None = None


def read(folder: Path) -> Results:
    """Read a results folder. Raises ConfigError where a file is missing, DataError where one is
    malformed."""
    if not is_folder(folder):
        raise ConfigError(f"{folder}: no such results folder")
    files = ("manifest.json", "points.csv", "bd.csv", "equal_accuracy.csv")
    for name in files:
        if not (folder / name).is_file():
            raise ConfigError(f"{folder}: no {name}; a results folder has {', '.join(files)}")
    path = folder / "manifest.json"
    manifest = read_json(path, "manifest")
    validated(_Manifest, manifest, path)
    return Results(
        folder,
        manifest,
        _rows(folder / "points.csv", _point),
        _rows(folder / "bd.csv", _bd_rate),
        _rows(folder / "equal_accuracy.csv", _equal_accuracy),
    )


def _rows(file: Path, parse: Callable[[Row], T]) -> list[T]:
    rows: list[T] = []
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream)
            for row in reader:
                try:
                    rows.append(parse(_whole(row)))
                except KeyError as error:
                    raise DataError(f"{file}: no column {error}") from error
                except ValueError as error:
                    raise DataError(f"{file}, line {reader.line_num}: {error}") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: cannot be read: {error}") from error
    return rows


def _whole(row: dict[Any, Any]) -> Row:
    """The row's text as it was before a spreadsheet had to be kept from running it."""
    if None in row or None in row.values():
        raise ValueError("as many fields as in the first line are expected; was the file cut?")
    return {name: unguarded(text) for name, text in row.items()}


def _point(row: Row) -> Point:
    return Point(
        dataset=row["dataset"],
        task=row["task"],
        model=row["model"],
        method=row["method"],
        qp=_integer(row["qp"]),
        bpp=_number(row["bpp"]),
        bpp_total=_number(row["bpp_total"]),
        metric=row["metric"],
        value=_number(row["value"]),
        ci_low=_number(row["ci_low"]),
        ci_high=_number(row["ci_high"]),
        n_images=_integer(row["n_images"]),
        n_failed=_integer(row["n_failed"]),
        change=row["change"],
        curve_bpp=_number(row["curve_bpp"]),
        curve_value=_number(row["curve_value"]),
    )


def _bd_rate(row: Row) -> BDRate:
    defined = row["status"] == "ok"
    return BDRate(
        dataset=row["dataset"],
        task=row["task"],
        model=row["model"],
        metric=row["metric"],
        anchor=row["anchor"],
        method=row["method"],
        interpolation=row["interpolation"],
        policy=row["policy"],
        bd_rate=_number(row["bd_rate"]) if defined else None,
        ci_low=_number(row["ci_low"]) if defined else None,
        ci_high=_number(row["ci_high"]) if defined else None,
        bd_metric=_number(row["bd_metric"]),
        reason=row["reason"],
        wins=_number(row["wins"]) if defined else None,
    )


def _equal_accuracy(row: Row) -> EqualAccuracy:
    within = _number(row["within"])
    if within is None:
        raise ValueError(f"within is {row['within']!r}: a percentage is expected")
    return EqualAccuracy(
        dataset=row["dataset"],
        model=row["model"],
        metric=row["metric"],
        anchor=row["anchor"],
        method=row["method"],
        interpolation=row["interpolation"],
        within=within,
        bpp=_number(row["bpp"]),
        ci_low=_number(row["ci_low"]),
        ci_high=_number(row["ci_high"]),
        change=_number(row["change"]),
        change_low=_number(row["change_low"]),
        change_high=_number(row["change_high"]),
        reason=row["reason"],
    )


def _number(text: str) -> float | None:
    if not text.strip():
        return None
    value = float(text)
    return value if math.isfinite(value) else None


def _integer(text: str) -> int | None:
    value = _number(text)
    if value is not None and value != int(value):
        raise ValueError(f"{text!r}: an integer is expected")
    return None if value is None else int(value)
