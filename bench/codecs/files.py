"""A codec by hand: picture files in and out, and what a coded file says of itself.

Each function checks its arguments and raises ConfigError for them, DataError for a picture that
cannot be read, CodecError for what cannot be coded.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.codecs import make
from bench.codecs.base import Codec, says
from bench.codecs.bpg import BpgCodec
from bench.codecs.bpg.bits import BpgError
from bench.codecs.bpg.container import BpgFile
from bench.codecs.bpg.header import EXTENSION_NAMES, MAX_PIXELS, ColorSpace, Header, PixelFormat
from bench.codecs.bpg.nal import nal_layer, nal_type
from bench.codecs.bpg.picture import BACKGROUNDS, Picture
from bench.codecs.bpg.sps import Sps
from bench.errors import ConfigError, DataError

FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".ppm": "PPM",
    ".webp": "WEBP",
}
"""Pictures that are read and written, by the ending of the file's name."""

JPEG_QUALITY = 95
_UNITS = 20  # NAL units that `info_text` lists
_COLOURS = {
    ColorSpace.YCBCR_BT601: "YCbCr",
    ColorSpace.RGB: "RGB",
    ColorSpace.YCGCO: "YCgCo",
    ColorSpace.YCBCR_BT709: "YCbCr_BT709",
    ColorSpace.YCBCR_BT2020: "YCbCr_BT2020",
}

Pixels = NDArray[np.uint8]
Filter = Callable[[Pixels, int], Pixels]
"""(H, W, 3) and a QP → (H, W, 3)."""


def spec(name: str, words: Sequence[str]) -> dict[str, object]:
    """A codec's name and options as `key=value` → what `make` takes."""
    return {"name": name, **options("codec", words)}


def options(of: str, words: Sequence[str]) -> dict[str, object]:
    """`key=value` each → by key; true, false and numbers are taken for what they look like.

    `of` is what they are options of. Raises ConfigError.
    """
    found: dict[str, object] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key or key == "name":
            raise ConfigError(f"{of} option {word!r} is not of the form key=value")
        found[key] = _value(value)
    return found


def _value(text: str) -> object:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


@dataclass(frozen=True)
class Size:
    """Of a coded picture."""

    width: int
    height: int
    n_bytes: int

    @property
    def pixels(self) -> int:
        return self.width * self.height

    @property
    def bpp(self) -> float:
        return 8 * self.n_bytes / self.pixels

    def __str__(self) -> str:
        return f"{self.width}×{self.height} pixels, {self.n_bytes} bytes, {self.bpp:.3f} bpp"


@dataclass(frozen=True)
class Encoder:
    """PNG, JPEG, PPM and WebP files → coded files, all alike.

    A picture that is transparent somewhere keeps its alpha where the codec has a place for it
    (the embedded bpg), unless a background is named; with any other codec it needs a background.
    """

    codec: Codec
    qp: int
    background: str | None
    filtered: Filter | None = None
    """What is done to a picture's colours before the codec."""

    def __call__(self, source: Path, target: Path) -> Size:
        _require_other(target, source)
        rgb, alpha = read_picture(source)
        if alpha is not None and self.background is not None:
            rgb, alpha = Picture(rgb, alpha, Header(1, 1)).over(BACKGROUNDS[self.background]), None
        if alpha is not None and not isinstance(self.codec, BpgCodec):
            raise ConfigError(
                f"{source} is transparent, and {self.codec.name} has no place for it: name a "
                f"background ({', '.join(BACKGROUNDS)})"
            )
        if self.filtered is not None:
            rgb = self.filtered(rgb, self.qp)
        if alpha is not None and isinstance(self.codec, BpgCodec):
            data = self.codec.encode_with_alpha(rgb, alpha, self.qp)
        else:
            data = self.codec.encode(rgb, self.qp)
        _write(target, data)
        return Size(rgb.shape[1], rgb.shape[0], len(data))


