"""A picture to code, and the distance between two."""

import numpy as np
from numpy.typing import NDArray


def natural_picture(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    """(height, width, 3): a small one is the corner of a larger one, as smooth as that."""
    crop_width, crop_height = width, height
    width, height = max(width, 64), max(height, 64)
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    frequency = np.maximum(frequency, 1 / 64)

    def noise(steepness: float) -> NDArray[np.float64]:
        spectrum = np.fft.fft2(rng.standard_normal((height, width))) * frequency**-steepness
        field = np.fft.ifft2(spectrum).real
        return field / max(field.std(), 1e-3)

    luma = 110 + 40 * y + 25 * noise(1.2) + 8 * np.sin(90 * (x + 0.4 * y))
    # the colours of photographs change more slowly than their light
    picture = np.stack([luma + 30 * x * (i - 1) + 8 * noise(2.5) for i in range(3)], axis=-1)
    picture[np.hypot(x - 0.5, y - 0.35) < 0.2] += (50, 35, -10)
    picture = picture[:crop_height, :crop_width]
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """In dB over all three channels; 100 for equal pictures."""
    error = float(np.mean((a.astype(float) - b.astype(float)) ** 2))
    return 100.0 if error == 0 else float(10 * np.log10(255**2 / error))
