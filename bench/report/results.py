"""A results folder, read: operating points, BD-rates and the manifest."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.errors import ConfigError
from bench.results import manifest as manifests
from bench.results.manifest import Manifest
from bench.results.names import BD, EQUAL_ACCURACY, MANIFEST, POINTS, UNCOMPRESSED
from bench.results.rows import (
    BDRow,
    CategoryRow,
    EqualAccuracyRow,
    FidelityRow,
    MeanRow,
    PairRow,
    PointRow,
    Tables,
)


@dataclass(frozen=True)
class Curves:
    """Every method's points on one (dataset, model, metric), by ascending bpp, anchor first."""

    dataset: str
    task: str
    model: str
    metric: str
    anchor: str
    methods: dict[str, list[PointRow]]
    clean: PointRow | None


@dataclass(frozen=True)
class Results:
    folder: Path
    manifest: Manifest
    points: list[PointRow]
    bd: list[BDRow]
    equal: list[EqualAccuracyRow]
    pairs: list[PairRow] = field(default_factory=list)
    means: list[MeanRow] = field(default_factory=list)
    fidelity: list[FidelityRow] = field(default_factory=list)
    categories: list[CategoryRow] = field(default_factory=list)

    @property
    def interpolation(self) -> str:
        """The one that counts; other interpolations in bd.csv stand beside it."""
        named = self.manifest.analysis.interpolation
        present = list(dict.fromkeys(row.interpolation for row in self.bd))
        return named if named in present or not present else present[0]

    @property
    def random_weights(self) -> str:
        """What to say of untrained networks, naming them; empty if all are trained."""
        names = ", ".join(self.manifest.random_weights)
        return f"Random weights, so the numbers mean nothing: {names}." if names else ""

    def methods(self) -> list[str]:
        """Every coded method of the run: anchors first, then as configured, then as measured."""
        configured = [m for e in self.manifest.experiments for m in e.methods]
        measured = [p.method for p in self.points if p.method != UNCOMPRESSED]
        present = {*measured, *(row.method for row in self.bd)}
        wanted = [*self.anchors(), *configured, *measured, *(row.method for row in self.bd)]
        return [m for m in dict.fromkeys(wanted) if m in present]

    def headlines(self) -> list[tuple[str, str, str, str]]:
        """The groups with their first metric: (dataset, task, model, metric)."""
        return [(*group, self.metrics(group[1])[0]) for group in self.groups()]

    def groups(self) -> list[tuple[str, str, str]]:
        """The (dataset, task, model) measured, in the order of points.csv."""
        return list(dict.fromkeys((p.dataset, p.task, p.model) for p in self.points))

    def metrics(self, task: str) -> list[str]:
        """A task's metrics, the headline first."""
        return list(dict.fromkeys(p.metric for p in self.points if p.task == task))

    def anchor(self, dataset: str, model: str) -> str:
        for experiment in self.manifest.experiments:
            if experiment.dataset == dataset and any(m.name == model for m in experiment.models):
                return experiment.anchor
        compared = (r.anchor for r in self.bd if (r.dataset, r.model) == (dataset, model))
        return next(compared, "")

    def limited(self, dataset: str) -> bool:
        """Whether only the first images of the data set were measured."""
        return any(e.limited for e in self.manifest.experiments if e.dataset == dataset)

    def view(self, dataset: str, model: str) -> str:
        """Which pixels were coded, as the manifest says; empty where it does not."""
        own = (e for e in self.manifest.experiments if e.dataset == dataset)
        return next((m.view for e in own for m in e.models if m.name == model), "")

    def accepted(self, curves: Curves) -> tuple[float, float] | None:
        """The accuracies near the clean score that range_bd_rate is over, in the metric's unit."""
        wanted = (curves.dataset, curves.model, curves.metric)
        targets = [r.target for r in self.equal if (r.dataset, r.model, r.metric) == wanted]
        known = [target for target in targets if target is not None]
        return (min(known), max(known)) if known else None

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
        methods: dict[str, list[PointRow]] = {}
        for method in sorted(self.methods(), key=lambda m: m != anchor):
            own = [p for p in points if p.method == method and p.bpp is not None]
            if own:
                methods[method] = sorted(own, key=lambda p: p.bpp or 0.0)
        clean = next((p for p in points if p.method == UNCOMPRESSED), None)
        return Curves(dataset, task, model, metric, anchor, methods, clean)

    def anchors(self) -> list[str]:
        return [e.anchor for e in self.manifest.experiments] + [row.anchor for row in self.bd]


def read(folder: Path) -> Results:
    """Read a results folder. Raises ConfigError where a table is missing, DataError where there is
    no results folder, a run is writing it, or a file is malformed."""
    manifest = manifests.read(folder / MANIFEST)
    files = (MANIFEST, POINTS, BD, EQUAL_ACCURACY)
    for name in files:
        if not (folder / name).is_file():
            raise ConfigError(f"{folder}: no {name}; a results folder has {', '.join(files)}")
    tables = Tables.read(folder)
    bd = list(map(_without_undefined, tables.bd))
    return Results(
        folder,
        manifest,
        tables.points,
        bd,
        tables.equal_accuracy,
        tables.pairs,
        tables.means,
        tables.fidelity,
        tables.categories,
    )


def _without_undefined(row: BDRow) -> BDRow:
    """A number that stands beside `undefined` is none."""
    if row.status == "ok":
        return row
    return replace(row, bd_rate=None, ci_low=None, ci_high=None, wins=None)
