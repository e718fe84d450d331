"""AV1 and H.264 intra pictures through libav: SVT-AV1 and x264 to encode, one thread a picture.

A file is the picture's width and height, each as a number of 7 bits a byte (ue7 of the BPG
specification, as in a .bpg file), and after them the encoder's stream with all that a decoder
needs: for AV1 its OBUs, for H.264 its NAL units in the byte stream format (Annex B). Nothing is
left out of the count but the text that x264 writes about itself (an SEI message).

Pixels become planes as in a .bpg file: full-range BT.601 YCbCr, 4:2:0 with chroma samples centred
between the luma samples, in exact arithmetic (bpg/colour.py). A picture is padded by replicating
its edge where the encoder wants an even or a longer side, and the decoder crops it.
"""

import ctypes
import os
from abc import abstractmethod
from functools import cache
from pathlib import Path
from typing import ClassVar

import av
import numpy as np
from numpy.typing import NDArray

from bench.codecs.base import CODECS
from bench.codecs.bpg import colour
from bench.codecs.bpg.bits import read_ue7, write_ue7
from bench.codecs.bpg.header import Header
from bench.codecs.bpg.nal import join_annexb, split_annexb
from bench.codecs.bpg.x265 import BEYOND_THE_END
from bench.codecs.libav import decode_frames, encode_frame, fill, rows
from bench.codecs.libraries import versions
from bench.codecs.mapped import MappedCodec
from bench.errors import CodecError, ConfigError

_SEI = 6
_WHOLE_BLOCKS = 256
"""libav counts rows and columns that pad a picture to whole blocks."""

# read by SVT-AV1 when it first speaks: its greeting and warnings go to stderr past every log
os.environ.setdefault("SVT_LOG", "0")

# fmt: off
QP_H264 = (  # by QP
    1, 1, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10,
    11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23,
    24, 25, 26, 27, 28, 29, 31, 32, 33, 34, 35, 36, 37,
    38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 49, 50, 51,
)

QP_AV1 = (  # by QP
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 15,
    17, 19, 21, 24, 26, 28, 30, 32, 33, 35, 37, 39, 41,
    42, 44, 46, 48, 49, 51, 53, 55, 56, 57, 58, 59, 60,
)
# fmt: on


