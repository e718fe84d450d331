"""Where a run's numbers come from: code, versions, machine, data and weights."""

import os
import platform
import subprocess
from pathlib import Path

import torch

import bench
from bench.config import BenchConfig
from bench.results.manifest import (
    Analysis,
    Device,
    Experiment,
    Failure,
    Git,
    Manifest,
    Model,
    OffTarget,
)
from bench.sweep import plan
from bench.sweep.execute import Run
from bench.sweep.versions import installed


def _git() -> Git | None:
    """Revision of this suite's own checkout; None where it is installed without one."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(Path(bench.__file__).parent), *words],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()

    try:
        return Git(revision=git("rev-parse", "HEAD"), dirty=bool(git("status", "--porcelain")))
    except (OSError, subprocess.CalledProcessError):
        return None


def _device(device: torch.device) -> Device:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return Device(kind=device.type, name=name, cpus=os.cpu_count())


def started(
    name: str, config: BenchConfig, experiments: list[plan.Experiment], device: torch.device
) -> Manifest:
    """What can be said before anything is measured."""
    return Manifest(
        status="running",
        name=name,
        experiments=tuple(map(_experiment, experiments)),
        random_weights=tuple(plan.random_weights(experiments)),
        analysis=Analysis(**config.analysis.model_dump()),
        config=config.model_dump(),
        versions=installed(),
        git=_git(),
        device=_device(device),
        lpips=next((e.lpips.fingerprint for e in experiments if e.lpips), {}),
    )


def _experiment(e: plan.Experiment) -> Experiment:
    return Experiment(
        task=e.task.name,
        dataset=e.dataset.name,
        limited=e.limited,
        notes=tuple(e.dataset.notes),
        n_images=len(e.dataset.samples),
        images=tuple(s.name for s in e.dataset.samples),
        models=tuple(
            Model(
                name=m.spec.name,
                view="model" if m.viewed else "native",
                fingerprint=m.fingerprint,
            )
            for m in e.models
        ),
        metrics={m.name: m.describe() for m in e.task.metrics},
        categories=e.dataset.categories if e.wider else {},
        anchor=e.config.anchor,
        methods=_grid(e),
        codecs={p.method: p.codec.fingerprint() for p in e.points},
        preprocessors={p.method: p.preprocessor.fingerprint() for p in e.points if p.preprocessor},
        postprocessors={
            p.method: p.postprocessor.fingerprint() for p in e.points if p.postprocessor
        },
    )


def _grid(e: plan.Experiment) -> dict[str, tuple[int, ...]]:
    return {method: tuple(qps) for method, qps in e.grid().items()}


def seen(begun: Manifest, fingerprints: dict[str, str]) -> Manifest:
    """With the fingerprints of the data sets, by their names."""
    experiments = (
        e.model_copy(update={"dataset_fingerprint": fingerprints[e.dataset]})
        for e in begun.experiments
    )
    return begun.model_copy(update={"experiments": tuple(experiments)})


def completed(
    begun: Manifest, measure: Run, off_target: list[OffTarget], timings: dict[str, float]
) -> Manifest:
    """With what the run found."""
    return begun.model_copy(
        update={
            "status": "complete",
            "experiments": tuple(
                e.model_copy(
                    update={
                        "methods": _grid(measured),
                        "pilot": measured.pilot,
                    }
                )
                for e, measured in zip(begun.experiments, measure.experiments, strict=True)
            ),
            "computed": dict(measure.counts.computed),
            "cached": dict(measure.counts.cached),
            "failures": _ordered(measure.failures),
            "off_target": tuple(off_target),
            "timings": {k: round(v, 2) for k, v in timings.items()},
        }
    )


def _ordered(failures: list[Failure]) -> tuple[Failure, ...]:
    """In an order that does not depend on where and when units ran."""
    return tuple(
        sorted(failures, key=lambda f: (f.dataset, f.index, str(f.model), str(f.method), f.qp or 0))
    )
