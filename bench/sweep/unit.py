"""One unit of work, start to end: a chunk of samples, coded and seen at every operating point.

    sample ─▶ view ─▶ preprocessor ─▶ encode ─▶ decode ─▶ postprocessor ─▶ every task model
    ─▶ rows of statistics

A unit is named by a few numbers, so that it runs in any thread, process or machine that can build
the same plan. The chunks follow the data set's order alone, so that neither what is cached nor
where a unit runs changes a number.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from bench.datasets.views import native
from bench.sweep.cache import Carried, Entry, Known, MissingError
from bench.sweep.coding import Coded, Pixels, Source, code, decoded, perceptual
from bench.sweep.failures import Failed, ImageError
from bench.sweep.plan import Answer, Experiment, PlannedModel, Point
from bench.sweep.predict import Predictor
from bench.sweep.uncompressed import Uncompressed, Views
from bench.sweep.workshop import Counts, Setup, Workshop, workshop

Where = tuple[str, str | None, int | None]
"""Model, method and QP; the last two are None for the uncompressed pictures."""


@dataclass(frozen=True)
class Unit:
    """Samples `start` to `stop` of an experiment: their uncompressed pictures, or the operating
    points at the places `points` of the plan."""

    experiment: int
    start: int
    stop: int
    points: tuple[int, ...] = ()
    views: tuple[Views | None, ...] | None = None
    """Of the samples, from the clean pass, None for one that failed there; without them this is
    the clean pass."""

    skip: frozenset[int] = frozenset()
    """Samples left out, since they end the process that has them."""

    @property
    def steps(self) -> int:
        """Pictures to look at, as progress counts them."""
        return (self.stop - self.start) * max(1, len(self.points))


@dataclass(frozen=True)
class Failure:
    """An image that failed somewhere; what is None had not been reached."""

    index: int
    model: str | None
    method: str | None
    qp: int | None
    failed: Failed


@dataclass(frozen=True)
class CodedRow:
    """A coded picture; `point` is the place of its operating point in the plan."""

    index: int
    view: str
    point: int
    bits: int
    width: int
    height: int
    psnr: float
    ms_ssim: float
    qp: int
    """With which it was coded."""
    lpips: float
    """NaN where it is not asked for."""


@dataclass(frozen=True)
class Spent:
    """What one step took for one picture when it was made: seconds of wall time, in which other
    units had the cores too."""

    index: int
    of: str
    """The view that was coded, or the model that predicted."""
    point: int | None
    """Place of the operating point in the plan; None for the uncompressed picture."""
    stage: str
    """preprocess, encode, decode, postprocess or predict."""
    seconds: float


@dataclass
class UnitResult:
    unit: Unit
    views: list[Views | None] = field(default_factory=list)
    statistics: dict[Where, pa.Table] = field(default_factory=dict)
    coded: list[CodedRow] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    costs: list[Spent] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)
    entries: dict[str, Entry] = field(default_factory=dict)
    """Of the cache, from a process that does not see it."""


def measure(setup: Setup, unit: Unit) -> UnitResult:
    """Raises BenchError for what is wrong with all images; one image's fault is its failure."""
    return _measured(workshop(setup), unit)


def remembered(setup: Setup, unit: Unit) -> UnitResult | None:
    """What `measure` gives where all of it is in the cache; None elsewhere."""
    shop = workshop(setup)
    first = shop.experiments[unit.experiment].dataset.samples[unit.start]
    if unit.views is None and first.source is None:
        return None  # all its pictures would be made to find out
    try:
        return _measured(shop.with_cache(Known(setup.cache)), unit)
    except MissingError:
        return None


def _measured(shop: Workshop, unit: Unit) -> UnitResult:
    chunk = _Chunk(shop, shop.experiments[unit.experiment], unit)
    if unit.views is None:
        chunk.clean()
    else:
        chunk.points(unit.views)
    if isinstance(shop.cache, Carried):
        chunk.result.entries = shop.cache.taken()
    return chunk.result


