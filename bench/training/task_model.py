"""Training of the small task models that ship for `mini`."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from bench.datasets.base import Dataset
from bench.errors import ConfigError
from bench.models import mini
from bench.tasks import TASKS
from bench.tasks.records import IGNORED, Arrays
from bench.training import loop, pictures


class TaskTraining(BaseModel):
    """`configs/train/mini_*.yaml`."""

    model_config = ConfigDict(extra="forbid")

    task: str
    network: str
    trunk: str | None = None
    """The shipped network whose trunk is gone on with; None begins at random."""
    dataset: dict[str, Any]
    epochs: int = Field(gt=0)
    batch: int = Field(gt=0)
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    seed: int = 0


def _augment(picture: NDArray[np.uint8], target: Arrays, turn: int) -> tuple[Tensor, Arrays]:
    """One of the eight symmetries of the square, applied to pixels, label maps and boxes alike."""
    side = picture.shape[0]
    target = dict(target)
    picture = _turned(picture, turn)
    if _is_map(target):
        target["labels"] = _turned(target["labels"], turn).copy()
    if "boxes" in target:
        x0, y0, x1, y1 = target["boxes"].T
        if turn & 1:
            x0, x1 = side - x1, side - x0
        if turn & 2:
            y0, y1 = side - y1, side - y0
        if turn & 4:
            x0, y0, x1, y1 = y0, x0, y1, x1
        target["boxes"] = np.stack([x0, y0, x1, y1], axis=1)
    chw = torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))
    return chw.float() / 255, target


def _turned(pixels: NDArray[np.uint8], turn: int) -> NDArray[np.uint8]:
    """(H, W, …)"""
    if turn & 1:
        pixels = pixels[:, ::-1]
    if turn & 2:
        pixels = pixels[::-1]
    return pixels.swapaxes(0, 1) if turn & 4 else pixels


def _is_map(target: Arrays) -> bool:
    return "labels" in target and target["labels"].ndim == 2


def _batches(
    dataset: Dataset, config: TaskTraining, start: int
) -> Iterator[list[tuple[Tensor, Arrays]]]:
    """Batches from step `start` on; the order depends on the seed and the epoch alone."""
    per_epoch = len(dataset.samples) // config.batch
    for step in range(start, per_epoch * config.epochs):
        epoch, i = divmod(step, per_epoch)
        order = np.random.default_rng([config.seed, epoch]).permutation(len(dataset.samples))
        turns = np.random.default_rng([config.seed, epoch, 1]).integers(0, 8, len(order))
        chosen = order[i * config.batch : (i + 1) * config.batch]
        yield [
            _augment(
                dataset.samples[k].load(), dataset.samples[k].target.to_arrays(), int(turns[k])
            )
            for k in chosen
        ]


def _loss(network: nn.Module, batch: list[tuple[Tensor, Arrays]], device: torch.device) -> Tensor:
    """The task's own training loss, mean over the batch."""
    pictures = [p.to(device) for p, _ in batch]
    if "boxes" in batch[0][1]:
        targets = [
            {
                "boxes": torch.as_tensor(t["boxes"], dtype=torch.float32, device=device),
                "labels": torch.as_tensor(t["labels"], device=device),
            }
            for _, t in batch
        ]
        return torch.stack(list(network(pictures, targets).values())).sum()
    x = (torch.stack(pictures) - mini.MEAN[0]) / mini.STD[0]
    if _is_map(batch[0][1]):
        regions = torch.from_numpy(np.stack([t["labels"] for _, t in batch])).to(device)
        return nn.functional.cross_entropy(network(x)["out"], regions.long(), ignore_index=IGNORED)
    labels = torch.tensor([int(t["label"]) for _, t in batch], device=device)
    logits = network(x)
    return nn.functional.cross_entropy(logits, labels, label_smoothing=0.05)


def train(raw: dict[str, Any], out: Path, device: torch.device, resume: bool) -> Path:
    """Train a network named in the config and write OUT/weights.safetensors (fp16).

    Raises ConfigError for a config that cannot be trained.
    """
    config = loop.validated(TaskTraining, raw)
    if config.network not in mini.NETWORKS:
        raise ConfigError(f"network: {config.network!r} is not one of {sorted(mini.NETWORKS)}")
    TASKS.get(config.task)  # refuses an unknown one
    dataset = pictures.dataset({**config.dataset, "task": config.task})
    torch.manual_seed(config.seed)
    network = mini.NETWORKS[config.network]().to(device)
    if config.trunk:
        mini.take_trunk(network, config.trunk)
    steps = len(dataset.samples) // config.batch * config.epochs
    optimiser = torch.optim.AdamW(
        network.parameters(), config.learning_rate, weight_decay=config.weight_decay
    )

    def rate(step: int) -> float:
        """Linear warm-up over 5 % of the steps, then half a cosine down to zero."""
        warm = max(1, steps // 20)
        if step < warm:
            return (step + 1) / warm
        return 0.5 + 0.5 * math.cos(math.pi * (step - warm) / max(1, steps - warm))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate)
    return loop.run(
        network=network,
        optimiser=optimiser,
        schedule=schedule,
        batches=lambda start: _batches(dataset, config, start),
        loss=lambda batch: [_loss(network, batch, device)],
        steps=steps,
        clip_norm=5.0,
        out=out,
        resume=resume,
    )
