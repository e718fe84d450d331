"""The provider libbpg, against stand-ins with the command lines of bpgenc and bpgdec."""

import pickle
import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.codecs import make
from bench.codecs.bpg import BpgCodec, LibbpgCodec
from bench.errors import CodecError, ConfigError

ROOT = Path(__file__).resolve().parents[2]

COMMON = f"""#!{sys.executable}
import json, sys, time
from pathlib import Path
words = sys.argv[1:]
if "-h" in words:
    print("BPG Image {{}} version 0.9.8")
    sys.exit(1)
fault = Path(__file__).with_suffix(".fault")
fault = fault.read_text() if fault.exists() else ""
with open(Path(__file__).with_suffix(".log"), "a") as log:
    log.write(json.dumps(words) + "\\n")
target = Path(words[words.index("-o") + 1])
if fault == "exit 1":
    print("something is wrong", file=sys.stderr)
    sys.exit(1)
if fault == "empty":
    target.write_bytes(b"")
    sys.exit(0)
if fault == "nothing":
    sys.exit(0)
if fault == "hang":
    time.sleep(60)
sys.path.insert(0, {str(ROOT)!r})
import numpy as np
from PIL import Image
from bench.codecs import make
"""

BPGENC = (
    COMMON.format("Encoder")
    + """
value = lambda name: words[words.index(name) + 1]
options = {"name": "bpg", "color_space": value("-c"), "level": int(value("-m"))}
options["pixel_format"] = int(value("-f"))
options["bit_depth"] = int(value("-b"))
options["limited_range"] = "-limitedrange" in words
options["lossless"] = "-lossless" in words
with Image.open(words[-1], formats=["PNG"]) as image:
    if image.mode == "L":
        options["pixel_format"] = "gray"
    rgb = np.array(image.convert("RGB"))
if fault == "wrong size":
    rgb = rgb[:-1]
if fault == "wrong format":
    options["pixel_format"] = "4:4:4"
target.write_bytes(make(options).encode(rgb, int(value("-q"))))
"""
)
BPGDEC = (
    COMMON.format("Decoder")
    + """
rgb = make("bpg").decode(Path(words[-1]).read_bytes())
if fault == "wrong size":
    rgb = rgb[:-1]
if fault == "no picture":
    target.write_bytes(b"no picture")
else:
    Image.fromarray(rgb).save(target)
"""
)


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    for name, text in (("bpgenc", BPGENC), ("bpgdec", BPGDEC)):
        path = tmp_path / name
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return tmp_path


def spec(programs: Path, **options: object) -> dict[str, object]:
    named = {name: str(programs / name) for name in ("bpgenc", "bpgdec")}
    return {"name": "bpg", "provider": "libbpg", **named, **options}


def test_they_are_called_as_asked(
    programs: Path, natural: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    codec = make({"name": "bpg", "provider": "libbpg"})
    data = codec.encode(natural, 37)
    assert data == BpgCodec().encode(natural, 37)
    assert np.array_equal(codec.decode(data), BpgCodec().decode(data))
    log = (programs / "bpgenc.log").read_text()
    expected = '["-q", "37", "-c", "ycbcr", "-f", "420", "-b", "8", "-e", "x265", "-m", "8", "-o",'
    assert log.startswith(expected)
    assert log.endswith('in.png"]\n')


def test_settings_reach_the_program(programs: Path, natural: NDArray[np.uint8]) -> None:
    small = natural[:32, :40]
    for options in (
        {"pixel_format": "4:2:2", "bit_depth": 10, "level": 2},
        {"color_space": "ycbcr_bt709", "limited_range": True},
        {"pixel_format": "gray"},
        {"lossless": True},
    ):
        codec = make(spec(programs, **options))
        qp = codec.qps[-1]
        embedded = make({"name": "bpg", **options})
        if options == {"pixel_format": "gray"}:
            # both sides make gray of it, each in its own way
            small = np.repeat(small[..., :1], 3, axis=2)
        assert codec.encode(small, qp) == embedded.encode(small, qp)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("exit 1", "exit code 1: something is wrong"),
        ("empty", "bpgenc wrote nothing"),
        ("nothing", "bpgenc wrote nothing"),
        ("hang", "bpgenc took more than 0.5 seconds"),
        ("wrong size", "wrote a file with height 95, asked for 96"),
        ("wrong format", "wrote a file with pixel_format"),
    ],
)
def test_faults_of_bpgenc(
    programs: Path, fault: str, says: str, natural: NDArray[np.uint8]
) -> None:
    timeout = 0.5 if fault == "hang" else 60
    codec = make(spec(programs, timeout=timeout))
    (programs / "bpgenc.fault").write_text(fault)
    with pytest.raises(CodecError, match=says):
        codec.encode(natural, 37)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("exit 1", "bpgdec failed with exit code 1"),
        ("empty", "bpgdec wrote nothing"),
        ("hang", "bpgdec took more than 0.5 seconds"),
        ("wrong size", "bpgdec wrote 128×95 pixels, the file has 128×96"),
        ("no picture", "no picture"),
    ],
)
def test_faults_of_bpgdec(
    programs: Path, fault: str, says: str, natural: NDArray[np.uint8]
) -> None:
    timeout = 0.5 if fault == "hang" else 60
    codec = make(spec(programs, timeout=timeout))
    (programs / "bpgdec.fault").write_text(fault)
    with pytest.raises(CodecError, match=says):
        codec.decode(BpgCodec().encode(natural, 37))


