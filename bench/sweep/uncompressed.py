"""The uncompressed pictures as the models see them: made when they are needed, and their
fingerprints kept for the next run."""

from collections.abc import Callable

import numpy as np

from bench.datasets.base import Sample
from bench.datasets.views import native
from bench.sweep.cache import key, pixels_sha256
from bench.sweep.coding import CODE_VERSION, Picture, Pixels, checked, loaded
from bench.sweep.failures import stage
from bench.sweep.plan import Experiment
from bench.sweep.workshop import Workshop

Views = dict[str, Picture]
"""View → fingerprint and size of one sample."""

_SHA256 = 32
"""Bytes."""


class Uncompressed:
    """Of one experiment's samples."""

    def __init__(self, shop: Workshop, experiment: Experiment) -> None:
        self._cache, self._samples = shop.cache, experiment.dataset.samples
        self._looks: dict[str, Callable[[Pixels], Pixels]] = {"native": native}
        self._looks |= {m.view: m.look for m in experiment.models}
        self._viewers = {m.view: m.key for m in experiment.models if m.viewed}
        self._pixels: dict[int, dict[str, Pixels]] = {}

    def views(self, index: int) -> Views:
        """Raises ImageError."""
        under = self._key(self._samples[index])
        entry = self._cache.get(under) if under else None
        if entry is not None:
            return {view: _unpacked(packed) for view, packed in entry.items()}
        views = {view: _picture(rgb) for view, rgb in self._made(index).items()}
        if under:
            self._cache.put(under, {view: _packed(picture) for view, picture in views.items()})
        return views

    def reader(self, view: str) -> Callable[[int], Pixels]:
        """Index → pixels. Raises ImageError."""
        return lambda index: self._made(index)[view]

    def _key(self, sample: Sample) -> str | None:
        try:
            source = sample.source() if sample.source else None
        except OSError:  # `load` will say what is wrong
            return None
        if source is None:
            return None
        return key("views", version=CODE_VERSION, source=source, viewers=self._viewers)

    def _made(self, index: int) -> dict[str, Pixels]:
        """Raises ImageError."""
        if index not in self._pixels:
            rgb, seen = loaded(self._samples[index]), {}
            for view, look in self._looks.items():
                with stage("view"):
                    seen[view] = checked("view", look(rgb), None)
            self._pixels[index] = seen
        return self._pixels[index]


def _picture(rgb: Pixels) -> Picture:
    return Picture(pixels_sha256(rgb), rgb.shape[1], rgb.shape[0])


def _packed(picture: Picture) -> Pixels:
    size = np.array([picture.width, picture.height], "<i4").tobytes()
    return np.frombuffer(bytes.fromhex(picture.sha256) + size, np.uint8)


def _unpacked(packed: Pixels) -> Picture:
    data = packed.tobytes()
    width, height = np.frombuffer(data[_SHA256:], "<i4").tolist()
    return Picture(data[:_SHA256].hex(), width, height)
