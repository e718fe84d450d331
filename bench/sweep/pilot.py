"""A few images that are measured first, to choose the QPs of methods with `qps: auto`.

Its images are whole chunks in data-set order, so what it codes and predicts is what the run would,
and waits for it in the cache.
"""

import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np
import pyarrow as pa

from bench.config import AUTO
from bench.errors import BenchError
from bench.results.manifest import Pilot
from bench.sweep import spacing
from bench.sweep.cost import Cost
from bench.sweep.execute import Run
from bench.sweep.plan import CHUNK, Experiment, Point
from bench.sweep.uncompressed import Views
from bench.sweep.unit import Unit, Where

IMAGES = 64
"""At most."""
ROUNDS = 4
"""At most: the first QPs, then those that the curve so far asks for."""
USUAL = 12
"""QPs of a method that are tried in so many rounds, for an estimate."""

Clean = Callable[[int, str], pa.Table]
"""Number of an experiment, model → its statistics on the uncompressed pictures."""


def chunks(n_images: int) -> list[tuple[int, int]]:
    """Start and end of the chunks that a pilot sees: spread evenly over the data set."""
    count = -(-n_images // CHUNK)
    shown = min(count, IMAGES // CHUNK)
    starts = [CHUNK * ((2 * i + 1) * count // (2 * shown)) for i in range(shown)]
    return [(start, min(start + CHUNK, n_images)) for start in starts]


def choose(
    measure: Run, views: Sequence[Sequence[Views | None]], clean: Clean, say: Callable[[str], None]
) -> None:
    """The QPs of every method that is open: the run's experiments then know their points.

    Raises BenchError where a clean score is zero, so that there is no share of it.
    """
    open_ones = [n for n, experiment in enumerate(measure.experiments) if experiment.auto]
    for n in open_ones:
        experiment = measure.experiments[n] = _Search(measure, n, views[n], clean).found()
        grid = experiment.grid()
        listed = "; ".join(f"{m}: {', '.join(map(str, grid[m]))}" for m in experiment.auto)
        say(f"{experiment.dataset.name}: a pilot chose QPs for {listed}")
    # The run meets them again, where they are of a point that was chosen.
    measure.failures = [f for f in measure.failures if f.method is None]


def typical(experiment: Experiment) -> Experiment:
    """With as many QPs as a pilot chooses, or as there are target rates, spread over all that may
    be taken: for an estimate."""
    points: list[Point] = []
    for method, own in groupby(experiment.points, lambda p: p.method):
        listed = list(own)
        if method in experiment.auto:
            spread = np.linspace(0, len(listed) - 1, min(spacing.LEVELS, len(listed)))
            listed = [listed[i] for i in spread.round().astype(int).tolist()]
        if tries := listed[0].tries:
            spread = np.linspace(0, len(tries) - 1, min(len(listed), len(tries)))
            listed = [listed[0].at(tries[i]) for i in spread.round().astype(int).tolist()]
        points += listed
    return replace(experiment, points=points)


def costs(experiment: Experiment, found: list[Cost]) -> tuple[list[Cost], int]:
    """Of the steps of a run, as often as its pilot usually does them to each of its images, and how
    many these are."""
    tried = {m: min(USUAL, len(places)) for m, places in _open_places(experiment).items()}
    times = [sum(tried.values()) if c.step == "predict" else tried.get(c.what, 0) for c in found]
    images = sum(stop - start for start, stop in chunks(len(experiment.dataset.samples)))
    return [replace(c, times=n) for c, n in zip(found, times, strict=True)], images


def _open_places(experiment: Experiment) -> dict[str, list[int]]:
    """Method with `qps: auto` → places of its points, the finest first."""
    numbered = groupby(enumerate(experiment.points), lambda p: p[1].method)
    places = {method: [place for place, _ in own] for method, own in numbered}
    return {method: places[method] for method in experiment.auto}


class _Search:
    """Over the QPs of one experiment."""

    def __init__(
        self, measure: Run, number: int, views: Sequence[Views | None], clean: Clean
    ) -> None:
        self._measure, self._number, self._views, self._clean = measure, number, views, clean
        self._experiment = measure.experiments[number]
        self._task = self._experiment.task
        self._models = [m.spec.name for m in self._experiment.models]
        self._chunks = chunks(len(views))
        self._places = _open_places(self._experiment)
        self._tables: defaultdict[Where, dict[int, pa.Table]] = defaultdict(dict)
        """Of an operating point: start of a chunk → statistics."""

    def found(self) -> Experiment:
        """With the points that were chosen. Raises BenchError."""
        self._clean_scores()  # refuses what has none
        tried: dict[str, spacing.Tried] = {}
        for n in range(ROUNDS):
            wanted = {m: self._wanted(m, tried.get(m)) for m in self._places}
            if not any(wanted.values()):
                break
            self._look(wanted, f"{self._experiment.dataset.name}: pilot, round {n + 1}")
            tried = self._tried()
        self._warn(tried)
        points = self._experiment.points
        listed = [i for i, p in enumerate(points) if p.method not in self._places]
        chosen = [
            places[i]
            for m, places in self._places.items()
            for i in spacing.chosen(len(places), tried[m])
        ]
        return replace(
            self._experiment, chosen=tuple(sorted(listed + chosen)), pilot=self._record(tried)
        )

    def _wanted(self, method: str, tried: spacing.Tried | None) -> list[int]:
        """Places of points to try next."""
        places, n = self._places[method], len(self._places[method])
        return [places[i] for i in sorted(spacing.further(n, tried) if tried else spacing.first(n))]

    def _look(self, wanted: dict[str, list[int]], what: str) -> None:
        units = [
            Unit(self._number, start, stop, tuple(places), tuple(self._views[start:stop]))
            for start, stop in self._chunks
            if any(self._views[start:stop])
            for places in wanted.values()
            if places
        ]
        for result in self._measure.units(units, what):
            for where, table in result.statistics.items():
                self._tables[where][result.unit.start] = table

    # --- scores -----------------------------------------------------------------------------------

    def _images(self) -> list[int]:
        """Those of the pilot that failed nowhere."""
        name = self._experiment.dataset.name
        failed = {f.index for f in self._measure.failures if f.dataset == name}
        return [i for start, stop in self._chunks for i in range(start, stop) if i not in failed]

    def _tried(self) -> dict[str, spacing.Tried]:
        """By method, its points by their number from the finest."""
        clean, points = self._clean_scores(), self._experiment.points
        sign = 1 if self._task.metrics[0].higher_is_better else -1

        def share(model: str, method: str, qp: int) -> float:
            """1 less what was lost of the clean score, 0 where the metric is undefined."""
            by_chunk = self._tables[model, method, qp]
            pieces = [by_chunk[start] for start in sorted(by_chunk)]
            score = self._score(pa.concat_tables(pieces, promote_options="default"))
            share = 1 + sign * (score - clean[model]) / abs(clean[model])
            return float(np.nan_to_num(share))

        seen = {(method, qp) for _, method, qp in self._tables}
        return {
            method: {
                i: np.array([share(model, method, points[place].qp) for model in self._models])
                for i, place in enumerate(places)
                if (method, points[place].qp) in seen
            }
            for method, places in self._places.items()
        }

    def _clean_scores(self) -> dict[str, float]:
        """By model. Raises BenchError."""
        scores = {m: self._score(self._clean(self._number, m)) for m in self._models}
        for model, score in scores.items():
            if not score or not np.isfinite(score):
                raise BenchError(
                    f"qps: {AUTO}: {self._task.metrics[0].name} of model {model} is {score:g} on "
                    f"the {len(self._images())} uncompressed images of "
                    f"{self._experiment.dataset.name} that a pilot looks at, of which there are no "
                    "shares to spread QPs over; give lists of QPs"
                )
        return scores

    def _score(self, statistics: pa.Table) -> float:
        """The headline metric on the pilot's images.

        Not a model's own loss, which is less noisy: not every model gives one, and no share of it
        says where the metric is at two thirds, while it is the metric whose curves have to overlap.
        All methods are tried on the same images, so that much of the noise is common to them.
        """
        weights = np.zeros((1, len(self._views)), np.int64)
        weights[0, self._images()] = 1
        return float(self._task.score(statistics.combine_chunks(), weights)[0, 0])

    # --- what is said of it -----------------------------------------------------------------------

    def _warn(self, tried: dict[str, spacing.Tried]) -> None:
        for method, shares in tried.items():
            best = np.max(list(shares.values()), axis=0)
            for model, share in zip(self._models, best.tolist(), strict=True):
                if share <= spacing.BOTTOM:
                    warnings.warn(
                        f"{self._experiment.dataset.name}: {method} leaves model {model} at most "
                        f"{100 * share:.0f} % of its clean {self._task.metrics[0].name} on the "
                        "pilot's images: its curve will hardly overlap with others",
                        stacklevel=2,
                    )

    def _record(self, tried: dict[str, spacing.Tried]) -> Pilot:
        points = self._experiment.points
        return Pilot(
            metric=self._task.metrics[0].name,
            top=spacing.TOP,
            bottom=round(spacing.BOTTOM, 4),
            images=tuple(self._images()),
            shares={
                m: {points[self._places[m][i]].qp: round(float(s.mean()), 4) for i, s in t.items()}
                for m, t in tried.items()
            },
        )
