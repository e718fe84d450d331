"""Differentiable stand-ins for a codec, for the backward pass.

Forward, training sees the real codec: its pixels and its bits. Backward it sees a proxy's, the
bits scaled per picture to the real ones. The analytic proxy needs no weights: in an 8 × 8 block
transform of YCbCr 4:2:0, pixels lose the coefficients that are small beside the QP's step, and
bits are what the coefficients need at that step. `bench.training.learned_proxy` has one that is
fitted to a codec.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

Proxy = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Pictures (N, 3, H, W) in [0, 1] and QPs (N,) → what the codec would decode, (N, 3, H, W), and
bits per picture (N,), proportional to the real ones; both differentiable in the pictures."""


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
    """(N, C, H, W) with H, W multiples of 8 → (N, C, 64, H / 8, W / 8)."""
    n, c, h, w = planes.shape
    out = functional.conv2d(planes.reshape(n * c, 1, h, w), _kernel(planes), stride=8)
    return out.reshape(n, c, 64, h // 8, w // 8)


def _planes(coefficients: Tensor) -> Tensor:
    """The inverse of `_coefficients`: the transform is orthonormal."""
    n, c, _, h, w = coefficients.shape
    flat = coefficients.reshape(n * c, 64, h, w)
    out = functional.conv_transpose2d(flat, _kernel(coefficients), stride=8)
    return out.reshape(n, c, 8 * h, 8 * w)


def _kernel(like: Tensor) -> Tensor:
    d = _dct().to(like)
    return torch.einsum("ux,vy->uvyx", d, d).reshape(64, 1, 8, 8)


def _transform(x: Tensor) -> tuple[Tensor, Tensor]:
    """(N, 3, H, W) in [0, 1] → coefficients of luma (N, 1, 64, ·, ·) and halved chroma
    (N, 2, 64, ·, ·), in 8-bit levels."""
    h, w = x.shape[-2:]
    padded = functional.pad(255 * x, (0, -w % 16, 0, -h % 16), mode="replicate")
    ycc = torch.einsum("oc,nchw->nohw", _TO_YCBCR.to(x), padded)
    return _coefficients(ycc[:, :1]), _coefficients(functional.avg_pool2d(ycc[:, 1:], 2))


def _step(qp: Tensor, like: Tensor) -> Tensor:
    """The quantiser's step at QPs (N,) in 8-bit levels, as in HEVC."""
    return (2 ** ((qp.to(like) - 4) / 6)).view(-1, 1, 1, 1, 1)


def soft_quantised(x: Tensor, qp: Tensor) -> Tensor:
    """(N, 3, H, W) in [0, 1] and QPs (N,) → the same shape: what is left of the picture when
    coefficients below about half a step are taken away softly, but for each block's mean.

    Its derivative tells training what the codec will drop: without it most of the task's gradient
    points to fine patterns that no decoded picture will show.
    """
    step, levels = _step(qp, x), []
    for coefficients in _transform(x):
        kept = torch.sigmoid(6 * (coefficients.abs() / step - 0.4))
        mean = torch.zeros_like(kept)
        mean[:, :, 0] = 1
        levels.append(_planes(coefficients * torch.maximum(kept, mean)))
    chroma = functional.interpolate(levels[1], scale_factor=2, mode="bilinear")
    ycc = torch.cat([levels[0], chroma], dim=1)
    rgb = torch.einsum("oc,nchw->nohw", torch.linalg.inv(_TO_YCBCR).to(x), ycc)
    return rgb[..., : x.shape[-2], : x.shape[-1]] / 255


def analytic_bits(x: Tensor, qp: Tensor) -> Tensor:
    """(N, 3, H, W) in [0, 1] and QPs (N,) → (N,), proportional to the bits; differentiable.

    Σ log2(1 + |c| / step) over the transform of luma and halved chroma, step = 2^((QP − 4) / 6)
    in 8-bit levels as in HEVC. Luma is taken after removing each block's mean, as intra
    prediction does.
    """
    step = _step(qp, x)
    luma, chroma = _transform(x)
    bits: Tensor = torch.log2(1 + luma[:, :, 1:].abs() / step).sum(dim=(1, 2, 3, 4))
    bits = bits + torch.log2(1 + chroma.abs() / step).sum(dim=(1, 2, 3, 4))
    return bits


def analytic(x: Tensor, qp: Tensor) -> tuple[Tensor, Tensor]:
    """`soft_quantised` and `analytic_bits`."""
    return soft_quantised(x, qp), analytic_bits(x, qp)


def straight_through(proxy: Tensor, real: Tensor) -> Tensor:
    """The value of `real`, the gradient of `proxy`."""
    return proxy + (real - proxy).detach()
