"""What every codec promises, for all that are built in."""

import itertools
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from importlib.util import find_spec

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pictures import natural_picture, psnr
from PIL import features

from bench.codecs import CODECS, Codec, make
from bench.codecs.mapped import MappedCodec
from bench.errors import CodecError, ConfigError

LIBRARY = {  # of each codec, as its fingerprint names it
    "bpg": "x265",
    "jpeg": "libjpeg_turbo",
    "webp": "webp",
    "avif": "avif",
    "jpeg2000": "jpg_2000",
    "jpegxl": "libjxl",
    "heic": "libheif",
    "av1": "svt-av1",
    "h264": "x264",
}
NEEDS = {"jpegxl": "imagecodecs", "heic": "pillow_heif"}
NAMES = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            name in NEEDS and find_spec(NEEDS[name]) is None,
            reason=f"{NEEDS.get(name)} is not installed (the extra `codecs`)",
        ),
    )
    for name in LIBRARY
]
USABLE = [name for name in LIBRARY if name not in NEEDS or find_spec(NEEDS[name])]
SIGNATURE = {
    "bpg": b"BPG\xfb",
    "jpeg": b"\xff\xd8\xff",
    "webp": b"RIFF",
    "avif": b"\x00\x00\x00\x20ftypavif",
    "jpeg2000": b"\xff\x4f\xff\x51",
    "jpegxl": b"\xff\x0a",
    "heic": b"\x00\x00\x00",  # and the length of the box ftyp
    "av1": b"",  # the picture's size
    "h264": b"",
}


def test_they_are_registered() -> None:
    assert set(LIBRARY) <= set(CODECS.names())
    with pytest.raises(ConfigError, match="unknown codec 'bgp'"):
        make("bgp")


@pytest.mark.parametrize("name", NAMES)
@settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
@example(width=1, height=1, qp=0, seed=0)
@example(width=1, height=33, qp=51, seed=0)
@example(width=33, height=1, qp=20, seed=0)
@example(width=8, height=8, qp=0, seed=0)
@example(width=16, height=9, qp=37, seed=0)
@example(width=40, height=3, qp=25, seed=0)
@example(width=24, height=24, qp=31, seed=0)
@example(width=63, height=65, qp=44, seed=0)
@example(width=17, height=40, qp=37, seed=0)
@given(
    width=st.integers(1, 70),
    height=st.integers(1, 70),
    qp=st.integers(0, 51),
    seed=st.integers(0, 3),
)
def test_a_round_trip_keeps_the_size_and_the_picture(
    name: str, width: int, height: int, qp: int, seed: int
) -> None:
    codec = make(name)
    rgb = natural_picture(width, height, seed)
    data = codec.encode(rgb, qp)
    decoded = codec.decode(data)
    assert data.startswith(SIGNATURE[name])
    assert decoded.shape == rgb.shape
    assert decoded.dtype == np.uint8
    # coarse on purpose: a shift, a swapped channel or the padding in the picture would fail it
    assert psnr(decoded, rgb) > 33 - 0.4 * qp
    assert abs(decoded.mean() - rgb.mean()) < 3 + 0.5 * qp


@pytest.mark.parametrize("name", NAMES)
def test_a_larger_qp_is_coarser(name: str, natural: NDArray[np.uint8]) -> None:
    codec = make(name)
    qps = [4, 14, 22, 25, 28, 31, 34, 37, 40, 44, 48, 51]
    files = [codec.encode(natural, qp) for qp in qps]
    sizes = [len(data) for data in files]
    quality = [psnr(codec.decode(data), natural) for data in files]
    assert all(a > b for a, b in itertools.pairwise(sizes)), sizes
    assert all(a > b for a, b in itertools.pairwise(quality)), quality


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("threads", [1, 2, 8])
def test_threads_do_not_change_the_bytes(
    name: str, threads: int, natural: NDArray[np.uint8]
) -> None:
    codec = make(name)
    pictures = [natural[i : i + 40, i : 66 + i] for i in range(8)]
    expected = [codec.encode(picture, 34) for picture in pictures]
    with ThreadPoolExecutor(threads) as pool:
        files = list(pool.map(lambda picture: codec.encode(picture, 34), pictures))
        decoded = list(pool.map(codec.decode, files))
    assert files == expected
    for data, pixels in zip(files, decoded, strict=True):
        assert np.array_equal(pixels, codec.decode(data))


