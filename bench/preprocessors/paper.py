"""The networks of Lu et al., *Preprocessing Enhanced Image Compression for Machine Vision* (IEEE
TCSVT 34(12), 2024; arXiv 2206.05650), as far as the paper and its public code describe them.

    x ─┬─ 1 × 1 conv, ReLU, 1 × 1 conv ─┐
       └─ U-Net, ReLU ──────────────────┼─▶ Σ ─▶ clamp to [0, 1]

The U-Net has four halvings by convolutions of stride 2 and four doublings by transposed ones, two
convolutions with batch norm and ReLU per size, `width` channels at full size and twice as many per
halving: 9.42 million parameters at the paper's width of 32. There is no path that leaves the
picture alone, so training needs long; `bench.preprocessors.npp` is what ships.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.preprocessors.npp import lambda_of

_MULTIPLE = 16


def _two(before: int, after: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (before, after):
        layers += [nn.Conv2d(channels, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers)


class _Multiplier(nn.Module):
    """λ / 8 → a factor per channel, by a small network with ReLUs."""

    def __init__(self, channels: int, hidden: int = 56) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(1, hidden), nn.ReLU(), nn.Linear(hidden, channels), nn.ReLU()
        )
        bias = self.net[2].bias
        assert isinstance(bias, Tensor)
        nn.init.ones_(bias)  # begin with factors around one

    def forward(self, y: Tensor, qp: Tensor) -> Tensor:
        trade = lambda_of(qp.to(y)) / 8
        return y * self.net(trade[:, None])[:, :, None, None]


class PaperNPP(nn.Module):
    """(N, 3, H, W) in [0, 1] and QPs (N,) → (N, 3, H, W) in [0, 1]; the QP is not looked at."""

    adaptive = False

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        widths = [width * 2**i for i in range(5)]
        self.colour = nn.ModuleList([nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)])
        self.stem = _two(3, width)
        self.halve = nn.ModuleList(nn.Conv2d(a, a, 3, stride=2, padding=1) for a in widths[:-1])
        self.down = nn.ModuleList(_two(a, b) for a, b in pairwise(widths))
        self.grow = nn.ModuleList(
            nn.ConvTranspose2d(b, a, 3, stride=2, padding=1, output_padding=1)
            for a, b in reversed(list(pairwise(widths)))
        )
        self.up = nn.ModuleList(_two(2 * a, a) for a in reversed(widths[:-1]))
        self.out = nn.Conv2d(width, 3, 3, padding=1)
        if self.adaptive:
            self.colour_scale = nn.ModuleList(_Multiplier(3) for _ in range(2))
            self.down_scale = nn.ModuleList(_Multiplier(c) for c in widths[1:4])
            self.up_scale = nn.ModuleList(_Multiplier(c) for c in reversed(widths[:3]))

    def forward(self, x: Tensor, qp: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        pad = (0, -width % _MULTIPLE, 0, -height % _MULTIPLE)
        padded = functional.pad(x, pad, mode="replicate")
        colour = padded
        for i, layer in enumerate(self.colour):
            colour = layer(colour)
            if self.adaptive:
                colour = self.colour_scale[i](colour, qp)
            if i == 0:
                colour = functional.relu(colour)
        y = self.stem(padded)
        skips = [y]
        for i, (halve, down) in enumerate(zip(self.halve, self.down, strict=True)):
            y = down(halve(y))
            if self.adaptive and i < 3:
                y = self.down_scale[i](y, qp)
            skips.append(y)
        skips.pop()
        for i, (grow, up) in enumerate(zip(self.grow, self.up, strict=True)):
            y = up(torch.cat([skips.pop(), grow(y)], dim=1))
            if self.adaptive and i > 0:
                y = self.up_scale[i - 1](y, qp)
        picture = colour + functional.relu(self.out(y))
        return picture[..., :height, :width].float().clamp(0, 1)


class PaperQANPP(PaperNPP):
    """PaperNPP with six multipliers per channel in the U-Net and two in the 1 × 1 branch."""

    adaptive = True
