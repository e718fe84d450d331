"""A codec by hand: picture files in and out."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pictures import psnr
from PIL import Image

from bench.codecs.bpg import BpgCodec, Settings, picture
from bench.codecs.files import decoder, encoder, info_text, read_picture, spec
from bench.errors import CodecError, ConfigError, DataError

Spec = str | dict[str, object]


def encode_file(
    source: Path, target: Path, codec: Spec, qp: int | None, background: str | None = None
) -> str:
    return str(encoder(codec, qp, background)(source, target))


def decode_file(source: Path, target: Path, codec: Spec, background: str | None = None) -> str:
    return decoder(codec, background)(source, target)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".ppm", ".webp"])
def test_pictures_in_and_out(suffix: str, tmp_path: Path, natural: NDArray[np.uint8]) -> None:
    source, coded, target = tmp_path / f"a{suffix}", tmp_path / "a.bpg", tmp_path / f"b{suffix}"
    Image.fromarray(natural).save(source)
    rgb, alpha = read_picture(source)
    assert alpha is None
    line = encode_file(source, coded, "bpg", 30)
    data = coded.read_bytes()
    assert data == BpgCodec().encode(rgb, 30)
    assert "128×96 pixels" in line
    assert f"{len(data)} bytes" in line
    assert "128×96 pixels" in decode_file(coded, target, "bpg")
    again, _ = read_picture(target)
    if suffix == ".jpg":
        assert psnr(again, BpgCodec().decode(data)) > 36
    else:
        assert np.array_equal(again, BpgCodec().decode(data))


def test_other_codecs_and_options(tmp_path: Path, natural: NDArray[np.uint8]) -> None:
    source = tmp_path / "a.png"
    Image.fromarray(natural).save(source)
    encode_file(source, tmp_path / "a.jpg", "jpeg", 30)
    decode_file(tmp_path / "a.jpg", tmp_path / "b.png", "jpeg")
    assert psnr(read_picture(tmp_path / "b.png")[0], natural) > 28
    encode_file(source, tmp_path / "l.bpg", {"name": "bpg", "lossless": True}, None)
    decode_file(tmp_path / "l.bpg", tmp_path / "l.png", "bpg")
    assert np.array_equal(read_picture(tmp_path / "l.png")[0], natural)


@pytest.mark.parametrize(
    "name", ["jpeg", "webp", "avif", "jpeg2000", "jpegxl", "heic", "av1", "h264"]
)
def test_every_codec_by_hand(name: str, tmp_path: Path, natural: NDArray[np.uint8]) -> None:
    needs = {"jpegxl": "imagecodecs", "heic": "pillow_heif"}
    if name in needs:
        pytest.importorskip(needs[name], reason=f"{needs[name]} is not installed")
    source, coded, target = tmp_path / "a.png", tmp_path / "coded", tmp_path / "b.png"
    Image.fromarray(natural).save(source)
    assert "128×96 pixels" in encode_file(source, coded, name, 30)
    assert "128×96 pixels" in decode_file(coded, target, name)
    assert psnr(read_picture(target)[0], natural) > 28
    size = coded.stat().st_size
    bpp = 8 * size / (128 * 96)
    assert info_text(coded, name) == f"{name}: 128×96 pixels\nfile: {size} bytes, {bpp:.4f} bpp"
    with pytest.raises(CodecError):
        info_text(source, name)


def test_transparent_pictures(tmp_path: Path, natural: NDArray[np.uint8]) -> None:
    alpha = np.linspace(0, 255, 128, dtype=np.uint8)[None].repeat(96, axis=0)
    source, coded = tmp_path / "a.png", tmp_path / "a.bpg"
    Image.fromarray(np.dstack((natural, alpha))).save(source)
    encode_file(source, coded, "bpg", 20)
    assert "alpha=1 premul=0" in info_text(coded)
    decode_file(coded, tmp_path / "b.png", "bpg")
    rgb, back = read_picture(tmp_path / "b.png")
    assert back is not None
    assert np.abs(back.astype(int) - alpha).max() <= 6
    with pytest.raises(ConfigError, match="JPEG has no place for it: name a background"):
        decode_file(coded, tmp_path / "b.jpg", "bpg")
    decode_file(coded, tmp_path / "c.png", "bpg", background="white")
    flat, none = read_picture(tmp_path / "c.png")
    assert none is None
    exact = 255 + (rgb - 255.0) * back[..., None] / 255
    assert np.abs(flat - exact).max() <= 0.5 + 1e-9
    with pytest.raises(ConfigError, match="jpeg has no place for it"):
        encode_file(source, tmp_path / "a.jpg", "jpeg", 30)
    encode_file(source, tmp_path / "flat.bpg", "bpg", 30, background="black")
    assert "alpha" not in info_text(tmp_path / "flat.bpg")


def test_an_alpha_that_hides_nothing_is_not_coded(
    tmp_path: Path, natural: NDArray[np.uint8]
) -> None:
    opaque = np.full(natural.shape[:2], 255, np.uint8)
    Image.fromarray(np.dstack((natural, opaque))).save(tmp_path / "a.png")
    encode_file(tmp_path / "a.png", tmp_path / "a.bpg", "bpg", 30)
    assert (tmp_path / "a.bpg").read_bytes() == BpgCodec().encode(natural, 30)


def test_gray_palette_and_cmyk_are_read_as_rgb(tmp_path: Path, natural: NDArray[np.uint8]) -> None:
    image = Image.fromarray(natural)
    for name, mode in (("g.png", "L"), ("p.png", "P"), ("c.jpg", "CMYK")):
        image.convert(mode).save(tmp_path / name)
        rgb, alpha = read_picture(tmp_path / name)
        assert rgb.shape == natural.shape
        assert alpha is None


def test_what_is_refused(tmp_path: Path, natural: NDArray[np.uint8]) -> None:
    source, target = tmp_path / "a.png", tmp_path / "a.bpg"
    with pytest.raises(ConfigError, match="there is no such file"):
        encode_file(source, target, "bpg", 30)
    Image.fromarray(natural).save(source)
    with pytest.raises(ConfigError, match="--qp 52: bpg takes 0…51"):
        encode_file(source, target, "bpg", 52)
    with pytest.raises(ConfigError, match="--qp None"):
        encode_file(source, target, "bpg", None)
    with pytest.raises(ConfigError, match="background 'pink'"):
        encode_file(source, target, "bpg", 30, background="pink")
    with pytest.raises(ConfigError, match="cannot be written"):
        encode_file(source, tmp_path / "no" / "a.bpg", "bpg", 30)
    encode_file(source, target, "bpg", 30)
    with pytest.raises(ConfigError, match=r"must end in one of .png, .jpg"):
        decode_file(target, tmp_path / "a.xyz", "bpg")
    with pytest.raises(ConfigError, match="cannot be written"):
        decode_file(target, tmp_path / "no" / "a.png", "bpg")
    (tmp_path / "t.png").write_text("no picture")
    with pytest.raises(DataError, match="not a picture that can be read"):
        encode_file(tmp_path / "t.png", target, "bpg", 30)
    Image.fromarray(natural[..., 0].astype(np.uint16) * 256).save(tmp_path / "deep.png")
    with pytest.raises(DataError, match="more than 8 bits"):
        encode_file(tmp_path / "deep.png", target, "bpg", 30)
    with pytest.raises(CodecError, match=r"not a \.bpg file"):
        info_text(source)
    with pytest.raises(CodecError, match=r"not a \.bpg file"):
        decode_file(source, tmp_path / "b.png", "bpg")


def test_options_in_words() -> None:
    words = ["pixel_format=4:4:4", "level=3", "lossless=true", "timeout=1.5", "bpgenc=/a=b"]
    assert spec("bpg", words) == {
        "name": "bpg",
        "pixel_format": "4:4:4",
        "level": 3,
        "lossless": True,
        "timeout": 1.5,
        "bpgenc": "/a=b",
    }
    for wrong in ("level", "=3", "name=jpeg"):
        with pytest.raises(ConfigError, match="key=value"):
            spec("bpg", [wrong])


def test_info_says_more_than_bpgdec(tmp_path: Path, natural: NDArray[np.uint8]) -> None:
    extension = picture.Extension(1, b"0123456789")
    data = picture.encode(natural, 30, Settings(), extensions=(extension,))
    (tmp_path / "a.bpg").write_bytes(data)
    lines = info_text(tmp_path / "a.bpg").splitlines()
    assert lines[0] == (
        "size=128x96 color_space=YCbCr format=4:2:0 limited_range=0 bit_depth=8 animation=0"
    )
    assert lines[1:3] == ["Extension data:", "  tag=1 (EXIF) length=10"]
    assert f"file: {len(data)} bytes" in lines[3]
    assert any("coding blocks 8…64" in line for line in lines)
    assert sum("NAL unit: type" in line for line in lines) == 2
