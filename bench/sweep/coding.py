"""One operating point of one picture: preprocessed, encoded and decoded, past the cache."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.datasets.base import Sample
from bench.sweep.cache import Entry, key, pixels_sha256
from bench.sweep.failures import ImageError, stage
from bench.sweep.plan import Point
from bench.sweep.workshop import Counts, Workshop

CODE_VERSION = 1
"""Of what is stored: raised when a change of this package changes it."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Picture:
    """One view of a sample, by fingerprint and size."""

    sha256: str
    width: int
    height: int


@dataclass(frozen=True)
class Coded:
    """A coded picture: what is reported of it, and the key under which its bytes lie."""

    key: str
    decoded_sha256: str
    bits: int
    psnr: float


class Source:
    """One view of a sample: its pixels are read when the first result of it is missing."""

    def __init__(
        self, sample: Sample, view: Callable[[Pixels], Pixels], picture: Picture, shop: Workshop
    ) -> None:
        self.picture, self.shop = picture, shop
        self._sample, self._view = sample, view

    @cached_property
    def pixels(self) -> Pixels:
        """Raises ImageError."""
        with stage("view"):
            return self._view(loaded(self._sample))


def loaded(sample: Sample) -> Pixels:
    """Raises ImageError."""
    with stage("load"):
        return checked("load", sample.load(), None)


def code(source: Source, point: Point, counts: Counts) -> Coded:
    """One operating point of one picture. Raises ImageError."""
    # Filtered at most once, and not at all if what was coded of it is known. The cache keeps the
    # fingerprint of the filtered pixels, not the pixels.
    given = cache(lambda: _given_to_codec(source, point))
    sha256 = source.picture.sha256
    if point.preprocessor:
        under = key(
            "preprocessed",
            version=CODE_VERSION,
            pixels=sha256,
            preprocessor=point.preprocessor.fingerprint(),
            qp=point.qp,
        )
        entry = source.shop.stored(
            "preprocessed", under, lambda: {"sha256": _digest(given())}, counts
        )
        sha256 = entry["sha256"].tobytes().hex()
    under = key(
        "coded", version=CODE_VERSION, pixels=sha256, codec=point.codec.fingerprint(), qp=point.qp
    )
    entry = source.shop.stored("coded", under, lambda: _entry(source, point, given()), counts)
    return Coded(
        under, entry["decoded"].tobytes().hex(), 8 * entry["data"].size, float(entry["psnr"])
    )


def decoded(source: Source, point: Point, coded: Coded) -> Pixels:
    """The pixels of a coded picture, from its bytes in the cache, or coded again where the entry
    was damaged since. Raises ImageError."""
    for _ in range(2):
        entry = source.shop.cache.get(coded.key)
        if entry is not None:
            pixels = _decode(point, entry["data"].tobytes(), None)
            if pixels_sha256(pixels) == coded.decoded_sha256:
                return pixels
        again = _entry(source, point, _given_to_codec(source, point))
        source.shop.cache.put(coded.key, again)
    raise ImageError(
        "decode", f"codec {point.codec.name} does not decode the same bytes to the same pixels"
    )


def checked(name: str, pixels: Any, shape: tuple[int, ...] | None) -> Pixels:
    """An (H, W, 3) uint8 array, of that very shape if one is given. Raises ImageError."""
    fits = (
        isinstance(pixels, np.ndarray)
        and pixels.dtype == np.uint8
        and pixels.ndim == 3
        and pixels.shape[2] == 3
        and pixels.size > 0
    )
    if fits and shape in (None, pixels.shape):
        return pixels
    given = (
        f"an array {pixels.shape} of {pixels.dtype}"
        if isinstance(pixels, np.ndarray)
        else f"a {type(pixels).__name__}"
    )
    wanted = shape or "(height, width, 3)"
    raise ImageError(name, f"it returned {given}; an array {wanted} of uint8 is expected")


def _given_to_codec(source: Source, point: Point) -> Pixels:
    filtered, rgb = point.preprocessor, source.pixels
    if filtered is None:
        return rgb
    with stage("preprocess"):
        made = source.shop.on_device(lambda: filtered(rgb, point.qp))
    return checked("preprocess", made, rgb.shape)


def _entry(source: Source, point: Point, given: Pixels) -> Entry:
    with stage("encode"):
        data = point.codec.encode(given, point.qp)
    if not isinstance(data, bytes) or not data:
        what = "nothing" if data == b"" else f"a {type(data).__name__}"
        raise ImageError("encode", f"codec {point.codec.name} returned {what}, not bytes")
    pixels = _decode(point, data, given.shape)
    return {
        "data": np.frombuffer(data, np.uint8),
        "decoded": _digest(pixels),
        "psnr": np.array(_psnr(source.pixels, pixels)),
    }


def _decode(point: Point, data: bytes, shape: tuple[int, ...] | None) -> Pixels:
    with stage("decode"):
        return checked("decode", point.codec.decode(data), shape)


def _digest(rgb: Pixels) -> Pixels:
    return np.frombuffer(bytes.fromhex(pixels_sha256(rgb)), np.uint8)


def _psnr(a: Pixels, b: Pixels) -> float:
    """In dB over the three channels of 8-bit RGB; infinite for equal pictures."""
    difference = a.astype(np.int32) - b
    mse = float(np.mean(difference * difference))
    return 10 * math.log10(255**2 / mse) if mse else math.inf
