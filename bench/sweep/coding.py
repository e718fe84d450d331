"""Every operating point of one picture: preprocessed, encoded and decoded, past the cache."""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.datasets.base import Sample
from bench.sweep.cache import Cache, Entry, key, pixels_sha256
from bench.sweep.failures import Failed, ImageError, stage
from bench.sweep.plan import Point

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


@dataclass(frozen=True)
class CodingJob:
    sample: Sample
    view: Callable[[Pixels], Pixels]
    picture: Picture
    points: list[Point]
    cache: Cache


Outcome = tuple[list[Coded | Failed], Counter[str], Counter[str]]
"""Of every point, and how many results were computed and how many came from the cache."""


def look(sample: Sample, views: dict[str, Callable[[Pixels], Pixels]]) -> Any:
    """View → `Picture` of a sample, or Failed."""
    try:
        rgb = loaded(sample)
        pictures = {}
        for name, view in views.items():
            with stage("view"):
                seen = view(rgb)
            pictures[name] = Picture(pixels_sha256(seen), seen.shape[1], seen.shape[0])
        return pictures
    except ImageError as error:
        return error.failed


def loaded(sample: Sample) -> Pixels:
    """Raises ImageError."""
    with stage("load"):
        return checked("load", sample.load(), None)


def code(job: CodingJob) -> Outcome:
    """Every point of one picture."""
    worker = _Coder(job)
    results: list[Coded | Failed] = []
    for point in job.points:
        try:
            results.append(worker.coded(point))
        except ImageError as error:
            results.append(error.failed)
    return results, worker.computed, worker.cached


def decoded(job: CodingJob, point: Point, coded: Coded) -> Pixels:
    """The pixels of a coded picture, from its bytes in the cache, or coded again where the entry
    was damaged since. Raises ImageError."""
    for _ in range(2):
        entry = job.cache.get(coded.key)
        if entry is not None:
            pixels = _decode(point, entry["data"].tobytes(), None)
            if pixels_sha256(pixels) == coded.decoded_sha256:
                return pixels
        _Coder(job).make(point, coded.key)
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


class _Coder:
    """The points of one picture. Its pixels are read when the first of them is missing."""

    def __init__(self, job: CodingJob) -> None:
        self._job = job
        self.computed, self.cached = Counter[str](), Counter[str]()

    @cached_property
    def _rgb(self) -> Pixels:
        with stage("view"):
            return self._job.view(loaded(self._job.sample))

    def _given(self, point: Point) -> Pixels:
        """What the codec gets."""
        if point.preprocessor is None:
            return self._rgb
        with stage("preprocess"):
            return checked("preprocess", point.preprocessor(self._rgb, point.qp), self._rgb.shape)

    def coded(self, point: Point) -> Coded:
        # Filtered at most once, and not at all if what was coded of it is known. The cache keeps
        # the fingerprint of the filtered pixels, not the pixels.
        given = cache(lambda: self._given(point))
        sha256 = self._job.picture.sha256
        if point.preprocessor:
            under = key(
                "preprocessed",
                version=CODE_VERSION,
                pixels=sha256,
                preprocessor=point.preprocessor.fingerprint(),
                qp=point.qp,
            )
            entry = self._stored("preprocessed", under, lambda: {"sha256": _digest(given())})
            sha256 = entry["sha256"].tobytes().hex()
        under = key(
            "coded",
            version=CODE_VERSION,
            pixels=sha256,
            codec=point.codec.fingerprint(),
            qp=point.qp,
        )
        entry = self._stored("coded", under, lambda: self._entry(point, given()))
        return Coded(
            under, entry["decoded"].tobytes().hex(), 8 * entry["data"].size, float(entry["psnr"])
        )

    def make(self, point: Point, under: str) -> None:
        """Code a picture whose entry was damaged."""
        self._job.cache.put(under, self._entry(point, self._given(point)))

    def _stored(self, kind: str, under: str, make: Callable[[], Entry]) -> Entry:
        entry = self._job.cache.get(under)
        (self.computed if entry is None else self.cached)[kind] += 1
        if entry is None:
            entry = make()
            self._job.cache.put(under, entry)
        return entry

    def _entry(self, point: Point, given: Pixels) -> Entry:
        with stage("encode"):
            data = point.codec.encode(given, point.qp)
        if not isinstance(data, bytes) or not data:
            what = "nothing" if data == b"" else f"a {type(data).__name__}"
            raise ImageError("encode", f"codec {point.codec.name} returned {what}, not bytes")
        pixels = _decode(point, data, given.shape)
        return {
            "data": np.frombuffer(data, np.uint8),
            "decoded": _digest(pixels),
            "psnr": np.array(_psnr(self._rgb, pixels)),
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
