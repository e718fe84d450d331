"""Differentiable stand-ins for a codec, for the backward pass.

Forward, training sees the real codec: its pixels and its bits. Backward it sees a proxy's, the
bits scaled per picture to the real ones. The analytic proxy needs no weights: in a block
transform of YCbCr 4:2:0 pixels lose the coefficients that are small beside the QP's step, and
bits are what the coefficients need at that step. `bench.training.learned_proxy` has one that is
fitted to a codec.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

DEAD = 0.4
"""Size of a coefficient in steps, about below which a codec drops it."""
_SIDE = 16
"""Of a luma block; chroma's are half as large and cover as much of the picture."""

Proxy = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Pictures (N, 3, H, W) in [0, 1] and QPs (N,) → what the codec would decode, (N, 3, H, W), and
bits per picture (N,), proportional to the real ones; both differentiable in the pictures."""

_TO_YCBCR = torch.tensor(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]]
)


def _dct(side: int) -> Tensor:
    """(side, side) orthonormal DCT-II."""
    n = torch.arange(side, dtype=torch.float64)
    basis = torch.cos(math.pi / side * (n[None] + 0.5) * n[:, None]) * math.sqrt(2 / side)
    basis[0] /= math.sqrt(2)
    return basis.float()


def _coefficients(planes: Tensor, side: int) -> Tensor:
    """(N, C, H, W), sides multiples of `side` → (N, C, H / side, W / side, side, side)."""
    n, c, h, w = planes.shape
    blocks = planes.reshape(n, c, h // side, side, w // side, side).transpose(3, 4)
    basis = _dct(side).to(planes)
    return basis @ blocks @ basis.T


def _planes(coefficients: Tensor) -> Tensor:
    """The inverse of `_coefficients`: the transform is orthonormal."""
    basis = _dct(coefficients.shape[-1]).to(coefficients)
    blocks = basis.T @ coefficients @ basis
    return blocks.transpose(3, 4).flatten(4, 5).flatten(2, 3)


def _transform(x: Tensor) -> tuple[Tensor, Tensor]:
    """(N, 3, H, W) in [0, 1] → coefficients of luma (N, 1, ·, ·, 16, 16) and halved chroma
    (N, 2, ·, ·, 8, 8), in 8-bit levels."""
    h, w = x.shape[-2:]
    padded = functional.pad(255 * x, (0, -w % _SIDE, 0, -h % _SIDE), mode="replicate")
    ycc = torch.einsum("oc,nchw->nohw", _TO_YCBCR.to(x), padded)
    chroma = functional.avg_pool2d(ycc[:, 1:], 2)
    return _coefficients(ycc[:, :1], _SIDE), _coefficients(chroma, _SIDE // 2)


def _step(qp: Tensor, like: Tensor) -> Tensor:
    """The quantiser's step at QPs (N,) in 8-bit levels, as in HEVC."""
    return (2 ** ((qp.to(like) - 4) / 6)).view(-1, 1, 1, 1, 1, 1)


def soft_quantised(x: Tensor, qp: Tensor) -> Tensor:
    """(N, 3, H, W) in [0, 1] and QPs (N,) → the same shape: what is left of the picture when
    coefficients below about DEAD steps are taken away softly, but for each block's mean.

    Its derivative tells training what the codec will drop: without it most of the task's gradient
    points to fine patterns that no decoded picture will show.
    """
    step, levels = _step(qp, x), []
    for coefficients in _transform(x):
        kept = torch.sigmoid(6 * (coefficients.abs() / step - DEAD))
        mean = torch.zeros_like(kept)
        mean[..., 0, 0] = 1
        levels.append(_planes(coefficients * torch.maximum(kept, mean)))
    chroma = functional.interpolate(levels[1], scale_factor=2, mode="bilinear")
    ycc = torch.cat([levels[0], chroma], dim=1)
    rgb = torch.einsum("oc,nchw->nohw", torch.linalg.inv(_TO_YCBCR).to(x), ycc)
    return rgb[..., : x.shape[-2], : x.shape[-1]] / 255


def analytic_bits(x: Tensor, qp: Tensor) -> Tensor:
    """(N, 3, H, W) in [0, 1] and QPs (N,) → (N,), proportional to the bits; differentiable.

    Σ log2(1 + (c / (DEAD · step))²) over the transform of luma and halved chroma, step =
    2^((QP − 4) / 6) in 8-bit levels as in HEVC: what the codec drops anyway costs nothing. Of a
    block's mean the difference from the mean of those to its left and above counts, as intra
    prediction has it.
    """
    step = _step(qp, x)
    luma, chroma = _transform(x)
    return _bits(luma / step) + _bits(chroma / step)


def _bits(c: Tensor) -> Tensor:
    """Coefficients in steps (N, C, h, w, side, side) → (N,)."""
    means = c[..., 0, 0]
    left = functional.pad(means, (1, 0, 0, 0), mode="replicate")[..., :-1]
    above = functional.pad(means, (0, 0, 1, 0), mode="replicate")[..., :-1, :]
    predicted = torch.zeros_like(c)
    predicted[..., 0, 0] = (left + above) / 2
    return torch.log2(1 + ((c - predicted) / DEAD) ** 2).flatten(1).sum(dim=1)


def analytic(x: Tensor, qp: Tensor) -> tuple[Tensor, Tensor]:
    """`soft_quantised` and `analytic_bits`."""
    return soft_quantised(x, qp), analytic_bits(x, qp)


def straight_through(proxy: Tensor, real: Tensor) -> Tensor:
    """The value of `real`, the gradient of `proxy`."""
    return proxy + (real - proxy).detach()
