"""Plain filters before a codec: what a network has to beat.

Each takes its strength per QP, as a number or as a map from QP to number (the nearest one is used).
"""

import reprlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.errors import ConfigError

Pixels = NDArray[np.uint8]
Strength = float | Mapping[int, float]


def shown(value: object) -> str:
    """For a message: as Python writes it, cut where it is long."""
    try:
        return reprlib.repr(value)
    except ValueError:  # by which Python refuses to write it
        return "a number of thousands of digits"


def is_qp(key: object) -> bool:
    """Whether it is a whole number, and none that no codec's QPs come near."""
    return type(key) is int and abs(key) < 10_000


def nearest(qps: Iterable[int], qp: int) -> int:
    return min(qps, key=lambda at: abs(at - qp))


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


@dataclass(frozen=True)
class _Filter:
    run: Callable[[Pixels, float], Pixels]
    parameter: str
    allowed: Callable[[float], bool]
    says: str


_FILTERS = {
    "blur": _Filter(_blur, "sigma", lambda v: 0 <= v <= 100, "from 0 to 100 pixels"),
    "denoise": _Filter(_denoise, "h", lambda v: 0 <= v <= 255, "from 0 to 255 levels"),
    "rescale": _Filter(_rescale, "scale", lambda v: 0 < v <= 1, "above 0 and up to 1"),
}


@dataclass(frozen=True)
class Control:
    name: str
    strength: Strength

    def __call__(self, rgb: Pixels, qp: int) -> Pixels:
        strength = self.strength
        if isinstance(strength, Mapping):
            strength = strength[self.alike(qp)]
        return _FILTERS[self.name].run(rgb, strength)

    def alike(self, qp: int) -> int:
        """The QP whose strength it has."""
        return nearest(self.strength, qp) if isinstance(self.strength, Mapping) else 0

    def fingerprint(self) -> dict[str, str]:
        return {"preprocessor": self.name, "strength": str(self.strength), "cv2": cv2.__version__}


def control(name: str, options: Mapping[Any, Any]) -> Control:
    """Raises ConfigError naming the option, its value and what is allowed."""
    known = _FILTERS[name]
    if set(options) != {known.parameter}:
        raise ConfigError(
            f"preprocessor {name}: takes `{known.parameter}`, a number or a map from QP to number; "
            f"given: {', '.join(map(shown, options)) or 'nothing'}"
        )
    strength = options[known.parameter]
    per_qp = strength if isinstance(strength, Mapping) else {0: strength}
    wrong = [
        shown(strength if per_qp is not strength else {qp: value})
        for qp, value in per_qp.items()
        if not is_qp(qp)
        or not isinstance(value, int | float)
        or isinstance(value, bool)
        or not known.allowed(value)
    ]
    if wrong or not per_qp:
        raise ConfigError(
            f"preprocessor {name}: {known.parameter}: takes a number {known.says}, or a map from "
            f"QP, a whole number, to one; given: {(wrong or ['an empty map'])[0]}"
        )
    return Control(name, strength)


def _control(name: str, /, **options: Strength) -> Control:
    return control(name, options)


CONTROLS: dict[str, Callable[..., Control]] = {name: partial(_control, name) for name in _FILTERS}
