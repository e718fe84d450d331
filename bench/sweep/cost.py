"""What a run costs, step by step, measured on a few of its pictures on an idle machine."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bench.models.base import giver_of_losses, predicted_with_losses
from bench.preprocessors import Preprocessor
from bench.sweep import timing
from bench.sweep.plan import Experiment, PlannedModel, Point
from bench.tasks import TASKS

Picture = NDArray[np.uint8]

BLOCK = 4096
"""Bytes by which file systems hand out space."""
OVERHEAD = 400
"""Bytes of a cache entry beside what it holds."""


@dataclass(frozen=True)
class Cost:
    """One step on one picture: means over the pictures and QPs that it was tried on."""

    dataset: str
    step: str
    """preprocess, encode, decode, postprocess or predict."""
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
    """Multiply–accumulate operations; for filters and models, where they were counted."""
    tries: int = 1
    """Pictures × QPs that `seconds` is the mean of."""
    first_call: bool = False
    """Whether `seconds` is of a network's first call, which also prepares the later ones."""

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


def measured(experiment: Experiment, pictures: int, bound: float | None = None) -> Iterator[Cost]:
    """Of every filter, codec and model, on pictures spread over the data set.

    A `bound`, in seconds of wall time, is for a quick estimate: once a step took so long it is not
    tried again, so that of a slow network the first call counts, and operations are not counted.
    Raises ConfigError for a model that cannot be built, DataError for an unreadable picture.
    """
    samples = experiment.dataset.samples
    chosen = np.unique(np.linspace(0, len(samples) - 1, pictures).round().astype(int)).tolist()
    shown = [samples[i].load() for i in chosen]
    for view in experiment.views:
        models = [m for m in experiment.models if m.view == view]
        seen = [models[0].look(rgb) for rgb in shown]
        for method, qps in experiment.grid().items():
            own = {p.qp: p for p in experiment.points if p.method == method}
            # The middle first: where there is time for one QP alone, it stands for all.
            points = [own[qp] for qp in dict.fromkeys((qps[len(qps) // 2], qps[0], qps[-1]))]
            yield from _coding(experiment.dataset.name, points, qps, seen, bound)
        for model in models:
            yield _prediction(experiment, model, seen, chosen, bound)


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


def _coding(
    dataset: str, points: list[Point], qps: Sequence[int], seen: list[Picture], bound: float | None
) -> Iterator[Cost]:
    """Of one method: its preprocessor, its encoder, its decoder, its post-processor."""
    times = len(qps)
    before, codec, after = points[0].preprocessor, points[0].codec, points[0].postprocessor
    method = points[0].method
    given = [(point.qp, rgb) for point in points for rgb in seen]
    if before is not None:
        often = _filterings(before, qps)
        given, cost = _filtering(dataset, "preprocess", before, method, often, given, bound)
        yield cost
    coded = timing.each(lambda one: codec.encode(one[1], one[0]), given, False, bound)
    decoded = timing.each(codec.decode, coded.found, False, bound)
    kept = float(np.mean([_on_disk(len(data)) for data in coded.found]))
    for step, timed, n_bytes in (("encode", coded, kept), ("decode", decoded, 0.0)):
        yield Cost(
            dataset,
            step,
            method,
            timed.seconds,
            False,
            _megapixels([rgb for _, rgb in given[: len(timed.found)]]),
            times,
            n_bytes,
            tries=len(timed.found),
        )
    if after is not None:
        found = [(qp, rgb) for (qp, _), rgb in zip(given, decoded.found, strict=False)]
        _, cost = _filtering(dataset, "postprocess", after, method, times, found, bound)
        yield cost


def _filterings(preprocessor: Preprocessor, qps: Sequence[int]) -> int:
    """How often a picture is filtered: once for QPs at which the preprocessor does the same."""
    if not hasattr(preprocessor, "alike"):
        return len(qps)
    kinds = [preprocessor.alike(qp) for qp in qps]
    return kinds.count(None) + len({kind for kind in kinds if kind is not None})


def _filtering(
    dataset: str,
    step: str,
    filtered: Preprocessor,
    method: str,
    times: int,
    given: list[tuple[int, Picture]],
    bound: float | None,
) -> tuple[list[tuple[int, Picture]], Cost]:
    """What a filter makes, as far as there was time, and what it cost."""
    network, on_gpu = _network(filtered), _on_gpu(filtered)
    qp, rgb = given[0]
    timed = timing.slow_first_call(lambda: filtered(rgb, qp), on_gpu, bound)
    timed = timed or timing.each(lambda one: filtered(one[1], one[0]), given, on_gpu, bound)
    given = given[: len(timed.found)]
    macs = _macs(lambda: filtered(rgb, qp)) if network and bound is None else None
    cost = Cost(
        dataset,
        step,
        method,
        timed.seconds,
        on_gpu,
        _megapixels([rgb for _, rgb in given]),
        times,
        _on_disk(32),
        _parameters(network),
        None if macs is None else macs / (rgb.shape[0] * rgb.shape[1]),
        len(given),
        timed.first_call,
    )
    return [(qp, made) for (qp, _), made in zip(given, timed.found, strict=True)], cost


def _prediction(
    experiment: Experiment,
    model: PlannedModel,
    seen: list[Picture],
    chosen: list[int],
    bound: float | None,
) -> Cost:
    network, dataset = model.network, experiment.dataset
    task = TASKS.get(dataset.task)
    giver = giver_of_losses(network) if task.own_loss and model.loss else None
    targets = task.training_targets(model, dataset) if giver and dataset.labelled else None

    def ask(pictures: list[Picture], places: list[int]) -> Sequence[Any]:
        if giver is None or targets is None:
            return network.predict(pictures, model.viewed)
        wanted = [targets[i] for i in places]
        answers = predicted_with_losses(network, giver, pictures, wanted, model.viewed)
        return [prediction for prediction, _ in answers]

    on_gpu = _on_gpu(network)
    timed = timing.slow_first_call(lambda: ask(seen[:1], chosen[:1])[0], on_gpu, bound)
    timed = timed or timing.together(lambda: list(ask(seen, chosen)), on_gpu)
    seen = seen[: len(timed.found)]
    pixels = seen[0].shape[0] * seen[0].shape[1]
    macs = _macs(lambda: network.predict(seen[:1], model.viewed)) if bound is None else None
    return Cost(
        dataset.name,
        "predict",
        model.spec.name,
        timed.seconds,
        on_gpu,
        _megapixels(seen),
        len(experiment.points) + 1,
        _on_disk(sum(array.nbytes for array in timed.found[0].to_arrays().values())),
        _parameters(_network(network)),
        None if macs is None else macs / pixels,
        len(seen),
        timed.first_call,
    )


def _megapixels(pictures: Sequence[Picture]) -> float:
    """Mean of a picture."""
    return float(np.mean([rgb.shape[0] * rgb.shape[1] for rgb in pictures])) / 1e6


def _macs(run: Callable[[], object]) -> float | None:
    """None where torch has nothing to count, as in a file that another runtime runs."""
    # inference_mode hides convolutions from the counter.
    with FlopCounterMode(display=False) as counter, torch.inference_mode(False), torch.no_grad():
        run()
    return counter.get_total_flops() / 2 or None


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
