"""What a deployed file is shown of a picture: resized 8-bit pixels, as the values that it takes."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage
from pydantic import BaseModel, ConfigDict, Field, model_validator

from bench.datasets.views import ModelView
from bench.errors import ConfigError

Pixels = NDArray[np.uint8]
Size = tuple[int, int]
"""Height and width."""
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Side = Annotated[int, Field(strict=True, ge=1, le=10_000)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Input(Strict):
    """A file is shown (pixel − mean) / std of 8-bit pixels, which Pillow resizes."""

    resize: Literal["none", "stretch", "crop", "letterbox"]
    mean: Number | tuple[Number, Number, Number]
    """Of pixel values 0 … 255; one for each channel in the order of `channels`, or one for all."""
    std: Number | tuple[Number, Number, Number]
    size: Side | tuple[Side, Side] | None = None
    """One side, or height and width; by default the file's own."""
    short_side: Side | None = None
    """Of a crop: what the picture's short side becomes before."""
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"
    pad: Annotated[int, Field(strict=True, ge=0, le=255)] = 114
    """Of a letterbox: the grey beside the picture."""
    place: Literal["centre", "corner"] = "centre"
    """Of a letterbox: where the picture lies; corner is the upper left one."""
    channels: Literal["rgb", "bgr"] = "rgb"
    layout: Literal["nchw", "nhwc"] | None = None
    """Where the file's shape does not tell."""

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if np.min(self.std) <= 0:
            raise ValueError("std has to be above 0")
        if (self.resize == "crop") != (self.short_side is not None):
            raise ValueError("short_side belongs to resize: crop, which needs it")
        if self.resize == "none" and self.size is not None:
            raise ValueError("size belongs to stretch, crop and letterbox, not to resize: none")
        return self


@dataclass(frozen=True)
class Port:
    """An input or output of a file. shape holds None where any number goes; a value is
    (stored − zero) · scale, or what is stored where scale is 0."""

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype[Any]
    scale: float = 0.0
    zero: int = 0

    def stored(self, values: NDArray[np.float32]) -> NDArray[Any]:
        if self.dtype.kind == "f":
            return values.astype(self.dtype)
        levels = np.rint(values / self.scale + self.zero if self.scale else values)
        limits = np.iinfo(self.dtype)
        return levels.clip(limits.min, limits.max).astype(self.dtype)

    def values(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        values = stored.astype(np.float32)
        return (values - np.float32(self.zero)) * np.float32(self.scale) if self.scale else values


@dataclass(frozen=True)
class Frame:
    """Where in the pixels shown, of size `shown`, a picture of size `picture` lies."""

    shown: Size
    picture: Size
    top: int = 0
    left: int = 0
    height: int = 0
    width: int = 0


@dataclass(frozen=True)
class Shape:
    """Of a file's input: channels first or last, with or without a batch of one; `size` is None
    where pictures go in as they are."""

    port: Port
    size: Size | None
    first: bool

    def values(self, pixels: Pixels, given: Input) -> NDArray[Any]:
        """(H, W, 3) RGB → what the file takes, as it is stored."""
        ordered = pixels[..., ::-1] if given.channels == "bgr" else pixels
        mean, std = np.array(given.mean, np.float32), np.array(given.std, np.float32)
        values = (ordered.astype(np.float32) - mean) / std
        if self.first:
            values = values.transpose(2, 0, 1)
        whole = values[None] if len(self.port.shape) == 4 else values
        return np.ascontiguousarray(self.port.stored(whole))


def shape_of(port: Port, given: Input, path: Path) -> Shape:
    """Raises ConfigError for an input that takes no picture, or that the config leaves open."""
    said = f"{path}: its input {port.name!r} of shape {_said(port.shape)}"
    last = port.shape[-3:]
    if len(port.shape) not in (3, 4) or (len(port.shape) == 4 and port.shape[0] not in (1, None)):
        raise ConfigError(f"{said} does not take one picture; (1, 3, H, W) or like it is expected")
    could = [
        layout
        for layout, channels in (("nchw", last[0]), ("nhwc", last[2]))
        if channels in (3, None) and given.layout in (layout, None)
    ]
    fixed = [layout for layout in could if last[0 if layout == "nchw" else 2] == 3]
    could = fixed or could
    if len(could) != 1:
        why = "may be either; say input.layout: nchw or nhwc" if could else "has no RGB channels"
        asked = f" as {given.layout}" if given.layout else ""
        raise ConfigError(f"{said}{asked} {why}")
    first = could == ["nchw"]
    return Shape(port, _size(last[1:] if first else last[:2], given, said), first)


def _said(shape: tuple[int | None, ...]) -> str:
    return f"({', '.join('any' if n is None else str(n) for n in shape)})"


def _size(fixed: tuple[int | None, ...], given: Input, said: str) -> Size | None:
    if given.resize == "none":
        if fixed != (None, None):
            raise ConfigError(
                f"{said} is of one size, which input.resize: none does not give it; stretch, crop "
                "or letterbox is expected"
            )
        return None
    asked = given.size if isinstance(given.size, tuple) else (given.size, given.size)
    sides = []
    for own, wanted in zip(fixed, asked, strict=True):
        if own is None and wanted is None:
            raise ConfigError(f"{said} takes any size: say input.size, one side or [height, width]")
        if None not in (own, wanted) and own != wanted:
            raise ConfigError(f"{said} is of another size than input.size: {given.size}")
        sides.append(own or wanted or 0)
    if given.resize == "crop" and sides[0] != sides[1]:
        raise ConfigError(f"{said}: input.resize: crop leaves a square, {sides} is asked for")
    return sides[0], sides[1]


Geometry = Callable[[Pixels], tuple[Pixels, Frame]]
"""(H, W, 3) RGB of any size → what is shown of it, and where it lies there."""


def geometry(size: Size | None, given: Input) -> Geometry:
    """Raises ConfigError for a crop that is larger than what it is taken from."""
    if size is None:
        return as_it_is
    if given.resize == "crop":
        assert given.short_side is not None
        return partial(_cropped, ModelView(given.short_side, size[0], given.interpolation))
    return partial(_stretched if given.resize == "stretch" else _letterboxed, size, given)


def as_it_is(rgb: Pixels) -> tuple[Pixels, Frame]:
    size = (rgb.shape[0], rgb.shape[1])
    return rgb, Frame(size, size, 0, 0, *size)


def _cropped(view: ModelView, rgb: Pixels) -> tuple[Pixels, Frame]:
    return as_it_is(view(rgb))  # nothing is found in its places


def _stretched(size: Size, given: Input, rgb: Pixels) -> tuple[Pixels, Frame]:
    return _resized(rgb, size, given), Frame(size, (rgb.shape[0], rgb.shape[1]), 0, 0, *size)


def _letterboxed(size: Size, given: Input, rgb: Pixels) -> tuple[Pixels, Frame]:
    picture = (rgb.shape[0], rgb.shape[1])
    scale = min(size[0] / picture[0], size[1] / picture[1])
    height, width = (max(1, round(side * scale)) for side in picture)
    top, left = 0, 0
    if given.place == "centre":
        top, left = (size[0] - height) // 2, (size[1] - width) // 2
    shown = np.full((*size, 3), given.pad, np.uint8)
    shown[top : top + height, left : left + width] = _resized(rgb, (height, width), given)
    return shown, Frame(size, picture, top, left, height, width)


def _resized(rgb: Pixels, size: Size, given: Input) -> Pixels:
    how = PILImage.Resampling[given.interpolation.upper()]
    return np.asarray(PILImage.fromarray(rgb).resize((size[1], size[0]), how))
