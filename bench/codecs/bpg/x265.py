"""HEVC intra pictures through libav: x265 to encode, libav's own decoder to decode.

Every picture gets an encoder of its own that runs on one thread, so the bytes depend on neither
the number of cores nor on what else runs; parallelism is over pictures. libav releases the GIL.
"""

from collections.abc import Sequence
from functools import cache

import av
import numpy as np

from bench.codecs.bpg.bits import BpgError
from bench.codecs.bpg.nal import NAL_PPS, NAL_SPS, is_slice, nal_type, split_annexb
from bench.codecs.bpg.sps import Sps
from bench.codecs.libav import Plane, decode_frames, encode_frame, fill, rows

PRESETS = (
    "superfast",
    "veryfast",
    "faster",
    "fast",
    "medium",
    "slow",
    "slower",
    "veryslow",
    "placebo",
)
"""x265's preset by bpgenc's compression level, from level 1 on."""

TUNE = "ssim"
PARAMS = (
    # what `bpgenc -q` asks of x265; an I picture is then coded 3 below `qp` (ipratio 1.4)
    "rect=1:amp=1:keyint=1:bframes=0:total-frames=1"
    # one thread, or the bytes depend on the number of cores
    ":pools=none:wpp=0:frame-threads=1"
    # a long thin picture is beyond every level of HEVC, which a .bpg file has no words for
    ":allow-non-conformance=1"
    # nothing but the picture in the stream
    ":hash=0:aud=0:hrd=0:repeat-headers=1:log-level=none"
)

BLOCKS = "ctu=16…64 (level 1: …32) within the shorter side:min-cu-size=8, or 16 for sides of 8"

# no start code and no emulation prevention in it, so a decoder takes it for slice data
BEYOND_THE_END = b"\xb5\x6d\x93\x5a" * 64

_CHROMA = {0: "gray", 1: "yuv420p", 2: "yuv422p", 3: "yuv444p"}


def preset(level: int) -> str:
    """x265's preset for bpgenc's compression level, 1 (fast) to 9 (dense)."""
    return PRESETS[level - 1]


def block_sizes(width: int, height: int, level: int = 8) -> tuple[int, int]:
    """Picture size in pixels, compression level → (CTU, smallest coding block) in samples.

    The CTU is the preset's (superfast has 32, the others 64) unless the picture is smaller.
    x265 wants no side under 16 and none under the CTU; the picture is padded to a multiple of
    the smallest coding block, which is all that the container can express.
    """
    min_cu = 8
    shorter = -(-min(width, height) // min_cu) * min_cu
    if shorter < 16:
        min_cu = shorter = 16
    largest = min(shorter, 32 if preset(level) == "superfast" else 64)
    return max(ctu for ctu in (16, 32, 64) if ctu <= largest), min_cu


def pix_fmt(chroma_format_idc: int, bit_depth: int) -> str:
    """libav's name of a planar format; BpgError for a bit depth it has none for."""
    if bit_depth not in (8, 9, 10, 12):
        raise BpgError(
            f"libav does not decode pictures of {bit_depth} bits, but of 8, 9, 10 and 12"
        )
    name = _CHROMA[chroma_format_idc]
    return name if bit_depth == 8 else f"{name}{bit_depth}le"


def encode(
    planes: Sequence[Plane],
    qp: int,
    *,
    chroma_format_idc: int,
    bit_depth: int = 8,
    level: int = 8,
    lossless: bool = False,
) -> tuple[Sps, tuple[bytes, ...]]:
    """Planes of samples → the encoder's SPS, and the PPS and slices of one intra picture.

    planes: (h, w) luma or G and, unless gray, two chroma planes of the format's size. They are
    padded by replicating their edges. qp: x265's constant QP (0…51), without effect if lossless.
    """
    height, width = planes[0].shape
    ctu, min_cu = block_sizes(width, height, level)
    padded_width, padded_height = (-(-n // min_cu) * min_cu for n in (width, height))
    params = f"qp={qp}:ctu={ctu}:min-cu-size={min_cu}:{PARAMS}:info=0"
    if lossless:
        params += ":lossless=1"
    frame = av.VideoFrame(padded_width, padded_height, pix_fmt(chroma_format_idc, bit_depth))
    for i, plane in enumerate(planes):
        fill(frame, i, plane)
    try:
        stream = _run_encoder(frame, params, preset(level))
    except av.FFmpegError as error:
        raise BpgError(
            f"x265 could not encode {width}×{height} pixels: {error.strerror}"
        ) from error
    nals = split_annexb(stream)
    sps = [nal for nal in nals if nal_type(nal) == NAL_SPS]
    picture = tuple(nal for nal in nals if nal_type(nal) == NAL_PPS or is_slice(nal))
    if len(sps) != 1 or not any(is_slice(nal) for nal in picture):
        raise BpgError(f"x265 did not return one picture for {width}×{height} pixels")
    return Sps.parse_full(sps[0]), picture


def decode(stream: bytes, sps: Sps, *, check_end: bool = True) -> list[Plane]:
    """A byte stream of one picture → its planes, padding included: uint8, or uint16 over 8 bits.

    Raises BpgError for what libav does not decode. libav reads zeros past the end of a slice cut
    short; `check_end` finds that out by decoding again with other bytes there, which no picture
    that is complete ever reads. (A file cut exactly between two slices is not found out; x265
    writes one slice.)
    """
    planes = _run_decoder(stream, sps)
    if check_end:
        other = _run_decoder(stream + BEYOND_THE_END, sps)
        if not all(map(np.array_equal, planes, other)):
            raise BpgError("the file ends inside the picture")
    return planes


def _run_decoder(stream: bytes, sps: Sps) -> list[Plane]:
    expected = pix_fmt(sps.chroma_format_idc, sps.bit_depth_luma)
    try:
        frames = decode_frames("hevc", stream)
    except av.FFmpegError as error:
        raise BpgError(f"the picture cannot be decoded: {error.strerror}") from error
    if len(frames) != 1 or frames[0].is_corrupt:
        raise BpgError("the picture cannot be decoded: its data are damaged or end early")
    frame = frames[0]
    size = (sps.pic_width_in_luma_samples, sps.pic_height_in_luma_samples)
    name = frame.format.name
    if (frame.width, frame.height) != size or name != expected:
        raise BpgError("the picture in the file is not the one its header describes")
    return [rows(frame, i) for i in range(len(frame.planes))]


@cache
def version() -> str:
    """x265's own version, such as "4.2+1-e444744 (build 216)", from the SEI it can write."""
    frame = av.VideoFrame(16, 16, "yuv420p")
    for i in range(3):
        fill(frame, i, np.full((16, 16) if i == 0 else (8, 8), 128, np.uint8))
    stream = _run_encoder(frame, f"qp=51:ctu=16:min-cu-size=16:{PARAMS}:info=1", "ultrafast")
    _, found, text = stream.partition(b"x265 (build ")
    build, _, rest = text.partition(b") - ")
    number = rest.partition(b":")[0]
    if not found or not number:
        return "unknown"
    return f"{number.decode('ascii', 'replace')} (build {build.decode('ascii', 'replace')})"


def _run_encoder(frame: av.VideoFrame, params: str, preset: str) -> bytes:
    options = {"preset": preset, "tune": TUNE, "x265-params": params}
    return encode_frame("libx265", frame, options)