def test_a_program_that_is_gone_or_garbage_in(programs: Path, natural: NDArray[np.uint8]) -> None:
    codec = make(spec(programs))
    with pytest.raises(CodecError, match=r"not a \.bpg file"):
        codec.decode(b"garbage")
    with pytest.raises(CodecError, match="QP 0 to 51, not 52"):
        codec.encode(natural, 52)
    with pytest.raises(CodecError, match="uint8"):
        codec.encode(natural.astype(float), 37)  # type: ignore[arg-type]
    (programs / "bpgenc").unlink()
    with pytest.raises(CodecError, match="does not run"):
        codec.encode(natural, 37)


def test_missing_programs_are_an_error_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"bpgenc.*is not a program here.*https://bellard.org"):
        make({"name": "bpg", "provider": "libbpg"})
    other = tmp_path / "bpgenc"
    other.write_text("#!/bin/sh\necho something else\n")
    other.chmod(0o755)
    with pytest.raises(ConfigError, match="is not a program here"):
        make({"name": "bpg", "provider": "libbpg"})  # still no bpgdec
    with pytest.raises(ConfigError, match="does not say that it is bpgenc"):
        make({"name": "bpg", "provider": "libbpg", "bpgdec": str(other)})


def test_options_it_does_not_have(programs: Path) -> None:
    with pytest.raises(ConfigError, match="bpgenc does not write '4:2:0-left'"):
        make(spec(programs, pixel_format="4:2:0-left"))
    with pytest.raises(ConfigError, match=r"timeout: 0 is not allowed.*seconds"):
        make(spec(programs, timeout=0))
    with pytest.raises(ConfigError, match=r"encoder: 'hm'.*x265, jctvc"):
        make(spec(programs, encoder="hm"))
    with pytest.raises(ConfigError, match="unknown option 'max_pixels'"):
        make(spec(programs, max_pixels=5))


def test_the_fingerprint_has_version_digest_and_settings(programs: Path) -> None:
    codec = make(spec(programs))
    seen = codec.fingerprint()
    assert seen["provider"] == "libbpg"
    assert seen["bpgenc"] == seen["bpgdec"] == "0.9.8"
    assert "-q QP -c ycbcr" in seen["settings"]
    assert make(spec(programs, encoder="jctvc")).fingerprint() != seen
    (programs / "bpgenc").write_text(BPGENC + "# another build\n")
    assert make(spec(programs)).fingerprint()["bpgenc_sha256"] != seen["bpgenc_sha256"]


def test_it_is_picklable_and_each_call_has_its_own_files(
    programs: Path, natural: NDArray[np.uint8]
) -> None:
    codec = pickle.loads(pickle.dumps(make(spec(programs))))
    assert isinstance(codec, LibbpgCodec)
    pictures = [natural[i : i + 32, : 40 + i] for i in range(4)]
    with ThreadPoolExecutor(4) as pool:
        files = list(pool.map(lambda p: codec.encode(p, 37), pictures))
    assert files == [BpgCodec().encode(p, 37) for p in pictures]
