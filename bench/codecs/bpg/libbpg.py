"""The original programs, bpgenc and bpgdec, as the provider of BPG.

They are used only when a config asks for them, and an option that they lack, a program that is
not there or a result that is not what was asked for is an error: nothing switches silently.
Pictures go through PNG files, because bpgenc keeps the chroma format of a JPEG whatever it is told.
"""

import hashlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

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
        encode, decode = _program("bpgenc", bpgenc), _program("bpgdec", bpgdec)
        identity = {
            "bpgenc": _version(encode, "bpgenc"),
            "bpgenc_sha256": _digest(encode),
            "bpgdec": _version(decode, "bpgdec"),
            "bpgdec_sha256": _digest(decode),
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
            data = _run(command, target, self.timeout)
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
            _run([self.bpgdec, "-o", str(target), str(source)], target, self.timeout)
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


def _program(name: str, wanted: str) -> str:
    path = shutil.which(wanted)
    if path is None:
        raise ConfigError(
            f"codec bpg: {name}: {wanted!r} is not a program here. libbpg's sources are at "
            f"https://bellard.org/bpg/: build them, put bpgenc and bpgdec on PATH or name their "
            f"paths as {{name: bpg, provider: libbpg, bpgenc: …, bpgdec: …}}; the embedded "
            f"provider needs neither"
        )
    return str(Path(path).resolve())


def _version(program: str, name: str) -> str:
    """What the program's help says; both print it and exit with 1 when asked with -h."""
    try:
        result = subprocess.run(
            [program, "-h"], capture_output=True, timeout=30, stdin=subprocess.DEVNULL, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"codec bpg: {name}: {program} does not run: {error}") from error
    found = _VERSION.search((result.stdout + result.stderr).decode("utf-8", "replace"))
    if found is None:
        raise ConfigError(f"codec bpg: {name}: {program} does not say that it is {name}")
    return found[1]


def _digest(program: str) -> str:
    return hashlib.sha256(Path(program).read_bytes()).hexdigest()


def _run(command: Sequence[str], target: Path, timeout: float) -> bytes:
    """Runs a program that writes `target` → the bytes it wrote. Raises BpgError."""
    name = Path(command[0]).name
    try:
        result = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BpgError(f"{name} took more than {timeout:g} seconds") from None
    except OSError as error:
        raise BpgError(f"{name} does not run: {error}") from error
    if result.returncode != 0:
        words = result.stderr.decode("utf-8", "replace").strip()[-300:]
        raise BpgError(f"{name} failed with exit code {result.returncode}: {words or 'no message'}")
    data = target.read_bytes() if target.exists() else b""
    if not data:
        raise BpgError(f"{name} wrote nothing")  # bpgenc leaves an empty file when it fails
    return data
