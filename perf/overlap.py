"""How close a run comes to what its parts cost by themselves.

    python perf/overlap.py [--config FILE --data-root DIR --weights FILE] [--methods A,B] [--qps …]

Two measurements, each of seconds of a run beside the least that it could take:

- Overlap: BPG coding of the built-in scenes, or of COCO images, with a task model that only sleeps,
  as one on a GPU looks to the CPU. The least is the larger of the codec's CPU seconds spread over
  all cores and the seconds slept. These are half of those, as many, the hardest case, and twice as
  many. At most 1.15 × the least is the goal.
- On the CPU alone, the config (by default `mini`'s detection): the least is all CPU seconds of
  codecs, preprocessors and networks, spread over all cores. At most 1.10 × it is the goal.

The parts' CPU seconds are measured before, one call after the other, as the whole process's: x265
encodes in threads of its own. Seconds of a run are those of its passes over the pictures, not of
planning, statistics and drawing, which are printed beside. Own losses are left out.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch

import numpy as np
import torch
from joblib import cpu_count

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import api
from bench import config as configs
from bench.config import BenchConfig
from bench.models.base import LIBRARIES, Image, Library
from bench.sweep.plan import CHUNK, Experiment, PlannedModel, Point, plan
from bench.tasks.records import Detections

CPU = torch.device("cpu")
NOTHING = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))


@dataclass
class Sleeping:
    """A detector that finds nothing and takes its time over every picture."""

    seconds: float = 0.0
    """Per picture."""
    task: str = "det"
    classes: None = None
    view: None = None

    def predict(self, images: list[Image], viewed: bool) -> list[Detections]:
        time.sleep(self.seconds * len(images))
        return [NOTHING] * len(images)


SLOWER = (0.5, 1.0, 2.0)
"""Seconds that the networks sleep, over those of the codec."""

SLEEPING = Sleeping()
LIBRARIES.register("sleeping")(
    Library(
        load=lambda spec, device: SLEEPING,
        names=lambda: ["sleeping"],
        fingerprint=lambda spec: {},
        default_weights=lambda name: Path(__file__),  # a model has some
    )
)

Seconds = dict[str, float]
"""By part."""


@contextmanager
def counted(seconds: Seconds, part: str) -> Iterator[None]:
    """Adds the CPU seconds of the whole process."""
    started = time.process_time()
    yield
    seconds[part] += time.process_time() - started


def alone(experiments: list[Experiment]) -> Seconds:
    """CPU seconds of all that a run does to its pictures."""
    seconds = {"codecs": 0.0, "preprocessors": 0.0, "networks": 0.0}
    for e in experiments:
        for view in e.views:
            models = [m for m in e.models if m.view == view]
            for start in range(0, len(e.dataset.samples), CHUNK):
                samples = e.dataset.samples[start : start + CHUNK]
                pictures = [models[0].look(sample.load()) for sample in samples]
                seen = [pictures, *(decoded(point, pictures, seconds) for point in e.points)]
                for model in models:
                    predict(model, seen, seconds)
    return seconds


def decoded(point: Point, pictures: list[Image], seconds: Seconds) -> list[Image]:
    """What an operating point leaves of them."""
    if filtered := point.preprocessor:
        with counted(seconds, "preprocessors"):
            pictures = [filtered(rgb, point.qp) for rgb in pictures]
    with counted(seconds, "codecs"):
        return [point.codec.decode(point.codec.encode(rgb, point.qp)) for rgb in pictures]


def predict(model: PlannedModel, seen: list[list[Image]], seconds: Seconds) -> None:
    network = model.network  # which the first to ask for it waits for
    for pictures in seen:
        with counted(seconds, "networks"):
            network.predict(pictures, model.viewed)


@dataclass(frozen=True)
class Cold:
    """A run with an empty cache."""

    clean: float
    """Seconds of its pass over the uncompressed pictures."""
    points: float
    """Seconds of its pass over the operating points."""
    whole: float
    cpu: float
    """CPU seconds of all of it."""


def cold(config: BenchConfig, images: int) -> Cold:
    with tempfile.TemporaryDirectory() as work:
        started, used = time.perf_counter(), time.process_time()
        results = api.run(config, out=Path(work, "run"), limit=images, device="cpu", quiet=True)
        whole, cpu = time.perf_counter() - started, time.process_time() - used
    timings = results.manifest.timings
    return Cold(timings["uncompressed"], timings["points"], whole, cpu)


def show(name: str, seconds: float, least: float, goal: float, run: Cold) -> None:
    said = "as it should be" if seconds <= goal * least else "over"
    print(f"{name}: {seconds:.1f} s / {least:.1f} s = {seconds / least:.2f} ×, goal {goal}: {said}")
    print(
        f"  the whole run with planning, statistics and figures: {run.whole:.1f} s, "
        f"{run.cpu:.1f} CPU seconds",
        flush=True,
    )


def overlap(images: int, qps: list[int], data_root: str | None) -> None:
    experiment = {
        "task": "det",
        "dataset": {"format": "coco", "root": data_root} if data_root else {"format": "mini"},
        "models": [{"library": "sleeping", "name": "sleeping"}],
        "anchor": "bpg",
        "methods": {"bpg": {"codec": "bpg", "qps": qps}},
    }
    config = configs.load({"experiments": [experiment]})
    planned = plan(config, CPU, images)
    coding = alone(planned)["codecs"] / cpu_count()
    seen = sum(len(e.dataset.samples) * len(e.points) for e in planned)
    print(f"CPU seconds of BPG alone, on {cpu_count()} cores: {coding * cpu_count():.1f}")
    for slower in SLOWER:
        SLEEPING.seconds = slower * coding / seen
        run = cold(config, images)
        name = f"networks elsewhere that take {slower:g} × as long as the coding"
        show(name, run.points, max(1, slower) * coding, 1.15, run)


def everything_on_the_cpu(config: BenchConfig, images: int) -> None:
    seconds = alone(plan(config, CPU, images))
    listed = ", ".join(f"{part} {s:.1f}" for part, s in seconds.items())
    print(f"CPU seconds alone, on {cpu_count()} cores: {listed}")
    run, least = cold(config, images), sum(seconds.values()) / cpu_count()
    show("everything on the CPU", run.clean + run.points, least, 1.1, run)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--config", type=Path, help="of the second measurement; default: mini")
    parser.add_argument("--data-root")
    parser.add_argument("--weights")
    parser.add_argument("--methods", default="bpg,npp+bpg,qa-npp+bpg", help="as well")
    parser.add_argument("--qps", default="37,40,43,46,49")
    parser.add_argument("--images", type=int, default=160, help="the first N of each data set")
    a = parser.parse_args()
    qps = [int(qp) for qp in a.qps.split(",")]
    overlap(a.images, qps, a.data_root)
    loaded = configs.load(configs.found(a.config) if a.config else configs.built_in("mini"))
    no_loss = [
        f"experiments.{i}.models.{k}.loss=false"
        for i, e in enumerate(loaded.experiments)
        for k in range(len(e.models))
    ]
    config = configs.narrowed(
        configs.load(loaded, no_loss),
        tasks=None if a.config else ["det"],
        methods=a.methods.split(","),
        qps=qps,
        data_root={"": a.data_root} if a.data_root else None,
        weights={"": a.weights} if a.weights else None,
    )
    everything_on_the_cpu(config, a.images)


if __name__ == "__main__":
    main()
