"""The .bpg container: header, short SPS and NAL units, read and written in memory.

A .bpg file is one HEVC intra picture (a sequence of them if animated) whose VPS and SPS are
replaced by a header of a few bytes. Layout and names follow Bellard's "BPG Specification" 0.9.5;
names of sequence parameters follow H.265 (section 7.3.2.2). Everything read is checked against
what the two allow before anything is allocated; what is wrong raises BpgError.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from enum import IntEnum

from bench.errors import CodecError

MAGIC = b"BPG\xfb"
MAX_PIXELS = 2**28
"""Largest picture read or written, in pixels: a header of twelve bytes can claim 2**64."""

START_CODE = b"\x00\x00\x01"

NAL_VPS, NAL_SPS, NAL_PPS = 32, 33, 34
_LAST_VCL = 31


class BpgError(CodecError):
    """Bytes that are no .bpg file, or a picture that a .bpg file cannot hold."""


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


# --- bits -------------------------------------------------------------------------------------


class BitReader:
    """Reads u(n), ue(v) and se(v) (H.265, section 9.2) from bytes, the highest bit first."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._length = 8 * len(data)
        self.position = 0

    @property
    def left(self) -> int:
        return self._length - self.position

    def u(self, n: int) -> int:
        if n > self.left:
            raise BpgError("the data ends inside a syntax element")
        self.position += n
        return (self._value >> (self._length - self.position)) & ((1 << n) - 1)

    def flag(self) -> bool:
        return self.u(1) == 1

    def ue(self) -> int:
        zeros = 0
        while self.u(1) == 0:
            zeros += 1
            if zeros > 32:
                raise BpgError("an Exp-Golomb code is longer than 32 bits")
        return (1 << zeros) - 1 + self.u(zeros)


class BitWriter:
    """Writes u(n) and ue(v); the counterpart of BitReader."""

    def __init__(self) -> None:
        self._value = 0
        self._length = 0

    def u(self, n: int, value: int) -> None:
        if not 0 <= value < 1 << n:
            raise BpgError(f"{value} does not fit in {n} bits")
        self._value = (self._value << n) | value
        self._length += n

    def flag(self, value: bool) -> None:
        self.u(1, int(value))

    def ue(self, value: int) -> None:
        length = (value + 1).bit_length()
        self.u(2 * length - 1, value + 1)

    def aligned(self) -> bytes:
        """What was written, filled with zero bits to a whole byte."""
        size = (self._length + 7) // 8
        return (self._value << (8 * size - self._length)).to_bytes(size, "big")

    def rbsp(self) -> bytes:
        """What was written, then rbsp_trailing_bits() (a one, then zeros to a whole byte)."""
        self.u(1, 1)
        return self.aligned()


def read_ue7(data: bytes, position: int) -> tuple[int, int]:
    """ue7(32) at `position` → value, next position: 7 bits a byte, the high bit says "more"."""
    value = 0
    for i in range(5):
        if position + i >= len(data):
            raise BpgError("the file ends inside the header")
        byte = data[position + i]
        if i == 0 and byte == 0x80:
            raise BpgError("a number in the header starts with an empty byte")
        value = (value << 7) | (byte & 0x7F)
        if byte < 0x80:
            if value >= 1 << 32:
                break
            return value, position + i + 1
    raise BpgError("a number in the header exceeds 32 bits")


def write_ue7(value: int) -> bytes:
    """A value in 0…2**32 - 1 as ue7(32)."""
    if not 0 <= value < 1 << 32:
        raise BpgError(f"{value} does not fit in 32 bits")
    out = [value & 0x7F]
    while value := value >> 7:
        out.append(0x80 | (value & 0x7F))
    return bytes(reversed(out))


