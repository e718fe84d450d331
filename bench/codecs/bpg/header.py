"""The header of a .bpg file: everything before the HEVC data (BPG specification, section 3)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from bench.codecs.bpg.bits import BitReader, BitWriter, BpgError, read_ue7, write_ue7

MAGIC = b"BPG\xfb"
MAX_PIXELS = 2**27
"""Largest picture read unless asked otherwise: a header of twelve bytes can claim 2**64 pixels."""

EXTENSION_NAMES = {
    1: "EXIF",
    2: "ICC profile",
    3: "XMP",
    4: "thumbnail",
    5: "animation control",
}
"""What `extension_tag` stands for; a reader skips those it does not know."""


class PixelFormat(IntEnum):
    """`pixel_format` of the header; CENTRED and LEFT say where a chroma sample sits."""

    GRAY = 0
    YUV420_CENTRED = 1
    YUV422_CENTRED = 2
    YUV444 = 3
    YUV420_LEFT = 4
    YUV422_LEFT = 5

    @property
    def chroma_format_idc(self) -> int:
        """H.265 table 6-1: 0 no chroma, 1 4:2:0, 2 4:2:2, 3 4:4:4."""
        return self.value if self.value <= 3 else self.value - 3

    @property
    def label(self) -> str:
        return ("4:0:0", "4:2:0", "4:2:2", "4:4:4")[self.chroma_format_idc]


class ColorSpace(IntEnum):
    """`color_space` of the header."""

    YCBCR_BT601 = 0
    RGB = 1
    YCGCO = 2
    YCBCR_BT709 = 3
    YCBCR_BT2020 = 4


@dataclass(frozen=True)
class Extension:
    """One item of extension_data(): 1 EXIF, 2 ICC profile, 3 XMP, 4 thumbnail, 5 animation."""

    tag: int
    data: bytes


@dataclass(frozen=True)
class Header:
    """Everything before the HEVC data; width and height are the picture's, in pixels.

    `picture_data_length` is in bytes; 0 means "to the end of the file".
    """

    width: int
    height: int
    pixel_format: PixelFormat = PixelFormat.YUV420_CENTRED
    color_space: ColorSpace = ColorSpace.YCBCR_BT601
    bit_depth: int = 8
    limited_range: bool = False
    alpha1: bool = False
    alpha2: bool = False
    animation: bool = False
    picture_data_length: int = 0
    extensions: tuple[Extension, ...] = ()

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise BpgError(f"a picture of {self.width}×{self.height} pixels is empty")
        if max(self.width, self.height) >= 2**32:
            raise BpgError("a side of the picture does not fit in 32 bits")
        if not 8 <= self.bit_depth <= 14:
            raise BpgError(f"the bit depth is {self.bit_depth}; BPG has 8 to 14")
        if self.color_space is not ColorSpace.YCBCR_BT601 and (
            self.pixel_format is PixelFormat.GRAY
        ):
            raise BpgError("a gray picture must have color_space 0")
        if self.color_space is ColorSpace.RGB and self.pixel_format is not PixelFormat.YUV444:
            raise BpgError("an RGB picture must have pixel_format 3 (4:4:4)")
        if self.has_w_plane and self.pixel_format is PixelFormat.GRAY:
            raise BpgError("a gray picture cannot have a W plane")

    @property
    def has_extra_plane(self) -> bool:
        """Whether a second picture (alpha, or the W of CMYK) is there, as nuh_layer_id 1."""
        return self.alpha1 or self.alpha2

    @property
    def has_w_plane(self) -> bool:
        """alpha2 alone: the extra plane is the W of a CMYK picture (CMYK = 1 - RGBW)."""
        return self.alpha2 and not self.alpha1

    @property
    def premultiplied(self) -> bool:
        """Both flags: the colours are stored multiplied by the alpha."""
        return self.alpha1 and self.alpha2

    @classmethod
    def parse(cls, data: bytes, max_pixels: int = MAX_PIXELS) -> tuple[Header, int]:
        """The start of a file → header, position of what follows it (the short SPS).

        Raises BpgError for what is not a header, and for more than `max_pixels` pixels.
        """
        if data[:4] != MAGIC:
            raise BpgError("not a .bpg file: it does not start with 42 50 47 FB")
        if len(data) < 6:
            raise BpgError("the file ends inside the header")
        bits = BitReader(data[4:6])
        pixel_format = bits.u(3)
        alpha1 = bits.flag()
        bit_depth = bits.u(4) + 8
        color_space = bits.u(4)
        extension_present = bits.flag()
        alpha2 = bits.flag()
        limited_range = bits.flag()
        animation = bits.flag()
        if pixel_format > max(PixelFormat):
            raise BpgError(f"pixel_format {pixel_format} is not defined")
        if color_space > max(ColorSpace):
            raise BpgError(f"color_space {color_space} is not defined")
        width, position = read_ue7(data, 6)
        height, position = read_ue7(data, position)
        if width * height > max_pixels:
            raise BpgError(
                f"a picture of {width}×{height} pixels is larger than {max_pixels} pixels"
            )
        picture_data_length, position = read_ue7(data, position)
        extensions: tuple[Extension, ...] = ()
        if extension_present:
            length, position = read_ue7(data, position)
            if length > len(data) - position:
                raise BpgError("the file ends inside extension_data()")
            extensions = _parse_extensions(data[position : position + length])
            position += length
        header = cls(
            width=width,
            height=height,
            pixel_format=PixelFormat(pixel_format),
            color_space=ColorSpace(color_space),
            bit_depth=bit_depth,
            limited_range=limited_range,
            alpha1=alpha1,
            alpha2=alpha2,
            animation=animation,
            picture_data_length=picture_data_length,
            extensions=extensions,
        )
        return header, position

    def write(self) -> bytes:
        bits = BitWriter()
        bits.u(3, self.pixel_format)
        bits.flag(self.alpha1)
        bits.u(4, self.bit_depth - 8)
        bits.u(4, self.color_space)
        bits.flag(bool(self.extensions))
        bits.flag(self.alpha2)
        bits.flag(self.limited_range)
        bits.flag(self.animation)
        out = MAGIC + bits.aligned()
        out += write_ue7(self.width) + write_ue7(self.height) + write_ue7(self.picture_data_length)
        if self.extensions:
            body = b"".join(
                write_ue7(e.tag) + write_ue7(len(e.data)) + e.data for e in self.extensions
            )
            out += write_ue7(len(body)) + body
        return out


def _parse_extensions(data: bytes) -> tuple[Extension, ...]:
    found = []
    position = 0
    while position < len(data):
        tag, position = read_ue7(data, position)
        length, position = read_ue7(data, position)
        if length > len(data) - position:
            raise BpgError(f"extension {tag} is longer than extension_data()")
        found.append(Extension(tag, data[position : position + length]))
        position += length
    return tuple(found)
