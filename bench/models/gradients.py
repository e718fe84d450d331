"""What a preprocessor learns from: a classifier's loss, and inner maps of any network."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.errors import ConfigError
from bench.tasks.records import Arrays

STRIDES = (8, 16)
"""Of the maps: early enough for a steady gradient, late enough to mean something."""
DEEP_STRIDES = (8, 16, 32)
"""With the last map of most classifiers, whose distance says most of the answer's."""


class DifferentiableClassifier(ABC):
    """`bench.models.base.Differentiable`, made of `logits`; pictures are what the view leaves."""

    network: Any
    gives_loss: ClassVar[bool] = True

    @abstractmethod
    def logits(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] → (N, classes)."""

    def loss(self, x: Tensor, targets: list[Arrays], longer_side: int | None = None) -> Tensor:
        """Cross-entropy in nats."""
        answer = self.logits(x)
        labels = [int(t["label"]) for t in targets]
        if max(labels) >= answer.shape[1]:
            raise ConfigError(
                f"the data set has class index {max(labels)}, but the model gives "
                f"{answer.shape[1]} classes; check that model and data set number classes alike"
            )
        return functional.cross_entropy(
            answer, torch.tensor(labels, device=answer.device), reduction="none"
        )

    def features(self, x: Tensor, longer_side: int | None = None) -> list[Tensor]:
        return maps_inside(self.network, self.logits, x)

    def deep_features(self, x: Tensor) -> list[Tensor]:
        return maps_inside(self.network, self.logits, x, DEEP_STRIDES)

    def relevance(self, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """`deep_features`, and by map (N, 1, h, w) with a mean of 1 how much the answer depends on
        what is there: the squared gradient of the likeliest class's log-probability by the map, in
        units of each channel's variance over the batch, summed over channels and smoothed over
        3 × 3.

        Raises ConfigError for a network without such maps on the way to its answer.
        """
        answers: list[Tensor] = []
        with torch.enable_grad():
            maps = maps_inside(
                self.network,
                lambda pictures: answers.append(self.logits(pictures)),
                x.detach().requires_grad_(),
                DEEP_STRIDES,
            )
            if not answers:
                raise ConfigError(
                    f"no relevance inside {type(self.network).__name__}: it has no maps at strides "
                    f"{', '.join(map(str, DEEP_STRIDES))} before its answer; use loss 'features'"
                )
            likeliest = answers[0].log_softmax(dim=1).amax(dim=1).sum()
            gradients = torch.autograd.grad(likeliest, maps)
        maps, weights = [m.detach() for m in maps], []
        for m, g in zip(maps, gradients, strict=True):
            there = (g**2 * m.var(dim=(0, 2, 3), keepdim=True)).sum(dim=1, keepdim=True)
            there = functional.avg_pool2d(there, 3, 1, 1, count_include_pad=False)
            weights.append(there / there.mean(dim=(2, 3), keepdim=True).clamp(min=1e-30))
        return maps, weights


def normalised(network: nn.Module, mean: Any, std: Any) -> Callable[[Tensor], Tensor]:
    """(N, 3, H, W) in [0, 1] → what the network says of (x − mean) / std per channel."""
    m, s = (torch.as_tensor(v, dtype=torch.float32).view(1, 3, 1, 1) for v in (mean, std))
    return lambda x: network((x - m.to(x)) / s.to(x))


def at_strides(
    x: Tensor, maps: Iterable[Tensor], strides: tuple[int, ...] = STRIDES
) -> list[Tensor]:
    return [m for m in maps if _stride(x, m) in strides]


def _stride(x: Tensor, m: Tensor) -> int | None:
    """The nearest power of two (convolutions without padding lose a rim); None for what is no map
    of the picture, or is one with the channels last."""
    if m.dim() != 4 or m.shape[-1] < 2 or m.shape[-2] < 2:
        return None
    across, down = (2 ** round(math.log2(x.shape[i] / m.shape[i])) for i in (-1, -2))
    return int(across) if across == down else None


class _Enough(Exception):  # noqa: N818
    """All maps are there: what a network computes after them is not needed."""


def maps_inside(
    network: nn.Module,
    run: Callable[[Tensor], object],
    x: Tensor,
    strides: tuple[int, ...] = STRIDES,
) -> list[Tensor]:
    """The last output of any module of the network at each of the strides while `run` sees x; of a
    network that has none (a plain transformer), the output half-way along its blocks.

    Raises ConfigError where there is neither.
    """
    found: dict[int, Tensor] = {}

    def keep(module: nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, Tensor) and (stride := _stride(x, output)) is not None:
            if stride > max(strides):
                raise _Enough
            found[stride] = output

    def keep_block(module: nn.Module, inputs: object, output: Any) -> None:
        found[0] = output[0] if isinstance(output, tuple | list) else output
        raise _Enough

    _hooked([(m, keep) for m in network.modules()], run, x)
    maps = [found[stride] for stride in strides if stride in found]
    if maps:
        return maps
    block = _middle_block(network)
    if block is not None:
        _hooked([(block, keep_block)], run, x)
    if not isinstance(found.get(0), Tensor):
        raise ConfigError(
            f"no features of {type(network).__name__}: it has no maps at strides 8 and 16, and no "
            "row of equal blocks; use loss 'answer' or 'labels'"
        )
    return [_channels_first(x, found[0])]


def _hooked(
    hooks: list[tuple[nn.Module, Callable[..., None]]], run: Callable[[Tensor], object], x: Tensor
) -> None:
    handles = [module.register_forward_hook(hook) for module, hook in hooks]
    try:
        run(x)
    except _Enough:
        pass
    finally:
        for handle in handles:
            handle.remove()


def _middle_block(network: nn.Module) -> nn.Module | None:
    """Of the longest row of modules of one class."""
    rows: list[list[nn.Module]] = [
        list(m)
        for m in network.modules()
        if isinstance(m, nn.ModuleList | nn.Sequential)
        and len(m) > 2
        and len({type(b) for b in m}) == 1
    ]
    longest = max(rows, key=len, default=None)
    return longest[(len(longest) - 1) // 2] if longest else None


def _channels_first(x: Tensor, tokens: Tensor) -> Tensor:
    """Tokens (N, L, C) → (N, C, L, 1): the losses take means over all but the first two."""
    if tokens.dim() == 3:
        return tokens.transpose(1, 2)[..., None]
    return tokens
