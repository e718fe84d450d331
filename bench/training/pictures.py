"""Pictures to train on: loaded, resized, cut to squares, their targets along with them."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from bench.datasets.base import Dataset, make
from bench.errors import ConfigError
from bench.tasks.records import Arrays

ZOOM = 1.4
VISIBLE = 0.3
"""Least share of its area that an object cut by the crop's border is still found by."""

Picture = tuple[NDArray[np.uint8], Arrays]
"""(H, W, 3) RGB, and what the loss has to know of it."""


def zoomed(picture: Picture, side: int, rng: np.random.Generator) -> Picture:
    """The picture with a short side of 1 to ZOOM times `side`."""
    rgb, target = picture
    height, width = rgb.shape[:2]
    scale = side * rng.uniform(1, ZOOM) / min(height, width)
    size = max(side, round(width * scale)), max(side, round(height * scale))
    if "boxes" in target:
        grown = np.tile(np.array([size[0] / width, size[1] / height], np.float32), 2)
        target = target | {"boxes": target["boxes"] * grown}
    if "regions" in target:
        regions = Image.fromarray(target["regions"]).resize(size, Image.Resampling.NEAREST)
        target = target | {"regions": np.asarray(regions)}
    return np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BICUBIC)), target


def square(rgb: NDArray[np.uint8], side: int, rng: np.random.Generator | None) -> Tensor:
    """A random square of `side` pixels, mirrored or not; the middle one without `rng`."""
    return cut((rgb, {}), side, rng)[0]


def cut(
    picture: Picture, side: int, rng: np.random.Generator | None, central: bool = False
) -> tuple[Tensor, Arrays]:
    """`square` of a picture, and its target cut along; near the middle likelier if `central`."""
    rgb, target = picture
    free = rgb.shape[0] - side, rgb.shape[1] - side
    if rng is None:
        top, left = (f // 2 for f in free)
    elif central:
        top, left = (round(f * rng.uniform(size=3).mean()) for f in free)
    else:
        top, left = (int(rng.integers(f + 1)) for f in free)
    part = rgb[top : top + side, left : left + side]
    mirrored = rng is not None and bool(rng.integers(2))
    if mirrored:
        part = part[:, ::-1]
    x = torch.from_numpy(np.ascontiguousarray(part.transpose(2, 0, 1))).float() / 255
    return x, cut_target(target, top, left, side, mirrored)


def cut_target(target: Arrays, top: int, left: int, side: int, mirrored: bool) -> Arrays:
    """What a square of the picture, `side` pixels from (top, left), keeps of it: objects of which
    VISIBLE is inside, their boxes cut at its border, or that part of a map of regions."""
    if "regions" in target:
        part = target["regions"][top : top + side, left : left + side]
        return target | {"regions": part[:, ::-1] if mirrored else part}
    if "boxes" not in target:
        return target
    boxes = target["boxes"] - np.array([left, top, left, top], np.float32)
    inside = boxes.clip(0, side)
    kept = _areas(inside) >= VISIBLE * _areas(boxes)
    if mirrored:
        inside[:, [0, 2]] = side - inside[:, [2, 0]]
    return {k: (inside if k == "boxes" else v)[kept] for k, v in target.items()}


def _areas(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    areas: NDArray[np.float32] = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return areas


def dataset(config: dict[str, Any]) -> Dataset:
    """A data set as a config names it: `format`, `root` and `task` where the format has them, and
    its options. Raises ConfigError, and DataError where files do not fit."""
    options = dict(config)
    format, task, root = (options.pop(key, None) for key in ("format", "task", "root"))
    if not isinstance(format, str):
        raise ConfigError(f"dataset.format: {format!r}: the name of a format is expected")
    return make(format, task, Path(root) if root else None, options)