# --- header -----------------------------------------------------------------------------------


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
        if self.width * self.height > MAX_PIXELS:
            raise BpgError(
                f"a picture of {self.width}×{self.height} pixels is larger than {MAX_PIXELS} pixels"
            )
        if not 8 <= self.bit_depth <= 14:
            raise BpgError(f"the bit depth is {self.bit_depth}; BPG has 8 to 14")
        if self.color_space is not ColorSpace.YCBCR_BT601 and (
            self.pixel_format is PixelFormat.GRAY
        ):
            raise BpgError("a gray picture must have color_space 0")
        if self.color_space is ColorSpace.RGB and self.pixel_format is not PixelFormat.YUV444:
            raise BpgError("an RGB picture must have pixel_format 3 (4:4:4)")

    @property
    def has_alpha_plane(self) -> bool:
        """Whether a second picture (alpha, or the W of CMYK) is there, as nuh_layer_id 1."""
        return self.alpha1 or self.alpha2

    @classmethod
    def parse(cls, data: bytes) -> tuple[Header, int]:
        """The start of a file → header, position of what follows it (the short SPS)."""
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


# --- sequence parameter set -------------------------------------------------------------------


@dataclass(frozen=True)
class Pcm:
    """PCM coding, H.265 section 7.4.3.2.1; bit depths and log2 sizes with their offsets undone."""

    sample_bit_depth_luma: int
    sample_bit_depth_chroma: int
    log2_min_luma_coding_block_size: int
    log2_diff_max_min_luma_coding_block_size: int
    loop_filter_disabled_flag: bool

    @classmethod
    def parse(cls, bits: BitReader) -> Pcm:
        return cls(bits.u(4) + 1, bits.u(4) + 1, bits.ue() + 3, bits.ue(), bits.flag())

    def write(self, bits: BitWriter) -> None:
        bits.u(4, self.sample_bit_depth_luma - 1)
        bits.u(4, self.sample_bit_depth_chroma - 1)
        bits.ue(self.log2_min_luma_coding_block_size - 3)
        bits.ue(self.log2_diff_max_min_luma_coding_block_size)
        bits.flag(self.loop_filter_disabled_flag)


@dataclass(frozen=True)
class RangeExtension:
    """sps_range_extension(), H.265 section 7.3.2.2.2, in the order of the syntax."""

    transform_skip_rotation_enabled_flag: bool = False
    transform_skip_context_enabled_flag: bool = False
    implicit_rdpcm_enabled_flag: bool = False
    explicit_rdpcm_enabled_flag: bool = False
    extended_precision_processing_flag: bool = False
    intra_smoothing_disabled_flag: bool = False
    high_precision_offsets_enabled_flag: bool = False
    persistent_rice_adaptation_enabled_flag: bool = False
    cabac_bypass_alignment_enabled_flag: bool = False

    @classmethod
    def parse(cls, bits: BitReader) -> RangeExtension:
        return cls(*(bits.flag() for _ in fields(cls)))

    def write(self, bits: BitWriter) -> None:
        for field in fields(self):
            bits.flag(getattr(self, field.name))


