"""Whole pictures: RGB with or without alpha ↔ the bytes of a .bpg file.

encode   RGB ─ colour.to_planes ─▶ planes ─ x265.encode ─▶ SPS, NAL units ─ BpgFile.write ─▶ bytes
decode   bytes ─ BpgFile.parse ─▶ SPS, NAL units ─ x265.decode ─▶ planes ─ colour.to_rgb ─▶ RGB
"""

import warnings
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bench.codecs.bpg import colour, x265
from bench.codecs.bpg.bits import BpgError
from bench.codecs.bpg.container import BpgFile
from bench.codecs.bpg.header import MAX_PIXELS, Extension, Header
from bench.codecs.bpg.nal import to_extra_layer
from bench.codecs.bpg.settings import Settings
from bench.codecs.bpg.sps import Sps

Pixels = NDArray[np.uint8]

BACKGROUNDS = {"white": (255, 255, 255), "black": (0, 0, 0), "gray": (128, 128, 128)}
"""What a transparent picture may be laid over."""


class BpgWarning(UserWarning):
    """A .bpg file of which only a part is shown."""


@dataclass(frozen=True)
class Picture:
    """A decoded file: rgb (H, W, 3), alpha (H, W) or None, and what the header says.

    The colours are never premultiplied; where the alpha is 0 in a file that stores them so, they
    are white, as with libbpg.
    """

    rgb: Pixels
    alpha: Pixels | None
    header: Header

    def over(self, background: tuple[int, int, int]) -> Pixels:
        """(H, W, 3): the picture over a plain colour, rounded half up."""
        if self.alpha is None:
            return self.rgb
        alpha = self.alpha[..., None].astype(np.uint32)
        mixed = self.rgb * alpha + np.array(background, np.uint32) * (255 - alpha)
        return ((2 * mixed + 255) // 510).astype(np.uint8)


def encode(
    rgb: Pixels,
    qp: int,
    settings: Settings,
    *,
    alpha: Pixels | None = None,
    extensions: tuple[Extension, ...] = (),
) -> bytes:
    """(H, W, 3) sRGB, and (H, W) alpha if any → a whole .bpg file. Raises BpgError.

    The alpha is a gray picture of its own, coded with the same QP; the colours are not
    premultiplied. `extensions` are written as they are.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise BpgError(f"bpg codes (H, W, 3) uint8 pixels, not {rgb.shape} {rgb.dtype}")
    height, width = rgb.shape[:2]
    header = settings.header(width, height)
    header = replace(header, alpha1=alpha is not None, extensions=extensions)
    planes = colour.to_planes(rgb, header)
    sps, nals = _encode_planes(planes, qp, settings, header.pixel_format.chroma_format_idc)
    if alpha is None:
        return BpgFile(header, sps, nals).write()
    if alpha.shape != (height, width) or alpha.dtype != np.uint8:
        raise BpgError(f"alpha is (H, W) uint8, here {(height, width)}; not {alpha.shape}")
    plane = colour.from_8_bits(alpha, header.bit_depth)
    alpha_sps, alpha_nals = _encode_planes([plane], qp, settings, 0)
    # alpha first, so that a progressive reader has it when the colours arrive
    return BpgFile(header, sps, (*map(to_extra_layer, alpha_nals), *nals), alpha_sps).write()


def decode(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """A whole .bpg file → its picture; of an animation the first frame, with a BpgWarning.

    Raises BpgError for anything else than a picture of at most `max_pixels` pixels. A .bpg file
    has no checksum: damage that leaves the syntax whole shows in the pixels only.
    """
    file = BpgFile.parse(data, max_pixels)
    header = file.header
    to_end_of_file = header.picture_data_length == 0
    planes = x265.decode(file.still(), file.sps, check_end=to_end_of_file)
    rgb = colour.to_rgb(planes, header)
    del planes
    alpha = None
    if file.alpha_sps is not None:
        extra = x265.decode(file.still(alpha=True), file.alpha_sps, check_end=to_end_of_file)[0]
        alpha = colour.to_8_bits(extra[: header.height, : header.width], header.bit_depth)
        if header.has_w_plane:
            rgb, alpha = _times(rgb, alpha), None
        elif header.premultiplied:
            rgb = _divided(rgb, alpha)
    if header.animation:
        warnings.warn(
            f"an animation of {file.frames} frames: only the first is shown",
            BpgWarning,
            stacklevel=2,
        )
    return Picture(rgb, alpha, header)


def _encode_planes(
    planes: list[colour.Plane], qp: int, settings: Settings, chroma_format_idc: int
) -> tuple[Sps, tuple[bytes, ...]]:
    return x265.encode(
        planes,
        qp,
        chroma_format_idc=chroma_format_idc,
        bit_depth=settings.bit_depth,
        level=settings.level,
        lossless=settings.lossless,
    )


def _times(rgb: Pixels, w: Pixels) -> Pixels:
    """CMYK on a screen: R, G and B, each times W."""
    return ((2 * rgb.astype(np.uint32) * w[..., None] + 255) // 510).astype(np.uint8)


def _divided(rgb: Pixels, alpha: Pixels) -> Pixels:
    """Premultiplied colours → plain ones: min(1, colour / alpha), white where alpha is 0."""
    a = np.maximum(alpha, 1)[..., None].astype(np.uint32)
    plain = np.minimum((2 * 255 * rgb.astype(np.uint32) + a) // (2 * a), 255)
    plain[alpha == 0] = 255
    return plain.astype(np.uint8)