def _qp(coder: Codec, qp: int | None) -> int:
    """Without one that of a codec which has but one. Raises ConfigError."""
    if qp is None and len(coder.qps) == 1:
        qp = coder.qps[0]
    if qp is None or qp not in coder.qps:
        raise ConfigError(f"--qp {qp}: {coder.name} takes {says(coder.qps)}, larger is coarser")
    return qp


def encoder(
    codec: str | Mapping[str, object], qp: int | None, background: str | None = None
) -> Encoder:
    """Without a QP that of a codec which has but one."""
    coder = make(codec)
    _check_background(background)
    return Encoder(coder, _qp(coder, qp), background)


@dataclass(frozen=True)
class Decoder:
    """Coded files → PNG, JPEG, PPM or WebP files, by the target's name.

    The alpha of a .bpg file goes into a PNG or WebP unless a background is named; JPEG and PPM
    need one. WebP is written lossless.
    """

    codec: Codec
    background: str | None
    filtered: Callable[[Pixels], Pixels] | None = None
    """What is done to a picture's colours after the codec."""

    def coded_with(self, qp: int | None) -> int:
        """A QP of the codec, as `encoder` takes them."""
        return _qp(self.codec, qp)

    def __call__(self, source: Path, target: Path) -> str:
        """The picture's size, for people."""
        _require_other(target, source)
        kind = FORMATS.get(target.suffix.lower())
        if kind is None:
            raise ConfigError(f"{target}: its name must end in one of {', '.join(FORMATS)}")
        pixels = self._pixels(source, kind)
        if self.filtered is not None:
            rgb = np.ascontiguousarray(pixels[..., :3])
            pixels = np.dstack((self.filtered(rgb), pixels[..., 3:]))
        settings: dict[str, dict[str, Any]] = {
            "JPEG": {"quality": JPEG_QUALITY},
            "WEBP": {"lossless": True, "exact": True},
        }
        try:
            Image.fromarray(pixels).save(target, kind, **settings.get(kind, {}))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{target}: cannot be written ({error})") from None
        return f"{pixels.shape[1]}×{pixels.shape[0]} pixels"

    def _pixels(self, source: Path, kind: str) -> Pixels:
        """(H, W, 3), or (H, W, 4) with alpha, as a file of that kind takes them."""
        data = _read(source)
        if not isinstance(self.codec, BpgCodec):
            return self.codec.decode(data)
        picture = self.codec.decode_with_alpha(data)
        name = self.background or self.codec.background
        if name is not None:
            return picture.over(BACKGROUNDS[name])
        if picture.alpha is None:
            return picture.rgb
        if kind in ("PNG", "WEBP"):
            return np.dstack((picture.rgb, picture.alpha))
        raise ConfigError(
            f"{source} is transparent, and {kind} has no place for it: name a background "
            f"({', '.join(BACKGROUNDS)})"
        )


def decoder(codec: str | Mapping[str, object], background: str | None = None) -> Decoder:
    _check_background(background)
    return Decoder(make(codec), background)


def info_text(source: Path, codec: str | Mapping[str, object] = "bpg") -> str:
    """What `bpgdec -i` prints of a .bpg file, and more, without decoding it.

    Of another codec's file its size, which takes decoding it.
    """
    coder, data = make(codec), _read(source)
    if coder.name != BpgCodec.name:
        height, width = coder.decode(data).shape[:2]
        bpp = 8 * len(data) / (width * height)
        return f"{coder.name}: {width}×{height} pixels\nfile: {len(data)} bytes, {bpp:.4f} bpp"
    try:
        file = BpgFile.parse(data, 2**64)
    except BpgError as error:
        raise BpgError(f"{source}: {error}") from error
    h = file.header
    lines = _header_lines(h)
    bpp = 8 * len(data) / (h.width * h.height)
    lines.append(f"file: {len(data)} bytes, {bpp:.4f} bpp, frames: {file.frames}")
    length = h.picture_data_length or "0 (to the end of the file)"
    lines.append(f"picture_data_length: {length}")
    lines += _sps_lines(file.sps)
    lines += [
        f"NAL unit: type {nal_type(nal)}, layer {nal_layer(nal)}, {len(nal)} bytes"
        for nal in file.nals[:_UNITS]
    ]
    if len(file.nals) > _UNITS:
        lines.append(f"and {len(file.nals) - _UNITS} more NAL units")
    if h.width * h.height > MAX_PIXELS:
        lines.append(f"larger than {MAX_PIXELS} pixels: decoding it needs max_pixels")
    return "\n".join(lines)