@dataclass(frozen=True)
class Sps:
    """The sequence parameters that decide how the slices are read; sizes with offsets undone.

    The fields with a default are those the short SPS has no words for: a .bpg file holds the
    picture only if they have these values. The VUI, the profile, the level and the sizes of
    buffers are not kept: an intra picture decodes to the same samples whatever they say.
    """

    chroma_format_idc: int
    pic_width_in_luma_samples: int
    pic_height_in_luma_samples: int
    bit_depth_luma: int
    bit_depth_chroma: int
    log2_min_luma_coding_block_size: int
    log2_diff_max_min_luma_coding_block_size: int
    log2_min_luma_transform_block_size: int
    log2_diff_max_min_luma_transform_block_size: int
    max_transform_hierarchy_depth_intra: int
    max_transform_hierarchy_depth_inter: int
    sample_adaptive_offset_enabled_flag: bool
    pcm: Pcm | None
    strong_intra_smoothing_enabled_flag: bool
    range_extension: RangeExtension | None
    sps_video_parameter_set_id: int = 0
    sps_seq_parameter_set_id: int = 0
    sps_max_sub_layers: int = 1
    separate_colour_plane_flag: bool = False
    conformance_window: tuple[int, int, int, int] = (0, 0, 0, 0)
    log2_max_pic_order_cnt_lsb: int = 8
    scaling_list_enabled_flag: bool = False
    amp_enabled_flag: bool = True
    num_short_term_ref_pic_sets: int = 0
    long_term_ref_pics_present_flag: bool = False
    sps_temporal_mvp_enabled_flag: bool = True
    other_extension_flags: int = 0
    """sps_extension bits but range's: multilayer, 3D, SCC and the four reserved."""

    @property
    def log2_ctb_size(self) -> int:
        return self.log2_min_luma_coding_block_size + self.log2_diff_max_min_luma_coding_block_size

    def check(self) -> None:
        """Raises BpgError for block sizes that H.265 (7.4.3.2.1) does not allow."""
        min_cb = self.log2_min_luma_coding_block_size
        min_tb = self.log2_min_luma_transform_block_size
        max_tb = min_tb + self.log2_diff_max_min_luma_transform_block_size
        if not 3 <= min_cb <= self.log2_ctb_size <= 6 or self.log2_ctb_size < 4:
            raise BpgError("the sizes of the coding blocks are outside of what H.265 allows")
        if not 2 <= min_tb < min_cb or max_tb > min(self.log2_ctb_size, 5):
            raise BpgError("the sizes of the transform blocks are outside of what H.265 allows")
        deepest = self.log2_ctb_size - min_tb
        if (
            max(self.max_transform_hierarchy_depth_intra, self.max_transform_hierarchy_depth_inter)
            > deepest
        ):
            raise BpgError("the transform tree is deeper than the coding blocks allow")

    @classmethod
    def parse_short(cls, data: bytes, header: Header, *, alpha: bool = False) -> Sps:
        """hevc_header() without its length → the parameters that the file stands for.

        `alpha` reads the one of the alpha (or W) plane, which is a gray picture of its own.
        """
        bits = BitReader(data)
        log2_min_cb = bits.ue() + 3
        log2_diff_cb = bits.ue()
        log2_min_tb = bits.ue() + 2
        log2_diff_tb = bits.ue()
        depth = bits.ue()
        sao = bits.flag()
        pcm = Pcm.parse(bits) if bits.flag() else None
        strong = bits.flag()
        range_extension, other = _parse_extension_flags(bits)
        if log2_min_cb > 6:
            raise BpgError("the sizes of the coding blocks are outside of what H.265 allows")
        sps = cls(
            chroma_format_idc=0 if alpha else header.pixel_format.chroma_format_idc,
            pic_width_in_luma_samples=_round_up(header.width, 1 << log2_min_cb),
            pic_height_in_luma_samples=_round_up(header.height, 1 << log2_min_cb),
            bit_depth_luma=header.bit_depth,
            bit_depth_chroma=header.bit_depth,
            log2_min_luma_coding_block_size=log2_min_cb,
            log2_diff_max_min_luma_coding_block_size=log2_diff_cb,
            log2_min_luma_transform_block_size=log2_min_tb,
            log2_diff_max_min_luma_transform_block_size=log2_diff_tb,
            max_transform_hierarchy_depth_intra=depth,
            max_transform_hierarchy_depth_inter=depth,
            sample_adaptive_offset_enabled_flag=sao,
            pcm=pcm,
            strong_intra_smoothing_enabled_flag=strong,
            range_extension=range_extension,
            other_extension_flags=other,
        )
        if other:
            raise BpgError("the SPS has an extension that is not defined for BPG")
        sps.check()
        return sps

    def write_short(self, header: Header, *, alpha: bool = False) -> bytes:
        """hevc_header() without its length; BpgError where it cannot say what this SPS says."""
        bits = BitWriter()
        bits.ue(self.log2_min_luma_coding_block_size - 3)
        bits.ue(self.log2_diff_max_min_luma_coding_block_size)
        bits.ue(self.log2_min_luma_transform_block_size - 2)
        bits.ue(self.log2_diff_max_min_luma_transform_block_size)
        bits.ue(self.max_transform_hierarchy_depth_intra)
        bits.flag(self.sample_adaptive_offset_enabled_flag)
        bits.flag(self.pcm is not None)
        if self.pcm is not None:
            self.pcm.write(bits)
        bits.flag(self.strong_intra_smoothing_enabled_flag)
        self._write_extension_flags(bits)
        data = bits.aligned()
        understood = Sps.parse_short(data, header, alpha=alpha)
        if understood != self:
            wrong = [
                f"{f.name} {getattr(self, f.name)} (a reader would take "
                f"{getattr(understood, f.name)})"
                for f in fields(self)
                if getattr(self, f.name) != getattr(understood, f.name)
            ]
            raise BpgError(f"a .bpg file cannot hold this picture: {', '.join(wrong)}")
        return data

    @classmethod
    def parse_full(cls, nal: bytes) -> Sps:
        """A whole SPS NAL unit (header included, no start code) → its parameters.

        BpgError also for what an encoder of .bpg files has no use for: scaling lists, reference
        picture sets and HRD parameters are not read past.
        """
        bits = BitReader(unescape(nal[2:]))
        vps_id = bits.u(4)
        sub_layers = bits.u(3) + 1
        bits.u(1)  # sps_temporal_id_nesting_flag
        if sub_layers != 1:
            raise BpgError("the SPS has sub-layers")
        bits.u(96)  # profile_tier_level()
        sps_id = bits.ue()
        chroma_format_idc = bits.ue()
        separate = bits.flag() if chroma_format_idc == 3 else False
        width, height = bits.ue(), bits.ue()
        window = (bits.ue(), bits.ue(), bits.ue(), bits.ue()) if bits.flag() else (0, 0, 0, 0)
        bit_depth_luma, bit_depth_chroma = bits.ue() + 8, bits.ue() + 8
        log2_max_poc_lsb = bits.ue() + 4
        bits.flag()  # sps_sub_layer_ordering_info_present_flag, without effect on one layer
        for _ in range(3):
            bits.ue()  # sizes of the decoded picture buffer
        log2_min_cb, log2_diff_cb = bits.ue() + 3, bits.ue()
        log2_min_tb, log2_diff_tb = bits.ue() + 2, bits.ue()
        depth_inter, depth_intra = bits.ue(), bits.ue()
        scaling = bits.flag()
        if scaling and bits.flag():
            raise BpgError("the SPS has scaling lists")
        amp = bits.flag()
        sao = bits.flag()
        pcm = Pcm.parse(bits) if bits.flag() else None
        reference_sets = bits.ue()
        if reference_sets:
            raise BpgError("the SPS has short-term reference picture sets")
        long_term = bits.flag()
        if long_term and bits.ue():
            raise BpgError("the SPS has long-term reference pictures")
        temporal_mvp = bits.flag()
        strong = bits.flag()
        if bits.flag():
            _skip_vui(bits)
        range_extension, other = _parse_extension_flags(bits)
        return cls(
            chroma_format_idc=chroma_format_idc,
            pic_width_in_luma_samples=width,
            pic_height_in_luma_samples=height,
            bit_depth_luma=bit_depth_luma,
            bit_depth_chroma=bit_depth_chroma,
            log2_min_luma_coding_block_size=log2_min_cb,
            log2_diff_max_min_luma_coding_block_size=log2_diff_cb,
            log2_min_luma_transform_block_size=log2_min_tb,
            log2_diff_max_min_luma_transform_block_size=log2_diff_tb,
            max_transform_hierarchy_depth_intra=depth_intra,
            max_transform_hierarchy_depth_inter=depth_inter,
            sample_adaptive_offset_enabled_flag=sao,
            pcm=pcm,
            strong_intra_smoothing_enabled_flag=strong,
            range_extension=range_extension,
            sps_video_parameter_set_id=vps_id,
            sps_seq_parameter_set_id=sps_id,
            sps_max_sub_layers=sub_layers,
            separate_colour_plane_flag=separate,
            conformance_window=window,
            log2_max_pic_order_cnt_lsb=log2_max_poc_lsb,
            scaling_list_enabled_flag=scaling,
            amp_enabled_flag=amp,
            num_short_term_ref_pic_sets=reference_sets,
            long_term_ref_pics_present_flag=long_term,
            sps_temporal_mvp_enabled_flag=temporal_mvp,
            other_extension_flags=other,
        )

    def write_full(self) -> bytes:
        """The SPS NAL unit (no start code), without VUI, as a decoder of HEVC needs it."""
        if (
            self.sps_max_sub_layers != 1
            or self.scaling_list_enabled_flag
            or self.num_short_term_ref_pic_sets
            or self.long_term_ref_pics_present_flag
            or self.other_extension_flags
        ):
            raise BpgError("this SPS has parts that are not written")
        bits = BitWriter()
        bits.u(4, self.sps_video_parameter_set_id)
        bits.u(3, 0)  # sps_max_sub_layers_minus1
        bits.flag(True)  # sps_temporal_id_nesting_flag
        _write_profile_tier_level(bits, self)
        bits.ue(self.sps_seq_parameter_set_id)
        bits.ue(self.chroma_format_idc)
        if self.chroma_format_idc == 3:
            bits.flag(self.separate_colour_plane_flag)
        bits.ue(self.pic_width_in_luma_samples)
        bits.ue(self.pic_height_in_luma_samples)
        bits.flag(any(self.conformance_window))
        if any(self.conformance_window):
            for offset in self.conformance_window:
                bits.ue(offset)
        bits.ue(self.bit_depth_luma - 8)
        bits.ue(self.bit_depth_chroma - 8)
        bits.ue(self.log2_max_pic_order_cnt_lsb - 4)
        _write_ordering_info(bits)
        bits.ue(self.log2_min_luma_coding_block_size - 3)
        bits.ue(self.log2_diff_max_min_luma_coding_block_size)
        bits.ue(self.log2_min_luma_transform_block_size - 2)
        bits.ue(self.log2_diff_max_min_luma_transform_block_size)
        bits.ue(self.max_transform_hierarchy_depth_inter)
        bits.ue(self.max_transform_hierarchy_depth_intra)
        bits.flag(False)  # scaling_list_enabled_flag
        bits.flag(self.amp_enabled_flag)
        bits.flag(self.sample_adaptive_offset_enabled_flag)
        bits.flag(self.pcm is not None)
        if self.pcm is not None:
            self.pcm.write(bits)
        bits.ue(0)  # num_short_term_ref_pic_sets
        bits.flag(False)  # long_term_ref_pics_present_flag
        bits.flag(self.sps_temporal_mvp_enabled_flag)
        bits.flag(self.strong_intra_smoothing_enabled_flag)
        bits.flag(False)  # vui_parameters_present_flag
        self._write_extension_flags(bits)
        return _nal_header(NAL_SPS) + escape(bits.rbsp())

    def write_vps(self) -> bytes:
        """The VPS NAL unit (no start code) that goes with `write_full`."""
        bits = BitWriter()
        bits.u(4, self.sps_video_parameter_set_id)
        bits.u(2, 3)  # base layer: internal, available
        bits.u(6, 0)  # vps_max_layers_minus1
        bits.u(3, 0)  # vps_max_sub_layers_minus1
        bits.flag(True)  # vps_temporal_id_nesting_flag
        bits.u(16, 0xFFFF)
        _write_profile_tier_level(bits, self)
        _write_ordering_info(bits)
        bits.u(6, 0)  # vps_max_layer_id
        bits.ue(0)  # vps_num_layer_sets_minus1
        bits.flag(False)  # vps_timing_info_present_flag
        bits.flag(False)  # vps_extension_flag
        return _nal_header(NAL_VPS) + escape(bits.rbsp())

    def _write_extension_flags(self, bits: BitWriter) -> None:
        bits.flag(self.range_extension is not None)
        if self.range_extension is not None:
            bits.flag(True)
            bits.u(7, 0)
            self.range_extension.write(bits)


