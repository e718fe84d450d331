"""Knowing what is an object: a network that sees the picture small and far beyond a pixel's place.

Of the shape of YOLOX-nano's backbone (Ge et al., arXiv 2107.08430; a cross-stage partial Darknet of
depthwise convolutions), with batch norm folded into the convolutions, so that it can begin with
weights that know objects: the pictures that one has for training are too few to teach it that.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (16, 32, 64, 128, 256)
"""Channels at a quarter (the stem), an eighth, …, a 64th of the picture's size."""
DEPTHS = (1, 3, 3, 1)
_MERGED = 96
_POOLS = (5, 9, 13)


def _conv(a: int, b: int, size: int = 1, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(a, b, size, stride, size // 2, groups=groups), nn.SiLU())


def _separable(a: int, b: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(_conv(a, a, 3, stride, groups=a), _conv(a, b))


class _Pooled(nn.Module):
    """Spatial pyramid pooling: maxima over larger and larger windows beside the map itself."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _conv(channels, channels // 2)
        self.last = _conv((len(_POOLS) + 1) * channels // 2, channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        pooled = [functional.max_pool2d(y, size, 1, size // 2) for size in _POOLS]
        out: Tensor = self.last(torch.cat([y, *pooled], dim=1))
        return out


class _Partial(nn.Module):
    """A cross-stage partial block: half of the channels pass by the convolutions."""

    def __init__(self, channels: int, depth: int, shortcut: bool) -> None:
        super().__init__()
        half = channels // 2
        self.main, self.aside = _conv(channels, half), _conv(channels, half)
        self.last = _conv(channels, channels)
        self.blocks = nn.ModuleList(
            nn.Sequential(_conv(half, half), _separable(half, half)) for _ in range(depth)
        )
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = self.main(x)
        for block in self.blocks:
            y = y + block(y) if self.shortcut else block(y)
        out: Tensor = self.last(torch.cat([y, self.aside(x)], dim=1))
        return out


class Context(nn.Module):
    """(N, 3, H, W) in [0, 1], sides multiples of 8 → (N, channels, H / 8, W / 8), zero at first."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList([_conv(4 * 3, WIDTHS[0], 3)])
        for i, depth in enumerate(DEPTHS):
            width, last = WIDTHS[i + 1], i + 1 == len(DEPTHS)
            self.stages.append(
                nn.Sequential(
                    _separable(WIDTHS[i], width, stride=2),
                    _Pooled(width) if last else nn.Identity(),
                    _Partial(width, depth, shortcut=not last),
                )
            )
        self.inwards = nn.ModuleList(nn.Conv2d(width, _MERGED, 1) for width in WIDTHS[1:])
        self.out = nn.Conv2d(_MERGED, channels, 1)
        nn.init.zeros_(self.out.weight)
        assert self.out.bias is not None
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        merged = None
        for inwards, y in reversed(list(zip(self.inwards, self.stage_maps(x), strict=True))):
            here = inwards(y)
            if merged is not None:
                here = here + functional.interpolate(merged, size=here.shape[-2:], mode="nearest")
            merged = functional.silu(here)
        out: Tensor = self.out(merged)
        return out

    def stage_maps(self, x: Tensor) -> list[Tensor]:
        """What each stage makes of the picture: (N, ·, h, w) at an eighth to a 64th of its size."""
        y = functional.pixel_unshuffle(functional.avg_pool2d(x, 2), 2)
        y = y.contiguous(memory_format=torch.channels_last)
        maps = []
        for stage in self.stages:
            y = stage(y)
            maps.append(y)
        return maps[1:]

    def begin_as(self, backbone: nn.Module) -> None:
        """Take over the weights of mmdet's YOLOX-nano backbone, which sees BGR from 0 to 255.

        Raises ValueError for a backbone of another shape.
        """
        theirs: list[tuple[Tensor, Tensor]] = []
        for module in backbone.modules():
            if isinstance(module, nn.Conv2d):
                theirs.append((module.weight, torch.zeros(len(module.weight))))
            elif isinstance(module, nn.BatchNorm2d) and theirs:
                mean, var = module.running_mean, module.running_var
                assert isinstance(mean, Tensor)
                assert isinstance(var, Tensor)
                gain = module.weight / (var + module.eps).sqrt()
                weight = theirs[-1][0] * gain[:, None, None, None]
                theirs[-1] = weight, module.bias - mean * gain
        ours = [c for c in self.stages.modules() if isinstance(c, nn.Conv2d)]
        if [c.weight.shape for c in ours] != [weight.shape for weight, _ in theirs]:
            raise ValueError(
                f"context: {type(backbone).__name__} with {len(theirs)} convolutions is not "
                "YOLOX-nano's backbone, which alone can be begun from"
            )
        # Theirs lists the four pixels by columns, each of BGR; ours the colours, each by rows.
        weight, bias = theirs[0]
        patches = weight.reshape(-1, 2, 2, 3, *weight.shape[2:]).permute(0, 3, 2, 1, 4, 5).flip(1)
        theirs[0] = 255 * patches.flatten(1, 3), bias
        with torch.no_grad():
            for conv, (weight, bias) in zip(ours, theirs, strict=True):
                assert conv.bias is not None
                conv.weight.copy_(weight)
                conv.bias.copy_(bias)
