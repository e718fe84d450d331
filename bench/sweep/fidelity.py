"""How near a picture as it is delivered, decoded and post-processed, is to the one before the
preprocessor and the codec."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of the scales, from the finest: Wang et al., *Multiscale structural similarity for image quality
assessment*, Asilomar 2003, table 1."""
WINDOW, SIGMA = 11, 1.5
STABILISERS = ((0.01 * 255) ** 2, (0.03 * 255) ** 2)


def psnr(a: Pixels, b: Pixels) -> float:
    """In dB over the three channels of 8-bit RGB; infinite for equal pictures."""
    difference = a.astype(np.int32) - b
    mse = float(np.mean(difference * difference))
    return 10 * math.log10(255**2 / mse) if mse else math.inf


def ms_ssim(a: Pixels, b: Pixels) -> float:
    """In [0, 1], the mean over the channels of 8-bit RGB; NaN for a side under 11 pixels.

    A picture too small for five scales has as many as its shorter side halves to 11 pixels or more,
    with the first weights, scaled to sum to one.
    """
    halvings = math.log2(min(a.shape[:2]) / WINDOW)
    if halvings < 0:
        return math.nan
    scales = min(len(WEIGHTS), int(halvings) + 1)
    x, y = a.astype(np.float32), b.astype(np.float32)
    weights = np.array(WEIGHTS[:scales]) / sum(WEIGHTS[:scales])
    product = np.ones(3)
    for scale, weight in enumerate(weights):
        last = scale == scales - 1
        product *= np.maximum(_ssim(x, y, last), 0) ** weight
        if not last:
            x, y = _halved(x), _halved(y)
    return float(product.mean())


def _ssim(x: Floats, y: Floats, whole: bool) -> NDArray[np.float64]:
    """(3,) SSIM, or only its part of contrast and structure unless `whole`.

    Arrays are written over where they are not needed any more: fresh memory for each took as long
    as the arithmetic.
    """
    c1, c2 = STABILISERS
    mean_x, mean_y = _smooth(x), _smooth(y)
    both = mean_x * mean_y
    mean_x *= mean_x
    mean_y *= mean_y
    squares = mean_x
    squares += mean_y
    products = x * x
    products += y * y
    variances = _smooth(products)
    variances -= squares
    variances += c2
    np.multiply(x, y, out=products)
    similarity = _smooth(products)  # twice the covariance over the variances, to begin with
    similarity -= both
    similarity *= 2
    similarity += c2
    similarity /= variances
    if whole:
        both *= 2
        both += c1
        squares += c1
        similarity *= both
        similarity /= squares
    return _mean(similarity)


def _mean(x: Floats) -> NDArray[np.float64]:
    """(3,) of the channels where the whole window is inside. OpenCV's, since numpy's over two axes
    takes five times as long."""
    edge = WINDOW // 2
    return np.array(cv2.mean(x[edge:-edge, edge:-edge])[:3])


def _smooth(x: Floats) -> Floats:
    return cv2.GaussianBlur(x, (WINDOW, WINDOW), SIGMA)  # type: ignore[return-value]


def _halved(x: Floats) -> Floats:
    """Means of two by two; an odd last row or column is left out."""
    height, width = (n // 2 * 2 for n in x.shape[:2])
    even = x[:height, :width]
    return cv2.resize(even, (width // 2, height // 2), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]
