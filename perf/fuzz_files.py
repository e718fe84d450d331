"""Small whole files of every format that is decoded here, and ways to damage them, by number."""

import io
import random
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.codecs.base import Codec
from bench.codecs.bpg import picture
from bench.codecs.bpg.bits import write_ue7
from bench.codecs.bpg.container import BpgFile
from bench.codecs.bpg.header import ColorSpace, Extension, PixelFormat
from bench.codecs.bpg.nal import START_CODE
from bench.codecs.bpg.settings import Settings

VECTORS = Path(__file__).resolve().parents[2] / "shared" / "bpg_vectors"
LARGEST = 2**18  # bytes of a file
WIDTH, HEIGHT = 56, 40
SIZES = (0, 1, 7, 64, 1000, 4096, 5000, 2**14, 2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1)

Damage = Callable[[bytearray, random.Random], None]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Material:
    """Whole files of one format, and what is done to them."""

    files: tuple[bytes, ...]
    damages: tuple[Damage, ...]
    mended: Callable[[bytes], bytes] | None = None
    """Checksums set right again: else nothing behind them is ever reached."""

    def damaged(self, number: int) -> bytes:
        """The file of that number."""
        rng = random.Random(number)
        data = bytearray(rng.choice(self.files))
        for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
            rng.choice(self.damages)(data, rng)
            del data[LARGEST:]
        if self.mended and rng.random() < 0.8:
            return self.mended(bytes(data))
        return bytes(data)


# --- damages --------------------------------------------------------------------------------------


def _place(data: bytearray, rng: random.Random) -> int:
    """A position: half of them in the first 40 bytes, where most of the syntax is."""
    return rng.randrange(min(len(data), 40) if rng.random() < 0.5 else len(data)) if data else 0


def _bit(data: bytearray, rng: random.Random) -> None:
    if data:
        data[_place(data, rng)] ^= 1 << rng.randrange(8)


def _byte(data: bytearray, rng: random.Random) -> None:
    if data:
        data[_place(data, rng)] = rng.choice((0, 1, 3, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def _cut(data: bytearray, rng: random.Random) -> None:
    del data[_place(data, rng) :]


def _remove(data: bytearray, rng: random.Random) -> None:
    at = _place(data, rng)
    del data[at : at + rng.choice((1, 2, 3, 16))]


def _insert(data: bytearray, rng: random.Random) -> None:
    at = _place(data, rng)
    data[at:at] = rng.randbytes(rng.choice((1, 2, 3, 16, 300)))


def _repeat(data: bytearray, rng: random.Random) -> None:
    first, second = sorted((_place(data, rng), _place(data, rng)))
    data[second:second] = data[first:second] * rng.choice((1, 2, 50))


def _join(files: Callable[[], tuple[bytes, ...]], data: bytearray, rng: random.Random) -> None:
    data[_place(data, rng) :] = rng.choice(files())[rng.randrange(12) :]


def _splice(files: tuple[bytes, ...], data: bytearray, rng: random.Random) -> None:
    """The beginning of a file and the end of another."""
    other = rng.choice(files)
    data[_place(data, rng) :] = other[rng.randrange(len(other)) :]


def _number(data: bytearray, rng: random.Random) -> None:
    """Two or four bytes become an extreme number, of either order of bytes."""
    length = rng.choice((2, 4))
    order = rng.choice(("big", "little"))
    at = _place(data, rng)
    data[at : at + length] = (rng.choice(SIZES) % 256**length).to_bytes(length, order)


def _side(data: bytearray, rng: random.Random) -> None:
    """Another width or height wherever the file says what it is, in 2 or 4 bytes."""
    length, side = rng.choice((2, 2, 4)), rng.choice((WIDTH, HEIGHT))
    order = rng.choice(("big", "little"))
    value = rng.choice(SIZES) % 256**length
    data[:] = data.replace(side.to_bytes(length, order), value.to_bytes(length, order))


def _ue7_sides(at: int, data: bytearray, rng: random.Random) -> None:
    """Another width and height, where these stand in most files with ue7 numbers."""
    data[at : at + 2] = write_ue7(rng.choice(SIZES)) + write_ue7(rng.choice(SIZES))


def _jpegxl_sides(data: bytearray, rng: random.Random) -> None:
    """Another width and height in 30 bits each; in most files here they take 14 together."""
    rest = int.from_bytes(data[2:], "little") >> 14
    for _ in range(2):
        rest = rest << 35 | (rng.choice(SIZES) % 2**30) << 5 | 0b11 << 3
    header = (rest >> 3) << 1  # before the height stands a bit, before the width three
    data[2:] = header.to_bytes(len(data) + 16, "little").rstrip(b"\0")


def _bpg_sides(data: bytearray, rng: random.Random) -> None:
    sizes = (1, 7, 64, 1000, 4096, 5000, 2**16, 2**31, 2**32 - 1)
    data[6:9] = write_ue7(rng.choice(sizes)) + write_ue7(rng.choice(sizes)) + b"\0"


def _units(mark: bytes, data: bytearray, rng: random.Random) -> None:
    """Parts that begin with a mark in another order, some many times, one of another type."""
    parts = bytes(data).split(mark)
    parts += [rng.choice(parts) for _ in range(rng.choice((1, 2, 60)))]
    head, rest = parts[0], parts[1:]
    rng.shuffle(rest)
    if rest and len(rest[0]) > 2:
        rest[0] = bytes((rng.randrange(128), rng.choice((1, 9, rng.randrange(256))))) + rest[0][2:]
    data[:] = mark.join([head, *rest])


def _chunks(data: bytes) -> Iterator[tuple[int, int]]:
    """Where the content of each of a PNG's chunks begins, its four letters included, and ends."""
    at = 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4])
        if end + 4 > len(data):
            return
        yield at + 4, end
        at = end + 4


