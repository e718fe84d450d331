"""The sequence parameter set: the short form of a .bpg file ↔ the whole VPS and SPS of HEVC.

Names follow H.265 (section 7.3.2.2). Everything read is checked against what the two allow.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

from bench.codecs.bpg.bits import BitReader, BitWriter, BpgError
from bench.codecs.bpg.header import Header
from bench.codecs.bpg.nal import NAL_SPS, NAL_VPS, escape, nal_header, unescape

_LONGEST = 128
"""Bytes of a short SPS that are looked at: all its elements at their longest need fewer."""


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


class _Planes(NamedTuple):
    """The part of a whole SPS on the planes of samples; fields as in `Sps`."""

    chroma_format_idc: int
    separate_colour_plane_flag: bool
    pic_width_in_luma_samples: int
    pic_height_in_luma_samples: int
    conformance_window: tuple[int, int, int, int]
    bit_depth_luma: int
    bit_depth_chroma: int

    @classmethod
    def parse(cls, bits: BitReader) -> _Planes:
        chroma = bits.ue()
        separate = bits.flag() if chroma == 3 else False
        width, height = bits.ue(), bits.ue()
        window = (bits.ue(), bits.ue(), bits.ue(), bits.ue()) if bits.flag() else (0, 0, 0, 0)
        return cls(chroma, separate, width, height, window, bits.ue() + 8, bits.ue() + 8)


class _BlockSizes(NamedTuple):
    """The part of either SPS on the sizes of blocks, with offsets undone; fields as in `Sps`."""

    log2_min_luma_coding_block_size: int
    log2_diff_max_min_luma_coding_block_size: int
    log2_min_luma_transform_block_size: int
    log2_diff_max_min_luma_transform_block_size: int

    @classmethod
    def parse(cls, bits: BitReader) -> _BlockSizes:
        return cls(bits.ue() + 3, bits.ue(), bits.ue() + 2, bits.ue())


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
        bits = BitReader(data[:_LONGEST])
        sizes = _BlockSizes.parse(bits)
        depth = bits.ue()
        sao = bits.flag()
        pcm = Pcm.parse(bits) if bits.flag() else None
        strong = bits.flag()
        range_extension, other = _parse_extension_flags(bits)
        if sizes.log2_min_luma_coding_block_size > 6:
            raise BpgError("the sizes of the coding blocks are outside of what H.265 allows")
        step = 1 << sizes.log2_min_luma_coding_block_size
        sps = cls(
            **sizes._asdict(),
            chroma_format_idc=0 if alpha else header.pixel_format.chroma_format_idc,
            pic_width_in_luma_samples=_round_up(header.width, step),
            pic_height_in_luma_samples=_round_up(header.height, step),
            bit_depth_luma=header.bit_depth,
            bit_depth_chroma=header.bit_depth,
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
        planes = _Planes.parse(bits)
        log2_max_poc_lsb = bits.ue() + 4
        bits.flag()  # sps_sub_layer_ordering_info_present_flag, without effect on one layer
        for _ in range(3):
            bits.ue()  # sizes of the decoded picture buffer
        sizes = _BlockSizes.parse(bits)
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
            **planes._asdict(),
            **sizes._asdict(),
            max_transform_hierarchy_depth_intra=depth_intra,
            max_transform_hierarchy_depth_inter=depth_inter,
            sample_adaptive_offset_enabled_flag=sao,
            pcm=pcm,
            strong_intra_smoothing_enabled_flag=strong,
            range_extension=range_extension,
            sps_video_parameter_set_id=vps_id,
            sps_seq_parameter_set_id=sps_id,
            sps_max_sub_layers=sub_layers,
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
        return nal_header(NAL_SPS) + escape(bits.rbsp())

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
        return nal_header(NAL_VPS) + escape(bits.rbsp())

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


def _round_up(value: int, step: int) -> int:
    return -(-value // step) * step
