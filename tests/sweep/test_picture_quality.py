"""PSNR in closed form, and MS-SSIM against torchmetrics."""

import math

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from bench.sweep.fidelity import WEIGHTS, ms_ssim, psnr


def pictures(height: int, width: int, noise: float) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    rng = np.random.default_rng(7)
    smooth = cv2.GaussianBlur(rng.normal(0, 1, (height, width, 3)), (0, 0), 4)
    a = np.clip(128 + 400 * smooth, 0, 255).astype(np.uint8)
    b = np.clip(a + rng.normal(0, noise, a.shape), 0, 255).astype(np.uint8)
    return a, b


def reference(a: NDArray[np.uint8], b: NDArray[np.uint8], betas: tuple[float, ...]) -> float:
    """The mean over the channels, each by itself."""
    x, y = (torch.from_numpy(p.transpose(2, 0, 1).copy())[:, None].double() for p in (a, b))
    each = [
        multiscale_structural_similarity_index_measure(
            y[c : c + 1], x[c : c + 1], data_range=255.0, betas=betas, normalize="relu"
        )
        for c in range(3)
    ]
    return float(torch.stack(each).mean())


@pytest.mark.parametrize("size", [(176, 192), (192, 320), (240, 176)])
@pytest.mark.parametrize("noise", [2.0, 15.0])
def test_ms_ssim_is_that_of_torchmetrics(size: tuple[int, int], noise: float) -> None:
    a, b = pictures(*size, noise)
    assert ms_ssim(a, b) == pytest.approx(reference(a, b, WEIGHTS), abs=1e-4)


def test_a_small_picture_has_fewer_scales() -> None:
    a, b = pictures(112, 128, 8.0)  # 112, 56, 28, 14
    betas = tuple(w / sum(WEIGHTS[:4]) for w in WEIGHTS[:4])
    assert ms_ssim(a, b) == pytest.approx(reference(a, b, betas), abs=1e-4)


@pytest.mark.parametrize("size", [(11, 11), (12, 300), (21, 22), (22, 22)])
def test_the_smallest_pictures(size: tuple[int, int]) -> None:
    a, b = pictures(*size, 8.0)
    assert ms_ssim(a, a) == pytest.approx(1, abs=1e-6)
    assert 0 < ms_ssim(a, b) < 1
    assert math.isnan(ms_ssim(a[:10], b[:10]))


def test_psnr_in_closed_form() -> None:
    a = np.full((4, 5, 3), 100, np.uint8)
    assert psnr(a, a) == math.inf
    assert psnr(a, a + 5) == pytest.approx(20 * math.log10(255 / 5))