def _parse_extension_flags(bits: BitReader) -> tuple[RangeExtension | None, int]:
    """sps_extension_present_flag and what it announces → range extension, the other seven bits."""
    if not bits.flag():
        return None, 0
    has_range = bits.flag()
    other = bits.u(7)
    return RangeExtension.parse(bits) if has_range else None, other


def _write_profile_tier_level(bits: BitWriter, sps: Sps) -> None:
    """profile_tier_level(1, 0): Main Still Picture where that is what it is, else RExt."""
    still = sps.chroma_format_idc == 1 and sps.bit_depth_luma == sps.bit_depth_chroma == 8
    profile = 3 if still and sps.range_extension is None else 4
    bits.u(2, 0)  # general_profile_space
    bits.flag(False)  # general_tier_flag
    bits.u(5, profile)
    for i in range(32):  # general_profile_compatibility_flag[i]
        bits.flag(i == profile or (profile == 3 and i in (1, 2)))
    bits.flag(True)  # general_progressive_source_flag
    bits.flag(False)  # general_interlaced_source_flag
    bits.flag(False)  # general_non_packed_constraint_flag
    bits.flag(True)  # general_frame_only_constraint_flag
    bits.u(44, 0)
    bits.u(8, 255)  # general_level_idc 8.5: no limit


