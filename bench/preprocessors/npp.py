"""Neural preprocessors: networks that filter a picture so that its bits go to what a task needs.

`NPP` filters alike at every QP; `QANPP` (quantisation-adaptive) is told the QP.

    x ─┬─ U-Net, QP ─┬─ weights ─┐
       │             └─ residual ─┼─▶ Σ ─▶ clamp to [0, 1]
       └─ x, three blurs, sharper ┘

The network of Lu et al. (IEEE TCSVT 34(12), 2024) puts out pixels; a small network trained so
stays at the identity for very long. Per-pixel weights of a few plain filters are degrees of freedom
that matter from the first step on, and the residual refines them.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.preprocessors.context import Context

QP_CENTRE, QP_SCALE = 37.0, 8.0
_SIGMAS = (0.8, 1.6, 3.2)
_MULTIPLE = 8
"""Pictures are padded to a multiple of this by replication, and cropped after."""


def lambda_of(qp: Tensor) -> Tensor:
    """The paper's λ, the price of a task's loss in bits, in closed form: 2^((37 − QP) / 3)."""
    return torch.exp2((37 - qp) / 3)


def _gaussian(sigma: float) -> list[float]:
    """A normalised 1-D kernel reaching three sigmas: its middle, and what lies to either side."""
    radius = max(1, round(3 * sigma))
    kernel = [math.exp(-0.5 * (t / sigma) ** 2) for t in range(radius + 1)]
    total = kernel[0] + 2 * sum(kernel[1:])
    return [k / total for k in kernel]


def blur(x: Tensor, sigma: float) -> Tensor:
    """(N, 3, H, W) → the same, under a Gaussian of `sigma` pixels, edges replicated."""
    middle, *beside = _gaussian(sigma)
    reach = len(beside)
    for dim, pad in ((-1, (reach, reach, 0, 0)), (-2, (0, 0, reach, reach))):
        padded, size = functional.pad(x, pad, mode="replicate"), x.shape[dim]
        # Shifted and added: on a CPU faster than a convolution of so few channels.
        x = middle * padded.narrow(dim, reach, size)
        for i, weight in enumerate(beside, 1):
            pair = padded.narrow(dim, reach - i, size) + padded.narrow(dim, reach + i, size)
            x.add_(pair, alpha=weight)
    return x


class _Block(nn.Module):
    """Two 3 × 3 convolutions with a shortcut; what is between them is scaled and shifted per
    channel, by constants or by what a small network makes of the QP."""

    def __init__(self, channels: int, adaptive: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        if adaptive:
            self.scale = nn.Sequential(nn.Linear(1, 16), nn.ReLU(), nn.Linear(16, 2 * channels))
        else:
            self.constants = nn.Parameter(torch.zeros(2 * channels))
        self.adaptive = adaptive

    def scaling(self, qp: Tensor) -> Tensor:
        """Centred QPs (N,) → gains less one, and shifts, (N, 2 · channels)."""
        if self.adaptive:
            return self.scale(qp[:, None])
        return self.constants.expand(len(qp), -1)

    def forward(self, x: Tensor, qp: Tensor) -> Tensor:
        gain, shift = self.scaling(qp)[:, :, None, None].chunk(2, dim=1)
        y = functional.silu(self.first(x)) * (1 + gain) + shift
        return functional.silu(x + self.second(y))


def from_middle(height: int, width: int, like: Tensor) -> Tensor:
    """(N, 1, h, w) for the 2 × 2 pixels of a picture that (N, ·, h, w) stands for: the squared
    distance from the middle, −1 there and 1 in the corners."""
    down, across = (
        (2 * (2 * torch.arange(n).to(like) + 1) / size - 1) ** 2
        for n, size in zip(like.shape[-2:], (height, width), strict=True)
    )
    return (down[:, None] + across - 1).expand(len(like), 1, -1, -1)


class NPP(nn.Module):
    """(N, 3, H, W) in [0, 1] and QPs (N,) → (N, 3, H, W) in [0, 1]; the QP is not looked at.

    `width` is the number of channels at half size; they grow by half a width per level. Without
    `residual` the network can only blend the filters: it learns sooner, and cannot add patterns.
    With `position` it also sees how far from the middle of the picture a pixel is (Liu et al.,
    NeurIPS 2018): subjects are centred. With `context` it also sees the picture small, by weights
    that know objects; see `bench.preprocessors.context`.
    """

    adaptive = False

    def __init__(
        self,
        width: int = 32,
        residual: bool = True,
        position: bool = False,
        context: bool = False,
    ) -> None:
        super().__init__()
        self.residual, self.position = residual, position
        widths = [width, width * 3 // 2, width * 2]
        # Space to depth: the first level already sees 2 × 2 pixels at a quarter of the cost.
        self.stem = nn.Conv2d(12 + position, widths[0], 3, padding=1)
        self.down = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths)
        )
        self.encode = nn.ModuleList(_Block(w, self.adaptive) for w in widths)
        self.context = Context(widths[-1]) if context else None
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(widths))
        self.decode = nn.ModuleList(_Block(w, self.adaptive) for w in widths[:-1])
        self.head = nn.Conv2d(widths[0], 4 * (len(_SIGMAS) + 2 + 3 * residual), 3, padding=1)
        nn.init.zeros_(self.head.weight)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)
        with torch.no_grad():
            self.head.bias[:4] = 3.0  # begin near the identity, where every filter has a say

    def forward(self, x: Tensor, qp: Tensor) -> Tensor:
        return self.filtered(x, qp, self.encoded(x, qp))

    def level(self, qp: Tensor) -> Tensor:
        """What blocks are told of QPs (N,): values of about −1 to 1."""
        return (qp - QP_CENTRE) / QP_SCALE

    def encoded(self, x: Tensor, qp: Tensor) -> list[Tensor]:
        """What the U-Net's way down makes of a picture padded to multiples of 8: (N, ·, h, w) at
        a half, a quarter and an eighth of its size."""
        height, width = x.shape[-2:]
        bottom, right = -height % _MULTIPLE, -width % _MULTIPLE
        padded = functional.pad(x, (0, right, 0, bottom), mode="replicate")
        level = self.level(qp.to(x))
        y = functional.pixel_unshuffle(padded - 0.5, 2)
        if self.position:
            y = torch.cat([y, from_middle(height, width, y)], dim=1)
        # Convolutions are faster with channels last.
        y = self.stem(y.contiguous(memory_format=torch.channels_last))
        skips = []
        for i, block in enumerate(self.encode):
            y = y if i == 0 else self.down[i - 1](y)
            if self.context and i + 1 == len(self.encode):
                y = y + self.context(padded)
            y = block(y, level)
            skips.append(y)
        return skips

    def filtered(self, x: Tensor, qp: Tensor, encoded: list[Tensor]) -> Tensor:
        """The picture, filtered as its encoding says."""
        height, width = x.shape[-2:]
        level = self.level(qp.to(x))
        *skips, y = encoded
        for i in reversed(range(len(self.decode))):
            larger = functional.interpolate(self.up[i](y), scale_factor=2, mode="nearest")
            y = self.decode[i](larger + skips[i], level)
        # In full precision from here on, whatever precision the convolutions had.
        maps = functional.pixel_shuffle(self.head(y).float(), 2)[..., :height, :width]
        with torch.autocast(x.device.type, enabled=False):
            return self._filter(x, maps)

    def _filter(self, x: Tensor, maps: Tensor) -> Tensor:
        """Blend the filters of the picture by the maps' weights, and add their residual."""
        weights = maps[:, : len(_SIGMAS) + 2].softmax(dim=1)
        blurred = [blur(x, sigma) for sigma in _SIGMAS]
        filters = [x, *blurred, 2 * x - blurred[0]]
        blend = torch.zeros_like(x)
        for i, filtered in enumerate(filters):
            blend = blend + weights[:, i : i + 1] * filtered
        if self.residual:
            blend = blend + 0.2 * torch.tanh(maps[:, len(_SIGMAS) + 2 :])
        return blend.clamp(0, 1)


class QANPP(NPP):
    """NPP whose every block is scaled and shifted per channel by a small network of the QP."""

    adaptive = True

    def at(self, qp: float) -> dict[str, Tensor]:
        """The weights of the NPP that this network is at one QP."""
        level = self.level(torch.tensor([float(qp)]))
        state = {k: v.clone() for k, v in self.state_dict().items() if ".scale." not in k}
        for name, block in self.named_modules():
            if isinstance(block, _Block):
                state[f"{name}.constants"] = block.scaling(level)[0].detach()
        return state


class QANPPByLambda(QANPP):
    """QANPP that is told the paper's λ(QP) / 8 in place of the QP."""

    def level(self, qp: Tensor) -> Tensor:
        return lambda_of(qp) / 8
