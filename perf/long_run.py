"""A long run over many small pictures: do memory, handles, temporary files and speed stay level?

    python perf/long_run.py [--pictures 20000] [--backend threading|loky|dask] [--qps 29,37,45]

The pictures are 48 × 48, random blocks, written as PNGs; the codec is JPEG and the model `mini`'s
classifier. Every half minute, with the run's own line of progress, this counts what all processes
of the run hold: processor time, resident memory (shared pages once for each), open handles,
threads, and files in their temporary folder. At the end it compares the two halves of the sweep,
by the clock and by processor time, which other programs on the machine hardly change; and it counts
the files and bytes of the cache, and again after `cache prune --keep` with half of the bytes.
"""

import argparse
import csv
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

RUN = Path(__file__).resolve().parents[1] / "run_bench.py"
SIDE, BLOCK = 48, 6
LINE = re.compile(r"operating points: (\d+) of \d+ .*?, ([\d.e+]+) per second")


@dataclass(frozen=True)
class Reading:
    """What the processes of a run hold at a moment."""

    minute: float
    points: int
    per_second: float
    cpu_seconds: float
    mib: float
    handles: int
    threads: int
    temporary: int
    processes: int


def write(n: int, folder: Path) -> None:
    """Pictures and labels in ImageNet's layout."""
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    with (folder / "labels.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("file", "class_index"))
        for i in range(n):
            blocks = rng.integers(0, 256, (SIDE // BLOCK, SIDE // BLOCK, 3), np.uint8)
            rgb = blocks.repeat(BLOCK, 0).repeat(BLOCK, 1)
            Image.fromarray(rgb).save(folder / "images" / f"{i:06}.png")
            rows.writerow((f"{i:06}.png", i % 12))


def config(data: Path, qps: list[int]) -> str:
    model = {"library": "mini", "name": "mini_classifier"}
    experiment = {
        "task": "cls",
        "dataset": {"format": "imagenet", "root": str(data)},
        "models": [model],
        "anchor": "jpeg",
        "methods": {"jpeg": {"codec": "jpeg", "qps": qps}},
    }
    return yaml.safe_dump({"experiments": [experiment], "analysis": {"resamples": 50}})


def processes(root: int) -> list[Path]:
    """Of /proc: the process and all that it started."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(folder.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return [Path(f"/proc/{pid}") for pid in found]


def reading(root: int, temporary: Path, began: float, points: int, rate: float) -> Reading:
    kib = handles = threads = alive = ticks = 0
    for process in processes(root):
        try:
            status = (process / "status").read_text()
            handles += len(list((process / "fd").iterdir()))
            kib += int(re.findall(r"VmRSS:\s+(\d+)", status)[0])
            threads += int(re.findall(r"Threads:\s+(\d+)", status)[0])
            user, system = (process / "stat").read_text().rsplit(")", 1)[1].split()[11:13]
            ticks += int(user) + int(system)
            alive += 1
        except (OSError, IndexError):  # it has ended meanwhile
            continue
    files = sum(p.is_file() for p in temporary.rglob("*"))
    minute = (time.monotonic() - began) / 60
    cpu = ticks / os.sysconf("SC_CLK_TCK")
    return Reading(minute, points, rate, cpu, kib / 1024, handles, threads, files, alive)


def halves(readings: list[Reading]) -> str:
    """Speed and processor time of a point in each half of the points."""
    middle = min(readings, key=lambda r: abs(r.points - readings[-1].points / 2))
    said = []
    for first, last in ((readings[0], middle), (middle, readings[-1])):
        points, seconds = last.points - first.points, 60 * (last.minute - first.minute)
        cpu = 1000 * (last.cpu_seconds - first.cpu_seconds) / points
        said.append(f"{points / seconds:.1f} per second, {cpu:.2f} ms of CPU each")
    return "; then ".join(said)


def cache_size(folder: Path) -> tuple[int, int]:
    """Files and bytes."""
    sizes = [p.stat().st_size for p in folder.rglob("*") if p.is_file()]
    return len(sizes), sum(sizes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--backend", choices=("threading", "loky", "dask"), default="threading")
    parser.add_argument(
        "--qps", type=lambda s: [int(q) for q in s.split(",")], default=[29, 37, 45]
    )
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        write(a.pictures, work / "data")
        (work / "temporary").mkdir()
        (work / "config.yaml").write_text(config(work / "data", a.qps))
        line = [sys.executable, str(RUN), "--config", str(work / "config.yaml"), "--jobs", "2"]
        line += ["--out", str(work / "run"), "--cache", str(work / "cache"), "--device", "cpu"]
        began, readings = time.monotonic(), []
        run = subprocess.Popen(
            [*line, "--backend", a.backend],
            env=os.environ | {"TMPDIR": str(work / "temporary"), "COLUMNS": "200"},
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert run.stderr is not None
        print("| " + " | ".join(f.name for f in fields(Reading)) + " |", flush=True)
        for said in run.stderr:
            if match := LINE.search(said):
                points, rate = int(match[1]), float(match[2])
                readings.append(reading(run.pid, work / "temporary", began, points, rate))
                cells = (
                    f"{v:.1f}" if isinstance(v, float) else str(v) for v in astuple(readings[-1])
                )
                print("| " + " | ".join(cells) + " |", flush=True)
        if run.wait():
            raise SystemExit(f"the run failed: {' '.join(line)}")
        print(halves(readings))
        files, size = cache_size(work / "cache")
        print(f"cache: {files / a.pictures:.2f} files and {size / a.pictures:.0f} bytes a picture")
        half = ["--keep", str(size / 2e9)]
        prune = [sys.executable, str(RUN), "cache", "prune", str(work / "cache"), *half]
        subprocess.run(prune, check=True)
        print(f"after prune --keep, of its bytes: {cache_size(work / 'cache')[1] / size:.1%}")
        left = [p.name for p in (work / "temporary").rglob("*") if p.is_file()]
        print(f"temporary files left: {left or 'none'}")


if __name__ == "__main__":
    main()
