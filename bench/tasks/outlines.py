"""Outlines of the regions of a picture that are labelled wrongly, to be drawn on it."""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.tasks.records import IGNORED

THINNEST = 64
"""Part of the shorter side. What is thinner is left out: borders are never right to the pixel."""
MOST = 20
"""Outlines of a picture, those of the largest area."""
SHOWN = 256
"""Pixels of the longer side as pictures are shown, about: an outline is right to one of them."""

Corners = tuple[tuple[float, float], ...]
"""x and y in pixels, of a closed line."""


@dataclass(frozen=True)
class Outline:
    """Of a region of `truth` that was taken for `said`, or of a hole in it."""

    truth: int
    said: int
    corners: Corners
    area: float
    """That it encloses, in pixels."""


def wrong_regions(truth: NDArray[np.uint8], said: NDArray[np.uint8]) -> list[Outline]:
    """Of label maps (H, W), the largest first. Pixels whose truth is IGNORED are not judged."""
    wrong = (truth != said) & (truth != IGNORED)
    pairs = np.where(wrong, truth.astype(np.int32) << 8 | said, -1)
    found = [
        outline
        for pair in np.unique(pairs[wrong]).tolist()
        for outline in _outlines(pairs == pair, pair >> 8, pair & 255)
    ]
    return sorted(found, key=lambda outline: -outline.area)[:MOST]


def _outlines(region: NDArray[np.bool_], truth: int, said: int) -> Iterator[Outline]:
    thickness = max(3, min(region.shape) // THINNEST) | 1  # an even one would move the region
    kernel = np.ones((thickness, thickness), np.uint8)
    thick = cv2.morphologyEx(region.astype(np.uint8), cv2.MORPH_OPEN, kernel)
    lines, _ = cv2.findContours(thick, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    for line in lines:
        corners = cv2.approxPolyDP(line, max(1, max(region.shape) / SHOWN), closed=True)[:, 0] + 0.5
        yield Outline(
            truth, said, tuple((x, y) for x, y in corners.tolist()), cv2.contourArea(line)
        )
