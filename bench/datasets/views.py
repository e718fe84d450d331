"""Views: the 8-bit pixels that are coded, made before any codec or network sees them.

`native` is the picture itself. `model` is what a classifier's resize and crop leave of it. It is
defined by numbers alone and made by Pillow alone, so that models of equal geometry share their
coded pictures whatever library they come from. Both sides are rounded to the nearest pixel, where
torchvision truncates the longer one: a crop may lie half a pixel from the library's own. This
rounding is the one that the reference scores of `configs/imagenet_efficientnet_lite0.yaml` had.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.errors import ConfigError

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def native(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture itself."""
    return rgb


@dataclass(frozen=True)
class ModelView:
    """The short side becomes `short_side` pixels, then the middle `crop` × `crop` is kept."""

    short_side: int
    crop: int
    interpolation: str

    def __post_init__(self) -> None:
        if self.interpolation not in _FILTERS or self.crop > self.short_side:
            raise ConfigError(
                f"view 'model' cannot be made of {self}: it takes {', '.join(_FILTERS)} and a crop "
                "no larger than the short side; use view: native"
            )

    def __call__(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(H, W, 3) → (crop, crop, 3)."""
        height, width = rgb.shape[:2]
        scale = self.short_side / min(height, width)
        size = (round(width * scale), round(height * scale))
        left, top = (size[0] - self.crop) // 2, (size[1] - self.crop) // 2
        picture = Image.fromarray(rgb).resize(size, _FILTERS[self.interpolation])
        return np.asarray(picture.crop((left, top, left + self.crop, top + self.crop)))