def _header_lines(h: Header) -> list[str]:
    """As `bpgdec -i` prints them."""
    gray = h.pixel_format is PixelFormat.GRAY
    video = "_video" if h.pixel_format in (PixelFormat.YUV420_LEFT, PixelFormat.YUV422_LEFT) else ""
    first = [
        f"size={h.width}x{h.height}",
        f"color_space={'Gray' if gray else _COLOURS[h.color_space]}",
        *(["w_plane=1"] if h.has_w_plane else []),
        *([f"alpha=1 premul={int(h.premultiplied)}"] if h.alpha1 else []),
        f"format={'Gray' if gray else h.pixel_format.label + video}",
        f"limited_range={int(h.limited_range)}",
        f"bit_depth={h.bit_depth}",
        f"animation={int(h.animation)}",
    ]
    extensions = [
        f"  tag={e.tag} ({EXTENSION_NAMES.get(e.tag, 'unknown')}) length={len(e.data)}"
        for e in h.extensions
    ]
    return [" ".join(first), *(["Extension data:"] if extensions else []), *extensions]


def _sps_lines(sps: Sps) -> list[str]:
    """How the picture is cut into blocks, and the tools that it is coded with."""
    min_cb, ctb = 1 << sps.log2_min_luma_coding_block_size, 1 << sps.log2_ctb_size
    smallest = 1 << sps.log2_min_luma_transform_block_size
    largest = smallest << sps.log2_diff_max_min_luma_transform_block_size
    tools = {
        "sample adaptive offset": sps.sample_adaptive_offset_enabled_flag,
        "strong intra smoothing": sps.strong_intra_smoothing_enabled_flag,
        "PCM": sps.pcm is not None,
        "range extension": sps.range_extension is not None,
    }
    return [
        f"coded: {sps.pic_width_in_luma_samples}×{sps.pic_height_in_luma_samples} samples, "
        f"coding blocks {min_cb}…{ctb}, transform blocks {smallest}…{largest}, "
        f"depth {sps.max_transform_hierarchy_depth_intra}",
        f"tools: {', '.join(k for k, on in tools.items() if on) or 'none'}",
    ]


def read_picture(path: Path) -> tuple[Pixels, Pixels | None]:
    """A PNG, JPEG, PPM or WebP file → (H, W, 3), and (H, W) alpha if it is transparent somewhere.

    8 bits a sample; EXIF orientation is not applied. Raises ConfigError, DataError.
    """
    _check_file(path)
    try:
        with Image.open(path, formats=sorted(set(FORMATS.values()))) as image:
            if image.mode.startswith(("I", "F")):
                raise DataError(f"{path}: more than 8 bits a sample are not read")
            if not image.has_transparency_data:
                return np.array(image.convert("RGB")), None
            rgba = np.array(image.convert("RGBA"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: not a picture that can be read ({error})") from None
    if (rgba[..., 3] == 255).all():
        return np.ascontiguousarray(rgba[..., :3]), None
    return np.ascontiguousarray(rgba[..., :3]), np.ascontiguousarray(rgba[..., 3])


def _check_background(name: str | None) -> None:
    if name is not None and name not in BACKGROUNDS:
        raise ConfigError(f"background {name!r}: it is one of {', '.join(BACKGROUNDS)}")


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise ConfigError(f"{path}: there is no such file")


def _read(path: Path) -> bytes:
    _check_file(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from None


def _require_other(target: Path, source: Path) -> None:
    if target.exists() and source.exists() and target.samefile(source):
        raise ConfigError(f"{target}: is the input itself; name another file for the output")


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error})") from None
