"""The most memory that a run takes, over N pictures and over ten times as many.

    python perf/memory.py [--data-root DIR --weights FILE] [--images 48]

Both runs read a data set from disk that is written here: PNGs of the built-in pictures for `mini`'s
classifier, or of the first N of DIR, in COCO's layout, for mmdet's YOLOX-nano with the weights
FILE. The larger set has each picture ten times under other names, with another first pixel each, so
that the cache knows none of them. The codec is JPEG. Two jobs have 48 pictures in flight at once:
with fewer, the smaller run would not be full. What is printed is the largest resident set of each
run's process; at most 1.15 × for ten times the pictures is the goal.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.datasets import make
from bench.datasets.base import Dataset

RUN = Path(__file__).resolve().parents[1] / "run_bench.py"
TIMES = 10
GOAL = 1.15


@dataclass(frozen=True)
class Copy:
    """Of a picture, and its ground truth."""

    name: str
    width: int
    height: int
    target: Any


def write(dataset: Dataset, n: int, times: int, folder: Path) -> None:
    """The first n pictures `times` times each, in COCO's layout or ImageNet's."""
    (folder / "images").mkdir(parents=True)
    copies = []
    for sample in dataset.samples[:n]:
        rgb = sample.load()
        for copy in range(times):
            rgb[0, 0] = copy
            name = f"{Path(sample.name).stem}-{copy}.png"
            Image.fromarray(rgb).save(folder / "images" / name)
            copies.append(Copy(name, rgb.shape[1], rgb.shape[0], sample.target))
    if dataset.task == "cls":
        with (folder / "labels.csv").open("w", newline="") as file:
            rows = [(copy.name, int(copy.target.label)) for copy in copies]
            csv.writer(file).writerows([("file", "class_index"), *rows])
    else:
        (folder / "instances.json").write_text(json.dumps(instances(dataset, copies)))


def instances(dataset: Dataset, copies: list[Copy]) -> dict[str, Any]:
    """What stands in COCO's file of annotations."""
    pictures = [
        {"id": i, "file_name": c.name, "width": c.width, "height": c.height}
        for i, c in enumerate(copies)
    ]
    found = [
        {
            "image_id": i,
            "category_id": int(c.target.labels[k]),
            "bbox": c.target.xywh[k].tolist(),
            "area": float(c.target.area[k]),
            "iscrowd": int(c.target.iscrowd[k]),
        }
        for i, c in enumerate(copies)
        for k in range(len(c.target.labels))
    ]
    return {
        "images": pictures,
        "categories": [{"id": k, "name": name} for k, name in dataset.categories.items()],
        "annotations": [{"id": i + 1, **each} for i, each in enumerate(found)],
    }


def config(folder: Path, weights: str | None) -> dict[str, Any]:
    """Of a run: detection with weights, else classification."""
    detector = {"library": "mmdet", "name": "yolox_nano_8xb8-300e_coco", "weights": weights}
    classifier = {"library": "mini", "name": "mini_classifier"}
    return {
        "experiments": [
            {
                "task": "det" if weights else "cls",
                "dataset": {"format": "coco" if weights else "imagenet", "root": str(folder)},
                "models": [detector if weights else classifier],
                "anchor": "jpeg",
                "methods": {"jpeg": {"codec": "jpeg", "qps": [29, 33, 37, 41, 45]}},
            }
        ]
    }


def peak(described: dict[str, Any], work: Path) -> float:
    """MiB of a run from nothing."""
    file = work / "config.yaml"
    file.write_text(yaml.safe_dump(described))
    command = [sys.executable, str(RUN), "--config", str(file)]
    # Threads, so that all of it is in one process.
    command += ["--out", str(work / "run"), "--jobs", "2", "--backend", "threading", "--quiet"]
    run = subprocess.Popen(command)
    _, status, used = os.wait4(run.pid, 0)
    if status:
        raise SystemExit(f"the run failed: {' '.join(command)}")
    return used.ru_maxrss / 1024  # KiB, on Linux


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data-root", type=Path, help="a folder in COCO's layout")
    parser.add_argument("--weights", help="of mmdet's YOLOX-nano, for --data-root")
    parser.add_argument("--images", type=int, default=48, help="in the smaller run")
    a = parser.parse_args()
    if (a.data_root is None) != (a.weights is None):
        parser.error("--data-root and --weights go together")
    format, task = ("coco", "det") if a.data_root else ("mini", "cls")
    dataset = make(format, task, a.data_root, {})
    n, peaks = min(a.images, len(dataset.samples)), []
    for times in (1, TIMES):
        with tempfile.TemporaryDirectory() as work:
            write(dataset, n, times, Path(work, "data"))
            peaks.append(peak(config(Path(work, "data"), a.weights), Path(work)))
        print(f"{n * times} pictures: {peaks[-1]:.0f} MiB", flush=True)
    ratio = peaks[1] / peaks[0]
    said = "as it should be" if ratio <= GOAL else "over"
    print(f"{TIMES} × the pictures: {ratio:.2f} × the memory, goal {GOAL}: {said}")


if __name__ == "__main__":
    main()