def _png_units(data: bytearray, rng: random.Random) -> None:
    """A chunk is dropped, doubled or moved."""
    parts = [bytes(data[begin - 4 : end + 4]) for begin, end in _chunks(bytes(data))]
    if parts:
        chosen = parts.pop(rng.randrange(len(parts)))
        for _ in range(rng.choice((0, 1, 2, 30))):
            parts.insert(rng.randrange(len(parts) + 1), chosen)
        data[8:] = b"".join(parts)


def _png_mended(data: bytes) -> bytes:
    whole = bytearray(data)
    for begin, end in _chunks(data):
        whole[end : end + 4] = zlib.crc32(data[begin:end]).to_bytes(4)
    return bytes(whole)


def _common(files: tuple[bytes, ...], *own: Damage) -> tuple[Damage, ...]:
    plain = (_bit, _bit, _bit, _byte, _byte, _cut, _cut, _remove, _insert, _repeat)
    return (*plain, _number, _number, _side, partial(_splice, files), *own)


# --- whole files ----------------------------------------------------------------------------------


@cache
def scene() -> Pixels:
    """(HEIGHT, WIDTH, 3): slopes and noise."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    noise = np.random.default_rng(0).integers(0, 30, (HEIGHT, WIDTH, 3))
    return (np.stack((3 * x, 4 * y, 255 - 2 * x - y), axis=-1) * 3 // 4 + noise).astype(np.uint8)


@cache
def _bpg_files() -> tuple[bytes, ...]:
    """Small files of every kind, and libbpg's if they are here."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    rgb, alpha = scene(), (255 - 2 * (x + y)).clip(0).astype(np.uint8)
    files = []
    for pixel_format in PixelFormat:
        for bit_depth in (8, 10):
            files.append(
                picture.encode(rgb, 30, Settings(pixel_format=pixel_format, bit_depth=bit_depth))
            )
    rgb444 = {"pixel_format": PixelFormat.YUV444, "color_space": ColorSpace.RGB}
    files += [
        picture.encode(rgb, 30, Settings(), alpha=alpha),
        picture.encode(rgb, 40, Settings(bit_depth=12)),
        picture.encode(rgb, 40, Settings(level=1, limited_range=True)),
        picture.encode(rgb[:20, :20], 0, Settings(lossless=True, **rgb444)),
        picture.encode(rgb[:1, :1], 20, Settings()),
        picture.encode(rgb, 20, Settings(), extensions=(Extension(1, b"exif"), Extension(9, b""))),
    ]
    plain = BpgFile.parse(files[2])
    twice = replace(plain, header=replace(plain.header, animation=True), nals=plain.nals * 2)
    stated = replace(plain, header=replace(plain.header, picture_data_length=1))
    premultiplied = BpgFile.parse(files[12])
    header = replace(premultiplied.header, alpha2=True)
    files += [twice.write(), stated.write(), replace(premultiplied, header=header).write()]
    files.append(replace(premultiplied, header=replace(header, alpha1=False)).write())
    files += [path.read_bytes() for path in sorted(VECTORS.glob("*.bpg"))]
    return tuple(files)


