"""Means over images under image weights."""

import numpy as np
from numpy.typing import NDArray


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
