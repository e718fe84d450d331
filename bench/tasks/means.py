"""Means over images under image weights, and what is made of them."""

import numpy as np
from numpy.typing import NDArray

BINS = 15
"""Of the top probability, equally wide."""


def weighted_means(
    values: NDArray[np.float64], image: NDArray[np.int32], weights: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(n, k) values of the images (n,), and (B, n_images) image weights → (B, k) means; NaN where
    no image is left."""
    chosen = np.asarray(weights, np.float64)[:, image]
    finite = np.isfinite(values)
    sums = chosen @ np.where(finite, values, 0.0)
    # 0 · inf is NaN: a broken output must not reach the samples that leave it out.
    for row, column in zip(*np.nonzero(~finite), strict=True):
        sums[chosen[:, row] > 0, column] += values[row, column]
    total = chosen.sum(axis=1, keepdims=True)
    means: NDArray[np.float64] = np.full_like(sums, np.nan)
    np.divide(sums, total, out=means, where=total > 0)
    return means


def calibration_error(
    confidence: NDArray[np.float64],
    correct: NDArray[np.bool_],
    image: NDArray[np.int32],
    weights: NDArray[np.int64],
) -> NDArray[np.float64]:
    """(n,) top probability and correctness of the images (n,), and (B, n_images) image weights →
    (B,) expected calibration error: the mean over images of |accuracy − mean confidence| of the bin
    that the image's confidence is in (Guo et al., *On Calibration of Modern Neural Networks*, ICML
    2017). NaN where no image is left.

    A bin holds its lower end, the last one 1 as well.
    """
    inner = np.linspace(0, 1, BINS + 1)[1:-1]
    own = np.searchsorted(inner, confidence, side="right")[:, None] == np.arange(BINS)
    gap = correct - confidence
    gaps = weighted_means(np.where(own, gap[:, None], 0.0), image, weights)
    error: NDArray[np.float64] = np.abs(gaps).sum(axis=1)
    return error