class _Chunk:
    def __init__(self, shop: Workshop, experiment: Experiment, unit: Unit) -> None:
        self._shop, self._experiment = shop, experiment
        self._indices = [i for i in range(unit.start, unit.stop) if i not in unit.skip]
        self._predictors = {m: Predictor(shop, experiment, m) for m in experiment.models}
        self.result = UnitResult(unit)

    def clean(self) -> None:
        """The uncompressed pictures: fingerprints of every view, and what the models say."""
        uncompressed = Uncompressed(self._shop, self._experiment)
        views: dict[int, Views] = {}
        for i in self._indices:
            try:
                views[i] = uncompressed.views(i)
            except ImageError as error:
                self._fail(i, None, None, error.failed)
        unit = self.result.unit
        self.result.views = [views.get(i) for i in range(unit.start, unit.stop)]
        for model in self._experiment.models:
            hashes = {i: seen[model.view].sha256 for i, seen in views.items()}
            found = self._predicted(model, None, hashes, uncompressed.reader(model.view))
            self._rows(model, None, found, found)

    def points(self, views: tuple[Views | None, ...]) -> None:
        """Every operating point of the samples that the clean pass got through."""
        start = self.result.unit.start
        present = {i: v for i in self._indices if (v := views[i - start]) is not None}
        for view in self._experiment.views:
            models = [m for m in self._experiment.models if m.view == view]
            look = models[0].look if models[0].viewed else native
            sources = {
                i: Source(self._experiment.dataset.samples[i], look, seen[view], self._shop)
                for i, seen in present.items()
            }
            clean = {m: self._references(m, sources) for m in models}
            for place in self.result.unit.points:
                point = self._experiment.points[place]
                with self._shop.coding:
                    coded = self._coded(models[0], place, sources)
                hashes = {i: c.delivered_sha256 for i, c in coded.items()}
                for model in models:
                    read = _decoder(sources, point, coded)
                    found = self._predicted(model, place, hashes, read)
                    self._rows(model, point, found, clean[model])

    def _coded(
        self, model: PlannedModel, place: int, sources: dict[int, Source]
    ) -> dict[int, Coded]:
        point, coded = self._experiment.points[place], {}
        for i, source in sources.items():
            try:
                c = code(source, point, self.result.counts)
                lpips = self._lpips(source, point, c)
            except ImageError as error:
                self._fail(i, model if model.viewed else None, point, error.failed)
                continue
            coded[i] = c
            shape = source.picture.width, source.picture.height
            row = CodedRow(i, model.view, place, c.bits, *shape, c.psnr, c.ms_ssim, c.qp, lpips)
            self.result.coded.append(row)
            self.result.costs += [
                Spent(i, model.view, place, step, seconds) for step, seconds in c.seconds.items()
            ]
        return coded

    def _lpips(self, source: Source, point: Point, coded: Coded) -> float:
        lpips = self._experiment.lpips
        if lpips is None:
            return math.nan
        return perceptual(lpips, source, point, coded, self.result.counts)

    def _references(self, model: PlannedModel, sources: dict[int, Source]) -> dict[int, Answer]:
        """What a model says of the uncompressed pictures, where that stands for ground truth."""
        if self._experiment.dataset.labelled:
            return {}
        hashes = {i: s.picture.sha256 for i, s in sources.items()}
        found = self._predictors[model].predict(hashes, lambda i: sources[i].pixels, Counts())
        return {i: p for i, p in found.items() if not isinstance(p, Failed)}

    def _predicted(
        self,
        model: PlannedModel,
        place: int | None,
        hashes: dict[int, str],
        read: Callable[[int], Pixels],
    ) -> dict[int, Answer]:
        kept, point = {}, None if place is None else self._experiment.points[place]
        for i, found in self._predictors[model].predict(hashes, read, self.result.counts).items():
            if isinstance(found, Failed):
                self._fail(i, model, point, found)
                continue
            kept[i] = found
            if found.seconds is not None:
                spent = Spent(i, model.spec.name, place, "predict", found.seconds)
                self.result.costs.append(spent)
        return kept

    def _rows(
        self,
        model: PlannedModel,
        point: Point | None,
        found: dict[int, Answer],
        clean: dict[int, Answer],
    ) -> None:
        """Statistics of the chunk's images, under their places in the data set."""
        experiment = self._experiment
        if experiment.dataset.labelled:
            truth: dict[int, Any] = {i: experiment.dataset.samples[i].target for i in found}
        else:
            truth = {i: experiment.reference(clean[i]) for i in found if i in clean}
        kept = [i for i in found if i in truth]
        where = (model.spec.name, point.method if point else None, point.qp if point else None)
        self.result.statistics[where] = experiment.statistics(
            [found[i] for i in kept], [truth[i] for i in kept], kept
        )

    def _fail(
        self, index: int, model: PlannedModel | None, point: Point | None, failed: Failed
    ) -> None:
        self.result.failures.append(
            Failure(
                index,
                model.spec.name if model else None,
                point.method if point else None,
                point.qp if point else None,
                failed,
            )
        )


def _decoder(
    sources: dict[int, Source], point: Point, coded: dict[int, Coded]
) -> Callable[[int], Pixels]:
    return lambda i: decoded(sources[i], point, coded[i])
