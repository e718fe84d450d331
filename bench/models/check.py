"""What a task model can do: run, take pictures together, and let gradients reach the pixels."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from bench.errors import ConfigError
from bench.models.base import Differentiable, Image, TaskModel, fixed_draws
from bench.tasks.records import Arrays, Record

TOLERANCE = 1e-3
"""Of scores in [0, 1] and of logits and log-probabilities relative to their spread, one picture
against two together."""
TARGET: Arrays = {
    "label": np.array(1),
    "boxes": np.array([[10, 20, 70, 80]], np.float32),
    "labels": np.array([1]),
}
"""For a classifier's loss, and for a detector's; that of a segmentation network is of the pictures'
size."""


@dataclass(frozen=True)
class Ability:
    """`loss` and `features` say whether their gradient reaches every picture and no buffer of the
    network changes; None where the model has none."""

    together: bool
    loss: bool | None
    features: bool | None

    @property
    def trains_through(self) -> bool:
        return bool(self.loss) or bool(self.features)


def ability(model: TaskModel, pictures: list[Image], viewed: bool) -> Ability:
    """Of a model, on pictures of one size. Raises what the model raises.

    An untrained head may be all zeros and would let no gradient through: such weights are changed.
    """
    if isinstance(model, Differentiable):
        _without_zeros(model.network)  # type: ignore[attr-defined]
    alone = [model.predict([p], viewed)[0] for p in pictures]
    together = model.predict(pictures, viewed)
    return Ability(
        all(_alike(a, b) for a, b in zip(alone, together, strict=True)),
        _gradient(model, pictures, "loss"),
        _gradient(model, pictures, "features"),
    )


def _without_zeros(network: torch.nn.Module) -> None:
    with torch.no_grad(), fixed_draws():
        for weights in network.parameters():
            if weights.dim() > 1 and not weights.any():
                weights.normal_(std=0.02)


def _alike(a: Record, b: Record) -> bool:
    key = next(k for k in ("logits", "log_probabilities", "scores", "labels") if k in a.to_arrays())
    one, other = a.to_arrays()[key], b.to_arrays()[key]
    if one.shape != other.shape or not np.isfinite(other).all():
        return False
    spread = 1.0 if key == "scores" else float(np.ptp(one))
    return bool(np.allclose(one, other, rtol=0, atol=TOLERANCE * max(spread, 1e-6)))


def _gradient(model: TaskModel, pictures: list[Image], of: str) -> bool | None:
    if not isinstance(model, Differentiable):
        return None
    if of == "loss" and not model.gives_loss:
        return None
    network: Any = model.network  # type: ignore[attr-defined]
    buffers = {k: v.clone() for k, v in network.named_buffers()}
    x = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
    x = x.to(model.device).requires_grad_()  # type: ignore[attr-defined]
    try:
        if of == "loss":
            target = TARGET | {"regions": np.ones(pictures[0].shape[:2], np.uint8)}
            model.loss(x, [target] * len(pictures)).sum().backward()  # type: ignore[no-untyped-call]
        else:
            torch.stack([m.square().mean() for m in model.features(x)]).sum().backward()  # type: ignore[no-untyped-call]
    except ConfigError:
        return None
    finally:
        network.zero_grad(set_to_none=True)
    if x.grad is None or not torch.isfinite(x.grad).all():
        return False
    reached = bool((x.grad.abs().amax(dim=(1, 2, 3)) > 0).all())
    return reached and all(torch.equal(v, buffers[k]) for k, v in network.named_buffers())