def _write_ordering_info(bits: BitWriter) -> None:
    bits.flag(True)  # sub_layer_ordering_info_present_flag
    for _ in range(3):
        bits.ue(0)  # one picture in the buffer, no reordering, no latency limit


def _skip_vui(bits: BitReader) -> None:
    """Reads over vui_parameters() (H.265 section E.2.1): nothing in it changes the samples."""
    if bits.flag() and bits.u(8) == 255:  # aspect_ratio_idc, extended
        bits.u(32)
    if bits.flag():  # overscan_info_present_flag
        bits.u(1)
    if bits.flag():  # video_signal_type_present_flag
        bits.u(4)
        if bits.flag():  # colour_description_present_flag
            bits.u(24)
    if bits.flag():  # chroma_loc_info_present_flag
        bits.ue()
        bits.ue()
    bits.u(3)  # neutral_chroma_indication, field_seq, frame_field_info_present
    if bits.flag():  # default_display_window_flag
        for _ in range(4):
            bits.ue()
    if bits.flag():  # vui_timing_info_present_flag
        bits.u(64)
        if bits.flag():  # vui_poc_proportional_to_timing_flag
            bits.ue()
        if bits.flag():
            raise BpgError("the SPS has HRD parameters")
    if bits.flag():  # bitstream_restriction_flag
        bits.u(3)
        for _ in range(5):
            bits.ue()


