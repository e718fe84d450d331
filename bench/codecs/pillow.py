"""JPEG and WebP through Pillow, their quality turned into a QP beside BPG's."""

import io
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, features

from bench.codecs.base import CODECS
from bench.errors import CodecError

# fmt: off
QUALITY_JPEG = (  # by QP
    100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 99, 98, 97,
    96, 95, 94, 93, 92, 91, 90, 89, 88, 87, 85, 83, 81,
    79, 76, 73, 67, 61, 56, 48, 41, 35, 30, 25, 21, 17,
    15, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2,
)
# fmt: on
# fmt: off
QUALITY_WEBP = (  # by QP
    100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100,
    99, 98, 97, 96, 95, 94, 93, 92, 91, 90, 88, 87, 85,
    83, 81, 79, 77, 72, 64, 56, 48, 41, 34, 28, 22, 17,
    13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1,
)
# fmt: on


class PillowCodec:
    """A format of Pillow's whose quality of 1…100 (larger is finer) is chosen by the QP.

    QP 0…51 index a table of qualities, fitted once on twelve photographs of COCO train2017 at
    their own size: at a QP stands the quality whose mean bits per pixel are the nearest, as a
    ratio, to those of `bpg` at that QP, while the qualities fall strictly from 100 on. So one
    list of QPs gives curves over about the same rates. At the ends a format cannot follow BPG:
    up to QP 9 (jpeg) and QP 12 (webp) the quality stays 100, and above QP 40 the smallest
    qualities are dealt out one by one though they spend more bits than BPG does. Means, in bpp:

        QP     22    25    28    31    34    37    40    44    48    51
        bpg   2.55  2.01  1.54  1.14  0.83  0.56  0.36  0.18  0.09  0.05
        jpeg  2.50  2.06  1.56  1.14  0.82  0.56  0.38  0.28  0.17  0.10
        webp  2.58  1.98  1.54  1.14  0.82  0.55  0.40  0.34  0.27  0.20

    Any number of threads may share an object: it has no state.
    """

    name: str
    qps = range(0, 52)
    format: str
    library: str
    qualities: tuple[int, ...]
    settings: dict[str, Any]

    def encode(self, rgb: NDArray[np.uint8], qp: int) -> bytes:
        """(H, W, 3) sRGB from 1×1 up, QP 0…51 → the whole file. Raises CodecError."""
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or not rgb.size:
            raise CodecError(
                f"{self.name} codes (H, W, 3) uint8 pixels, not {rgb.shape} {rgb.dtype}"
            )
        if qp not in self.qps:
            raise CodecError(f"{self.name} has QP {self.qps[0]} to {self.qps[-1]}, not {qp}")
        out = io.BytesIO()
        try:
            Image.fromarray(rgb).save(out, self.format, quality=self.qualities[qp], **self.settings)
        except (OSError, ValueError) as error:
            size = f"{rgb.shape[1]}×{rgb.shape[0]}"
            raise CodecError(f"{self.name} could not encode {size} pixels: {error}") from error
        return out.getvalue()

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        """The whole file → (H, W, 3) sRGB; nothing but this format. Raises CodecError."""
        try:
            with Image.open(io.BytesIO(data), formats=[self.format]) as image:
                return np.array(image.convert("RGB"))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise CodecError(f"{self.name} could not decode {len(data)} bytes: {error}") from error

    def fingerprint(self) -> dict[str, str]:
        return {
            "codec": self.name,
            "pillow": PIL.__version__,
            self.library: str(features.version(self.library)),
            "settings": ":".join(f"{key}={value}" for key, value in self.settings.items()),
            "qualities": ",".join(map(str, self.qualities)),
        }


@CODECS.register("jpeg")
class JpegCodec(PillowCodec):
    """Baseline JPEG, 4:2:0, optimised Huffman tables."""

    name = "jpeg"
    format = "JPEG"
    library = "libjpeg_turbo"
    qualities = QUALITY_JPEG
    settings = {"subsampling": "4:2:0", "optimize": True, "progressive": False}  # noqa: RUF012


@CODECS.register("webp")
class WebpCodec(PillowCodec):
    """Lossy WebP at its slowest, densest method."""

    name = "webp"
    format = "WEBP"
    library = "webp"
    qualities = QUALITY_WEBP
    settings = {"lossless": False, "method": 6}  # noqa: RUF012
