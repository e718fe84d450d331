"""What a run will cost, from the first picture of each data set."""

import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from bench.sweep.plan import Experiment, Point


def estimate(experiment: Experiment, jobs: int) -> Iterator[tuple[str, float, int]]:
    """(what, seconds each, how many times) for coding by each method, at the middle QP of its
    grid, and for each model, which is built first. Coding is shared by `jobs` coders.

    Raises ConfigError for a model that cannot be built, DataError for an unreadable picture.
    """
    n = len(experiment.dataset.samples)
    rgb = experiment.dataset.samples[0].load()
    networks = [m.network for m in experiment.models]  # built before anything is timed
    views = {m.view: m.look(rgb) for m in experiment.models}
    for method, qps in experiment.grid().items():
        at = (method, qps[len(qps) // 2])
        point = next(p for p in experiment.points if (p.method, p.qp) == at)
        for view, seen in views.items():
            seconds = _seconds(partial(_code, point, seen)) / jobs
            yield f"{method}, {view.split(':')[0]} view", seconds, n * len(qps)
    for model, network in zip(experiment.models, networks, strict=True):
        seconds = _seconds(partial(network.predict, [views[model.view]], model.viewed))
        yield model.spec.name, seconds, n * (len(experiment.points) + 1)


def _code(point: Point, rgb: NDArray[np.uint8]) -> None:
    given = point.preprocessor(rgb, point.qp) if point.preprocessor else rgb
    point.codec.decode(point.codec.encode(given, point.qp))


def _seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started