# --- NAL units --------------------------------------------------------------------------------


def nal_type(nal: bytes) -> int:
    return (nal[0] >> 1) & 0x3F


def nal_layer(nal: bytes) -> int:
    """nuh_layer_id: 0 the colour planes, 1 the alpha (or W) plane."""
    return (nal[0] & 1) << 5 | nal[1] >> 3


def is_slice(nal: bytes) -> bool:
    return nal_type(nal) <= _LAST_VCL


def _nal_header(kind: int) -> bytes:
    return bytes((kind << 1, 1))  # nuh_layer_id 0, nuh_temporal_id_plus1 1


def split_annexb(data: bytes) -> list[bytes]:
    """A byte stream (H.265 annex B) → its NAL units; what stands before a start code is one too.

    So it also splits the data of a .bpg file, whose first NAL unit has no start code.
    """
    # A NAL unit never ends in a zero byte: zeros before a start code belong to the start code.
    nals = [part.rstrip(b"\x00") for part in data.split(START_CODE)]
    return [nal for nal in nals if nal]


def join_annexb(nals: list[bytes]) -> bytes:
    """NAL units → a byte stream, each behind a start code."""
    return b"".join(START_CODE + nal for nal in nals)


def unescape(payload: bytes) -> bytes:
    """NAL payload → RBSP: without the emulation prevention bytes (H.265 section 7.3.1.1)."""
    first, *rest = payload.split(b"\x00\x00\x03")
    return first + b"".join(b"\x00\x00" + part for part in rest)


