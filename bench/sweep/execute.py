"""How the plan is carried out: units of work, wherever they run, losing no result."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import groupby

from bench.errors import BenchError
from bench.results import manifest
from bench.results.names import point_name
from bench.sweep.cache import Cache
from bench.sweep.failures import Failed
from bench.sweep.plan import CHUNK, Experiment
from bench.sweep.uncompressed import Views
from bench.sweep.unit import Failure, Unit, UnitResult, measure, remembered
from bench.sweep.watchdog import noted
from bench.sweep.workers import Workers
from bench.sweep.workshop import Counts, Setup, workshop

Progress = Callable[[str, int], Callable[[int, str], None]]
"""(what is done, how many steps) → a function that is told of steps done, and what to say of it."""

FEW, LAST = 16, 2
"""Units for each that is in flight: below so many they are made smaller, and the last ones smaller
still, so that they do not leave cores idle."""

FIRST = 8
"""Images of a unit of which not all may fail: then it is not about single images."""

DIED = Failed(
    "worker", "the worker process that had it ended (out of memory, or a crash in a decoder)"
)
TELL, LONG = 10.0, 300.0
"""Seconds between two looks at how long units run, and from when on that is told."""


def _by_point(unit: Unit) -> list[Unit]:
    return [replace(unit, points=(place,)) for place in unit.points]


def _indices(unit: Unit) -> list[int]:
    return [i for i in range(unit.start, unit.stop) if i not in unit.skip]


def _named(experiment: int, index: int) -> str:
    """A picture, in notes of processes that it ends."""
    return f"{experiment}/{index}"


def _limited(setup: Setup, unit: Unit) -> UnitResult:
    """`measure`, in a process that says which picture took too long."""
    watchdog = workshop(setup).watchdog
    if watchdog is None:
        return measure(setup, unit)
    left = _indices(unit)
    with watchdog.looking_at(_named(unit.experiment, left[0]) if len(left) == 1 else None):
        return measure(setup, unit)


class Run:
    """One run over the experiments of a plan."""

    def __init__(
        self,
        setup: Setup,
        experiments: list[Experiment],
        workers: Workers,
        progress: Progress,
        max_failures: float,
    ) -> None:
        self.experiments = list(experiments)
        self.counts = Counts(Counter(coded=0, predicted=0), Counter(coded=0, predicted=0))
        self.failures: list[manifest.Failure] = []
        self._measure = partial(_limited, setup)
        self._remembered = partial(remembered, setup)
        self._cache = Cache(setup.cache)
        self._workers = workers
        self._progress = progress
        self._max_failures = max_failures
        self._notes = setup.notes
        self._said = ""

    def clean(self, number: int) -> Iterator[UnitResult]:
        """The uncompressed pictures of an experiment, in any order."""
        dataset = self.experiments[number].dataset
        n = len(dataset.samples)
        units = [Unit(number, k, min(k + CHUNK, n)) for k in range(0, n, CHUNK)]
        yield from self.units(units, f"{dataset.name}: uncompressed images")

    def points(self, views: Sequence[Sequence[Views | None]]) -> Iterator[UnitResult]:
        """Every operating point of every experiment, whose views are given, in any order."""
        chunks = [
            Unit(number, k, k + len(chunk), self.experiments[number].places, chunk)
            for number, seen in enumerate(views)
            for k in range(0, len(seen), CHUNK)
            if any(chunk := tuple(seen[k : k + CHUNK]))
        ]
        few = len(chunks) < FEW * self._workers.in_flight
        units = [part for chunk in chunks for part in self._by_method(chunk)] if few else chunks
        last = len(units) - LAST * self._workers.in_flight
        units[max(0, last) :] = [part for unit in units[max(0, last) :] for part in _by_point(unit)]
        yield from self.units(units, "operating points")

    def units(self, units: list[Unit], what: str) -> Iterator[UnitResult]:
        """In any order. What is known is read here: that takes less than to hand it on."""
        advance, missing = self._started(units, what), []
        for unit in units:
            found = self._remembered(unit)
            if found is None:
                missing.append(unit)
            else:
                yield self._taken(found, advance)
        yield from self._stream(missing, advance)

    def _by_method(self, unit: Unit) -> list[Unit]:
        """The same in smaller units."""
        points = self.experiments[unit.experiment].points
        groups = groupby(unit.points, lambda place: points[place].method)
        return [replace(unit, points=tuple(places)) for _, places in groups]

    def _started(self, units: list[Unit], what: str) -> Callable[[int, str], None]:
        return self._progress(what, sum(unit.steps for unit in units))

    def _stream(
        self, units: list[Unit], advance: Callable[[int, str], None]
    ) -> Iterator[UnitResult]:
        with self._told(advance):
            for result in self._workers.stream(self._measure, units, self._without_culprits):
                for key, entry in result.entries.items():
                    self._cache.put(key, entry)
                yield self._taken(result, advance)

    @contextmanager
    def _told(self, advance: Callable[[int, str], None]) -> Iterator[None]:
        """Progress is told while no unit comes back, too, and for how long the oldest has run."""
        over = threading.Event()

        def tell() -> None:
            while not over.wait(TELL):
                seconds = self._workers.oldest()
                old = [f"oldest unit: {seconds / 60:.0f} min"]
                advance(0, ", ".join([self._said] * bool(self._said) + old * (seconds > LONG)))

        threading.Thread(target=tell, daemon=True).start()
        try:
            yield
        finally:
            over.set()

    def _taken(self, result: UnitResult, advance: Callable[[int, str], None]) -> UnitResult:
        self.counts.add(result.counts)
        self._note(self.experiments[result.unit.experiment], result)
        self._said = f"{100 * self.counts.share():.0f} % from the cache"
        advance(result.unit.steps, self._said)
        return result

    def _without_culprits(self, unit: Unit) -> UnitResult:
        """Of a unit that ends the process that has it: without the images that do so alone."""
        everything = frozenset(_indices(unit))
        bad = frozenset(
            i
            for i in sorted(everything)
            if self._workers.alone(self._measure, replace(unit, skip=everything - {i})) is None
        )
        result = self._workers.alone(self._measure, replace(unit, skip=unit.skip | bad))
        if result is None:
            bad = everything
            result = UnitResult(unit, [None] * (unit.stop - unit.start))
        result.failures += [
            Failure(i, None, None, None, self._reason(unit.experiment, i)) for i in sorted(bad)
        ]
        return result

    def _reason(self, experiment: int, index: int) -> Failed:
        """Why a picture ended the process that had it."""
        said = noted(self._notes, _named(experiment, index))
        return Failed(*said) if said else DIED

    # --- failures ---------------------------------------------------------------------------------

    def _note(self, experiment: Experiment, result: UnitResult) -> None:
        """Keep what failed. Raises BenchError where it is not about single images, or more images
        failed than are tolerated."""
        dataset = experiment.dataset
        failed = (
            manifest.Failure(
                dataset=dataset.name,
                model=f.model,
                method=f.method,
                qp=f.qp,
                image=dataset.samples[f.index].name,
                index=f.index,
                stage=f.failed.stage,
                error=f.failed.error,
            )
            for f in result.failures
        )
        # One that ends its process does so in the units of every method.
        self.failures += [f for f in failed if f not in self.failures]
        self._require_some(experiment, result)
        own = [f for f in self.failures if f.dataset == dataset.name]
        n_failed, n = len({f.image for f in own}), len(dataset.samples)
        if n_failed > self._max_failures * n or n_failed == n:
            first = min(own, key=lambda f: f.index)
            raise BenchError(
                f"{dataset.name}: {n_failed} of {n} images failed, more than --max-failures "
                f"{100 * self._max_failures:g} % allows; the first is {first.image}: "
                f"{first.stage}: {first.error}. What was measured is kept; mend the images, "
                "or raise --max-failures (a protocol allows none), and run the same command again"
            )

    def _require_some(self, experiment: Experiment, result: UnitResult) -> None:
        size = result.unit.stop - result.unit.start
        if size < min(FIRST, len(experiment.dataset.samples)):
            return
        at = Counter((f.model, f.method, f.qp) for f in result.failures)
        for (model, method, qp), n in at.items():
            if n == size:
                first = next(
                    f for f in result.failures if (f.model, f.method, f.qp) == (model, method, qp)
                )
                where = ", ".join(
                    [experiment.dataset.name]
                    + ([model] if model else [])
                    + ([f"{method} at {point_name(qp)}"] if method and qp is not None else [])
                )
                raise BenchError(
                    f"{where}: all of {size} images failed, so the fault is not in single images; "
                    f"the first is {experiment.dataset.samples[first.index].name}: "
                    f"{first.failed.stage}: {first.failed.error}"
                )
