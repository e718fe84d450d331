"""VVC intra pictures by Fraunhofer's VVenC and VVdeC, through their programs.

A file is width and height as in intra.py, and after them the byte stream that vvencapp wrote.
Pixels become planes as in a .bpg file, padded to a multiple of the smallest coding block.
"""

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.codecs import programs
from bench.codecs.base import CODECS
from bench.codecs.bpg import colour
from bench.codecs.bpg.bits import read_ue7, write_ue7
from bench.codecs.bpg.header import MAX_PIXELS, Header
from bench.codecs.options import Option, check_options
from bench.errors import CodecError

PRESETS = ("faster", "fast", "medium", "slow", "slower")
OPTIONS: Mapping[str, Option] = {
    "vvencapp": Option(kind=str, says="the path of the program"),
    "vvdecapp": Option(kind=str, says="the path of the program"),
    "preset": Option(allowed=PRESETS),
    "timeout": Option(kind=(int, float), least=0.001, says="seconds, more than 0"),
}
_VERSION = re.compile(r"(?is)vv(?:enc|dec).*?version\s+v?(\d\S*)")
_REMEDY = (
    "VVenC's and VVdeC's sources are at https://github.com/fraunhoferhhi/vvenc and …/vvdec: build "
    "them, put vvencapp and vvdecapp on PATH or name their paths as {name: vvc, vvencapp: …, "
    "vvdecapp: …}"
)
_LEAST, _MULTIPLE = 64, 8  # VVenC's smallest side that it is sure to take; its smallest block


@CODECS.register("vvc")
@dataclass(frozen=True)
class VvcCodec:
    """vvencapp at a constant QP of 0…63, 8 bits, 4:2:0, without perceptual adaptation, one thread.

    Its QP is the standard's own: the scale is that of HEVC, continued up to 63. Each call has a
    folder of its own for its files, so any number may run at the same time. timeout: seconds for
    one picture. identity: versions and digests of the programs.
    """

    vvencapp: str
    vvdecapp: str
    preset: str
    timeout: float
    identity: tuple[tuple[str, str], ...]

    name = "vvc"
    qps = range(0, 64)

    @classmethod
    def from_options(cls, options: Mapping[str, object]) -> "VvcCodec":
        """Looks for the programs, by path or on PATH. Raises ConfigError."""
        check_options(cls.name, options, OPTIONS)
        found, identity = {}, {}
        for name in ("vvencapp", "vvdecapp"):
            program = programs.find(cls.name, name, str(options.get(name, name)), _REMEDY)
            found[name] = program
            identity[name] = programs.version(cls.name, name, program, "--version", _VERSION)
            identity[f"{name}_sha256"] = programs.digest(program)
        return cls(
            **found,
            preset=str(options.get("preset", "medium")),
            timeout=float(options.get("timeout", 600)),  # type: ignore[arg-type]
            identity=tuple(identity.items()),
        )

    def arguments(self, width: int, height: int, qp: int) -> list[str]:
        """What vvencapp is told, but for the files."""
        words = f"-s {width}x{height} -c yuv420 -r 1 --frames 1 --internal-bitdepth 8"
        return f"{words} --preset {self.preset} --qp {qp} --qpa 0 --threads 1".split()

    def encode(self, rgb: NDArray[np.uint8], qp: int) -> bytes:
        """(H, W, 3) sRGB from 1×1 up, QP 0…63 → the whole file. Raises CodecError."""
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or not rgb.size:
            raise CodecError(f"vvc codes (H, W, 3) uint8 pixels, not {rgb.shape} {rgb.dtype}")
        if qp not in self.qps:
            raise CodecError(f"vvc has QP {self.qps[0]} to {self.qps[-1]}, not {qp}")
        height, width = rgb.shape[:2]
        coded_width, coded_height = _coded_size(width, height)
        planes = colour.to_planes(rgb, Header(width, height))
        with tempfile.TemporaryDirectory(prefix="vvencapp-") as folder:
            source, target = Path(folder, "in.yuv"), Path(folder, "out.266")
            with source.open("wb") as file:
                for i, plane in enumerate(planes):
                    h, w = (n if i == 0 else n // 2 for n in (coded_height, coded_width))
                    pad = ((0, h - plane.shape[0]), (0, w - plane.shape[1]))
                    file.write(np.pad(plane, pad, mode="edge").tobytes())
            words = self.arguments(coded_width, coded_height, qp)
            command = [self.vvencapp, "-i", str(source), "-o", str(target), *words]
            stream = programs.run(command, target, self.timeout)
        return write_ue7(width) + write_ue7(height) + stream

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        """The whole file → (H, W, 3) sRGB. Raises CodecError."""
        width, at = read_ue7(data, 0)
        height, at = read_ue7(data, at)
        if not 0 < width * height <= MAX_PIXELS:
            raise CodecError(f"vvc: a picture of {width}×{height} pixels is not decoded")
        w, h = _coded_size(width, height)
        with tempfile.TemporaryDirectory(prefix="vvdecapp-") as folder:
            source, target = Path(folder, "in.266"), Path(folder, "out.yuv")
            source.write_bytes(data[at:])
            command = [self.vvdecapp, "-b", str(source), "-o", str(target), "--threads", "1"]
            samples = np.frombuffer(programs.run(command, target, self.timeout), np.uint8)
        if samples.size != w * h * 3 // 2:
            raise CodecError(
                f"vvdecapp wrote {samples.size} bytes, and {w}×{h} samples of 8 bits, 4:2:0, are "
                f"{w * h * 3 // 2}"
            )
        luma, chroma = samples[: w * h], samples[w * h :]
        planes = [luma.reshape(h, w), *chroma.reshape(2, h // 2, w // 2)]
        return colour.to_rgb(planes, Header(width, height))

    def fingerprint(self) -> dict[str, str]:
        return {
            "codec": self.name,
            **dict(self.identity),
            "settings": " ".join(self.arguments(0, 0, 0)).replace("0x0", "WxH"),
            "padding": f"at least {_LEAST}, a multiple of {_MULTIPLE}",
            "colour": colour.version(),
        }


def _coded_size(width: int, height: int) -> tuple[int, int]:
    a, b = (max(_LEAST, -(-n // _MULTIPLE) * _MULTIPLE) for n in (width, height))
    return a, b
