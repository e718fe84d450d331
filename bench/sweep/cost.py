"""What a run will cost, from the first picture of each data set."""

import time
from collections.abc import Callable, Iterator

from bench.errors import DataError
from bench.sweep.plan import Experiment


def estimate(experiment: Experiment, jobs: int) -> Iterator[tuple[str, float, int]]:
    """(what, seconds each, how many times) for coding by each method, at the middle QP of its
    grid, and for each model, which is built first. Coding is shared by `jobs` coders.

    Raises ConfigError for a model that cannot be built, DataError for an unreadable picture.
    """
    samples = experiment.dataset.samples
    rgb = samples[0].load()
    if not rgb.size:
        raise DataError(f"{experiment.dataset.name}: {samples[0].name} is empty")
    n = len(samples)
    # Built before they are timed.
    looks = {m.view: m.look for m in experiment.models}
    networks = [m.network for m in experiment.models]
    for method, qps in experiment.grid().items():
        qp = qps[len(qps) // 2]
        point = next(p for p in experiment.points if (p.method, p.qp) == (method, qp))
        for view, look in looks.items():
            seen = look(rgb)

            def code(seen: object = seen, point: object = point, qp: int = qp) -> None:
                given = point.preprocessor(seen, qp) if point.preprocessor else seen
                point.codec.decode(point.codec.encode(given, qp))

            yield f"{method}, {view}", _seconds(code) / jobs, n * len(qps)
    for model, network in zip(experiment.models, networks, strict=True):
        seen = model.look(rgb)
        predict: Callable[[], object] = lambda m=model, w=network, s=seen: w.predict([s], m.viewed)
        yield model.spec.name, _seconds(predict), n * (len(experiment.points) + 1)


def _seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started
