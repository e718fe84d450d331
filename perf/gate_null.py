"""How often the gate cries although nothing changed.

    python perf/gate_null.py --out FOLDER [--pairs 10] [--det 80] [--cls 240]

Two runs of the same method on the same scenes of `mini`, each rendered with sensor noise of its
own, so that every picture, every file and every prediction differs and nothing real does. Ten such
pairs, two tasks and two methods are forty verdicts. The fingerprints of the images differ, so the
gate itself would call them not comparable: this calls what judges below that check. The codec runs
at its fastest level; a finished run is not made again.
"""

import argparse
import functools
import json
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from bench import config as configs
from bench.datasets import mini
from bench.datasets.base import DATASETS, Dataset, Sample
from bench.datasets.images import annotations_sha256
from bench.progress import Progress
from bench.sweep import execute, plan, run
from bench.sweep.cache import Cache

RENDER = {"det": mini.render_detection, "cls": mini.render_classification}
MODELS = {"det": "mini_fcos", "cls": "mini_classifier"}
QPS = [31, 35, 39, 43]


def noisy(root: Path, name: str, task: str) -> Dataset:
    """`root` is the number of the noise and how many pictures, as in 3/80."""
    noise, count = int(root.parent.name), int(root.name)
    samples = []
    for i in range(count):
        picture, target = RENDER[task]("test", i, noise)
        samples.append(Sample(f"test-{i:05d}", functools.partial(np_copy, picture), target))
    return Dataset(
        name=name,
        task=task,
        samples=samples,
        categories=dict(enumerate(mini.CLASSES)),
        annotations_sha256=annotations_sha256(samples),
    )


def np_copy(picture: Any) -> Any:
    return picture.copy()


for task in RENDER:
    DATASETS.register(f"noisy-{task}")(functools.partial(noisy, task=task))


def description(noise: int, counts: dict[str, int]) -> dict[str, Any]:
    codec = {"name": "bpg", "level": 1}
    return {
        "experiments": [
            {
                "task": task,
                "dataset": {
                    "format": f"noisy-{task}",
                    "root": f"{noise}/{counts[task]}",
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


def measured(noise: int, counts: dict[str, int], out: Path, jobs: int) -> Path:
    folder = out / f"noise-{noise}"
    if not (folder / "manifest.json").exists():
        config = configs.validate(description(noise, counts), "of the null study")
        experiments = plan.plan(config, torch.device("cpu"), None)
        with Progress(Console(stderr=True), True) as progress:
            measure = execute.Run(
                Cache(out / ".cache"), execute.Workers(jobs, "threading"), progress.start, 0.0
            )
            run.run(config, experiments, measure, torch.device("cpu"), folder, print)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--det", type=int, default=80)
    parser.add_argument("--cls", type=int, default=240)
    parser.add_argument("--jobs", type=int, default=1)
    a = parser.parse_args()
    torch.set_num_threads(1)
    counts = {"det": a.det, "cls": a.cls}
    for pair in range(a.pairs):
        folders = [measured(noise, counts, a.out, a.jobs) for noise in (2 * pair + 1, 2 * pair + 2)]
        print(json.dumps([str(f) for f in folders]), flush=True)


if __name__ == "__main__":
    main()
