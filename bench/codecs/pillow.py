"""JPEG, WebP, AVIF and JPEG 2000 through Pillow."""

import io
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from bench.codecs.base import CODECS
from bench.codecs.libraries import versions
from bench.codecs.mapped import MappedCodec
from bench.errors import ConfigError

# fmt: off
QUALITY_JPEG = (  # by QP
    100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 99, 98, 97,
    96, 95, 94, 93, 92, 91, 90, 89, 88, 87, 85, 83, 81,
    79, 76, 73, 67, 61, 56, 48, 41, 35, 30, 25, 21, 17,
    15, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2,
)
QUALITY_WEBP = (  # by QP
    100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100,
    99, 98, 97, 96, 95, 94, 93, 92, 91, 90, 88, 87, 85,
    83, 81, 79, 77, 72, 64, 56, 48, 41, 34, 28, 22, 17,
    13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1,
)

PSNR_JPEG2000 = (  # by QP
    54.32, 53.86, 53.5, 53.13, 52.77, 51.39, 50.18, 49.1, 48.07, 47.15, 46.28, 45.49, 44.73,
    44, 43.3, 42.64, 41.99, 41.28, 40.58, 39.94, 39.25, 38.57, 37.89, 37.15, 36.48, 35.81,
    35.07, 34.35, 33.68, 32.94, 32.24, 31.55, 30.87, 30.2, 29.59, 28.92, 28.28, 27.7, 27.13,
    26.61, 26.09, 25.5, 24.97, 24.43, 23.91, 23.39, 22.88, 22.35, 21.86, 21.33, 20.8, 20.35,
)

QUALITY_AVIF = (  # by QP
    100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100,
    100, 98, 97, 95, 94, 92, 90, 89, 87, 86, 83, 79, 76,
    73, 70, 67, 63, 62, 59, 56, 54, 51, 48, 46, 43, 40,
    35, 32, 29, 24, 21, 16, 11, 8, 6, 5, 3, 2, 0,
)
# fmt: on


class PillowCodec(MappedCodec):
    """A format of Pillow's, by a quality of 1…100 (larger is finer) unless it says otherwise."""

    knob = "qualities"
    format: ClassVar[str]
    feature: ClassVar[str]
    """Pillow's name of the library."""
    settings: ClassVar[dict[str, Any]]

    def __init__(self) -> None:
        if not features.check(self.feature):
            raise ConfigError(
                f"codec {self.name} needs Pillow with {self.feature}, and this Pillow "
                f"({versions('pillow')['pillow']}) was built without it. Install its wheel: "
                "pip install --only-binary pillow 'pillow>=11.3'"
            )

    def by_value(self, value: float) -> dict[str, Any]:
        """What Pillow is told for a value of the knob."""
        return {"quality": int(value)}

    def encode_at(self, rgb: NDArray[np.uint8], value: float) -> bytes:
        out = io.BytesIO()
        Image.fromarray(rgb).save(out, self.format, **self.by_value(value), **self.settings)
        return out.getvalue()

    def pixels(self, data: bytes) -> NDArray[np.uint8]:
        with Image.open(io.BytesIO(data), formats=[self.format]) as image:
            self.require_size(*image.size)
            return np.array(image.convert("RGB"))

    def library(self) -> dict[str, str]:
        return {
            **versions("pillow"),
            self.feature: str(features.version(self.feature)),
            "settings": ":".join(f"{key}={value}" for key, value in self.settings.items()),
        }


@CODECS.register("jpeg")
class JpegCodec(PillowCodec):
    """Baseline JPEG, 4:2:0, optimised Huffman tables."""

    name = "jpeg"
    format = "JPEG"
    feature = "libjpeg_turbo"
    values = QUALITY_JPEG
    settings: ClassVar = {"subsampling": "4:2:0", "optimize": True, "progressive": False}


@CODECS.register("webp")
class WebpCodec(PillowCodec):
    """Lossy WebP at its slowest, densest method."""

    name = "webp"
    format = "WEBP"
    feature = "webp"
    values = QUALITY_WEBP
    settings: ClassVar = {"lossless": False, "method": 6}


@CODECS.register("avif")
class AvifCodec(PillowCodec):
    """AVIF by libaom, 4:2:0, full range, one tile."""

    name = "avif"
    format = "AVIF"
    feature = "avif"
    values = QUALITY_AVIF
    settings: ClassVar = {
        "subsampling": "4:2:0",
        "range": "full",
        "speed": 4,
        "codec": "aom",
        "max_threads": 1,
        "autotiling": False,
    }

    def library(self) -> dict[str, str]:
        from PIL import _avif

        return {**super().library(), "codecs": _avif.codec_versions()}


@CODECS.register("jpeg2000")
class Jpeg2000Codec(PillowCodec):
    """JPEG 2000 by OpenJPEG, 9/7 wavelet, one layer, each picture to the same PSNR in dB."""

    name = "jpeg2000"
    knob = "psnrs"
    format = "JPEG2000"
    feature = "jpg_2000"
    values = PSNR_JPEG2000
    settings: ClassVar = {"quality_mode": "dB", "irreversible": True, "mct": 1, "no_jp2": True}

    def by_value(self, value: float) -> dict[str, Any]:
        return {"quality_layers": [value]}
