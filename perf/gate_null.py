"""How often the gate cries although nothing changed.

    python perf/gate_null.py --out FOLDER [--seeds 10] [--det 32] [--cls 96]

The same method on the same scenes of `mini`, rendered with ten fresh seeds of sensor noise, so that
every picture, every file and every prediction differs and nothing real does. Seed n is compared
with seed n + 1, the last with the first: ten pairs, two tasks and two methods are forty verdicts.
Images that differ are not comparable to the gate, so this calls what judges below that check; an
image is paired with its own scene under other noise. The codec runs at its fastest level; a
finished run is not made again.
"""

import argparse
import functools
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from bench import config as configs
from bench.analysis import judge
from bench.analysis.baseline import Scores, open_side
from bench.analysis.compare import weighed
from bench.datasets import mini
from bench.datasets.base import DATASETS, Dataset, Sample
from bench.datasets.images import annotations_sha256
from bench.progress import Progress
from bench.results.folder import writing
from bench.sweep import execute, plan, run, workshop
from bench.sweep.cache import Cache
from bench.sweep.workers import Threads

RENDER = {"det": mini.render_detection, "cls": mini.render_classification}
MODELS = {"det": "mini_fcos", "cls": "mini_classifier"}
QPS = [31, 35, 39, 43]
THRESHOLD = 1.0


def noisy(root: Path, name: str, task: str) -> Dataset:
    """`root` is the seed of the noise and how many pictures, as in 3/80."""
    seed, count = int(root.parent.name), int(root.name)
    samples = []
    for i in range(count):
        picture, target = RENDER[task]("test", i, seed)
        samples.append(Sample(f"test-{i:05d}", functools.partial(_copy, picture), target))
    return Dataset(
        name=name,
        task=task,
        samples=samples,
        categories=dict(enumerate(mini.CLASSES)),
        annotations_sha256=annotations_sha256(samples),
    )


def _copy(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return picture.copy()


for _task in RENDER:
    DATASETS.register(f"noisy-{_task}")(functools.partial(noisy, task=_task))


def description(seed: int, counts: dict[str, int]) -> dict[str, Any]:
    codec = {"name": "bpg", "level": 1}
    return {
        "experiments": [
            {
                "task": task,
                "dataset": {
                    "format": f"noisy-{task}",
                    "root": f"{seed}/{counts[task]}",
                    "name": f"mini-{task}",
                },
                "models": [{"library": "mini", "name": MODELS[task]}],
                "anchor": "bpg",
                "methods": {
                    "bpg": {"codec": codec, "qps": QPS},
                    "qa-npp+bpg": {
                        "preprocessor": {"name": "qa-npp", "weights": f"qa_npp_mini_{task}"},
                        "codec": codec,
                    },
                },
            }
            for task in RENDER
        ]
    }


def measured(seed: int, counts: dict[str, int], out: Path, jobs: int) -> Path:
    folder = out / f"noise-{seed}"
    if not (folder / "manifest.json").exists():
        config = configs.validate(description(seed, counts), "of the null study")
        experiments = plan.plan(config, torch.device("cpu"), None)
        cache, device = Cache(out / ".cache"), torch.device("cpu")
        with (
            Progress(Console(stderr=True), True) as progress,
            workshop.opened(config, experiments, device, None, cache) as setup,
            writing(folder) as place,
        ):
            workers = Threads(jobs)
            measure = execute.Run(setup, experiments, workers, progress.start, 0.0)
            run.run(config, measure, device, place.work, folder.name, print)
            place.publish()
    return folder


def scores(folder: Path) -> dict[str, Scores]:
    """By data set, on the scenes and on a thousand resamples of them."""
    side = open_side(folder)
    analysis = side.manifest.analysis.model_copy(update={"resamples": judge.RESAMPLES})
    return {e.dataset: side.scores(e, m, list(e.methods), (), analysis) for e, m in side.models()}


def verdict(before: Scores, after: Scores, method: str) -> tuple[str, judge.Change]:
    old, new = (side.curves(method, "pareto") for side in (before, after))
    own = judge.own_change(old, new, "pchip")
    return weighed(own, old, new, THRESHOLD, "pchip")[0], own


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--det", type=int, default=32)
    parser.add_argument("--cls", type=int, default=96)
    parser.add_argument("--jobs", type=int, default=1)
    a = parser.parse_args()
    torch.set_num_threads(1)
    counts = {"det": a.det, "cls": a.cls}
    folders = [measured(1 + k, counts, a.out, a.jobs) for k in range(a.seeds)]
    sides = [scores(folder) for folder in folders]
    counted: Counter[str] = Counter()
    print("| seeds | data set | method | rate at equal accuracy | 99 % interval | verdict |")
    print("| --- | --- | --- | ---: | ---: | --- |")
    for k, before in enumerate(sides):
        after = sides[(k + 1) % len(sides)]
        for dataset in before:
            for method in before[dataset].points:
                word, own = verdict(before[dataset], after[dataset], method)
                counted[word] += 1
                print(
                    f"| {k + 1}, {(k + 1) % len(sides) + 1} | {dataset} | {method} "
                    f"| {own.percent:+.1f} % | {own.low:+.1f} … {own.high:+.1f} | {word} |"
                )
    print(", ".join(f"{n} {word}" for word, n in counted.items()))


if __name__ == "__main__":
    main()
