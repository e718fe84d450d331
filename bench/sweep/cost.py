"""What a run costs, step by step, measured on a few of its pictures on an idle machine."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bench.models.base import giver_of_losses, predicted_with_losses
from bench.sweep.plan import Experiment, PlannedModel, Point
from bench.tasks import TASKS

Picture = NDArray[np.uint8]

BLOCK = 4096
"""Bytes by which file systems hand out space."""
OVERHEAD = 400
"""Bytes of a cache entry beside what it holds."""


@dataclass(frozen=True)
class Cost:
    """One step on one picture: means over the pictures and QPs that were tried."""

    dataset: str
    step: str
    """preprocess, encode, decode or predict."""
    what: str
    """The method, or the model."""
    seconds: float
    """Of all cores together, or of the GPU."""
    on_gpu: bool
    megapixels: float
    times: int
    """How often the run does it to each picture of the data set."""
    n_bytes: float = 0.0
    """Kept in the cache."""
    parameters: int | None = None
    macs_per_pixel: float | None = None
    """Multiply–accumulate operations; for preprocessors and models."""

    @property
    def ms_per_megapixel(self) -> float:
        return 1000 * self.seconds / self.megapixels


@dataclass(frozen=True)
class Estimate:
    """Of a data set of `images` pictures."""

    dataset: str
    images: int
    encodes: int
    core_hours: float
    gpu_hours: float
    gigabytes: float
    """Of the cache."""


def measured(experiment: Experiment, pictures: int) -> Iterator[Cost]:
    """Of every preprocessor, codec and model, on pictures spread over the data set.

    Raises ConfigError for a model that cannot be built, DataError for an unreadable picture.
    """
    samples = experiment.dataset.samples
    chosen = np.unique(np.linspace(0, len(samples) - 1, pictures).round().astype(int)).tolist()
    shown = [samples[i].load() for i in chosen]
    for view in experiment.views:
        models = [m for m in experiment.models if m.view == view]
        seen = [models[0].look(rgb) for rgb in shown]
        for method, qps in experiment.grid().items():
            tried = {qps[0], qps[len(qps) // 2], qps[-1]}
            points = [p for p in experiment.points if p.method == method and p.qp in tried]
            yield from _coding(experiment.dataset.name, points, len(qps), seen)
        for model in models:
            yield _prediction(experiment, model, seen, chosen)


def estimate(costs: list[Cost], images: int) -> list[Estimate]:
    """By data set, for `images` pictures like those that were measured."""
    found = []
    for dataset in dict.fromkeys(c.dataset for c in costs):
        own = [c for c in costs if c.dataset == dataset]
        hours = [(c.on_gpu, images * c.times * c.seconds / 3600) for c in own]
        found.append(
            Estimate(
                dataset,
                images,
                images * sum(c.times for c in own if c.step == "encode"),
                sum(h for on_gpu, h in hours if not on_gpu),
                sum(h for on_gpu, h in hours if on_gpu),
                images * sum(c.times * c.n_bytes for c in own) / 1e9,
            )
        )
    return found


def _coding(dataset: str, points: list[Point], times: int, seen: list[Picture]) -> Iterator[Cost]:
    """Of one method: its preprocessor, its encoder, its decoder."""
    filtered, codec, method = points[0].preprocessor, points[0].codec, points[0].method
    tries = [(point.qp, rgb) for point in points for rgb in seen]
    megapixels = float(np.mean([rgb.shape[0] * rgb.shape[1] for rgb in seen])) / 1e6
    given = tries
    if filtered is not None:
        network, on_gpu = _network(filtered), _on_gpu(filtered)
        filtered(seen[0], points[0].qp)  # whatever is built at the first call
        macs = _macs(lambda: filtered(seen[0], points[0].qp)) if network else None
        made, seconds = _timed(lambda: [filtered(rgb, qp) for qp, rgb in tries], on_gpu)
        given = [(qp, rgb) for (qp, _), rgb in zip(tries, made, strict=True)]
        yield Cost(
            dataset,
            "preprocess",
            method,
            seconds / len(tries),
            on_gpu,
            megapixels,
            times,
            _on_disk(32),
            _parameters(network),
            None if macs is None else macs / (seen[0].shape[0] * seen[0].shape[1]),
        )
    coded, seconds = _timed(lambda: [codec.encode(rgb, qp) for qp, rgb in given], False)
    kept = float(np.mean([_on_disk(len(data)) for data in coded]))
    yield Cost(dataset, "encode", method, seconds / len(tries), False, megapixels, times, kept)
    _, seconds = _timed(lambda: [codec.decode(data) for data in coded], False)
    yield Cost(dataset, "decode", method, seconds / len(tries), False, megapixels, times)


def _prediction(
    experiment: Experiment, model: PlannedModel, seen: list[Picture], chosen: list[int]
) -> Cost:
    network, dataset = model.network, experiment.dataset
    task = TASKS.get(dataset.task)
    giver = giver_of_losses(network) if task.own_loss and model.loss else None
    targets = task.training_targets(model, dataset) if giver and dataset.labelled else None

    def ask(pictures: list[Picture], places: list[int]) -> Any:
        if giver is None or targets is None:
            return network.predict(pictures, model.viewed)
        wanted = [targets[i] for i in places]
        return predicted_with_losses(network, giver, pictures, wanted, model.viewed)

    ask(seen[:1], chosen[:1])  # whatever is built at the first call
    macs = _macs(lambda: network.predict(seen[:1], model.viewed))
    on_gpu = _on_gpu(network)
    _, seconds = _timed(lambda: ask(seen, chosen), on_gpu)
    found = network.predict(seen[:1], model.viewed)[0].to_arrays()
    return Cost(
        dataset.name,
        "predict",
        model.spec.name,
        seconds / len(seen),
        on_gpu,
        float(np.mean([rgb.shape[0] * rgb.shape[1] for rgb in seen])) / 1e6,
        len(experiment.points) + 1,
        _on_disk(sum(array.nbytes for array in found.values())),
        _parameters(_network(network)),
        macs / (seen[0].shape[0] * seen[0].shape[1]),
    )


def _timed(run: Callable[[], Any], on_gpu: bool) -> tuple[Any, float]:
    """Seconds of all threads of this process, in which nothing else happens, or of the GPU."""
    clock = time.perf_counter if on_gpu else time.process_time
    started = clock()
    found = run()
    if on_gpu:
        torch.cuda.synchronize()
    return found, clock() - started


def _macs(run: Callable[[], object]) -> float:
    # inference_mode hides convolutions from the counter.
    with FlopCounterMode(display=False) as counter, torch.inference_mode(False), torch.no_grad():
        run()
    return counter.get_total_flops() / 2


def _network(holder: object) -> nn.Module | None:
    """The first module that an object holds."""
    held = list(getattr(holder, "__dict__", {}).values())
    held += [v for each in held if isinstance(each, dict) for v in each.values()]
    return next((v for v in held if isinstance(v, nn.Module)), None)


def _parameters(network: nn.Module | None) -> int | None:
    return None if network is None else sum(p.numel() for p in network.parameters())


def _on_gpu(holder: object) -> bool:
    network = _network(holder)
    return network is not None and any(p.is_cuda for p in network.parameters())


def _on_disk(n_bytes: int) -> int:
    return -(-(n_bytes + OVERHEAD) // BLOCK) * BLOCK
