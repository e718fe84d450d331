"""RGB ↔ the planes of a .bpg picture, in exact arithmetic.

Matrices and filters are integers. They are applied in floating point only because OpenCV is fast
there: every product and sum is an integer that the type holds exactly (float32 to 2**24, float64
to 2**53), so neither the order of additions nor fused multiply-adds can change a sample, and the
same pixels give the same bytes on every machine. Each stage rounds once, half up; none truncates.
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.codecs.bpg.header import ColorSpace, Header, PixelFormat

Plane = NDArray[np.uint8] | NDArray[np.uint16]
Array = NDArray[Any]
Matrix = tuple[tuple[Fraction, Fraction, Fraction], ...]

# Halving: symmetric, sum 128. Fitted by least squares so that DOWN followed by UP gives back the
# chroma of natural images with the smallest squared error.
DOWN_CENTRED = (-5, 11, -3, -16, 13, 64, 64, 13, -16, -3, 11, -5)
DOWN_LEFT = (8, -13, -7, 40, 72, 40, -7, -13, 8)

# Doubling, sum 64: a quarter of a sample beyond the fourth tap, and half a sample. Near those of
# H.265's luma interpolation (table 8-11); these give the pixels that bpgdec gives.
UP_QUARTER = (-1, 4, -10, 57, 18, -6, 2)
UP_HALF = (-1, 4, -11, 40, 40, -11, 4, -1)

_DOWN_SUM = 128
_UP_SUM = 64
_MATRIX_SHIFT = 22
_STRIP = 2**18  # pixels filtered at a time, so that a large picture does not need many times itself
_CHUNK = 2**14  # pixels that go through the matrix at a time, so that they stay in the cache
_MARGIN = 8  # rows that the vertical filters reach beyond a strip, and at least twice their taps

_LUMA_WEIGHTS = {
    ColorSpace.YCBCR_BT601: (Fraction(299, 1000), Fraction(114, 1000)),
    ColorSpace.YCBCR_BT709: (Fraction(2126, 10000), Fraction(722, 10000)),
    ColorSpace.YCBCR_BT2020: (Fraction(2627, 10000), Fraction(593, 10000)),
}


def version(color_space: ColorSpace = ColorSpace.YCBCR_BT601, limited_range: bool = False) -> str:
    """Names the filters and the arithmetic: change it with whatever can change a sample."""
    last_change = 2 if limited_range and color_space is ColorSpace.YCGCO else 1
    return f"down: least squares, 12 taps; up: 7 taps; matrix: 22 bits; v{last_change}"


def to_planes(rgb: NDArray[np.uint8], header: Header) -> list[Plane]:
    """(H, W, 3) RGB → planes as `header` describes them; chroma sides are rounded up.

    uint8, or uint16 over 8 bits. A gray format keeps the luma alone.
    """
    height, width = rgb.shape[:2]
    chroma_height, chroma_width = chroma_size(header)
    halved = header.pixel_format.chroma_format_idc == 1
    planes = [_empty((height, width), header.bit_depth)]
    if chroma_height:
        planes += [_empty((chroma_height, chroma_width), header.bit_depth) for _ in range(2)]
    for top, bottom, above, below in _strips(height, width, margin=_MARGIN if halved else 0):
        strip = _strip_to_planes(rgb[top - above : bottom + below], header)
        planes[0][top:bottom] = strip[0][above : above + bottom - top]
        for plane, part in zip(planes[1:], strip[1:], strict=True):
            first, last, skip = (top // 2, -(-bottom // 2), above // 2) if halved else (
                top, bottom, 0
            )  # fmt: skip
            plane[first:last] = part[skip : skip + last - first]
    return planes


def _strip_to_planes(rgb: NDArray[np.uint8], header: Header) -> list[Plane]:
    """`to_planes` of some rows.

    Filters and matrix may change places, as nothing is rounded between them: so RGB is filtered,
    which float32 holds exactly (255 × 224², the taps' magnitudes, is under 2**24), and only what
    is kept goes through the matrix.
    """
    rows, offsets = _integer_forward(header)
    matrix = np.array(rows, float)
    scale = 2**_MATRIX_SHIFT
    luma = cv2.transform(rgb.astype(np.float64), matrix[:1]).reshape(rgb.shape[:2])
    planes = [_rounded(luma, scale, offsets[0], header.bit_depth)]
    if len(rows) == 1:
        return planes
    kept: Array = rgb.astype(np.float32)
    for axis, left in _subsampled(header.pixel_format):
        kept = _halve(kept, axis, DOWN_LEFT if left else DOWN_CENTRED)
        scale *= _DOWN_SUM
    chroma = cv2.transform(kept.astype(np.float64), matrix[1:]).reshape(*kept.shape[:2], 2)
    for i in range(2):
        planes.append(_rounded(chroma[..., i], scale, offsets[1 + i], header.bit_depth))
    return planes


def to_rgb(planes: Sequence[Plane], header: Header) -> NDArray[np.uint8]:
    """Planes, of the picture's size or padded → (H, W, 3) RGB."""
    height, width = header.height, header.width
    chroma_height, chroma_width = chroma_size(header)
    luma = planes[0][:height, :width]
    chroma = [plane[:chroma_height, :chroma_width] for plane in planes[1:]]
    halved = header.pixel_format.chroma_format_idc == 1
    rgb = np.empty((height, width, 3), np.uint8)
    for top, bottom, above, below in _strips(height, width, margin=_MARGIN if halved else 0):
        rows = slice(top - above, bottom + below)
        size = (bottom + below - top + above, width)
        at = slice(rows.start // 2, -(-rows.stop // 2)) if halved else rows
        full = _full_chroma([plane[at] for plane in chroma], header, size)
        chunk = max(1, _CHUNK // width)
        for first in range(top, bottom, chunk):
            last = min(bottom, first + chunk)
            part = full[above + first - top : above + last - top]
            rgb[first:last] = _mixed_to_rgb(luma[first:last], part, header)
    return rgb


def _full_chroma(chroma: Sequence[Plane], header: Header, size: tuple[int, int]) -> Array:
    """Chroma planes of some rows → (h, w, 2) at the size of their luma, whole numbers."""
    dtype = np.float32 if header.bit_depth == 8 else np.float64
    if not chroma:
        return np.full((*size, 2), 2 ** (header.bit_depth - 1), dtype)
    full = cv2.merge([plane.astype(dtype) for plane in chroma]).reshape(*chroma[0].shape, 2)
    scale = 1
    for axis, left in reversed(_subsampled(header.pixel_format)):
        full = _double(full, axis, left, size[axis])
        scale *= _UP_SUM
        if axis == 0:
            # libbpg keeps 16 bits between its passes: what is over 8 bits is rounded off here
            extra = 2 ** (header.bit_depth - 8)
            full = _divided(full, extra)
            scale //= extra
    if scale > 1:
        full = _divided(full, scale)
        np.clip(full, 0, 2**header.bit_depth - 1, out=full)
    return full


def _mixed_to_rgb(luma: Plane, chroma: Array, header: Header) -> Array:
    """Luma and as much chroma → RGB of 0…255 and a fraction that a conversion cuts off."""
    samples = cv2.merge((luma.astype(np.float64), chroma.astype(np.float64)))
    mixed: Array = cv2.transform(samples, _inverse(header)).reshape(*luma.shape, 3)
    np.multiply(mixed, 2.0**-_MATRIX_SHIFT, out=mixed)
    # nothing negative is left, so the conversion is a floor; the matrix has added the half
    return np.clip(mixed, 0, 255, out=mixed)


def _strips(height: int, width: int, margin: int) -> Iterator[tuple[int, int, int, int]]:
    """Rows to work on together: (top, bottom, rows to read above, rows to read below).

    Tops and margins are even, as vertical filters over pairs of rows want.
    """
    rows = max(2, _STRIP // width // 2 * 2, 2 * margin)
    for top in range(0, height, rows):
        bottom = min(height, top + rows)
        yield top, bottom, min(margin, top), min(margin, height - bottom)


def from_8_bits(samples: NDArray[np.uint8], bit_depth: int) -> Plane:
    """0…255 → the whole range of `bit_depth` bits, rounded half up."""
    if bit_depth == 8:
        return samples
    return ((2 * samples.astype(np.uint32) * (2**bit_depth - 1) + 255) // 510).astype(np.uint16)


def to_8_bits(samples: Plane, bit_depth: int) -> NDArray[np.uint8]:
    """The inverse of `from_8_bits`."""
    if bit_depth == 8:
        return np.ascontiguousarray(samples, np.uint8)
    full = 2**bit_depth - 1
    return ((2 * 255 * samples.astype(np.uint32) + full) // (2 * full)).astype(np.uint8)


def chroma_size(header: Header) -> tuple[int, int]:
    """(height, width) of a chroma plane before padding; (0, 0) for a gray format."""
    if header.pixel_format is PixelFormat.GRAY:
        return 0, 0
    size = [header.height, header.width]
    for axis, _ in _subsampled(header.pixel_format):
        size[axis] = (size[axis] + 1) // 2
    return size[0], size[1]


def _subsampled(pixel_format: PixelFormat) -> list[tuple[int, bool]]:
    """The axes along which chroma is halved, in order, and whether it sits on the even samples."""
    left = pixel_format in (PixelFormat.YUV420_LEFT, PixelFormat.YUV422_LEFT)
    horizontal, vertical = (1, left), (0, False)
    return {0: [], 1: [horizontal, vertical], 2: [horizontal], 3: []}[
        pixel_format.chroma_format_idc
    ]


def _filter(x: Array, axis: int, taps: Sequence[int], anchor: int) -> Array:
    """Correlates (h, w, c) with integer taps along an axis, edges replicated. Exact."""
    kernel, one = np.array(taps, x.dtype), np.ones(1, x.dtype)
    pair = (kernel, one) if axis == 1 else (one, kernel)
    at = (anchor, 0) if axis == 1 else (0, anchor)
    y: Array = cv2.sepFilter2D(x, -1, pair[0], pair[1], anchor=at, borderType=cv2.BORDER_REPLICATE)
    return y.reshape(x.shape)


def _halve(x: Array, axis: int, taps: Sequence[int]) -> Array:
    """Every other sample of x along an axis, low-passed; scaled by the sum of the taps."""
    y = _filter(x, axis, taps, (len(taps) - 1) // 2)
    return np.ascontiguousarray(y[::2] if axis == 0 else y[:, ::2])


def _double(x: Array, axis: int, left: bool, size: int) -> Array:
    """Twice as many samples along an axis, cut to `size`; scaled by the sum of the taps."""
    if left:
        even, odd = x * _UP_SUM, _filter(x, axis, UP_HALF, 3)
    else:
        even = _filter(x, axis, UP_QUARTER[::-1], 3)
        odd = _filter(x, axis, UP_QUARTER, 3)
    height, width, channels = x.shape
    if axis == 0:
        return np.stack((even, odd), axis=1).reshape(2 * height, width, channels)[:size]
    return cv2.merge((even, odd)).reshape(height, 2 * width, channels)[:, :size]


def _divided(x: Array, scale: int) -> Array:
    """x / scale, rounded half up; scale is a power of two."""
    if scale == 1:
        return x
    y = x + scale // 2
    y *= 1 / scale
    return np.floor(y, out=y)


def _rounded(x: Array, scale: int, offset: int, bit_depth: int) -> Plane:
    """x / scale + offset, rounded half up and clipped to the samples' range."""
    y = np.clip(_divided(x, scale) + offset, 0, 2**bit_depth - 1)
    return y.astype(np.uint8) if bit_depth == 8 else y.astype(np.uint16)


def _ranges(header: Header) -> tuple[Fraction, Fraction, int, int]:
    """Samples per 8-bit step of luma and of chroma, and their offsets."""
    full = 2**header.bit_depth - 1
    step = 2 ** (header.bit_depth - 8)
    middle = 2 ** (header.bit_depth - 1)
    if header.limited_range:
        luma, chroma = Fraction(219 * step, 255), Fraction(224 * step, 255)
        # YCgCo of a video range is libbpg's own: its chroma has the steps of luma.
        return luma, luma if header.color_space is ColorSpace.YCGCO else chroma, 16 * step, middle
    return Fraction(full, 255), Fraction(full, 255), 0, middle


def _forward(header: Header) -> tuple[Matrix, tuple[int, int, int]]:
    """RGB of 0…255 → samples, in the order of the planes: matrix, then what is added."""
    luma, chroma, black, middle = _ranges(header)
    zero, one = Fraction(0), Fraction(1)
    if header.color_space is ColorSpace.RGB:  # planes G, B, R
        return _scaled(((zero, one, zero), (zero, zero, one), (one, zero, zero)), (luma,) * 3), (
            (black,) * 3
        )
    if header.color_space is ColorSpace.YCGCO:
        quarter, half = Fraction(1, 4), Fraction(1, 2)
        unit: Matrix = (
            (quarter, half, quarter),
            (-quarter, half, -quarter),
            (half, zero, -half),
        )
    else:
        kr, kb = _LUMA_WEIGHTS[header.color_space]
        kg = 1 - kr - kb
        cb, cr = 2 * (1 - kb), 2 * (1 - kr)
        unit = (
            (kr, kg, kb),
            (-kr / cb, -kg / cb, (1 - kb) / cb),
            ((1 - kr) / cr, -kg / cr, -kb / cr),
        )
    return _scaled(unit, (luma, chroma, chroma)), (black, middle, middle)


def _empty(shape: tuple[int, int], bit_depth: int) -> Plane:
    return np.empty(shape, np.uint8) if bit_depth == 8 else np.empty(shape, np.uint16)


def _integer_forward(header: Header) -> tuple[Matrix, tuple[int, ...]]:
    """RGB → samples times 2**_MATRIX_SHIFT, and what is added to the samples afterwards."""
    matrix, offsets = _forward(header)
    planes = 1 if header.pixel_format is PixelFormat.GRAY else 3
    integers = []
    for exact in matrix[:planes]:
        row = [Fraction(round(c * 2**_MATRIX_SHIFT)) for c in exact]
        # gray stays gray: what rounding left over in a row goes to its largest coefficient
        largest = max(range(3), key=lambda i: abs(row[i]))
        row[largest] += round(sum(exact) * 2**_MATRIX_SHIFT) - sum(row)
        integers.append((row[0], row[1], row[2]))
    return tuple(integers), offsets[:planes]


@cache
def _inverse_of(
    color_space: ColorSpace, bit_depth: int, limited_range: bool
) -> tuple[tuple[int, ...], ...]:
    header = Header(
        1, 1, PixelFormat.YUV444, color_space, bit_depth=bit_depth, limited_range=limited_range
    )
    luma, chroma, black, middle = _ranges(header)
    zero, one = Fraction(0), Fraction(1)
    offsets = (black, middle, middle)
    scales = (1 / luma, 1 / chroma, 1 / chroma)
    if color_space is ColorSpace.RGB:
        unit: Matrix = ((zero, zero, one), (one, zero, zero), (zero, one, zero))
        offsets, scales = (black,) * 3, (1 / luma,) * 3
    elif color_space is ColorSpace.YCGCO:
        unit = ((one, -one, one), (one, one, zero), (one, -one, -one))
    else:
        kr, kb = _LUMA_WEIGHTS[color_space]
        kg = 1 - kr - kb
        cb, cr = 2 * (1 - kb), 2 * (1 - kr)
        unit = ((one, zero, cr), (one, -kb * cb / kg, -kr * cr / kg), (one, cb, zero))
    rows = []
    for row in unit:
        coefficients = [round(c * s * 2**_MATRIX_SHIFT) for c, s in zip(row, scales, strict=True)]
        shift = sum(c * o for c, o in zip(coefficients, offsets, strict=True))
        rows.append((*coefficients, 2 ** (_MATRIX_SHIFT - 1) - shift))
    return tuple(rows)


def _inverse(header: Header) -> Array:
    """Samples → RGB times 2**_MATRIX_SHIFT: a (3, 4) matrix with offsets and rounding in it."""
    gray = header.pixel_format is PixelFormat.GRAY
    space = ColorSpace.YCBCR_BT601 if gray else header.color_space
    return np.array(_inverse_of(space, header.bit_depth, header.limited_range), float)


def _scaled(matrix: Matrix, factors: Sequence[Fraction]) -> Matrix:
    return tuple((a * f, b * f, c * f) for (a, b, c), f in zip(matrix, factors, strict=True))
