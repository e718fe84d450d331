"""Pixels of image files: every depth and mode right or refused, turned pictures said."""

import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from bench.datasets import folder
from bench.datasets.check import check
from bench.datasets.files import header
from bench.datasets.images import read_rgb
from bench.errors import DataError

GRAY = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
WIDE = GRAY.astype(np.uint16) << 8 | 0x7F


def gray_of(path: Path) -> Any:
    rgb = read_rgb(path)
    assert (rgb == rgb[:, :, :1]).all()
    return rgb[:, :, 0]


def tiff(path: Path, data: bytes, bits: int, tags: dict[int, int], order: str = "<") -> Path:
    """An uncompressed gray TIFF of 6 × 4 pixels, of which Pillow can write few."""
    entries = {256: 6, 257: 4, 258: bits, 259: 1, 262: 1, 273: 0, 277: 1, 278: 4, 279: len(data)}
    entries |= tags
    entries[273] = 8 + 2 + 12 * len(entries) + 4
    rows = b"".join(
        struct.pack(f"{order}HHIHH", tag, 3, 1, value, 0) for tag, value in sorted(entries.items())
    )
    start = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 8)
    path.write_bytes(start + struct.pack(f"{order}H", len(entries)) + rows + bytes(4) + data)
    return path


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
@pytest.mark.parametrize("top", [0xFFFF, 0xFF])
def test_sixteen_bits_keep_the_high_byte_even_where_all_is_dark(
    tmp_path: Path, suffix: str, top: int
) -> None:
    wide = np.minimum(WIDE, top)
    cv2.imwrite(str(tmp_path / f"w.{suffix}"), wide)
    assert (gray_of(tmp_path / f"w.{suffix}") == wide >> 8).all()


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_of_colour_keep_the_high_byte(tmp_path: Path, suffix: str) -> None:
    wide = np.stack([WIDE, WIDE[::-1], WIDE[:, ::-1]], axis=2)
    cv2.imwrite(str(tmp_path / f"w.{suffix}"), wide[:, :, ::-1])
    assert (read_rgb(tmp_path / f"w.{suffix}") == wide >> 8).all()


