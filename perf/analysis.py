"""Time and memory of `report` on synthetic measurements of a classifier.

    python perf/analysis.py [--images 5000 --methods 8 --qps 8 --models 3 --resamples 1000]

An image is recognised where a method's quality exceeds the image's difficulty, so that accuracy
rises smoothly with the rate. What is printed: seconds of the processor for each part of the
analysis and for figures, tables and page, all threads together, which a busy machine does not
stretch; the seconds of all by the clock; and the largest resident set of the process in MiB.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import analysis, report
from bench.results.names import statistics_path
from bench.tasks.classification import SCHEMA

PARTS = (
    "load", "measure", "point_rows", "prepared", "against_anchor", "bd_rows",
    "equal_accuracy_rows", "pair_rows", "mean_rows", "fidelity_rows",
)  # fmt: skip
"""Functions that `analyse` calls."""


def write(root: Path, a: argparse.Namespace) -> None:
    """A results folder."""
    rng = np.random.default_rng(0)
    size = rng.integers(80_000, 160_000, a.images)
    methods = [f"method{m}" for m in range(a.methods)]
    qps = list(range(25, 25 + 3 * a.qps, 3))
    coded = []
    for number in range(a.models):
        difficulty = rng.permutation((np.arange(a.images) + 0.5) / a.images)
        place = root, "cls", "data", f"model{number}"
        write_statistics(statistics_path(*place, "uncompressed", None), difficulty < 0.97)
        for m, method in enumerate(methods):
            for qp in qps:
                quality = 0.9 - 0.2 * (qp - 25) / (3 * a.qps) - 0.005 * m
                off = rng.normal(0, 0.05, a.images)
                write_statistics(statistics_path(*place, method, qp), difficulty + off < quality)
    for m, method in enumerate(methods):
        for qp in qps:
            bits = np.round(size * np.exp((49 - qp) / 6) * (1 - 0.05 * m)).astype(int)
            coded.append(images(method, qp, bits))
    pq.write_table(pa.concat_tables(coded), root / "images.parquet")
    described = manifest(a, methods, qps)
    (root / "manifest.json").write_text(json.dumps(described))


def write_statistics(path: Path, right: NDArray[np.bool_]) -> None:
    n = len(right)
    columns = [np.arange(n), np.arange(n) % 10, np.where(right, 0, 3), np.where(right, 0.1, 2.0)]
    arrays = [pa.array(c).cast(f.type) for c, f in zip(columns, SCHEMA, strict=True)]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(arrays, schema=SCHEMA), path)


def images(method: str, qp: int, bits: NDArray[np.int64]) -> pa.Table:
    n = len(bits)
    return pa.table(
        {
            "dataset": ["data"] * n,
            "view": ["native"] * n,
            "index": range(n),
            "image": [f"{i}.png" for i in range(n)],
            "method": [method] * n,
            "qp": [qp] * n,
            "bits": bits,
            "width": [500] * n,
            "height": [375] * n,
            "psnr": [45.0 - qp / 3] * n,
            "ms_ssim": [1.0 - qp / 500] * n,
        }
    )


def manifest(a: argparse.Namespace, methods: list[str], qps: list[int]) -> dict[str, Any]:
    experiment = {
        "task": "cls",
        "dataset": "data",
        "n_images": a.images,
        "images": [f"{i}.png" for i in range(a.images)],
        "models": [{"name": f"model{m}", "view": "native"} for m in range(a.models)],
        "anchor": methods[0],
        "methods": dict.fromkeys(methods, qps),
    }
    return {"schema": 1, "experiments": [experiment], "analysis": {"resamples": a.resamples}}


def timed(name: str, spent: dict[str, float]) -> None:
    """Have `analyse` call a function that adds its seconds to `spent`."""
    function = getattr(analysis, name)

    def called(*arguments: Any) -> Any:
        started = time.process_time()
        try:
            return function(*arguments)
        finally:
            spent[name] = spent.get(name, 0.0) + time.process_time() - started

    setattr(analysis, name, called)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--methods", type=int, default=8)
    parser.add_argument("--qps", type=int, default=8)
    parser.add_argument("--models", type=int, default=3)
    parser.add_argument("--resamples", type=int, default=1000)
    a = parser.parse_args()
    spent: dict[str, float] = {}
    for name in PARTS:
        timed(name, spent)
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), a)
        begun, started = time.perf_counter(), time.process_time()
        analysis.analyse(Path(folder))
        analysed = time.process_time()
        report.write(Path(folder))
        spent["figures, tables, page"] = time.process_time() - analysed
        total, wall = time.process_time() - started, time.perf_counter() - begun
        rows = {p.name: p.read_bytes().count(b"\n") - 1 for p in Path(folder).glob("*.csv")}
    for name, seconds in spent.items():
        print(f"{name}: {seconds:.1f} s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"all: {total:.1f} s, {wall:.1f} s by the clock, peak {peak:.0f} MiB; rows: {rows}")


if __name__ == "__main__":
    main()