class IntraCodec(MappedCodec):
    """What av1 and h264 share: container, colours, padding."""

    knob = "encoder_qps"
    encoder: ClassVar[str]
    decoder: ClassVar[str]
    multiple: ClassVar[int]
    """Sides are padded to a multiple of this,"""
    least: ClassVar[int]
    """and to no less than this."""

    def __init__(self) -> None:
        try:
            av.codec.Codec(self.encoder, "w")
            av.codec.Codec(self.decoder, "r")
        except ValueError as error:  # av.codec.codec.UnknownCodecError
            raise ConfigError(
                f"codec {self.name} needs {self.encoder} and {self.decoder} in PyAV, and this PyAV "
                f"({av.__version__}) was built without {error}. Install its wheel: "
                "pip install --only-binary av 'av>=14'"
            ) from None

    def coded_size(self, width: int, height: int) -> tuple[int, int]:
        """A picture's size → that of the picture that the encoder is given."""
        a, b = (max(self.least, -(-n // self.multiple) * self.multiple) for n in (width, height))
        return a, b

    def encode_at(self, rgb: NDArray[np.uint8], value: float) -> bytes:
        height, width = rgb.shape[:2]
        frame = av.VideoFrame(*self.coded_size(width, height), "yuv420p")
        for i, plane in enumerate(colour.to_planes(rgb, Header(width, height))):
            fill(frame, i, plane)
        return write_ue7(width) + write_ue7(height) + self.stream(frame, int(value))

    def pixels(self, data: bytes) -> NDArray[np.uint8]:
        width, at = read_ue7(data, 0)
        height, at = read_ue7(data, at)
        self.require_size(width, height)
        size = self.coded_size(width, height)
        frame = self.only_frame(data[at:], size)
        if (frame.width, frame.height) != size:
            raise CodecError(f"{self.name}: the picture is not the one that the header describes")
        if frame.format.name not in ("yuv420p", "yuvj420p"):
            raise CodecError(f"{self.name}: the picture is {frame.format.name}, not yuv420p")
        return colour.to_rgb([rows(frame, i) for i in range(3)], Header(width, height))

    def only_frame(self, stream: bytes, size: tuple[int, int]) -> av.VideoFrame:
        """Of the coded size: the stream may claim a larger one, which is refused."""
        most = (size[0] + _WHOLE_BLOCKS) * (size[1] + _WHOLE_BLOCKS)
        frames = decode_frames(self.decoder, stream, max_pixels=most) if stream else []
        if len(frames) != 1 or frames[0].is_corrupt:
            raise CodecError(f"{self.name}: the data are damaged or end early")
        return frames[0]

    @abstractmethod
    def stream(self, frame: av.VideoFrame, qp: int) -> bytes:
        """What a decoder needs of the encoder's stream. May raise av.FFmpegError."""

    def library(self) -> dict[str, str]:
        return {
            "libavcodec": ".".join(map(str, av.library_versions["libavcodec"])),
            **versions("av"),
            "colour": colour.version(),
        }


@CODECS.register("av1")
class Av1Codec(IntraCodec):
    """AV1 still pictures by SVT-AV1 at a constant quantiser, without adaptive quantisation."""

    name = "av1"
    encoder = "libsvtav1"
    decoder = "libdav1d"
    multiple = 1
    least = 4
    values = QP_AV1
    preset = 4
    params = "avif=1:lp=1:rc=0:aq-mode=0:tune=1"

    def stream(self, frame: av.VideoFrame, qp: int) -> bytes:
        options = {"preset": str(self.preset), "svtav1-params": f"{self.params}:qp={qp}"}
        return encode_frame(self.encoder, frame, options)

    def library(self) -> dict[str, str]:
        return {
            "svt-av1": svt_version(),
            **super().library(),
            "settings": f"preset={self.preset}:{self.params}",
        }


@CODECS.register("h264")
class H264Codec(IntraCodec):
    """H.264 High intra pictures by x264 at a constant quantiser."""

    name = "h264"
    encoder = "libx264"
    decoder = "h264"
    multiple = 2
    least = 2
    values = QP_H264
    options: ClassVar = {"preset": "veryslow", "tune": "ssim", "profile": "high"}
    params = "keyint=1:threads=1:ipratio=1"

    def stream(self, frame: av.VideoFrame, qp: int) -> bytes:
        stream = self._whole_stream(frame, qp)
        return join_annexb([nal for nal in split_annexb(stream) if nal[0] & 31 != _SEI])

    def _whole_stream(self, frame: av.VideoFrame, qp: int) -> bytes:
        options = {**self.options, "qp": str(qp), "x264-params": self.params}
        return encode_frame(self.encoder, frame, options)

    def only_frame(self, stream: bytes, size: tuple[int, int]) -> av.VideoFrame:
        """libav hides what is missing at the end of a slice: other bytes there bring it out."""
        frame = super().only_frame(stream, size)
        other = super().only_frame(stream + BEYOND_THE_END, size)
        if not all(np.array_equal(rows(frame, i), rows(other, i)) for i in range(3)):
            raise CodecError(f"{self.name}: the file ends inside the picture")
        return frame

    def library(self) -> dict[str, str]:
        options = ":".join(f"{key}={value}" for key, value in self.options.items())
        return {
            "x264": x264_version(),
            **super().library(),
            "settings": f"{options}:{self.params}",
        }


@cache
def x264_version() -> str:
    """x264's own version, such as "165 r3222", from the text that it writes about itself."""
    frame = av.VideoFrame(16, 16, "yuv420p")
    for i in range(3):
        fill(frame, i, np.full((16, 16) if i == 0 else (8, 8), 128, np.uint8))
    stream = H264Codec()._whole_stream(frame, 40)
    _, found, text = stream.partition(b"x264 - core ")
    version = text.partition(b" - ")[0]
    return version.decode("ascii", "replace") if found and version else "unknown"


@cache
def svt_version() -> str:
    """SVT-AV1's own version, such as "v4.1.0": its library is loaded once PyAV is."""
    try:
        mapped = Path("/proc/self/maps").read_text().split("\n")
        file = next(line.split()[-1] for line in mapped if "libSvtAv1Enc" in line)
        ask = ctypes.CDLL(file).svt_av1_get_version
    except (OSError, StopIteration, AttributeError):
        return "unknown"
    ask.restype = ctypes.c_char_p
    return str(ask().decode("ascii", "replace"))
