"""Masks as COCO's annotations write them: polygons, or run lengths, plain or compressed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from bench.datasets.contents import LARGEST
from bench.datasets.values import finite, whole
from bench.tasks.masks import code_fault
from bench.tasks.records import IGNORED

Size = tuple[int, int]
"""Height and width."""

MOST_PIXELS = 2**28
"""Of an image with masks: more than Pillow opens, and less than pycocotools can count."""
EXPECTED = "a list of polygons, or run lengths with size and counts, is expected"


@dataclass(frozen=True)
class Mask:
    code: bytes
    """See `bench.tasks.masks`."""
    label: int
    crowd: bool


def problem(segmentation: Any, size: Size) -> str:
    """Why it is no mask of an image of this size; empty if it is one. pycocotools reads beyond what
    there is where it is none."""
    if isinstance(segmentation, list) and segmentation:
        return next(filter(None, map(_polygon_problem, segmentation)), "")
    if not isinstance(segmentation, dict):
        return EXPECTED
    given, counts = segmentation.get("size"), segmentation.get("counts")
    if not isinstance(given, list) or tuple(map(whole, given)) != size:
        return f"size {given} (height, width) is not the image's {[*size]}"
    if isinstance(counts, str):
        return code_fault(counts.encode(errors="replace"), size)
    if not isinstance(counts, list):
        return EXPECTED
    runs = [whole(n) for n in counts]
    if any(n is None or n < 0 for n in runs):
        return "counts that are no whole numbers from 0"
    total = sum(n for n in runs if n is not None)
    if total != size[0] * size[1]:
        return f"its runs are {total} pixels long, {size[0] * size[1]} are expected"
    return ""


def _polygon_problem(polygon: Any) -> str:
    if not isinstance(polygon, list):
        return EXPECTED
    if len(polygon) < 6 or len(polygon) % 2:
        return f"a polygon of {len(polygon)} numbers: an x and a y of 3 corners or more is expected"
    if any((n := finite(value)) is None or abs(n) > LARGEST for value in polygon):
        return f"a polygon's numbers have to be finite, from −{LARGEST:g} to {LARGEST:g}"
    return ""


def code(segmentation: Any, size: Size) -> bytes:
    """The compressed code of what has no `problem`."""
    if isinstance(segmentation, list):
        found = coco_mask.merge(coco_mask.frPyObjects(segmentation, *size))
    elif isinstance(segmentation["counts"], list):
        plain = {"size": [*size], "counts": [int(n) for n in segmentation["counts"]]}
        found = coco_mask.frPyObjects(plain, *size)
    else:
        return str(segmentation["counts"]).encode()
    return bytes(found["counts"])


def box(xywh: Sequence[float], size: Size) -> bytes:
    """The code of a box's pixels."""
    return bytes(coco_mask.frPyObjects(np.array([xywh], np.float64), *size)[0]["counts"])


def drawn(masks: Sequence[Mask], size: Size) -> NDArray[np.uint8]:
    """(height, width) the label of what every pixel shows, 0 where that is nothing, and IGNORED in
    crowds. Where instances overlap, that of fewer pixels lies on top, and crowds below all."""
    codes = [{"size": [*size], "counts": m.code} for m in masks]
    areas = coco_mask.area(codes).tolist() if codes else []
    labels = np.zeros(size, np.uint8, order="F")  # as decoded masks lie in memory
    for i in sorted(range(len(masks)), key=lambda i: (not masks[i].crowd, -areas[i])):
        labels[coco_mask.decode(codes[i]).view(np.bool_)] = (
            IGNORED if masks[i].crowd else masks[i].label
        )
    return np.ascontiguousarray(labels)