def _encode(codec: Codec, picture: NDArray[np.uint8]) -> bytes:
    return codec.encode(picture, 34)


def _pin(cores: set[int]) -> None:
    os.sched_setaffinity(0, cores)


@pytest.mark.parametrize(("processes", "cores"), [(1, 1), (2, 2), (8, 2)])
def test_processes_and_cores_do_not_change_the_bytes(
    processes: int, cores: int, natural: NDArray[np.uint8]
) -> None:
    """Codecs travel to them, so they are picklable; bpg's options travel along."""
    if len(os.sched_getaffinity(0)) < cores:
        pytest.skip(f"no {cores} cores here")
    codecs: list[Codec] = [*map(make, USABLE), make({"name": "bpg", "pixel_format": "4:4:4"})]
    pairs = [(codec, natural[i : i + 40, i : 66 + i]) for codec in codecs for i in range(3)]
    expected = [_encode(*pair) for pair in pairs]
    context = multiprocessing.get_context("forkserver")
    pinned = set(sorted(os.sched_getaffinity(0))[:cores])
    with ProcessPoolExecutor(processes, context, _pin, (pinned,)) as pool:
        assert list(pool.map(_encode, *zip(*pairs, strict=True))) == expected


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"quality": 3}, "takes a name"),
        ({"name": 3}, "takes a name"),
        (7, "takes a name"),
        ({"name": "bgp"}, "unknown codec 'bgp'"),
        ({"name": "jpeg", "quality": 3}, "codec jpeg: unknown option 'quality'; it has none"),
    ],
)
def test_a_spec_that_is_refused(spec: object, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        make(spec)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_and_a_mapping_of_the_name_are_the_same(name: str) -> None:
    assert make({"name": name}).fingerprint() == make(name).fingerprint()


@pytest.mark.parametrize("name", NAMES)
def test_views_with_strides_are_coded_as_their_pixels(
    name: str, natural: NDArray[np.uint8]
) -> None:
    codec = make(name)
    view = natural[::2, ::-1][:, :40]
    assert codec.encode(view, 30) == codec.encode(view.copy(), 30)


@pytest.mark.parametrize("name", NAMES)
def test_what_cannot_be_coded_is_refused(name: str, natural: NDArray[np.uint8]) -> None:
    codec = make(name)
    with pytest.raises(CodecError, match="QP 0 to 51, not 52"):
        codec.encode(natural, 52)
    with pytest.raises(CodecError, match="not -1"):
        codec.encode(natural, -1)
    for wrong in (natural[..., 0], natural.astype(np.float32), natural[:0], natural[..., :2]):
        with pytest.raises(CodecError):
            codec.encode(wrong, 30)


@pytest.mark.parametrize("name", NAMES)
def test_garbage_is_refused(name: str) -> None:
    codec = make(name)
    rng = np.random.default_rng(1)
    for size in (0, 1, 3, 4, 5, 12, 100, 1000):
        junk = rng.bytes(size)
        for data in (junk, SIGNATURE[name] + junk):
            with pytest.raises(CodecError):
                codec.decode(data)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_cut_short_is_refused(name: str, natural: NDArray[np.uint8]) -> None:
    codec = make(name)
    data = codec.encode(natural, 40)
    # the last two bytes of the arithmetic code may hold nothing but its end
    for length in [*range(0, 40), *range(40, len(data) - 2, 29)]:
        with pytest.raises(CodecError):
            codec.decode(data[:length])


@pytest.mark.parametrize("name", NAMES)
def test_damage_gives_a_picture_or_an_error(name: str, natural: NDArray[np.uint8]) -> None:
    """Most of these formats have no checksum; nothing but CodecError may come out."""
    codec = make(name)
    data = codec.encode(natural, 33)
    rng = np.random.default_rng(2)
    refused = 0
    for _ in range(60):
        damaged = bytearray(data)
        for at in rng.integers(0, len(data), rng.integers(1, 6)):
            damaged[at] = rng.integers(0, 256)
        try:
            assert codec.decode(bytes(damaged)).dtype == np.uint8
        except CodecError:
            refused += 1
    assert refused


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("other", USABLE)
def test_a_file_of_another_codec_is_refused(
    name: str, other: str, natural: NDArray[np.uint8]
) -> None:
    if name == other:
        return
    with pytest.raises(CodecError):
        make(name).decode(make(other).encode(natural, 33))


@pytest.mark.parametrize("name", NAMES)
def test_the_fingerprint_names_library_version_and_settings(
    name: str, natural: NDArray[np.uint8]
) -> None:
    codec = make(name)
    fingerprint = codec.fingerprint()
    codec.encode(natural[:20, :20], 30)
    assert codec.fingerprint() == fingerprint  # a library may write into what it is given
    assert fingerprint["codec"] == name
    assert fingerprint["settings"]
    assert fingerprint[LIBRARY[name]].lstrip("v")[0].isdigit()
    assert fingerprint == make(name).fingerprint()


@pytest.mark.parametrize("name", [n for n in NAMES if n.values != ("bpg",)])
def test_a_knob_turns_one_way_once_the_rates_meet(name: str) -> None:
    codec = make(name)
    assert isinstance(codec, MappedCodec)
    values = np.array(codec.values)
    steps = np.sign(values[-1] - values[0]) * np.diff(values)
    assert len(values) == len(codec.qps) == 52
    assert all(step > 0 or a == values[0] for step, a in zip(steps, values, strict=False))
    assert all(steps[16:] > 0)
    assert codec.fingerprint()[codec.knob] == ",".join(f"{value:g}" for value in codec.values)


@pytest.mark.parametrize("name", NAMES)
def test_coding_is_silent(
    name: str, natural: NDArray[np.uint8], capfd: pytest.CaptureFixture[str]
) -> None:
    codec = make(name)
    data = codec.encode(natural, 30)
    codec.decode(data)
    with pytest.raises(CodecError):
        codec.decode(data[: len(data) // 2])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "module", "says"),
    [
        ("jpegxl", "imagecodecs", r"codec jpegxl needs imagecodecs.*pip install.*\[codecs\]"),
        ("heic", "pillow_heif", r"codec heic needs pillow-heif.*pip install.*\[codecs\]"),
        (
            "mbt2018",
            "compressai.zoo.image",
            r"codec mbt2018 needs compressai.*pip install.*\[learned\]",
        ),
    ],
)
def test_a_library_that_is_missing_is_named_with_its_command(
    name: str, module: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # importing it then fails
    with pytest.raises(ConfigError, match=says):
        make(name)


@pytest.mark.parametrize("name", ["avif", "jpeg2000"])
def test_a_pillow_built_without_the_format_is_named(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "check", lambda feature: False)
    with pytest.raises(ConfigError, match=rf"codec {name} needs Pillow with .*pip install"):
        make(name)


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="not Linux")
@pytest.mark.parametrize("name", ["av1", "h264"])
def test_a_thread_that_codes_keeps_its_priority(name: str) -> None:
    """SVT-AV1 takes another one where it runs as root."""

    def policy() -> tuple[int, int]:
        return os.sched_getscheduler(0), os.sched_getparam(0).sched_priority

    with ThreadPoolExecutor(1) as pool:
        before = pool.submit(policy).result()
        assert pool.submit(make(name).encode, natural_picture(64, 48), 40).result()
        assert pool.submit(policy).result() == before


@pytest.mark.parametrize("name", ["av1", "h264"])
def test_a_pyav_built_without_the_encoder_is_named(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(name: str, mode: str) -> None:
        raise ValueError(name)

    monkeypatch.setattr(av.codec, "Codec", without)
    with pytest.raises(
        ConfigError, match=rf"codec {name} needs lib.* in PyAV.*without lib.*pip install"
    ):
        make(name)