def test_sixteen_bits_of_gray_with_alpha(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    rows = np.stack([WIDE, np.full_like(WIDE, 0x1234)], axis=2).astype(">u2")
    pixels = b"".join(b"\0" + row.tobytes() for row in rows)
    ihdr = struct.pack(">IIBBBBB", 6, 4, 16, 4, 0, 0, 0)
    (tmp_path / "la.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + chunk(b"IDAT", zlib.compress(pixels))
        + chunk(b"IEND", b"")
    )  # fmt: skip
    assert (gray_of(tmp_path / "la.png") == GRAY).all()


@pytest.mark.parametrize("order", ["<", ">"])
def test_depth_of_a_tiff_is_the_declared_one(tmp_path: Path, order: str) -> None:
    wide = WIDE.astype(f"{order}u2").tobytes()
    assert (gray_of(tiff(tmp_path / "16.tif", wide, 16, {}, order)) == GRAY).all()


def test_twelve_bits_are_scaled_from_twelve(tmp_path: Path) -> None:
    values = GRAY.astype(int).reshape(-1, 2) << 4 | 9
    packed = b"".join((a << 12 | b).to_bytes(3) for a, b in values.tolist())
    assert (gray_of(tiff(tmp_path / "12.tif", packed, 12, {})) == GRAY).all()


def test_white_may_be_zero(tmp_path: Path) -> None:
    for bits, data in ((8, GRAY), (16, WIDE)):
        file = tiff(tmp_path / "white.tif", data.tobytes(), bits, {262: 0})
        assert (gray_of(file) == 255 - GRAY).all(), bits


@pytest.mark.parametrize("top", [0, 255, 70_000])
def test_thirty_two_bits_have_no_range_whatever_the_values(tmp_path: Path, top: int) -> None:
    data = np.full((4, 6), top, np.int32)
    Image.fromarray(data).save(tmp_path / "i.tif")
    files = [tmp_path / "i.tif", tiff(tmp_path / "u.tif", data.tobytes(), 32, {})]
    for file in files:
        with pytest.raises(DataError, match=rf"{file.name}: .*no defined 8-bit range"):
            read_rgb(file)


@pytest.mark.parametrize(("bits", "sign"), [(8, 2), (16, 2), (32, 2), (32, 3), (16, 3)])
def test_signed_and_floating_samples_are_refused(tmp_path: Path, bits: int, sign: int) -> None:
    file = tiff(tmp_path / "s.tif", bytes(24 * bits // 8), bits, {339: sign})
    with pytest.raises(DataError, match=r"s\.tif: not readable as an image"):
        read_rgb(file)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK"])
def test_every_mode_gives_what_pillow_shows_without_transparency(tmp_path: Path, mode: str) -> None:
    colours = np.stack([GRAY, GRAY[::-1], 255 - GRAY], axis=2)
    image = Image.fromarray(colours).convert("RGBA").convert(mode)
    if mode in ("LA", "RGBA", "PA"):
        image.putalpha(7)
    image.save(tmp_path / "a.tif")
    error = np.abs(read_rgb(tmp_path / "a.tif").astype(int) - np.asarray(image.convert("RGB")))
    assert error.max() == 0


def test_a_transparent_palette_keeps_its_colours(tmp_path: Path) -> None:
    image = Image.new("P", (6, 4), 1)
    image.putpalette([0, 0, 0, 200, 30, 40])
    for transparent in (1, bytes([255, 0])):
        image.save(tmp_path / "p.png", transparency=transparent)
        assert (read_rgb(tmp_path / "p.png") == (200, 30, 40)).all()


def test_cmyk_of_a_jpeg_is_not_inverted(tmp_path: Path) -> None:
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "red.jpg", quality=95)
    assert np.abs(read_rgb(tmp_path / "red.jpg").astype(int) - (255, 0, 0)).max() < 6


def test_cielab_is_red_or_refused(tmp_path: Path) -> None:
    Image.new("LAB", (4, 4), (136, 208, 195)).save(tmp_path / "lab.tif")  # sRGB red
    try:
        rgb = read_rgb(tmp_path / "lab.tif")
    except DataError:
        return  # older Pillow
    assert np.abs(rgb.astype(int) - (255, 0, 0)).max() < 15


@pytest.mark.parametrize("content", [b"P6 0 4 255\n", b"P6 0 0 255\n", b"BM" + bytes(60)])
def test_no_pixels_are_no_image(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "none.ppm").write_bytes(content)
    with pytest.raises(DataError, match=r"none\.ppm: not readable"):
        read_rgb(tmp_path / "none.ppm")


# Turned pictures and files of several


def turned(path: Path, orientation: int, mode: str = "L", **options: Any) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    if path.suffix == ".tif":
        options["tiffinfo"] = {0x0112: orientation}
    else:
        options["exif"] = exif
    Image.fromarray(GRAY).convert(mode).save(path, **options)
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("suffix", "options"),
    [("png", {}), ("webp", {"lossless": True}), ("tif", {}), ("tif", {"compression": "tiff_lzw"}),
     ("jpg", {"quality": 100})],
)  # fmt: skip
def test_pixels_are_as_stored_and_turns_are_said(
    tmp_path: Path, suffix: str, options: dict[str, Any], orientation: int
) -> None:
    for mode in ("L", "RGB"):
        file = turned(tmp_path / f"{mode}.{suffix}", orientation, mode, **options)
        assert np.abs(gray_of(file).astype(int) - GRAY).max() <= (3 if suffix == "jpg" else 0)
    said = [f"EXIF asks to turn the image, which is not done: 2 (L.{suffix}, RGB.{suffix})"]
    assert folder.load(tmp_path, "cls").notes[1:] == (said if orientation > 1 else [])


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_orientations_that_mean_nothing(tmp_path: Path, orientation: int) -> None:
    file = turned(tmp_path / "a.png", orientation)
    assert (gray_of(file) == GRAY).all()
    assert len(folder.load(tmp_path, "cls").notes) == 1


def test_tiffs_of_16_bits_are_as_stored_too(tmp_path: Path) -> None:
    for orientation in range(1, 9):
        file = tiff(tmp_path / "w.tif", WIDE.tobytes(), 16, {0x0112: orientation})
        assert (gray_of(file) == GRAY).all()


def late(path: Path, kind: bytes, data: bytes) -> Path:
    """A PNG with a chunk between its pixels and its end, as some tools write."""
    Image.fromarray(GRAY).save(path)
    content = path.read_bytes()
    chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    path.write_bytes(content[:-12] + chunk + content[-12:])
    return path


def test_orientation_after_the_pixels_of_a_png(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    raw = exif.tobytes().removeprefix(b"Exif\0\0")
    profile = b"\nexif\n    %d\n%s\n" % (len(raw) + 6, (b"Exif\0\0" + raw).hex().encode())
    xmp = b'<x tiff:Orientation="6"/>'
    for kind, data in [
        (b"eXIf", raw),
        (b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(profile)),
        (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp),
    ]:
        seen = header(late(tmp_path / "late.png", kind, data))
        assert seen is not None, kind
        assert seen.turned, kind
    seen = header(late(tmp_path / "late.png", b"tEXt", b"date:create\0" + b"2020"))
    assert seen is not None
    assert not seen.turned


def test_headers_of_pngs_are_read_without_their_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late(tmp_path / "a.png", b"tEXt", b"date:create\0" + b"2020")

    def refuse(self: Image.Image) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", refuse)
    assert header(tmp_path / "a.png") is not None


@pytest.mark.parametrize("suffix", ["tif", "gif", "webp", "png"])
def test_more_than_one_picture_in_a_file_is_said(tmp_path: Path, suffix: str) -> None:
    frames = [Image.fromarray(np.roll(GRAY, i)) for i in range(3)]
    frames[0].save(tmp_path / "one.png")
    file = tmp_path / f"several.{suffix}"
    frames[0].save(file, save_all=True, append_images=frames[1:], lossless=True)
    if suffix == "gif":
        file = file.rename(tmp_path / "several.jpg")  # no ending of an image, and a wrong one
    assert np.abs(gray_of(file).astype(int) - GRAY).max() == 0
    assert folder.load(tmp_path, "cls").notes[1:] == [
        f"only the first picture of the file is taken, there are more: 1 ({file.name})"
    ]


def test_check_and_a_run_say_the_same_of_images(tmp_path: Path) -> None:
    for i in range(7):
        turned(tmp_path / f"{i}.jpg", 6)
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe1 nothing")
    found = check(tmp_path, "folder", {}, False, lambda what, n: lambda steps: None)
    kind = "EXIF asks to turn the image, which is not done"
    assert found.remarks[kind] == [f"{i}.jpg" for i in range(7)]
    assert len(found.faults["images that cannot be read"]) == 1
    (note,) = (n for n in folder.load(tmp_path, "cls").notes if kind in n)
    assert note == f"{kind}: 7 (0.jpg, 1.jpg, 2.jpg, 3.jpg, 4.jpg, …)"


def test_no_flipped_bit_of_a_png_gives_other_pixels(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    whole = np.random.default_rng(0).integers(0, 256, (6, 6, 3), np.uint8)
    Image.fromarray(whole).save(path)
    data, refused = path.read_bytes(), 0
    for at in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[at // 8] ^= 1 << at % 8
        path.write_bytes(damaged)
        try:
            assert np.array_equal(read_rgb(path), whole)
        except DataError:
            refused += 1
    assert refused > 0.9 * 8 * len(data)
