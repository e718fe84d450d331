"""Plain filters before a codec: what a network has to beat.

Each takes its strength per QP, as a number or as a map from QP to number (the nearest one is used).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.errors import ConfigError

Pixels = NDArray[np.uint8]
Strength = float | Mapping[int, float]


def _at(strength: Strength, qp: int) -> float:
    if isinstance(strength, Mapping):
        return strength[min(strength, key=lambda at: abs(at - qp))]
    return strength


def _blur(rgb: Pixels, sigma: float) -> Pixels:
    """A Gaussian of `sigma` pixels."""
    return rgb if sigma <= 0 else cv2.GaussianBlur(rgb, (0, 0), sigma).astype(np.uint8)


def _denoise(rgb: Pixels, h: float) -> Pixels:
    """Non-local means of strength `h` levels, luma and chroma alike."""
    if h <= 0:
        return rgb
    return cv2.fastNlMeansDenoisingColored(rgb, None, h, h, 5, 11).astype(np.uint8)


def _rescale(rgb: Pixels, scale: float) -> Pixels:
    """Down to `scale` of the size by area and up again by bicubic interpolation."""
    height, width = rgb.shape[:2]
    if scale >= 1:
        return rgb
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.uint8)


_FILTERS: dict[str, tuple[Callable[[Pixels, float], Pixels], str]] = {
    "blur": (_blur, "sigma"),
    "denoise": (_denoise, "h"),
    "rescale": (_rescale, "scale"),
}


@dataclass(frozen=True)
class Control:
    name: str
    strength: Strength

    def __call__(self, rgb: Pixels, qp: int) -> Pixels:
        return _FILTERS[self.name][0](rgb, _at(self.strength, qp))

    def fingerprint(self) -> dict[str, str]:
        return {"preprocessor": self.name, "strength": str(self.strength), "cv2": cv2.__version__}


def _maker(name: str) -> Callable[..., Control]:
    parameter = _FILTERS[name][1]

    def make(**options: Strength) -> Control:
        if set(options) != {parameter}:
            raise ConfigError(
                f"preprocessor {name}: takes `{parameter}`, a number or a map from QP to number; "
                f"given: {', '.join(options) or 'nothing'}"
            )
        return Control(name, options[parameter])

    return make


CONTROLS: dict[str, Callable[..., Control]] = {name: _maker(name) for name in _FILTERS}
