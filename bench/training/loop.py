"""A training loop that survives being killed: checkpoints, resumption, a log, refusal of NaN."""

import copy
import csv
import math
import pickle
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TextIO, TypeVar

import torch
from pydantic import BaseModel, ValidationError
from rich.progress import Progress
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from bench import devices
from bench.errors import BenchError, ConfigError
from bench.results.lock import LockedError, locked
from bench.training.files import save_checkpoint, save_weights

Config = TypeVar("Config", bound=BaseModel)
Batch = TypeVar("Batch")

CHECKPOINT_SECONDS = 60.0
LOG_EVERY = 50
LOCK = ".rabench.lock"
RESULTS = ("checkpoint.pt", "weights.safetensors", "controls.yaml")
"""What a training writes that took it long."""
VERSION = 1
"""Of checkpoint.pt; the first ones did not say it."""
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
    """Raises ConfigError for a file that is none of this loop's; nothing in it is run."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise ValueError("it holds no dictionary")
        found = state.get("version", VERSION)
        lacking = [key for key in CHECKPOINT if key not in state]
    except pickle.UnpicklingError as error:
        why = "it holds Python objects, of which none is made here, or is no file of torch's"
        raise _not_resumed(path, why) from error
    except Exception as error:  # whatever torch raises on damaged bytes
        raise _not_resumed(path, (str(error) or type(error).__name__).splitlines()[0]) from error
    if found != VERSION:
        why = f"it is of version {found!r}, and this rabench reads {VERSION}: go on with the one"
        raise _not_resumed(path, f"{why} that wrote it")
    if lacking:
        raise _not_resumed(path, f"it has no {', '.join(lacking)}")
    return {key: state[key] for key in CHECKPOINT}


def _not_resumed(path: Path, why: str) -> ConfigError:
    return ConfigError(
        f"{path}: cannot be resumed from ({why}); it should be what `train` wrote there. Delete it "
        "to start again"
    )


@dataclass(frozen=True)
class Judge:
    """Scores the network every so many steps, lower is better: the best one is what training gives.

    `limit` is the score beyond which the network has collapsed and training stops.
    """

    score: Callable[[nn.Module], float]
    every: int
    limit: float


@dataclass
class _State:
    """What training changes from step to step, and a checkpoint keeps."""

    network: nn.Module
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    averaged: AveragedModel
    best: dict[str, Tensor]
    best_score: float = math.inf
    step: int = 0
    """How many were made."""

    @classmethod
    def begun(
        cls,
        network: nn.Module,
        optimiser: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LRScheduler,
        average: float,
    ) -> "_State":
        averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(average))  # type: ignore[no-untyped-call]
        averaged.eval()  # it is judged as it will be used: batch norm by its running statistics
        return cls(network, optimiser, schedule, averaged, copy.deepcopy(network.state_dict()))

    def read(self, checkpoint: Path) -> None:
        """Raises ConfigError for a file that is none of this loop's, or of another training's."""
        kept = _read_checkpoint(checkpoint)
        try:
            self.network.load_state_dict(kept["network"])
            self.optimiser.load_state_dict(kept["optimiser"])
            self.schedule.load_state_dict(kept["schedule"])
            self.averaged.load_state_dict(kept["averaged"])
            torch.set_rng_state(kept["rng"])
        except Exception as error:  # whatever torch raises on what does not fit
            why = (str(error) or type(error).__name__).splitlines()[0]
            raise _not_resumed(checkpoint, f"it is of another network or config: {why}") from error
        self.best, self.best_score = kept["best"], kept["best_score"]
        self.step = kept["step"]

    def save(self, checkpoint: Path) -> None:
        kept = {
            "version": VERSION,
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "averaged": self.averaged.state_dict(),
            "best": self.best,
            "best_score": self.best_score,
            "rng": torch.get_rng_state(),
            "step": self.step,
        }
        save_checkpoint(checkpoint, kept)

    def descend(self, terms: Iterable[Tensor], clip_norm: float) -> float:
        """Make a step; returns the loss, the sum of its terms. Raises BenchError where it is not
        finite."""
        self.optimiser.zero_grad(set_to_none=True)
        value = 0.0
        for term in terms:
            term.backward()  # type: ignore[no-untyped-call]
            value += term.item()
        if not math.isfinite(value):
            raise BenchError(f"training stopped at step {self.step}: the loss is {value}")
        nn.utils.clip_grad_norm_(self.network.parameters(), clip_norm)
        self.optimiser.step()
        self.schedule.step()
        self.averaged.update_parameters(self.network)
        self.step += 1
        return value

    def keep_if_best(self, score: float, limit: float) -> None:
        """Raises BenchError beyond the limit."""
        if not score < limit:
            raise BenchError(
                f"training stopped at step {self.step}: the validation score is {score:.4g}"
                f", over {limit:g}: the network collapsed; lower the learning rate"
            )
        if score < self.best_score:
            self.best = copy.deepcopy(self.averaged.module.state_dict())
            self.best_score = score


@dataclass
class _Log:
    """Losses, as means over LOG_EVERY steps, to a file, to TensorBoard and to a progress bar."""

    file: TextIO
    scalar: Callable[[str, float, int], None]
    """Takes (name, value, step)."""
    show: Callable[..., None]
    """Updates the bar."""
    steps: int
    total: float = 0.0
    summed: int = 0

    def add(self, value: float, state: _State) -> None:
        """The loss of the last step of `state`."""
        self.total, self.summed = self.total + value, self.summed + 1
        if state.step % LOG_EVERY == 0 or state.step == self.steps:
            mean, (rate, *_) = self.total / self.summed, state.schedule.get_last_lr()
            csv.writer(self.file).writerow([state.step, f"{mean:.5f}", f"{rate:.3g}"])
            self.file.flush()
            self.scalar("loss", mean, state.step)
            self.show(description=f"training, loss {mean:.3f}")
            self.total, self.summed = 0.0, 0
        self.show(completed=state.step)


@contextmanager
def _log(out: Path, start: int, steps: int) -> Iterator[_Log]:
    """OUT/log.csv, which is gone on with unless `start` is 0, and the others beside it."""
    with (
        (out / "log.csv").open("a" if start else "w", newline="") as file,
        Progress(transient=True) as progress,
    ):
        if not start:
            csv.writer(file).writerow(["step", "loss", "learning_rate"])
        bar = progress.add_task("training", total=steps, completed=start)
        yield _Log(file, _scalars(out), partial(progress.update, bar), steps)


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
    checkpoint, state = out / "checkpoint.pt", _State.begun(network, optimiser, schedule, average)
    if resume and checkpoint.exists():
        state.read(checkpoint)
    network.train()
    last_saved = time.monotonic()
    device = next(network.parameters()).device
    with devices.sums_in_order(device), _log(out, state.step, steps) as log:
        for batch in batches(state.step):
            value = state.descend(loss(batch), clip_norm)
            log.add(value, state)
            if judge and (state.step % judge.every == 0 or state.step == steps):
                score = judge.score(state.averaged.module)
                log.scalar("validation", score, state.step)
                state.keep_if_best(score, judge.limit)
            if time.monotonic() - last_saved > CHECKPOINT_SECONDS:
                state.save(checkpoint)
                last_saved = time.monotonic()
    state.save(checkpoint)
    path = out / "weights.safetensors"
    save_weights(path, _halves(state.best if judge else state.averaged.module.state_dict()), {})
    return path


def _halves(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """In fp16."""
    halves = {k: v.half() if v.is_floating_point() else v for k, v in weights.items()}
    return {k: v.contiguous().cpu() for k, v in halves.items()}
