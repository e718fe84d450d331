"""Differentiable stand-ins for a codec, for the backward pass.

Forward, training sees the real codec: its pixels and its bits. Backward, the pixels' gradient goes
straight through, and the bits' comes from an analytic rate: the bits that the coefficients of an
8 × 8 block transform of YCbCr 4:2:0 need at the QP's step, scaled per picture to the real bits.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional


def _dct() -> Tensor:
    """(8, 8) orthonormal DCT-II."""
    n = torch.arange(8, dtype=torch.float64)
    basis = torch.cos(math.pi / 8 * (n[None] + 0.5) * n[:, None]) * math.sqrt(2 / 8)
    basis[0] /= math.sqrt(2)
    return basis.float()


_TO_YCBCR = torch.tensor(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]]
)


def _coefficients(planes: Tensor) -> Tensor:
    """(N, C, H, W) with H, W multiples of 8 → (N, C · 64, H / 8, W / 8)."""
    d = _dct().to(planes)
    kernel = torch.einsum("ux,vy->uvyx", d, d).reshape(64, 1, 8, 8)
    n, c, h, w = planes.shape
    out = functional.conv2d(planes.reshape(n * c, 1, h, w), kernel, stride=8)
    return out.reshape(n, c * 64, h // 8, w // 8)


def analytic_bits(x: Tensor, qp: Tensor) -> Tensor:
    """(N, 3, H, W) in [0, 1] and QPs (N,) → (N,), proportional to the bits; differentiable.

    Σ log2(1 + |c| / step) over the transform of luma and halved chroma, step = 2^((QP − 4) / 6)
    in 8-bit levels as in HEVC. Luma is taken after removing each block's mean, as intra
    prediction does.
    """
    h, w = x.shape[-2:]
    padded = functional.pad(255 * x, (0, -w % 16, 0, -h % 16), mode="replicate")
    ycc = torch.einsum("oc,nchw->nohw", _TO_YCBCR.to(x), padded)
    step = (2 ** ((qp.to(x) - 4) / 6)).view(-1, 1, 1, 1)
    luma = _coefficients(ycc[:, :1])[:, 1:]
    chroma = _coefficients(functional.avg_pool2d(ycc[:, 1:], 2))
    bits: Tensor = torch.log2(1 + luma.abs() / step).sum(dim=(1, 2, 3)) + torch.log2(
        1 + chroma.abs() / step
    ).sum(dim=(1, 2, 3))
    return bits


def straight_through(proxy: Tensor, real: Tensor) -> Tensor:
    """The value of `real`, the gradient of `proxy`."""
    return proxy + (real - proxy).detach()
