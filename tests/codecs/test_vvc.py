"""VVC's programs: stand-ins that lose nothing, to see how they are called and what faults give.

What VVenC itself does is tested where it is on PATH.
"""

import json
import shutil
import stat
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pictures import natural_picture, psnr

from bench.codecs import make
from bench.errors import CodecError, ConfigError

STAND_IN = """#!/usr/bin/env python3
import json, sys, time, zlib
from pathlib import Path
words = sys.argv[1:]
if "--version" in words:
    print("NAME: VVxxC, the Fraunhofer H.266/VVC coder, version 1.13.1 [Linux][GCC]")
    sys.exit(0)
value = lambda *names: next(words[words.index(n) + 1] for n in names if n in words)
fault = Path(__file__).with_suffix(".fault")
fault = fault.read_text() if fault.exists() else ""
with open(Path(__file__).with_suffix(".log"), "a") as log:
    log.write(json.dumps(words) + "\\n")
if fault == "exit 1":
    print("something is wrong", file=sys.stderr)
    sys.exit(1)
if fault == "nothing":
    sys.exit(0)
if fault == "hang":
    time.sleep(60)
data = Path(value("-i", "-b")).read_bytes()
if fault == "10 bits":
    data = zlib.compress(2 * zlib.decompress(data))
code = zlib.compress if "-i" in words else zlib.decompress
Path(value("-o")).write_bytes(code(data))
"""


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    for name in ("vvencapp", "vvdecapp"):
        path = tmp_path / name
        path.write_text(STAND_IN.replace("NAME", name))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return tmp_path


def spec(programs: Path, **options: object) -> dict[str, object]:
    named = {name: str(programs / name) for name in ("vvencapp", "vvdecapp")}
    return {"name": "vvc", **named, **options}


@pytest.mark.parametrize(("width", "height"), [(1, 1), (17, 40), (70, 65)])
def test_planes_reach_the_program_padded_and_come_back_cropped(
    programs: Path, width: int, height: int
) -> None:
    """The stand-in loses nothing, so what is left is the conversion to 4:2:0 and back."""
    rgb = natural_picture(width, height)
    codec = make(spec(programs))
    data = codec.encode(rgb, 37)
    assert codec.decode(data).shape == rgb.shape
    assert psnr(codec.decode(data), rgb) > 30
    words = json.loads((programs / "vvencapp.log").read_text().splitlines()[0])
    size = [int(n) for n in words[words.index("-s") + 1].split("x")]
    assert size == [max(64, -(-n // 8) * 8) for n in (width, height)]
    assert words[words.index("--qp") + 1] == "37"
    assert words[words.index("--threads") + 1] == "1"


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("exit 1", r"vvencapp failed with exit code 1: something is wrong"),
        ("nothing", "vvencapp wrote nothing"),
        ("hang", r"vvencapp took more than 0\.5 seconds"),
    ],
)
def test_an_encoder_that_fails(
    fault: str, says: str, programs: Path, natural: NDArray[np.uint8]
) -> None:
    codec = make(spec(programs, timeout=0.5 if fault == "hang" else 60))
    (programs / "vvencapp.fault").write_text(fault)
    with pytest.raises(CodecError, match=says):
        codec.encode(natural, 37)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("exit 1", r"vvdecapp failed with exit code 1"),
        ("10 bits", r"vvdecapp wrote 36864 bytes, and 128×96 samples of 8 bits, 4:2:0, are 18432"),
    ],
)
def test_a_decoder_that_fails(
    fault: str, says: str, programs: Path, natural: NDArray[np.uint8]
) -> None:
    codec = make(spec(programs))
    data = codec.encode(natural, 37)
    (programs / "vvdecapp.fault").write_text(fault)
    with pytest.raises(CodecError, match=says):
        codec.decode(data)


def test_bad_input(programs: Path, natural: NDArray[np.uint8]) -> None:
    codec = make(spec(programs))
    with pytest.raises(CodecError, match="vvc has QP 0 to 63, not 64"):
        codec.encode(natural, 64)
    with pytest.raises(CodecError, match="uint8"):
        codec.encode(natural.astype(float), 37)  # type: ignore[arg-type]
    for data in (b"", b"\x10", b"garbage", codec.encode(natural, 37)[:-9]):
        with pytest.raises(CodecError):
            codec.decode(data)
    with pytest.raises(ConfigError, match=r"preset: 'best'.*faster, fast, medium, slow, slower"):
        make(spec(programs, preset="best"))


def test_missing_programs_are_an_error_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"vvencapp.*is not a program here.*github\.com/fraunh"):
        make("vvc")


def test_the_fingerprint_has_version_digest_and_settings(programs: Path) -> None:
    seen = make(spec(programs)).fingerprint()
    assert seen["vvencapp"] == seen["vvdecapp"] == "1.13.1"
    assert "--qpa 0" in seen["settings"]
    assert make(spec(programs, preset="slow")).fingerprint() != seen
    with (programs / "vvencapp").open("a") as file:
        file.write("# another build\n")
    changed = make(spec(programs)).fingerprint()
    assert {k for k in seen if seen[k] != changed[k]} == {"vvencapp_sha256"}


@pytest.mark.skipif(
    not (shutil.which("vvencapp") and shutil.which("vvdecapp")),
    reason="vvencapp and vvdecapp are not on PATH",
)
@pytest.mark.parametrize(("width", "height"), [(1, 1), (17, 40), (128, 96)])
def test_the_programs_themselves(width: int, height: int) -> None:
    codec, rgb = make("vvc"), natural_picture(width, height)
    files = [codec.encode(rgb, qp) for qp in (22, 37, 51)]
    decoded = [codec.decode(data) for data in files]
    assert all(d.shape == rgb.shape for d in decoded)
    assert len(files[0]) >= len(files[1]) >= len(files[2])
    assert psnr(decoded[0], rgb) >= psnr(decoded[2], rgb)
