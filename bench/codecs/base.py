"""What a codec is: bytes from pixels, pixels from bytes, and everything that can change them."""

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bench.registry import Registry


class Codec(Protocol):
    """A still-image codec with one integer quantiser.

    `qps` holds the valid quantiser values, ascending from 0 or above; a larger one is always
    coarser. A codec whose own knob runs the other way maps it and says how in its docstring.
    Codecs are picklable, and any number of threads may share one. A class whose objects differ has
    a class method `from_options(options) -> Codec` that makes one of a config's options, or raises
    ConfigError. A codec that needs something for each QP has a method `prepare(qps)` that gets it,
    or raises ConfigError, before anything is coded.
    """

    name: str

    @property
    def qps(self) -> Sequence[int]: ...

    def encode(self, rgb: NDArray[np.uint8], qp: int) -> bytes:
        """(H, W, 3) sRGB → the whole file. Raises CodecError."""
        ...

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        """The whole file → (H, W, 3) sRGB. Raises CodecError."""
        ...

    def fingerprint(self) -> dict[str, str]:
        """Everything that can change the bytes or the pixels: library, version, settings."""
        ...


CODECS: Registry[type[Codec]] = Registry(
    "codec", "bench.codecs", needs=("encode", "decode", "fingerprint")
)


def says(qps: Sequence[int]) -> str:
    """The valid quantiser values, for people."""
    if isinstance(qps, range) and qps.step == 1:
        return f"{qps[0]}…{qps[-1]}"
    return ", ".join(map(str, qps))


def prepare(codec: Codec, qps: Iterable[int]) -> None:
    """Gets what the codec needs for these QPs, if anything. Raises ConfigError."""
    own = getattr(codec, "prepare", None)
    if own is not None:
        own(qps)