def escape(rbsp: bytes) -> bytes:
    """RBSP → NAL payload: 3 put between two zeros and a byte of 0 to 3."""
    out = bytearray()
    zeros = 0
    for byte in rbsp:
        if zeros == 2 and byte <= 3:
            out.append(3)
            zeros = 0
        out.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return bytes(out)


# --- file -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BpgFile:
    """A .bpg file taken apart; `nals` hold PPS and slices without start codes, in file order."""

    header: Header
    sps: Sps
    nals: tuple[bytes, ...]
    alpha_sps: Sps | None = None

    @classmethod
    def parse(cls, data: bytes) -> BpgFile:
        """A whole file → its parts. Raises BpgError; nothing of the picture is decoded."""
        header, position = Header.parse(data)
        end = len(data)
        if header.picture_data_length:
            end = position + header.picture_data_length
            if end > len(data):
                raise BpgError(
                    f"the file ends early: {len(data)} bytes, and the header announces {end}"
                )
        alpha_sps = None
        if header.has_alpha_plane:
            alpha_sps, position = _read_short(data[:end], position, header, alpha=True)
        sps, position = _read_short(data[:end], position, header, alpha=False)
        nals = split_annexb(data[position:end])
        if any(len(nal) < 3 for nal in nals):
            raise BpgError("a NAL unit has no payload")
        if not any(is_slice(nal) for nal in nals):
            raise BpgError("the file holds no picture: it ends before the first slice")
        return cls(header, sps, tuple(nals), alpha_sps)

    def write(self) -> bytes:
        """The whole file. BpgError where the container cannot say what the SPS says."""
        shorts = []
        if self.header.has_alpha_plane != (self.alpha_sps is not None):
            raise BpgError("the header and the alpha plane contradict each other")
        if self.alpha_sps is not None:
            shorts.append(self.alpha_sps.write_short(self.header, alpha=True))
        shorts.append(self.sps.write_short(self.header))
        body = b"".join(write_ue7(len(short)) + short for short in shorts)
        body += START_CODE.join(self.nals)
        header = self.header
        if header.picture_data_length:
            header = replace(header, picture_data_length=len(body))
        return header.write() + body

    def still(self) -> bytes:
        """The first picture's colour planes as a byte stream that any HEVC decoder reads."""
        chosen = []
        slices = 0
        for nal in self.nals:
            if nal_layer(nal) != 0:
                continue
            if is_slice(nal):
                # first_slice_segment_in_pic_flag: the second one begins the next frame
                slices += nal[2] >> 7
                if slices > 1:
                    break
            chosen.append(nal)
        return join_annexb([self.sps.write_vps(), self.sps.write_full(), *chosen])


def _read_short(data: bytes, position: int, header: Header, *, alpha: bool) -> tuple[Sps, int]:
    length, position = read_ue7(data, position)
    if length > len(data) - position:
        raise BpgError("the file ends inside the SPS")
    short = data[position : position + length]
    return Sps.parse_short(short, header, alpha=alpha), position + length


def _round_up(value: int, step: int) -> int:
    return -(-value // step) * step
