"""Where a run's numbers come from: code, versions, machine, data and weights."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import bench
from bench.config import BenchConfig
from bench.registry import packages
from bench.sweep.execute import Run
from bench.sweep.plan import Experiment, random_weights

PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "mmdet",
    "mmcv",
    "mmengine",
    "mmpretrain",
    "numpy",
    "Pillow",
    "opencv-python-headless",
    "av",
    "pycocotools",
    "bjontegaard",
    "pandas",
    "pyarrow",
    "joblib",
)


def _git() -> dict[str, Any] | None:
    """Revision of this suite's own checkout; None where it is installed without one."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(Path(bench.__file__).parent), *words],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()

    try:
        return {"revision": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return None


def _versions() -> dict[str, str]:
    found = {"rabench": bench.__version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found | packages()


def _device(device: torch.device) -> dict[str, Any]:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {"kind": device.type, "name": name, "cpus": os.cpu_count()}


def describe(
    *,
    name: str,
    config: BenchConfig,
    experiments: list[Experiment],
    fingerprints: dict[str, str],
    device: torch.device,
    measure: Run,
    timings: dict[str, float],
) -> dict[str, Any]:
    """The content of manifest.json; the reader's side of it is bench.analysis.results."""
    return {
        "schema": 1,
        "name": name,
        "experiments": [
            {
                "task": e.task.name,
                "dataset": e.dataset.name,
                "dataset_fingerprint": fingerprints[e.dataset.name],
                "limited": e.limited,
                "notes": e.dataset.notes,
                "n_images": len(e.dataset.samples),
                "images": [s.name for s in e.dataset.samples],
                "models": [
                    {
                        "name": m.spec.name,
                        "view": "model" if m.viewed else "native",
                        "fingerprint": m.fingerprint,
                    }
                    for m in e.models
                ],
                "metrics": {m.name: m.describe() for m in e.task.metrics},
                "anchor": e.config.anchor,
                "methods": e.grid(),
                "codecs": {p.method: p.codec.fingerprint() for p in e.points},
                "preprocessors": {
                    p.method: p.preprocessor.fingerprint() for p in e.points if p.preprocessor
                },
            }
            for e in experiments
        ],
        "random_weights": random_weights(experiments),
        "analysis": config.analysis.model_dump(),
        "config": config.model_dump(),
        "versions": _versions(),
        "git": _git(),
        "device": _device(device),
        "computed": dict(measure.counts.computed),
        "cached": dict(measure.counts.cached),
        "failures": _failures(measure),
        "timings": {k: round(v, 2) for k, v in timings.items()},
    }


def _failures(measure: Run) -> list[dict[str, Any]]:
    """In an order that does not depend on where and when units ran."""
    return sorted(
        measure.failures,
        key=lambda f: (f["dataset"], f["index"], str(f["model"]), str(f["method"]), f["qp"] or 0),
    )
