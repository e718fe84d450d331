"""The .bpg container, the colour conversion and the bytes, against libbpg's own files."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.codecs.bpg import BpgCodec, bits, colour, nal, x265
from bench.codecs.bpg.bits import BitReader, BitWriter, BpgError
from bench.codecs.bpg.container import BpgFile
from bench.codecs.bpg.header import ColorSpace, Extension, Header, PixelFormat
from bench.codecs.bpg.nal import NAL_PPS
from bench.codecs.bpg.sps import Pcm, RangeExtension, Sps
from bench.errors import CodecError

NUMBERS = st.integers(0, 2**32 - 1)


# --- bits and NAL units


@given(NUMBERS)
def test_ue7_and_ue_give_back_what_was_written(value: int) -> None:
    data = bits.write_ue7(value)
    assert bits.read_ue7(b"\xff" + data + b"\x00", 1) == (value, 1 + len(data))
    assert len(data) == max(1, -(-value.bit_length() // 7))
    writer = BitWriter()
    writer.ue(value)
    assert BitReader(writer.aligned()).ue() == value


def test_ue7_examples_of_the_specification() -> None:
    assert bits.read_ue7(bytes.fromhex("08"), 0) == (8, 1)
    assert bits.read_ue7(bytes.fromhex("841e"), 0) == (542, 2)
    assert bits.read_ue7(bytes.fromhex("acbe17"), 0) == (728855, 3)


@pytest.mark.parametrize("data", ["", "81", "8001", "ffffffffff", "9080808000", "ffffffffffff00"])
def test_ue7_refuses(data: str) -> None:
    with pytest.raises(BpgError):
        bits.read_ue7(bytes.fromhex(data), 0)


@given(st.lists(st.sampled_from([0, 0, 0, 1, 2, 3, 4, 255]), max_size=40).map(bytes))
def test_emulation_prevention(rbsp: bytes) -> None:
    payload = nal.escape(rbsp)
    assert not any(bytes((0, 0, i)) in payload for i in range(3))
    assert nal.unescape(payload) == rbsp


def test_start_codes_of_three_and_four_bytes() -> None:
    assert nal.split_annexb(b"ab\0\0\1cd\0\0\0\1ef") == [b"ab", b"cd", b"ef"]
    assert nal.split_annexb(nal.join_annexb([b"ab", b"c"])) == [b"ab", b"c"]


# --- header and SPS


@given(
    width=st.integers(1, 13000),
    height=st.integers(1, 10000),
    pixel_format=st.sampled_from(PixelFormat),
    color_space=st.sampled_from(ColorSpace),
    bit_depth=st.integers(8, 14),
    flags=st.tuples(*[st.booleans()] * 4),
    picture_data_length=NUMBERS,
    extensions=st.lists(st.builds(Extension, NUMBERS, st.binary(max_size=200)), max_size=3),
)
def test_a_header_gives_back_what_was_written(
    width: int,
    height: int,
    pixel_format: PixelFormat,
    color_space: ColorSpace,
    bit_depth: int,
    flags: tuple[bool, bool, bool, bool],
    picture_data_length: int,
    extensions: list[Extension],
) -> None:
    if pixel_format is PixelFormat.GRAY:
        color_space = ColorSpace.YCBCR_BT601
    if color_space is ColorSpace.RGB:
        pixel_format = PixelFormat.YUV444
    limited, alpha1, alpha2, animation = flags
    if pixel_format is PixelFormat.GRAY and not alpha1:
        alpha2 = False
    header = Header(
        width, height, pixel_format, color_space, bit_depth, limited, alpha1, alpha2, animation,
        picture_data_length, tuple(extensions),
    )  # fmt: skip
    data = header.write()
    assert Header.parse(data + b"more") == (header, len(data))
    for length in range(len(data)):
        with pytest.raises(BpgError):
            Header.parse(data[:length])


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("425047fa2000010100", "not a .bpg file"),
        ("425047fbe000010100", "pixel_format 7"),
        ("425047fb2050010100", "color_space 5"),
        ("425047fb2010010100", "RGB picture must have pixel_format 3"),
        ("425047fb0030010100", "gray picture must have color_space 0"),
        ("425047fb2700010100", "bit depth is 15"),
        ("425047fb0004010100", "gray picture cannot have a W plane"),
        ("425047fb2000000100", "empty"),
        ("425047fb20008fffffff7f8fffffff7f00", "larger than"),
    ],
)
def test_a_header_that_is_refused(data: str, says: str) -> None:
    with pytest.raises(BpgError, match=says):
        BpgFile.parse(bytes.fromhex(data) + bytes.fromhex("0392474044 01c1718112000001 2801af08"))


def sps_of(header: Header) -> Sps:
    return Sps.parse_short(bytes.fromhex("924740"), header)


@given(
    depth=st.integers(0, 4),
    sao=st.booleans(),
    pcm=st.none() | st.builds(Pcm, *[st.integers(1, 16)] * 2, *[st.integers(3, 5)] * 2,
                              st.booleans()),
    strong=st.booleans(),
    extension=st.none() | st.builds(RangeExtension, *[st.booleans()] * 9),
    chroma=st.sampled_from(PixelFormat),
    bit_depth=st.integers(8, 14),
)  # fmt: skip
def test_an_sps_gives_back_what_was_written(
    depth: int,
    sao: bool,
    pcm: Pcm | None,
    strong: bool,
    extension: RangeExtension | None,
    chroma: PixelFormat,
    bit_depth: int,
) -> None:
    header = Header(333, 250, chroma, bit_depth=bit_depth)
    sps = replace(
        sps_of(header),
        max_transform_hierarchy_depth_intra=depth,
        max_transform_hierarchy_depth_inter=depth,
        sample_adaptive_offset_enabled_flag=sao,
        pcm=pcm,
        strong_intra_smoothing_enabled_flag=strong,
        range_extension=extension,
    )
    assert Sps.parse_short(sps.write_short(header), header) == sps
    assert Sps.parse_full(sps.write_full()) == sps


@pytest.mark.parametrize(
    "change",
    [
        {"amp_enabled_flag": False},
        {"log2_max_pic_order_cnt_lsb": 4},
        {"sps_temporal_mvp_enabled_flag": False},
        {"max_transform_hierarchy_depth_inter": 1},
        {"conformance_window": (0, 1, 0, 0)},
        {"bit_depth_chroma": 9},
        {"chroma_format_idc": 2},
        {"pic_width_in_luma_samples": 344},
        {"scaling_list_enabled_flag": True},
        {"sps_seq_parameter_set_id": 1},
    ],
)
def test_an_sps_that_the_container_cannot_say_is_refused(change: dict[str, object]) -> None:
    header = Header(333, 250)
    with pytest.raises(CodecError, match=f"cannot hold this picture.*{next(iter(change))}"):
        replace(sps_of(header), **change).write_short(header)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        {"sps_max_sub_layers": 2},
        {"scaling_list_enabled_flag": True},
        {"num_short_term_ref_pic_sets": 1},
        {"long_term_ref_pics_present_flag": True},
        {"other_extension_flags": 1},
    ],
)
def test_an_sps_with_parts_that_are_not_written_is_refused(change: dict[str, object]) -> None:
    sps = replace(sps_of(Header(333, 250)), **change)  # type: ignore[arg-type]
    with pytest.raises(CodecError, match="not written"):
        sps.write_full()


# --- our own files


def test_nothing_but_pps_and_one_slice(natural: NDArray[np.uint8]) -> None:
    file = BpgFile.parse(BpgCodec().encode(natural, 30))
    assert [nal.nal_type(unit) for unit in file.nals[:1]] == [NAL_PPS]
    assert [nal.is_slice(unit) for unit in file.nals] == [False, True]
    assert file.header == Header(128, 96)


def test_qp_0_to_3_are_one_file(natural: NDArray[np.uint8]) -> None:
    files = {BpgCodec().encode(natural[:32, :32], qp) for qp in range(4)}
    assert len(files) == 1
    assert BpgCodec().encode(natural[:32, :32], 4) not in files


@pytest.mark.parametrize(
    ("width", "height", "blocks"),
    [
        (1, 1, (16, 16)), (8, 8, (16, 16)), (8, 500, (16, 16)), (9, 9, (16, 8)),
        (24, 24, (16, 8)), (25, 32, (32, 8)), (57, 64, (64, 8)), (640, 480, (64, 8)),
    ],
)  # fmt: skip
def test_block_sizes(width: int, height: int, blocks: tuple[int, int]) -> None:
    assert x265.block_sizes(width, height) == blocks


def test_extensions_and_a_stated_length_are_read(natural: NDArray[np.uint8]) -> None:
    plain = BpgCodec().encode(natural, 40)
    file = BpgFile.parse(plain)
    header = replace(file.header, extensions=(Extension(1, b"exif"),), picture_data_length=1)
    data = replace(file, header=header).write()
    pixels = BpgCodec().decode(plain)
    assert np.array_equal(BpgCodec().decode(data + b"what follows"), pixels)
    with pytest.raises(CodecError, match="ends early"):
        BpgCodec().decode(data[:-1])


# --- colour


def test_gray_stays_gray_and_444_loses_nothing_but_rounding() -> None:
    levels = np.arange(256, dtype=np.uint8)
    gray = np.broadcast_to(levels[:, None, None], (256, 8, 3))
    for pixel_format in list(PixelFormat)[1:]:
        header = Header(8, 256, pixel_format)
        luma, cb, cr = colour.to_planes(gray, header)
        assert np.array_equal(luma, gray[..., 0])
        assert (cb == 128).all()
        assert (cr == 128).all()
        assert np.array_equal(colour.to_rgb([luma, cb, cr], header), gray)
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    header = Header(64, 64, PixelFormat.YUV444)
    back = colour.to_rgb(colour.to_planes(rgb, header), header)
    assert np.abs(back.astype(int) - rgb).max() <= 2
    assert abs((back.astype(int) - rgb).mean()) < 0.02  # rounded, not truncated


def test_bt601_agrees_with_exact_arithmetic() -> None:
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)
    luma, cb, cr = colour.to_planes(rgb, Header(20, 20, PixelFormat.YUV444))
    for y, u, v, (r, g, b) in zip(
        luma.flat, cb.flat, cr.flat, rgb.reshape(-1, 3).tolist(), strict=True
    ):
        exact = Fraction(299 * r + 587 * g + 114 * b, 1000)
        assert abs(int(y) - exact) <= Fraction(501, 1000)
        for sample, channel, weight in ((u, b, 114), (v, r, 299)):
            unclipped = 128 + (channel - exact) / Fraction(2 * (1000 - weight), 1000)
            assert abs(int(sample) - min(255, unclipped)) <= Fraction(501, 1000)


@pytest.mark.parametrize("pixel_format", [f for f in PixelFormat if f.chroma_format_idc in (1, 2)])
def test_the_filters_do_not_shift_the_chroma(pixel_format: PixelFormat) -> None:
    """A ramp of colour keeps its place: down and up again is the identity away from edges."""
    x, y = np.meshgrid(np.arange(64.0), np.arange(64.0))
    rgb = np.stack([60 + x + y, 200 - x - y, 60 + x], axis=-1).astype(np.uint8)
    header = Header(64, 64, pixel_format)
    planes = colour.to_planes(rgb, header)
    assert planes[1].shape == colour.chroma_size(header)
    back = colour.to_rgb(planes, header)
    middle = (slice(12, -12), slice(12, -12))
    assert np.abs(back[middle].astype(int) - rgb[middle]).max() <= 2


def test_centred_chroma_is_symmetric(natural: NDArray[np.uint8]) -> None:
    for pixel_format in (PixelFormat.YUV420_CENTRED, PixelFormat.YUV422_CENTRED):
        header = Header(128, 96, pixel_format)
        back = colour.to_rgb(colour.to_planes(natural, header), header)
        for flip in (np.fliplr, np.flipud):
            flipped = colour.to_rgb(colour.to_planes(flip(natural), header), header)
            assert np.array_equal(flip(flipped), back)


@pytest.mark.parametrize("pixel_format", PixelFormat)
@pytest.mark.parametrize("height", [15, 16, 17, 31, 64, 96])
def test_strips_do_not_show(
    pixel_format: PixelFormat,
    height: int,
    natural: NDArray[np.uint8],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A large picture is converted by strips: the same samples as at once."""
    rgb = natural[:height, :50]
    header = Header(50, height, pixel_format)
    planes = colour.to_planes(rgb, header)
    back = colour.to_rgb(planes, header)
    monkeypatch.setattr(colour, "_STRIP", 1)
    monkeypatch.setattr(colour, "_CHUNK", 1)
    assert len(list(colour._strips(96, 50, margin=8))) == 6
    for plane, strips in zip(planes, colour.to_planes(rgb, header), strict=True):
        assert np.array_equal(plane, strips)
    assert np.array_equal(colour.to_rgb(planes, header), back)


def test_depths_go_there_and_back() -> None:
    levels = np.arange(256, dtype=np.uint8)
    for bit_depth in (8, 10, 12):
        deep = colour.from_8_bits(levels, bit_depth)
        assert deep.max() == 2**bit_depth - 1
        assert np.array_equal(colour.to_8_bits(deep, bit_depth), levels)


@pytest.mark.parametrize("bit_depth", [10, 12])
def test_every_deep_sample_goes_to_the_nearest_of_8_bits(bit_depth: int) -> None:
    deep = np.arange(2**bit_depth, dtype=np.uint16)
    share = [Fraction(255 * int(sample), 2**bit_depth - 1) for sample in deep]
    nearest = [int(exact + Fraction(1, 2)) for exact in share]
    assert colour.to_8_bits(deep, bit_depth).tolist() == nearest


def test_taps_sum_to_one() -> None:
    assert sum(colour.DOWN_CENTRED) == sum(colour.DOWN_LEFT) == 128
    assert sum(colour.UP_QUARTER) == sum(colour.UP_HALF) == 64