def of_bpg() -> Material:
    damages = (_bit, _bit, _bit, _byte, _byte, _cut, _cut, _remove, _insert, _repeat)
    own = (partial(_join, _bpg_files), _bpg_sides, partial(_units, START_CODE))
    return Material(_bpg_files(), (*damages, *own))


_OWN: dict[str, tuple[Damage, ...]] = {
    "av1": (partial(_ue7_sides, 0),),
    "h264": (partial(_ue7_sides, 0), partial(_units, START_CODE)),
    "vvc": (partial(_ue7_sides, 0), partial(_units, START_CODE)),
    "jpegxl": (_jpegxl_sides,),
    "jpeg": (partial(_units, b"\xff"),),
    "PNG": (_png_units, _png_units),
    "JPEG": (partial(_units, b"\xff"),),
}
"""Of a codec, or of one of Pillow's formats, besides those that are done to all."""


def of_codec(codec: Codec) -> Material:
    """What the codec itself makes of small pictures."""
    rgb, qps = scene(), codec.qps
    chosen = sorted({qps[0], qps[len(qps) // 2], qps[-1]})
    files = [codec.encode(rgb, qp) for qp in chosen]
    files += [codec.encode(rgb[:h, :w], chosen[1 % len(chosen)]) for h, w in ((1, 1), (17, 3))]
    return Material(tuple(files), _common(tuple(files), *_OWN.get(codec.name, ())))


def _saved(image: Image.Image, format: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def _written(format: str) -> Iterator[bytes]:
    """By Pillow, in the modes and with the options that change the file's syntax."""
    rgb = Image.fromarray(scene())
    gray, indexed, two = rgb.convert("L"), rgb.quantize(16), rgb.convert("1")
    alpha = Image.merge("RGBA", (*rgb.split(), gray))
    deep = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6
    animation: dict[str, Any] = {"save_all": True, "append_images": [rgb.rotate(90)]}
    modes: dict[str, tuple[Image.Image, ...]] = {
        "PNG": (rgb, gray, indexed, two, alpha, deep),
        "JPEG": (rgb, gray, rgb.convert("CMYK")),
        "WEBP": (rgb, alpha),
        "BMP": (rgb, gray, indexed, two, alpha),
        "TIFF": (rgb, gray, indexed, two, alpha, deep, rgb.convert("CMYK")),
        "GIF": (rgb, gray, indexed),
        "PPM": (rgb, gray, two, deep),
        "JPEG2000": (rgb, gray, alpha, deep),
        "AVIF": (rgb, alpha),
    }
    options: dict[str, tuple[dict[str, Any], ...]] = {
        "PNG": ({"exif": exif}, {"transparency": (0, 0, 0)}, animation),
        "JPEG": ({"progressive": True}, {"exif": exif}, {"restart_marker_blocks": 4}),
        "WEBP": ({"lossless": True}, {"exif": exif}, animation),
        "TIFF": (
            *({"compression": c} for c in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits")),
            *({"compression": "zstd"}, {"exif": exif}, {"big_tiff": True}, animation),
        ),
        "GIF": ({"interlace": 0}, animation),
        "JPEG2000": ({"no_jp2": True}, {"tile_size": (16, 16)}, {"irreversible": True}),
        "AVIF": ({"exif": exif}, {"subsampling": "4:4:4"}, animation),
    }
    for image in modes[format]:
        yield _saved(image, format)
    for chosen in options.get(format, ()):
        yield _saved(rgb, format, **chosen)
    if format == "TIFF":
        yield _saved(two, format, compression="group4")


def of_format(format: str) -> Material:
    """One of Pillow's formats."""
    files = tuple(_written(format))
    mended = _png_mended if format == "PNG" else None
    return Material(files, _common(files, *_OWN.get(format, ())), mended)
