"""Every format, depth and level that can be written; alpha; animation; limits."""

import itertools
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pictures import natural_picture, psnr

from bench.codecs import make
from bench.codecs.bpg import BpgCodec, BpgWarning, Settings, picture
from bench.codecs.bpg.container import BpgFile
from bench.codecs.bpg.header import Extension, Header
from bench.codecs.bpg.nal import is_slice, nal_header, nal_layer
from bench.codecs.bpg.settings import COLOR_SPACES, LEVELS, PIXEL_FORMATS
from bench.errors import CodecError, ConfigError

FORMATS = [
    (pixel_format, color_space)
    for pixel_format, color_space in itertools.product(PIXEL_FORMATS, COLOR_SPACES)
    if (color_space != "rgb" or pixel_format == "4:4:4")
    and (pixel_format != "gray" or color_space == "ycbcr")
]


def gray(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(rgb[..., 1:2], 3, axis=2)


@pytest.mark.parametrize("bit_depth", [8, 10, 12])
@pytest.mark.parametrize("limited_range", [False, True])
@pytest.mark.parametrize(("pixel_format", "color_space"), FORMATS)
def test_a_format_round_trips_at_a_fine_qp(
    pixel_format: str,
    color_space: str,
    limited_range: bool,
    bit_depth: int,
    natural: NDArray[np.uint8],
) -> None:
    rgb = natural[:45, :67]
    if pixel_format == "gray":
        rgb = gray(rgb)
    codec = make(
        {
            "name": "bpg",
            "pixel_format": pixel_format,
            "color_space": color_space,
            "limited_range": limited_range,
            "bit_depth": bit_depth,
        }
    )
    data = codec.encode(rgb, 8)
    header = BpgFile.parse(data).header
    assert header == Header(
        67, 45, PIXEL_FORMATS[pixel_format], COLOR_SPACES[color_space], bit_depth, limited_range
    )
    assert psnr(codec.decode(data), rgb) > 36


@pytest.mark.parametrize("pixel_format", PIXEL_FORMATS)
@pytest.mark.parametrize(
    ("width", "height"),
    [(1, 1), (1, 2), (1, 77), (2, 1), (77, 1), (8, 8), (16, 16), (63, 65), (4095, 3)],
)
def test_odd_sizes_round_trip(pixel_format: str, width: int, height: int) -> None:
    rgb = natural_picture(width, height, seed=1)
    if pixel_format == "gray":
        rgb = gray(rgb)
    codec = make({"name": "bpg", "pixel_format": pixel_format})
    decoded = codec.decode(codec.encode(rgb, 20))
    assert decoded.shape == rgb.shape
    assert psnr(decoded, rgb) > 31


@pytest.mark.parametrize("level", LEVELS)
def test_levels(level: int, natural: NDArray[np.uint8]) -> None:
    """What the container cannot say would be an error: so each preset agrees with the format."""
    codec = make({"name": "bpg", "level": level})
    data = codec.encode(natural, 33)
    assert psnr(codec.decode(data), natural) > 28
    assert f"level {level}" in codec.fingerprint()["format"]


@pytest.mark.parametrize(
    "options",
    [{}, {"pixel_format": "4:4:4", "color_space": "ycgco", "bit_depth": 10}],
    ids=str,
)
def test_lossless_keeps_every_pixel(options: dict[str, object], natural: NDArray[np.uint8]) -> None:
    codec = make({"name": "bpg", "lossless": True, **options})
    assert codec.qps == range(1)
    assert np.array_equal(codec.decode(codec.encode(natural, 0)), natural)
    with pytest.raises(CodecError, match="not 37"):
        codec.encode(natural, 37)


def test_lossless_420_keeps_the_planes(natural: NDArray[np.uint8]) -> None:
    """What is lost is lost once: coding the decoded gray picture again changes nothing."""
    codec = make({"name": "bpg", "lossless": True, "pixel_format": "4:2:0"})
    assert np.array_equal(codec.decode(codec.encode(gray(natural), 0)), gray(natural))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"pixel_fmt": "4:2:0"}, "unknown option 'pixel_fmt'.*pixel_format"),
        ({"pixel_format": "4:1:1"}, "pixel_format: '4:1:1' is not allowed.*4:2:0"),
        ({"pixel_format": "4:2:0", "color_space": "rgb"}, "rgb needs pixel_format 4:4:4"),
        ({"pixel_format": "gray", "color_space": "ycgco"}, "gray needs color_space ycbcr"),
        ({"color_space": "yuv"}, "color_space: 'yuv'.*ycbcr_bt709"),
        ({"bit_depth": 9}, "bit_depth: 9 is not allowed.*8, 10, 12"),
        ({"bit_depth": True}, "bit_depth: True"),
        ({"lossless": 1}, "lossless: 1 is not allowed.*False, True"),
        ({"level": 0}, "level: 0 is not allowed.*1…9"),
        ({"level": "8"}, "level: '8'"),
        ({"provider": "x264"}, "provider: 'x264'.*embedded, libbpg"),
        ({"background": "pink"}, "background: 'pink'.*white"),
        ({"max_pixels": 0}, "max_pixels: 0 is not allowed.*from 1 up"),
        ({"bpgenc": "/bin/true"}, "unknown option 'bpgenc'"),
    ],
)
def test_wrong_options(options: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        make({"name": "bpg", **options})


def test_an_unquoted_format_in_yaml_is_understood() -> None:
    for given_value, meant in ((14520, "4:2:0"), (420, "4:2:0"), (14644, "4:4:4"), (422, "4:2:2")):
        codec = make({"name": "bpg", "pixel_format": given_value})
        assert meant in codec.fingerprint()["format"]


def test_every_setting_is_in_the_fingerprint() -> None:
    changes: list[dict[str, object]] = [
        {}, {"pixel_format": "4:4:4"}, {"color_space": "ycgco"}, {"bit_depth": 10},
        {"limited_range": True}, {"level": 3}, {"lossless": True}, {"background": "white"},
    ]  # fmt: skip
    seen = [make({"name": "bpg", **change}).fingerprint() for change in changes]
    assert all(a != b for a, b in itertools.combinations(seen, 2))


# --- alpha, W, animation


@pytest.fixture(scope="module")
def alpha() -> NDArray[np.uint8]:
    y, x = np.mgrid[0:96, 0:128]
    return np.clip(300 - 2 * np.hypot(x - 60, y - 40) * 2, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("bit_depth", [8, 10])
def test_alpha_goes_in_and_comes_back(
    bit_depth: int, natural: NDArray[np.uint8], alpha: NDArray[np.uint8]
) -> None:
    plain = picture.encode(natural, 22, Settings(bit_depth=bit_depth))
    data = picture.encode(natural, 22, Settings(bit_depth=bit_depth), alpha=alpha)
    file = BpgFile.parse(data)
    assert {nal_layer(nal) for nal in file.nals} == {0, 1}
    assert file.alpha_sps is not None
    assert file.alpha_sps.chroma_format_idc == 0
    decoded = picture.decode(data)
    assert decoded.alpha is not None
    assert np.abs(decoded.alpha.astype(int) - alpha).max() <= 8
    assert np.array_equal(decoded.rgb, picture.decode(plain).rgb)
    with pytest.raises(CodecError, match="choose a background"):
        BpgCodec().decode(data)
    for name, level in (("white", 255), ("black", 0)):
        over = make({"name": "bpg", "background": name}).decode(data)
        opacity = decoded.alpha[..., None] / 255
        exact = decoded.rgb * opacity + level * (1 - opacity)
        assert np.abs(over - exact).max() <= 0.5 + 1e-9


def test_premultiplied_colours_are_divided_and_w_multiplies(
    natural: NDArray[np.uint8], alpha: NDArray[np.uint8]
) -> None:
    data = picture.encode(natural, 22, Settings(), alpha=alpha)
    plain, file = picture.decode(data), BpgFile.parse(data)
    assert plain.alpha is not None
    rgb, a = plain.rgb.astype(float), plain.alpha[..., None].astype(float)
    premultiplied = replace(file, header=replace(file.header, alpha2=True)).write()
    decoded = picture.decode(premultiplied)
    exact = np.where(a == 0, 255, np.minimum(255, 255 * rgb / np.maximum(a, 1)))
    assert np.abs(decoded.rgb - exact).max() <= 0.5 + 1e-9
    assert np.array_equal(decoded.alpha, plain.alpha)
    cmyk = replace(file, header=replace(file.header, alpha1=False, alpha2=True)).write()
    on_screen = picture.decode(cmyk)
    assert on_screen.alpha is None
    assert np.abs(on_screen.rgb - rgb * a / 255).max() <= 0.5 + 1e-9
    assert np.array_equal(BpgCodec().decode(cmyk), on_screen.rgb)


def test_of_an_animation_the_first_frame(natural: NDArray[np.uint8]) -> None:
    first = BpgFile.parse(picture.encode(natural, 30, Settings()))
    second = BpgFile.parse(picture.encode(natural[::-1], 30, Settings()))
    header = replace(first.header, animation=True, extensions=(Extension(5, b"\0\1\x19"),))
    both = replace(first, header=header, nals=first.nals + second.nals)
    assert both.frames == 2
    with pytest.warns(BpgWarning, match="2 frames"):
        decoded = BpgCodec().decode(both.write())
    assert np.array_equal(decoded, BpgCodec().decode(first.write()))


# --- untrusted files


def test_a_claim_of_many_pixels_costs_nothing(natural: NDArray[np.uint8]) -> None:
    file = BpgFile.parse(picture.encode(natural, 40, Settings()))
    for size, says in (((2**31, 2**31), "is larger than"), ((2**13, 2**13), "too few")):
        claim = replace(file.header, width=size[0], height=size[1])
        data = claim.write() + file.write()[len(file.header.write()) :]
        with pytest.raises(CodecError, match=says):
            BpgCodec().decode(data)
    with pytest.raises(CodecError, match="larger than 100 pixels"):
        make({"name": "bpg", "max_pixels": 100}).decode(file.write())


def test_parameter_sets_and_later_pictures_in_the_file_are_not_followed(
    natural: NDArray[np.uint8],
) -> None:
    """An SPS of its own could claim any size behind the header's back."""
    file = BpgFile.parse(picture.encode(natural, 40, Settings()))
    large = replace(file.sps, pic_width_in_luma_samples=8192, pic_height_in_luma_samples=8192)
    hostile = replace(file, nals=(large.write_vps(), large.write_full(), *file.nals))
    assert np.array_equal(BpgCodec().decode(hostile.write()), BpgCodec().decode(file.write()))
    pps, unit = file.nals
    trailing = replace(file, nals=(pps, nal_header(1) + unit[2:]))
    with pytest.raises(CodecError, match="no intra picture"):
        BpgCodec().decode(trailing.write())


def test_many_slices_of_nothing_are_refused(natural: NDArray[np.uint8]) -> None:
    file = BpgFile.parse(picture.encode(natural, 40, Settings()))
    header = replace(file.header, width=3000, height=3000)
    sps = replace(file.sps, pic_width_in_luma_samples=3000, pic_height_in_luma_samples=3000)
    pps, unit = file.nals
    assert is_slice(unit)
    tiny = unit[:2] + bytes((unit[2] & 0x7F,)) + unit[3:8]
    many = replace(file, header=header, sps=sps, nals=(pps, unit, *[tiny] * 20))
    with pytest.raises(CodecError, match="21 slices in"):
        many.still()


def test_14_bits_are_read_but_not_decoded(natural: NDArray[np.uint8]) -> None:
    file = BpgFile.parse(picture.encode(natural, 40, Settings()))
    header = replace(file.header, bit_depth=14)
    deep = replace(file.sps, bit_depth_luma=14, bit_depth_chroma=14)
    data = replace(file, header=header, sps=deep).write()
    assert BpgFile.parse(data).header.bit_depth == 14
    with pytest.raises(CodecError, match="does not decode pictures of 14 bits"):
        BpgCodec().decode(data)


# --- rate and distortion


@settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    width=st.integers(96, 160),
    height=st.integers(96, 160),
    seed=st.integers(0, 1000),
    fmt=st.sampled_from(FORMATS),
    bit_depth=st.sampled_from([8, 10]),
)
def test_bits_and_psnr_fall_with_the_qp(
    width: int, height: int, seed: int, fmt: tuple[str, str], bit_depth: int
) -> None:
    """Neighbours within 1 % (or two bytes, in the smallest files) and 0.05 dB; steps of 3 fall.

    PSNR is compared up to 60 dB: beyond, no more than one sample in fifteen is off, by one level,
    and which ones is chance.
    """
    rgb = natural_picture(width, height, seed)
    if fmt[0] == "gray":
        rgb = gray(rgb)
    codec = make(
        {"name": "bpg", "pixel_format": fmt[0], "color_space": fmt[1], "bit_depth": bit_depth}
    )
    files = [codec.encode(rgb, qp) for qp in codec.qps]
    sizes = [len(data) for data in files]
    quality = [min(60, psnr(codec.decode(data), rgb)) for data in files]
    for qp in range(51):
        assert sizes[qp + 1] <= max(1.01 * sizes[qp], sizes[qp] + 2), (qp, sizes)
        assert quality[qp + 1] <= quality[qp] + 0.05, (qp, quality)
    for qp in range(3, 49):
        assert sizes[qp + 3] < sizes[qp], (qp, sizes)
        assert quality[qp + 3] < quality[qp] or quality[qp + 3] == 60, (qp, quality)


def test_coding_warns_of_nothing(natural: NDArray[np.uint8]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        BpgCodec().decode(BpgCodec().encode(natural, 30))
