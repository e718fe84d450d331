"""The original programs, bpgenc and bpgdec, as the provider of BPG.

They are used only when a config asks for them, and an option that they lack, a program that is
not there or a result that is not what was asked for is an error: nothing switches silently.
Pictures go through PNG files, because bpgenc keeps the chroma format of a JPEG whatever it is told.
"""

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.codecs import programs
from bench.codecs.bpg.bits import BpgError
from bench.codecs.bpg.container import BpgFile
from bench.codecs.bpg.header import PixelFormat
from bench.codecs.bpg.settings import Settings
from bench.codecs.options import Option
from bench.errors import ConfigError

ENCODERS = ("x265", "jctvc")
OPTIONS: Mapping[str, Option] = {
    "bpgenc": Option(kind=str, says="the path of the program"),
    "bpgdec": Option(kind=str, says="the path of the program"),
    "encoder": Option(allowed=ENCODERS),
    "timeout": Option(kind=(int, float), least=0.001, says="seconds, more than 0"),
}

_FORMATS = {
    PixelFormat.GRAY: "420",  # a gray PNG makes a gray picture whatever -f says
    PixelFormat.YUV420_CENTRED: "420",
    PixelFormat.YUV422_CENTRED: "422",
    PixelFormat.YUV444: "444",
}
_VERSION = re.compile(r"BPG Image (?:En|De)coder version (\S+)")
_REMEDY = (
    "libbpg's sources are at https://bellard.org/bpg/: build them, put bpgenc and bpgdec on PATH "
    "or name their paths as {name: bpg, provider: libbpg, bpgenc: …, bpgdec: …}; the embedded "
    "provider needs neither"
)


@dataclass(frozen=True)
class LibbpgCodec:
    """bpgenc and bpgdec with the settings of `BpgCodec`; made by `found`.

    Each call has a folder of its own for its files, so any number may run at the same time.
    timeout: seconds for one picture. identity: versions and digests of the programs.
    """

    settings: Settings
    bpgenc: str
    bpgdec: str
    encoder: str
    timeout: float
    identity: tuple[tuple[str, str], ...]

    name = "bpg"

    @classmethod
    def found(
        cls,
        settings: Settings,
        bpgenc: str = "bpgenc",
        bpgdec: str = "bpgdec",
        encoder: str = "x265",
        timeout: float = 600,
    ) -> "LibbpgCodec":
        """Looks for the programs, by path or on PATH. Raises ConfigError."""
        if settings.pixel_format not in _FORMATS:
            raise ConfigError(
                f"codec bpg: pixel_format: bpgenc does not write {settings.format_name!r}; "
                "the embedded provider does"
            )
        encode = programs.find(cls.name, "bpgenc", bpgenc, _REMEDY)
        decode = programs.find(cls.name, "bpgdec", bpgdec, _REMEDY)
        # both print their help and exit with 1 when asked with -h
        identity = {
            "bpgenc": programs.version(cls.name, "bpgenc", encode, "-h", _VERSION),
            "bpgenc_sha256": programs.digest(encode),
            "bpgdec": programs.version(cls.name, "bpgdec", decode, "-h", _VERSION),
            "bpgdec_sha256": programs.digest(decode),
        }
        return cls(settings, encode, decode, encoder, timeout, tuple(identity.items()))

    @property
    def qps(self) -> range:
        return range(1) if self.settings.lossless else range(52)

    def arguments(self, qp: int) -> list[str]:
        """What bpgenc is told, but for the files."""
        s = self.settings
        # -lossless sets a colour space and a chroma format: those asked for come after it
        words = ["-lossless"] if s.lossless else []
        words += ["-q", str(qp), "-c", s.color_name, "-f", _FORMATS[s.pixel_format]]
        words += ["-b", str(s.bit_depth), "-e", self.encoder, "-m", str(s.level)]
        return words + (["-limitedrange"] if s.limited_range else [])

    def encode(self, rgb: NDArray[np.uint8], qp: int) -> bytes:
        """(H, W, 3) sRGB, a QP of `qps` → what bpgenc writes. Raises CodecError."""
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or not rgb.size:
            raise BpgError(f"bpg codes (H, W, 3) uint8 pixels, not {rgb.shape} {rgb.dtype}")
        if qp not in self.qps:
            raise BpgError(f"bpg has QP {self.qps[0]} to {self.qps[-1]}, not {qp}")
        image = Image.fromarray(rgb)
        if self.settings.pixel_format is PixelFormat.GRAY:
            image = image.convert("L")
        with tempfile.TemporaryDirectory(prefix="bpgenc-") as folder:
            source, target = Path(folder, "in.png"), Path(folder, "out.bpg")
            image.save(source, compress_level=1)
            command = [self.bpgenc, *self.arguments(qp), "-o", str(target), str(source)]
            data = programs.run(command, target, self.timeout)
        asked = self.settings.header(rgb.shape[1], rgb.shape[0])
        made = BpgFile.parse(data).header
        for field in (
            "width",
            "height",
            "pixel_format",
            "color_space",
            "bit_depth",
            "limited_range",
        ):
            if getattr(made, field) != getattr(asked, field):
                raise BpgError(
                    f"bpgenc wrote a file with {field} {getattr(made, field)}, "
                    f"asked for {getattr(asked, field)}"
                )
        return data

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        """A whole .bpg file → (H, W, 3) as bpgdec writes it. Raises CodecError."""
        header = BpgFile.parse(data).header
        if header.alpha1:
            raise BpgError("the picture has an alpha plane, and RGB has no place for it")
        with tempfile.TemporaryDirectory(prefix="bpgdec-") as folder:
            source, target = Path(folder, "in.bpg"), Path(folder, "out.png")
            source.write_bytes(data)
            programs.run([self.bpgdec, "-o", str(target), str(source)], target, self.timeout)
            try:
                with Image.open(target, formats=["PNG"]) as image:
                    rgb = np.array(image.convert("RGB"))
            except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
                raise BpgError(f"bpgdec wrote a file that is no picture: {error}") from error
        if rgb.shape[:2] != (header.height, header.width):
            raise BpgError(
                f"bpgdec wrote {rgb.shape[1]}×{rgb.shape[0]} pixels, "
                f"the file has {header.width}×{header.height}"
            )
        return rgb

    def fingerprint(self) -> dict[str, str]:
        return {
            "codec": self.name,
            "provider": "libbpg",
            **dict(self.identity),
            "settings": " ".join(self.arguments(0)).replace("-q 0", "-q QP"),
            "format": self.settings.describe(),
        }
