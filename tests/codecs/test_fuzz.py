"""A short run of perf/fuzz.py, in this process, and what it has found."""

import io
import tracemalloc
import warnings
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from bench.codecs import CODECS, jpegxl, make
from bench.codecs.bpg.bits import read_ue7, write_ue7
from bench.codecs.libav import decode_frames
from bench.codecs.mapped import MappedCodec
from bench.datasets.images import FORMATS, read_rgb
from bench.errors import CodecError, ConfigError, DataError
from perf import fuzz

FILES = {"bpg": 1500}
OTHERS = 400
SLOW = ("vvc", *(name for name in CODECS.names() if "20" in name and name != "jpeg2000"))
"""A program or a network for each file: perf/fuzz.py alone tries these."""
DECODERS = [name for name in CODECS.names() if name not in SLOW] + list(FORMATS)
GRAY = np.full((40, 56, 3), 100, np.uint8)


@pytest.fixture(autouse=True)
def limited(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    monkeypatch.setattr(MappedCodec, "max_pixels", MappedCodec.max_pixels)
    with warnings.catch_warnings():
        fuzz.limited()
        yield


def decoder(name: str) -> fuzz.Decoder:
    try:
        return fuzz.decoder(name)
    except ConfigError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", DECODERS)
def test_damaged_files_give_a_picture_or_an_error_of_ours(name: str) -> None:
    """Any other exception goes through `outcome`; so would a picture of another size."""
    tried = decoder(name)
    material = tried.material()
    assert {tried.outcome(data) for data in material.files} == {"picture"}
    n = FILES.get(name, OTHERS)
    results = [tried.outcome(material.damaged(number)) for number in range(n)]
    # it would prove nothing if all were refused at the first byte
    assert results.count("picture") > n / 25
    assert len(set(results)) > 2


@pytest.mark.parametrize("number", [0, 1, 17, 400])
def test_a_damaged_file_can_be_made_again(number: int) -> None:
    for name in ("bpg", "PNG"):
        material = decoder(name).material()
        assert material.damaged(number) == decoder(name).material().damaged(number)


# --- what it has found ----------------------------------------------------------------------------


def test_no_memory_for_bytes_that_a_file_only_claims(tmp_path: Path) -> None:
    """A box of 4 GB in a JPEG 2000 file of a few hundred bytes."""
    out = io.BytesIO()
    Image.fromarray(GRAY).save(out, "JPEG2000")
    data = out.getvalue()
    at = data.index(b"jp2h") - 4
    (tmp_path / "a.jp2").write_bytes(data[:at] + b"\xff" * 4 + data[at + 4 :])
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="only got"):
            read_rgb(tmp_path / "a.jp2")
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


def test_formats_that_data_sets_do_not_take_are_not_decoded(tmp_path: Path) -> None:
    for format in ("PCX", "SGI", "TGA", "ICO", "DDS"):
        Image.fromarray(GRAY).save(tmp_path / "a.png", format)
        with pytest.raises(DataError, match=r"none of the image formats that are read .*JPEG2000"):
            read_rgb(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["jpeg", "webp", "avif", "heic", "jpegxl", "jpeg2000"])
def test_pictures_over_the_limit_are_refused_by_their_headers(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder(name)
    codec = make(name)
    data = codec.encode(GRAY, 30)
    monkeypatch.setattr(MappedCodec, "max_pixels", GRAY[..., 0].size)
    assert codec.decode(data).shape == GRAY.shape
    monkeypatch.setattr(MappedCodec, "max_pixels", GRAY[..., 0].size - 1)
    with pytest.raises(CodecError, match=f"{name}: a picture of 56×40 pixels is not decoded"):
        codec.decode(data)


@pytest.mark.parametrize("name", ["av1", "h264"])
def test_a_stream_that_claims_more_than_its_header_is_refused(name: str) -> None:
    codec = make(name)
    data = codec.encode(np.full((600, 600, 3), 100, np.uint8), 40)
    stream = data[read_ue7(data, read_ue7(data, 0)[1])[1] :]
    with pytest.raises(CodecError, match=name):
        codec.decode(write_ue7(56) + write_ue7(40) + stream)
    assert len(decode_frames(codec.decoder, stream)) == 1
    with pytest.raises(av.FFmpegError):  # before memory is taken
        decode_frames(codec.decoder, stream, max_pixels=56 * 40)


@pytest.mark.parametrize(
    ("width", "height"),
    # by eighths and not, by each of the seven ratios and by none, in all four lengths
    [
        *((56, 40), (1, 1), (3, 17), (64, 64), (120, 100), (400, 300), (300, 200)),
        *((160, 90), (125, 100), (200, 100), (600, 10), (3, 9000), (17, 301)),
    ],
)
def test_the_size_of_a_jpeg_xl_is_read_from_its_header(width: int, height: int) -> None:
    decoder("jpegxl")
    data = make("jpegxl").encode(np.zeros((height, width, 3), np.uint8), 51)
    assert jpegxl.size(data) == (width, height)


@pytest.mark.parametrize("data", [b"", b"\xff", b"\0\0\0\x0cJXL \r\n\x87\n"])
def test_no_naked_codestream_of_jpeg_xl(data: bytes) -> None:
    with pytest.raises(CodecError, match="not a naked codestream"):
        jpegxl.size(data)
