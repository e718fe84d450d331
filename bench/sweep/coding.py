"""One operating point of one picture: filtered, encoded, decoded and filtered, past the cache."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bench.datasets.base import Sample
from bench.preprocessors import Preprocessor
from bench.sweep.cache import Entry, key, pixels_sha256
from bench.sweep.failures import ImageError, stage
from bench.sweep.fidelity import ms_ssim, psnr
from bench.sweep.perceptual import VERSION as LPIPS_VERSION
from bench.sweep.perceptual import Lpips
from bench.sweep.plan import Point
from bench.sweep.rates import nearest
from bench.sweep.workshop import Counts, Workshop

CODE_VERSION = 2
"""Of what is stored: raised when a change of this package changes it."""

Pixels = NDArray[np.uint8]
T = TypeVar("T")


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
    """Of what the codec decodes."""
    delivered_sha256: str
    """Of what task models see, which fidelity is of, too: the same without a post-processor."""
    bits: int
    psnr: float
    """NaN, as is `ms_ssim`, until a picture is compared with its own original."""
    ms_ssim: float
    seconds: dict[str, float]
    """Of preprocess, encode, decode and postprocess, when it was made."""

    pixels: Pixels | None
    """As delivered, where it was made just now."""

    qp: int
    """With which it was coded."""


class Source:
    """One view of a sample: its pixels are read when the first result of it is missing."""

    def __init__(
        self, sample: Sample, view: Callable[[Pixels], Pixels], picture: Picture, shop: Workshop
    ) -> None:
        self.picture, self.shop = picture, shop
        self._sample, self._view = sample, view
        self.filtered: tuple[Preprocessor, int, _Made] | None = None
        """Of the last preprocessor that does the same at several QPs, and what these share."""

    @cached_property
    def pixels(self) -> Pixels:
        """Raises ImageError."""
        return self.shop.recent(self.picture.sha256, self._read)

    def _read(self) -> Pixels:
        with stage("view"):
            return self._view(loaded(self._sample))


def loaded(sample: Sample) -> Pixels:
    """Raises ImageError."""
    with stage("load"):
        return checked("load", sample.load(), None)


def code(source: Source, point: Point, counts: Counts) -> Coded:
    """One operating point of one picture. Raises ImageError."""
    if point.rate is None:
        coded = _coded(source, point, counts)
    else:
        coded = _searched(source, point, point.rate, counts)
        point = point.at(coded.qp)
    if point.postprocessor is None:
        return _compared(source, point, coded, counts)
    return _delivered(source, point, point.postprocessor, coded, counts)


def _searched(source: Source, point: Point, rate: float, counts: Counts) -> Coded:
    """At the QP that brings the picture nearest to the rate. What is tried is in the cache as what
    is coded with a QP is, so that the search is the same again with nothing coded."""
    pixels = source.picture.width * source.picture.height
    tried: dict[int, Coded] = {}

    def bpp(qp: int) -> float:
        tried[qp] = _coded(source, point.at(qp), counts)
        return tried[qp].bits / pixels

    return tried[nearest(bpp, point.tries, rate)]


def _coded(source: Source, point: Point, counts: Counts) -> Coded:
    """As the codec decodes it."""
    # Filtered at most once, and not at all if what was coded of it is known. The cache keeps the
    # fingerprint of the filtered pixels, not the pixels.
    given = cache(lambda: _given_to_codec(source, point))
    sha256 = source.picture.sha256
    seconds: dict[str, float] = {}
    if point.preprocessor:
        under = key(
            "preprocessed",
            version=CODE_VERSION,
            pixels=sha256,
            preprocessor=point.preprocessor.fingerprint(),
            qp=point.qp,
        )
        entry = source.shop.stored("preprocessed", under, lambda: _preprocessed(given()), counts)
        sha256 = entry["sha256"].tobytes().hex()
        seconds |= _seconds(entry)
    under = key(
        "coded", version=CODE_VERSION, pixels=sha256, codec=point.codec.fingerprint(), qp=point.qp
    )
    fresh: list[Pixels] = []

    def make() -> Entry:
        entry, pixels = _entry(source, point, given().pixels)
        fresh.append(pixels)
        return entry

    entry = source.shop.stored("coded", under, make, counts)
    decoded_sha256 = entry["decoded"].tobytes().hex()
    # Another original may have the same filtered pixels. Entries of older versions do not say.
    own = "original" in entry and entry["original"].tobytes().hex() == source.picture.sha256
    return Coded(
        under,
        decoded_sha256,
        decoded_sha256,
        8 * entry["data"].size,
        float(entry["psnr"]) if own else math.nan,
        float(entry["ms_ssim"]) if own else math.nan,
        seconds | _seconds(entry),
        fresh[0] if fresh else None,
        point.qp,
    )


def _compared(source: Source, point: Point, coded: Coded, counts: Counts) -> Coded:
    """With its fidelity, where the entry of its bytes has none to this original."""
    if not math.isnan(coded.psnr):
        return coded
    under = key(
        "fidelity",
        version=CODE_VERSION,
        pixels=coded.decoded_sha256,
        original=source.picture.sha256,
    )

    def make() -> Entry:
        return _fidelity(source.pixels, decoded(source, point, coded))

    entry = source.shop.stored("fidelity", under, make, counts)
    return replace(coded, psnr=float(entry["psnr"]), ms_ssim=float(entry["ms_ssim"]))


def _delivered(
    source: Source, point: Point, filtered: Preprocessor, coded: Coded, counts: Counts
) -> Coded:
    """With what the post-processor makes of it, and the fidelity of that."""
    under = key(
        "postprocessed",
        version=CODE_VERSION,
        pixels=coded.decoded_sha256,
        original=source.picture.sha256,
        postprocessor=filtered.fingerprint(),
        qp=point.qp,
    )
    fresh: list[Pixels] = []

    def make() -> Entry:
        pixels = _from_codec(source, point, coded) if coded.pixels is None else coded.pixels
        made = _filtered("postprocess", filtered, source, point, pixels)
        fresh.append(made.pixels)
        return {
            "delivered": _digest(made.pixels),
            **_fidelity(source.pixels, made.pixels),
            "postprocess_seconds": np.array(made.seconds),
        }

    entry = source.shop.stored("postprocessed", under, make, counts)
    return replace(
        coded,
        delivered_sha256=entry["delivered"].tobytes().hex(),
        psnr=float(entry["psnr"]),
        ms_ssim=float(entry["ms_ssim"]),
        seconds=coded.seconds | _seconds(entry),
        pixels=fresh[0] if fresh else None,
    )


def decoded(source: Source, point: Point, coded: Coded) -> Pixels:
    """The pixels of a coded picture as delivered, from its bytes in the cache, or coded again where
    the entry was damaged since. Raises ImageError."""
    if coded.pixels is not None:
        return coded.pixels.copy()  # each model its own
    point = point.at(coded.qp)
    pixels, filtered = _from_codec(source, point, coded), point.postprocessor
    if filtered is None:
        return pixels
    made = _filtered("postprocess", filtered, source, point, pixels).pixels
    if pixels_sha256(made) != coded.delivered_sha256:
        raise ImageError(
            "postprocess",
            "it does not make the same pixels again of what was decoded; if the cache is from "
            "another machine, name another folder with --cache",
        )
    return made


def perceptual(lpips: Lpips, source: Source, point: Point, coded: Coded, counts: Counts) -> float:
    """LPIPS of a coded picture as delivered; NaN for one that is too small. Raises ImageError."""
    under = key(
        "lpips",
        version=LPIPS_VERSION,
        pixels=coded.delivered_sha256,
        original=source.picture.sha256,
        **lpips.key,
    )

    def make() -> Entry:
        pixels = decoded(source, point, coded)
        original = source.pixels
        with stage("lpips"):
            return {"lpips": np.array(source.shop.filtered(lambda: lpips(original, pixels)))}

    return float(source.shop.stored("lpips", under, make, counts)["lpips"])


def _from_codec(source: Source, point: Point, coded: Coded) -> Pixels:
    for _ in range(2):
        entry = source.shop.cache.get(coded.key)
        if entry is not None:
            pixels = _decode(point, entry["data"].tobytes(), None)
            if pixels_sha256(pixels) == coded.decoded_sha256:
                return pixels
        again, _ = _entry(source, point, _given_to_codec(source, point).pixels)
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


@dataclass(frozen=True)
class _Made:
    pixels: Pixels
    seconds: float


def _given_to_codec(source: Source, point: Point) -> _Made:
    filtered = point.preprocessor
    if filtered is None:
        return _Made(source.pixels, 0.0)
    alike = filtered.alike(point.qp) if hasattr(filtered, "alike") else None
    last = source.filtered
    if alike is not None and last and last[0] is filtered and last[1] == alike:
        return last[2]
    made = _filtered("preprocess", filtered, source, point, source.pixels)
    source.filtered = None if alike is None else (filtered, alike, made)
    return made


def _filtered(
    name: str, filtered: Preprocessor, source: Source, point: Point, rgb: Pixels
) -> _Made:
    with stage(name):
        made, seconds = source.shop.filtered(lambda: timed(lambda: filtered(rgb, point.qp)))
    return _Made(checked(name, made, rgb.shape), seconds)


def timed(call: Callable[[], T]) -> tuple[T, float]:
    """With the seconds that it took."""
    started = time.perf_counter()
    found = call()
    return found, time.perf_counter() - started


def _preprocessed(given: _Made) -> Entry:
    return {"sha256": _digest(given.pixels), "preprocess_seconds": np.array(given.seconds)}


def _entry(source: Source, point: Point, given: Pixels) -> tuple[Entry, Pixels]:
    """With the decoded pixels."""
    with stage("encode"):
        data, encoding = timed(lambda: point.codec.encode(given, point.qp))
    if not isinstance(data, bytes) or not data:
        what = "nothing" if data == b"" else f"a {type(data).__name__}"
        raise ImageError("encode", f"codec {point.codec.name} returned {what}, not bytes")
    pixels, decoding = timed(lambda: _decode(point, data, given.shape))
    entry = {
        "data": np.frombuffer(data, np.uint8),
        "decoded": _digest(pixels),
        "original": np.frombuffer(bytes.fromhex(source.picture.sha256), np.uint8),
        **_fidelity(source.pixels, pixels),
        "encode_seconds": np.array(encoding),
        "decode_seconds": np.array(decoding),
    }
    return entry, pixels


def _fidelity(original: Pixels, pixels: Pixels) -> Entry:
    return {
        "psnr": np.array(psnr(original, pixels)),
        "ms_ssim": np.array(ms_ssim(original, pixels)),
    }


def _seconds(entry: Entry) -> dict[str, float]:
    """Stage → seconds; entries of older versions have none."""
    return {
        name.removesuffix("_seconds"): float(value)
        for name, value in entry.items()
        if name.endswith("_seconds")
    }


def _decode(point: Point, data: bytes, shape: tuple[int, ...] | None) -> Pixels:
    with stage("decode"):
        return checked("decode", point.codec.decode(data), shape)


def _digest(rgb: Pixels) -> Pixels:
    return np.frombuffer(bytes.fromhex(pixels_sha256(rgb)), np.uint8)
