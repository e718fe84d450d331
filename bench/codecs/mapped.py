"""Codecs whose own knob follows a QP beside BPG's, by a table."""

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from bench.codecs.bpg.header import MAX_PIXELS
from bench.errors import CodecError


class MappedCodec(ABC):
    """A codec of QP 0…51, each of which stands for a value of the codec's own knob.

    `values` is fitted once (perf/codec_qps.py) on photographs that no result here rests on: at a
    QP stands the value whose mean bits per pixel are the nearest, as a ratio, to those of `bpg`
    at that QP, and the values run strictly towards coarser once they have left the knob's finest
    one. So one list of QPs gives curves over about the same rates, as far as a codec's range goes.
    docs/codecs.md has the rates.

    Any number of threads may share an object: it has no state.
    """

    name: str
    knob: ClassVar[str]
    """What `values` are, in the library's own word."""
    values: ClassVar[tuple[float, ...]]
    qps = range(0, 52)
    max_pixels: ClassVar[int] = MAX_PIXELS
    """A larger picture is refused before it is decoded."""

    def encode(self, rgb: NDArray[np.uint8], qp: int) -> bytes:
        """(H, W, 3) sRGB from 1×1 up, QP 0…51 → the whole file. Raises CodecError."""
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or not rgb.size:
            raise CodecError(
                f"{self.name} codes (H, W, 3) uint8 pixels, not {rgb.shape} {rgb.dtype}"
            )
        if qp not in self.qps:
            raise CodecError(f"{self.name} has QP {self.qps[0]} to {self.qps[-1]}, not {qp}")
        try:
            return self.encode_at(np.ascontiguousarray(rgb), self.values[qp])
        except CodecError:
            raise
        except Exception as error:  # each library has exceptions of its own
            size = f"{rgb.shape[1]}×{rgb.shape[0]}"
            raise CodecError(f"{self.name} could not encode {size} pixels: {error}") from error

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        """The whole file → (H, W, 3) sRGB; nothing but this format. Raises CodecError."""
        try:
            rgb = self.pixels(data)
        except CodecError:
            raise
        except Exception as error:  # as above; and what a damaged file makes of it
            raise CodecError(f"{self.name} could not decode {len(data)} bytes: {error}") from error
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
            raise CodecError(f"{self.name}: not an RGB picture of 8 bits: {rgb.shape} {rgb.dtype}")
        return rgb

    def require_size(self, width: int, height: int) -> None:
        """Of a picture as its file claims it. Raises CodecError."""
        if not 0 < width * height <= self.max_pixels:
            raise CodecError(f"{self.name}: a picture of {width}×{height} pixels is not decoded")

    def fingerprint(self) -> dict[str, str]:
        return {
            "codec": self.name,
            **self.library(),
            self.knob: ",".join(f"{value:g}" for value in self.values),
        }

    @abstractmethod
    def encode_at(self, rgb: NDArray[np.uint8], value: float) -> bytes:
        """`encode` with a value of the knob; may raise whatever the library raises."""

    @abstractmethod
    def pixels(self, data: bytes) -> NDArray[np.uint8]:
        """`decode`; may raise whatever the library raises."""

    @abstractmethod
    def library(self) -> dict[str, str]:
        """Libraries with their versions, and `settings`: what the fingerprint says of them."""
