"""Results folders of a classifier whose accuracy rises smoothly with the rate; changes planted.

An image is recognised where the method's quality at that QP exceeds the image's difficulty, so that
a loss of accuracy hits the images that are on the edge, as it does in practice.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.results.names import statistics_path
from bench.tasks import TASKS
from bench.tasks.classification import SCHEMA

N = 1500
QPS = (31, 35, 39, 43)
SLOPE = 0.2
"""Accuracy gained per unit of log-rate."""


@dataclass
class Method:
    """`rate`: a factor on the bits; `worth`: the rate that its accuracy is worth, as a factor."""

    rate: float = 1.0
    worth: float = 1.0
    codec: dict[str, str] = field(default_factory=lambda: {"codec": "bpg", "x265": "4.1"})
    preprocessor: dict[str, str] | None = None
    postprocessor: dict[str, str] | None = None


def methods() -> dict[str, Method]:
    about = {"preprocessor": "npp", "weights": "aaaa", "code": "1", "torch": "2.12"}
    return {"bpg": Method(), "npp+bpg": Method(0.7, 1.0, preprocessor=about)}


def write(
    root: Path,
    change: Callable[[dict[str, Method]], Any] = lambda methods: None,
    edit: Callable[[dict[str, Any]], Any] = lambda manifest: None,
    n: int = N,
    noise: int | None = None,
) -> Path:
    """A folder of two methods, `change` made to them and `edit` to the manifest.

    With a seed of `noise` every size and every difficulty is a little off at every point, as if the
    same scenes had been photographed again.
    """
    described = methods()
    change(described)
    root.mkdir(parents=True)
    rng = np.random.default_rng(0)
    difficulty = rng.permutation((np.arange(n) + 0.5) / n)
    again = np.random.default_rng(noise)
    size = rng.integers(800, 1600, n)
    columns: dict[str, list[Any]] = {k: [] for k in ("method", "qp", "index", "bits")}
    _statistics(root, "uncompressed", None, difficulty < 0.97)
    for name, method in described.items():
        for qp in QPS:
            log_rate = (43 - qp) / 6
            quality = 0.3 + SLOPE * (log_rate + np.log(method.worth))
            off = np.zeros(n) if noise is None else again.normal(0, 0.05, n)
            bits = np.round(size * 10 * np.exp(log_rate + off) * method.rate).astype(int)
            _statistics(root, name, qp, difficulty + off < quality)
            columns["method"] += [name] * n
            columns["qp"] += [qp] * n
            columns["index"] += range(n)
            columns["bits"] += bits.tolist()
    names = [f"{i:04}.png" for i in range(n)]
    count = len(columns["qp"])
    columns |= {"dataset": ["data"] * count, "view": ["native"] * count, "psnr": [30.0] * count}
    columns |= {"image": [names[i] for i in columns["index"]]}
    columns |= {"width": [100] * count, "height": [80] * count}
    pq.write_table(pa.table(columns), root / "images.parquet")
    manifest = {
        "schema": 1,
        "experiments": [
            {
                "task": "cls",
                "dataset": "data",
                "dataset_fingerprint": "sha256:1234",
                "n_images": n,
                "images": names,
                "models": [
                    {
                        "name": "net",
                        "view": "native",
                        "fingerprint": {"library": "mini", "weights": "ffff", "torch": "2.12"},
                    }
                ],
                "metrics": {m.name: m.describe() for m in TASKS.get("cls").metrics},
                "anchor": "bpg",
                "methods": {name: list(QPS) for name in described},
                "codecs": {name: m.codec for name, m in described.items()},
                "preprocessors": {
                    name: m.preprocessor for name, m in described.items() if m.preprocessor
                },
                "postprocessors": {
                    name: m.postprocessor for name, m in described.items() if m.postprocessor
                },
            }
        ],
        "analysis": {"interpolation": "pchip", "policy": "pareto", "resamples": 20, "seed": 0},
        "failures": [],
        "versions": {"torch": "2.12", "python": "3.11"},
        "device": {"kind": "cpu", "name": "x86_64", "cpus": 2},
    }
    edit(manifest)
    (root / "manifest.json").write_text(json.dumps(manifest))
    return root


def reached(manifest: dict[str, Any]) -> None:
    """Name accuracies that the curves reach: they end far below the clean score."""
    manifest["analysis"]["within"] = [30, 40, 50, 60]


def statistics(root: Path, method: str, qp: int | None) -> Path:
    return statistics_path(root, "cls", "data", "net", method, qp)


def _statistics(root: Path, method: str, qp: int | None, right: np.ndarray) -> None:
    n = len(right)
    path = statistics(root, method, qp)
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = [np.arange(n), np.arange(n) % 10, np.where(right, 0, 3), np.where(right, 0.1, 2.0)]
    pq.write_table(
        pa.table(
            [pa.array(c).cast(f.type) for c, f in zip(columns, SCHEMA, strict=True)], schema=SCHEMA
        ),
        path,
    )


def failure(index: int, method: str | None, qp: int | None = 39) -> dict[str, Any]:
    return {
        "dataset": "data",
        "model": "net",
        "method": method,
        "qp": qp if method else None,
        "image": f"{index:04}.png",
        "index": index,
        "stage": "code",
        "error": "made to fail",
    }
