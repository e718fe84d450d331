"""Against libbpg's own files: what is decoded, what would be written, rate and distortion."""

from collections.abc import Callable

import numpy as np
import pytest
from conftest import Vector
from pictures import psnr

from bench.codecs import make
from bench.codecs.bpg import BpgCodec
from bench.codecs.bpg.container import BpgFile
from bench.codecs.bpg.sps import Sps
from bench.codecs.files import info_text

NAMES = {"-f": "pixel_format", "-c": "color_space", "-b": "bit_depth", "-m": "level"}


def same_settings(vector: Vector) -> tuple[BpgCodec, int]:
    """Our codec with the settings that bpgenc was given, and the QP."""
    options: dict[str, object] = {"name": "bpg"}
    qp = 0
    words = iter(vector.args)
    for word in words:
        if word == "-q":
            qp = int(next(words))
        elif word == "-lossless":
            options["lossless"] = True
        elif word == "-limitedrange":
            options["limited_range"] = True
        else:
            value = next(words)
            options[NAMES[word]] = int(value) if value.isdigit() else value
    if vector.name.startswith("gray"):
        options["pixel_format"] = "gray"  # bpgenc takes it from the PNG
    codec = make(options)
    assert isinstance(codec, BpgCodec)
    return codec, qp


def test_they_are_written_back_byte_for_byte(vectors: list[Vector]) -> None:
    for vector in vectors:
        file = BpgFile.parse(vector.data)
        assert file.write() == vector.data, vector.name
        assert Sps.parse_full(file.sps.write_full()) == file.sps


def test_they_decode_to_bpgdecs_pixels(vectors: list[Vector]) -> None:
    for vector in vectors:
        assert np.array_equal(BpgCodec().decode(vector.data), vector.decoded), vector.name


def test_header_and_short_sps_are_theirs(vectors: list[Vector]) -> None:
    """Everything in front of the PPS, for every vector and the settings it was made with."""
    assert len(vectors) == 19
    for vector in vectors:
        codec, qp = same_settings(vector)
        ours = codec.encode(vector.source, qp)
        length = vector.data.index(b"\x44\x01\xc1")  # where the PPS begins
        assert ours[:length] == vector.data[:length], vector.name
        assert ours[length : length + 3] == b"\x44\x01\xc1"


def test_rate_and_distortion_beside_theirs(vectors: list[Vector]) -> None:
    """This x265 is newer: at the same QP it spends more, and is closer to the source.

    At most 12 % larger and at least as close, or, where it is larger than that, better by more
    than the bytes are worth on the line through libbpg's own points.
    """
    plain = {(v.source.tobytes(), v.qp): v for v in vectors if v.qp is not None}
    assert len(plain) == 10
    for (source, qp), vector in plain.items():
        data = BpgCodec().encode(vector.source, qp)
        ours = psnr(BpgCodec().decode(data), vector.source)
        theirs = psnr(vector.decoded, vector.source)
        assert ours > theirs - 0.1, vector.name
        larger = len(data) / len(vector.data)
        if larger > 1.12:
            finer = min((v for (s, q), v in plain.items() if s == source and q < qp),
                        key=lambda v: -v.qp)  # fmt: skip
            slope = np.log(len(finer.data) / len(vector.data)) / (
                psnr(finer.decoded, finer.source) - theirs
            )
            assert np.log(larger) - slope * (ours - theirs) < np.log(1.08), vector.name


def test_lossless_is_lossless(vectors: list[Vector]) -> None:
    vector = next(v for v in vectors if v.args == ("-lossless",))
    codec, _ = same_settings(vector)
    assert np.array_equal(vector.decoded, vector.source)
    data = codec.encode(vector.source, 0)
    assert np.array_equal(codec.decode(data), vector.source)
    assert abs(len(data) / len(vector.data) - 1) < 0.02


def test_info_is_bpgdecs(vectors: list[Vector], vector_path: Callable[[str], object]) -> None:
    for vector in vectors:
        text = info_text(vector_path(vector.name))  # type: ignore[arg-type]
        assert text.splitlines()[: len(vector.info)] == list(vector.info), vector.name


@pytest.mark.parametrize("options", [{"level": 1}, {"level": 9}, {"bit_depth": 12}], ids=str)
def test_options_that_no_vector_has(options: dict[str, object], vectors: list[Vector]) -> None:
    vector = next(v for v in vectors if v.name == "src1_q37_420")
    plain, other = make("bpg"), make({"name": "bpg", **options})
    data = other.encode(vector.source, 37)
    assert data != plain.encode(vector.source, 37)
    assert abs(psnr(other.decode(data), vector.source) - psnr(vector.decoded, vector.source)) < 1.5
