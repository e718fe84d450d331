"""A training loop that survives being killed: checkpoints, resumption, a log, refusal of NaN."""

import copy
import csv
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import BaseModel, ValidationError
from rich.progress import Progress
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from bench.errors import BenchError, ConfigError
from bench.results.lock import LockedError, locked

Config = TypeVar("Config", bound=BaseModel)
Batch = TypeVar("Batch")

CHECKPOINT_SECONDS = 60.0
LOG_EVERY = 50
LOCK = ".rabench.lock"
RESULTS = ("checkpoint.pt", "weights.safetensors", "controls.yaml")
"""What a training writes that took it long."""
CHECKPOINT = (
    "network",
    "optimiser",
    "schedule",
    "averaged",
    "best",
    "best_score",
    "rng",
    "step",
)


def validated(model: type[Config], raw: dict[str, Any]) -> Config:
    """Raises ConfigError naming every key that is missing, unknown or out of range."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise ConfigError("the training config is wrong:\n" + "\n".join(lines)) from None


@contextmanager
def claimed(out: Path, resume: bool) -> Iterator[None]:
    """The folder is this training's and no other's. Raises ConfigError where it holds one already
    that is not to be resumed, or another process trains there."""
    held = [name for name in RESULTS if (out / name).exists()]
    if held and not resume:
        raise ConfigError(
            f"--out {out}: holds a training already ({', '.join(held)}); go on with --resume, or "
            "name another folder"
        )
    out.mkdir(parents=True, exist_ok=True)
    try:
        with locked(out / LOCK):
            yield
    except LockedError as busy:
        raise ConfigError(
            f"--out {out}: another training is running there ({busy}); name another folder"
        ) from None


def _read_checkpoint(path: Path) -> dict[str, Any]:
    """Raises ConfigError for a file that is none of this loop's."""
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return {key: state[key] for key in CHECKPOINT}
    except Exception as error:  # whatever torch raises on damaged bytes
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise ConfigError(
            f"{path}: cannot be resumed from ({why}); delete it to start again"
        ) from error


def _save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


@dataclass(frozen=True)
class Judge:
    """Scores the network every so many steps, lower is better: the best one is what training gives.

    `limit` is the score beyond which the network has collapsed and training stops.
    """

    score: Callable[[nn.Module], float]
    every: int
    limit: float


def _scalars(folder: Path) -> Callable[[str, float, int], None]:
    """Writes (name, value, step) for TensorBoard, where that is installed."""
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError:
        return lambda name, value, step: None
    return SummaryWriter(str(folder)).add_scalar


def run(
    *,
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    batches: Callable[[int], Iterator[Batch]],
    loss: Callable[[Batch], Iterable[Tensor]],
    steps: int,
    clip_norm: float,
    out: Path,
    resume: bool,
    average: float = 0.0,
    judge: Judge | None = None,
) -> Path:
    """Minimise `loss` over `batches(first step)`; returns OUT/weights.safetensors, in fp16.

    The loss of a batch is the sum of the terms that it gives; each is gone backward through before
    the next is asked for.

    What is written is the exponential moving average of the weights, which keeps `average` of
    itself per step, and of those the one that `judge` found best. Losses go to OUT/log.csv and,
    where TensorBoard is installed, to event files beside it. A checkpoint is written every minute
    and `resume` continues from it with the same batches in the same order. Raises BenchError,
    naming the step, when the loss is not finite and when the judge says that the network collapsed.
    """
    out.mkdir(parents=True, exist_ok=True)
    checkpoint, log = out / "checkpoint.pt", out / "log.csv"
    start = 0
    averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(average))  # type: ignore[no-untyped-call]
    averaged.eval()  # it is judged as it will be used: batch norm by its running statistics
    best, best_score = copy.deepcopy(network.state_dict()), math.inf
    if resume and checkpoint.exists():
        state = _read_checkpoint(checkpoint)
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        averaged.load_state_dict(state["averaged"])
        best, best_score = state["best"], state["best_score"]
        torch.set_rng_state(state["rng"])
        start = state["step"]

    def snapshot(step: int) -> dict[str, Any]:
        return {
            "network": network.state_dict(),
            "optimiser": optimiser.state_dict(),
            "schedule": schedule.state_dict(),
            "averaged": averaged.state_dict(),
            "best": best,
            "best_score": best_score,
            "rng": torch.get_rng_state(),
            "step": step,
        }

    network.train()
    scalar = _scalars(out)
    last_saved, total, summed = time.monotonic(), 0.0, 0
    with log.open("a" if start else "w", newline="") as file, Progress(transient=True) as progress:
        writer = csv.writer(file)
        if not start:
            writer.writerow(["step", "loss", "learning_rate"])
        bar = progress.add_task("training", total=steps, completed=start)
        for step, batch in enumerate(batches(start), start):
            optimiser.zero_grad(set_to_none=True)
            value = 0.0
            for term in loss(batch):
                term.backward()  # type: ignore[no-untyped-call]
                value += term.item()
            if not math.isfinite(value):
                raise BenchError(f"training stopped at step {step}: the loss is {value}")
            nn.utils.clip_grad_norm_(network.parameters(), clip_norm)
            optimiser.step()
            schedule.step()
            averaged.update_parameters(network)
            total, summed = total + value, summed + 1
            if (step + 1) % LOG_EVERY == 0 or step + 1 == steps:
                mean = total / summed
                writer.writerow([step + 1, f"{mean:.5f}", f"{schedule.get_last_lr()[0]:.3g}"])
                file.flush()
                scalar("loss", mean, step + 1)
                progress.update(bar, description=f"training, loss {mean:.3f}")
                total, summed = 0.0, 0
            progress.update(bar, completed=step + 1)
            if judge and ((step + 1) % judge.every == 0 or step + 1 == steps):
                score = judge.score(averaged.module)
                scalar("validation", score, step + 1)
                if not score < judge.limit:
                    raise BenchError(
                        f"training stopped at step {step + 1}: the validation score is {score:.4g}"
                        f", over {judge.limit:g}: the network collapsed; lower the learning rate"
                    )
                if score < best_score:
                    best, best_score = copy.deepcopy(averaged.module.state_dict()), score
            if time.monotonic() - last_saved > CHECKPOINT_SECONDS:
                _save_checkpoint(checkpoint, snapshot(step + 1))
                last_saved = time.monotonic()
    _save_checkpoint(checkpoint, snapshot(steps))
    final = best if judge else averaged.module.state_dict()
    weights = {
        k: (v.half() if v.is_floating_point() else v).contiguous().cpu() for k, v in final.items()
    }
    save_file(weights, out / "weights.safetensors")
    return out / "weights.safetensors"
