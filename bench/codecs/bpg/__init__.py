"""BPG: HEVC intra pictures in the .bpg container, in process and in memory.

picture.py goes from pixels to bytes and back; container.py, header.py, sps.py, nal.py and bits.py
are the format, x265.py is libav, colour.py the planes, libbpg.py the original programs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import av
import numpy as np
from numpy.typing import NDArray

from bench.codecs.base import CODECS, Codec
from bench.codecs.bpg import colour, picture, x265
from bench.codecs.bpg.bits import BpgError
from bench.codecs.bpg.header import MAX_PIXELS
from bench.codecs.bpg.libbpg import OPTIONS as LIBBPG_OPTIONS
from bench.codecs.bpg.libbpg import LibbpgCodec
from bench.codecs.bpg.picture import BACKGROUNDS, BpgWarning, Picture
from bench.codecs.bpg.settings import OPTIONS as SETTINGS_OPTIONS
from bench.codecs.bpg.settings import Settings
from bench.codecs.options import Option, check_options

__all__ = ["BpgCodec", "BpgError", "BpgWarning", "LibbpgCodec", "Picture", "Settings"]

PROVIDERS = ("embedded", "libbpg")
DECODER_OPTIONS: Mapping[str, Option] = {
    "background": Option(allowed=tuple(BACKGROUNDS)),
    "max_pixels": Option(kind=int, least=1, says="a whole number from 1 up"),
}


@CODECS.register("bpg")
@dataclass(frozen=True)
class BpgCodec:
    """What `bpgenc -q QP` makes with x265: 8 bits, 4:2:0 centred, full-range BT.601.

    The QP is x265's constant QP; an intra picture is coded 3 below it (never below 0), so QP 0 to
    3 give the same file. Lossless coding has one QP, 0. Any number of threads may share an object:
    it has no state.

    background: the name of the colour that a decoded picture with alpha is laid over; None refuses
    such files. max_pixels: what `decode` refuses to go beyond.
    """

    settings: Settings = field(default_factory=Settings)
    background: str | None = None
    max_pixels: int = MAX_PIXELS

    name = "bpg"

    @classmethod
    def from_options(cls, options: Mapping[str, object]) -> Codec:
        """The options of a config file → a codec of the provider they name. Raises ConfigError."""
        rest = dict(options)
        provider = rest.pop("provider", "embedded")
        check_options("bpg", {"provider": provider}, {"provider": Option(allowed=PROVIDERS)})
        own = LIBBPG_OPTIONS if provider == "libbpg" else DECODER_OPTIONS
        known = {"provider": Option(allowed=PROVIDERS), **SETTINGS_OPTIONS, **own}
        mine = {key: rest.pop(key) for key in list(rest) if key not in SETTINGS_OPTIONS}
        check_options(f"bpg ({provider})", mine, known)
        settings = Settings.from_options(rest)
        if provider == "libbpg":
            return LibbpgCodec.found(settings, **mine)  # type: ignore[arg-type]
        return cls(settings, **mine)  # type: ignore[arg-type]

    @property
    def qps(self) -> range:
        return range(1) if self.settings.lossless else range(52)

    def encode(self, rgb: NDArray[np.uint8], qp: int) -> bytes:
        """(H, W, 3) sRGB from 1×1 up, a QP of `qps` → a whole .bpg file. Raises CodecError."""
        self._check_qp(qp)
        return picture.encode(rgb, qp, self.settings)

    def encode_with_alpha(self, rgb: NDArray[np.uint8], alpha: NDArray[np.uint8], qp: int) -> bytes:
        """`encode` with an alpha plane, (H, W), 255 where the picture is opaque."""
        self._check_qp(qp)
        return picture.encode(rgb, qp, self.settings, alpha=alpha)

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        """A whole .bpg file → (H, W, 3) sRGB; of an animation the first frame.

        Raises CodecError for damaged files, and for those with alpha if there is no background.
        """
        decoded = self.decode_with_alpha(data)
        if decoded.alpha is None:
            return decoded.rgb
        if self.background is None:
            raise BpgError(
                "the picture has an alpha plane, and RGB has no place for it: choose a background "
                f"({', '.join(BACKGROUNDS)})"
            )
        return decoded.over(BACKGROUNDS[self.background])

    def decode_with_alpha(self, data: bytes) -> Picture:
        """A whole .bpg file → RGB, alpha if it has any, header. Raises CodecError."""
        return picture.decode(data, max_pixels=self.max_pixels)

    def _check_qp(self, qp: int) -> None:
        if qp not in self.qps:
            raise BpgError(f"bpg has QP {self.qps[0]} to {self.qps[-1]}, not {qp}")

    def fingerprint(self) -> dict[str, str]:
        level = self.settings.level
        return {
            "codec": self.name,
            "provider": "embedded",
            "x265": x265.version(),
            "libavcodec": ".".join(map(str, av.library_versions["libavcodec"])),
            "pyav": av.__version__,
            "settings": f"preset={x265.preset(level)}:tune={x265.TUNE}:{x265.PARAMS}:{x265.BLOCKS}",
            "format": self.settings.describe(),
            "colour": colour.version(self.settings.color_space, self.settings.limited_range),
            "background": str(self.background),
        }
