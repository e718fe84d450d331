"""HEIC through pillow-heif: libheif's container, x265 to encode, libde265 to decode."""

import io
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from bench.codecs.base import CODECS
from bench.codecs.libraries import need, versions
from bench.codecs.mapped import MappedCodec

# fmt: off
QUALITY_HEIC = (  # by QP
    100, 100, 100, 100, 100, 100, 94, 92, 90, 88, 86, 84, 82,
    80, 78, 76, 74, 70, 68, 66, 64, 62, 60, 58, 56, 54,
    52, 50, 48, 46, 44, 42, 40, 38, 36, 34, 32, 30, 28,
    26, 24, 22, 20, 18, 16, 12, 10, 8, 6, 4, 2, 0,
)
# fmt: on


@CODECS.register("heic")
class HeicCodec(MappedCodec):
    """HEIC as libheif writes it: 8 bits, 4:2:0, x265's preset slow and tune ssim, by quality."""

    name = "heic"
    knob = "qualities"
    values = QUALITY_HEIC
    settings: ClassVar[dict[str, str]] = {
        "preset": "slow",
        "tune": "ssim",
        # one thread, or the bytes depend on the number of cores
        "x265:pools": "none",
        "x265:wpp": "0",
        "x265:frame-threads": "1",
    }

    def __init__(self) -> None:
        need(self.name, "pillow_heif", "pillow-heif", "codecs")

    def encode_at(self, rgb: NDArray[np.uint8], value: float) -> bytes:
        import pillow_heif

        out = io.BytesIO()
        height, width = rgb.shape[:2]
        pillow_heif.encode(
            "RGB",
            (width, height),
            rgb.tobytes(),
            out,
            quality=int(value),
            subsampling="4:2:0",
            enc_params=dict(self.settings),  # a copy: pillow-heif writes into it
        )
        return out.getvalue()

    def pixels(self, data: bytes) -> NDArray[np.uint8]:
        import pillow_heif

        file = pillow_heif.open_heif(data, convert_hdr_to_8bit=True)
        self.require_size(*file.size)
        return np.array(file.to_pillow().convert("RGB"))

    def library(self) -> dict[str, str]:
        import pillow_heif

        info = pillow_heif.libheif_info()
        return {
            "libheif": info["libheif"],
            "encoder": info["encoders"].get("x265", "unknown"),
            "decoder": info["decoders"].get("libde265", "unknown"),
            **versions("pillow-heif"),
            "settings": " ".join(f"{key}={value}" for key, value in self.settings.items()),
        }
