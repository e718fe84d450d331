"""JPEG XL through imagecodecs: libjxl."""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bench.codecs.base import CODECS
from bench.codecs.libraries import need, versions
from bench.codecs.mapped import MappedCodec
from bench.errors import CodecError

# fmt: off
DISTANCE = (  # by QP
    0.103, 0.106, 0.109, 0.112, 0.115, 0.13, 0.147, 0.165, 0.186, 0.212, 0.24, 0.272, 0.31,
    0.351, 0.395, 0.445, 0.495, 0.555, 0.622, 0.695, 0.792, 0.898, 1.01, 1.16, 1.3, 1.46,
    1.65, 1.86, 2.09, 2.4, 2.75, 3.12, 3.63, 4.2, 4.87, 5.76, 6.69, 7.75, 8.98,
    10.4, 11.9, 13.1, 14.3, 15.5, 16.6, 17.8, 19, 20.2, 21.4, 22.6, 23.8, 25,
)
# fmt: on

SIGNATURE = b"\xff\x0a"
_SIZE_BYTES = 10  # 1 + 2 × (2 + 30) + 3 bits
_SIDE_BITS = (9, 13, 18, 30)
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))


@CODECS.register("jpegxl")
class JpegXlCodec(MappedCodec):
    """Lossy JPEG XL (VarDCT) by its distance, one naked codestream without the container."""

    name = "jpegxl"
    knob = "distances"
    values = DISTANCE
    settings: ClassVar[dict[str, Any]] = {"effort": 7, "usecontainer": False, "numthreads": 1}

    def __init__(self) -> None:
        need(self.name, "imagecodecs", "imagecodecs", "codecs")

    def encode_at(self, rgb: NDArray[np.uint8], value: float) -> bytes:
        import imagecodecs

        return bytes(imagecodecs.jpegxl_encode(rgb, distance=value, **self.settings))

    def pixels(self, data: bytes) -> NDArray[np.uint8]:
        import imagecodecs

        width, height = size(data)
        self.require_size(width, height)
        rgb = np.asarray(imagecodecs.jpegxl_decode(data, index=0, numthreads=1))
        if rgb.shape[:2] != (height, width):
            raise CodecError("jpegxl: the picture is not the one that the header describes")
        return rgb

    def library(self) -> dict[str, str]:
        import imagecodecs

        return {
            "libjxl": imagecodecs.jpegxl_version().removeprefix("libjxl "),
            **versions("imagecodecs"),
            "settings": ":".join(f"{key}={value}" for key, value in self.settings.items()),
        }


def size(data: bytes) -> tuple[int, int]:
    """(width, height) as a naked codestream's SizeHeader says (ISO/IEC 18181-1, which counts bits
    from the lowest); libjxl itself has no limit. Raises CodecError."""
    if not data.startswith(SIGNATURE):
        raise CodecError("jpegxl: not a naked codestream")
    bits = int.from_bytes(data[len(SIGNATURE) : len(SIGNATURE) + _SIZE_BYTES], "little")

    def u(n: int) -> int:
        nonlocal bits
        value, bits = bits & ((1 << n) - 1), bits >> n
        return value

    def side() -> int:
        return 8 * (1 + u(5)) if eighths else 1 + u(_SIDE_BITS[u(2)])

    eighths = u(1)
    height, ratio = side(), u(3)
    if not ratio:
        return side(), height
    over, under = _RATIOS[ratio - 1]
    return height * over // under, height
