"""What data sets made of image files share: pixels whole or not at all, and a hash of the truth."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from bench.datasets.base import Sample
from bench.errors import DataError

SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}
"""Of files that are taken for images where nothing lists them."""


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Read an image file → (H, W, 3) uint8 RGB, in the file's own orientation.

    EXIF orientation is not applied, colour profiles are not applied, transparency is dropped and
    of an animation the first frame is taken. Samples of 16 bits keep their high byte.

    Raises DataError, naming the file and what is wrong, for a file that is missing, truncated or
    not an image, and for pixels without a defined 8-bit range (floats, integers over 16 bits).
    """
    # Another library may have asked Pillow to fill the rest of a truncated picture with gray.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        with Image.open(path) as image:
            image.load()
            return _to_rgb(image)
    except FileNotFoundError:
        raise DataError(f"{path}: no such image file") from None
    except MemoryError:
        raise
    except Exception as error:  # whatever a decoder raises on bad bytes: it differs by format
        raise DataError(f"{path}: not readable as an image: {_reason(path, error)}") from error


def read_sized(path: Path, size: tuple[int, int] | None) -> NDArray[np.uint8]:
    """As `read_rgb`. Raises DataError, too, for another (height, width) than the one annotated."""
    rgb = read_rgb(path)
    if size is not None and rgb.shape[:2] != size:
        raise DataError(
            f"{path}: {rgb.shape[1]}×{rgb.shape[0]} pixels, but it was annotated at "
            f"{size[1]}×{size[0]}: the boxes would not fit"
        )
    return rgb


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith("I"):  # Pillow's own conversion clips 16-bit gray at 255
        wide = np.asarray(image).astype(np.int64)
        if wide.min() < 0 or wide.max() > 0xFFFF:
            raise ValueError("integers outside 0–65535 have no defined 8-bit range")
        gray = (wide >> 8).astype(np.uint8)
        return np.repeat(gray[:, :, None], 3, axis=2)
    if image.mode == "F":
        raise ValueError("floating-point samples have no defined 8-bit range")
    return np.array(image.convert("RGB"), dtype=np.uint8)


def _reason(path: Path, error: Exception) -> str:
    if path.is_dir():
        return "it is a folder"
    if path.is_file() and path.stat().st_size == 0:
        return "the file is empty"
    if isinstance(error, UnidentifiedImageError):
        return "no known image format"
    return str(error) or type(error).__name__


def require_images(folder: Path, names: Sequence[str]) -> None:
    """Raises DataError with the count and the first five where `folder` lacks any of `names`."""
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        listed = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
        raise DataError(f"{folder}: {len(missing)} of {len(names)} images are missing: {listed}")


def annotations_sha256(samples: Sequence[Sample]) -> str:
    """Hash of the samples' names and ground truth, in their order.

    Each array goes in with its key, type and shape, little-endian, so neither the machine nor the
    order of keys changes the hash, and no two different truths run into the same bytes.
    """
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(f"{len(sample.name.encode())}:".encode() + sample.name.encode())
        for key in sorted(sample.target):
            array = np.asarray(sample.target[key])
            array = array.astype(array.dtype.newbyteorder("<"))
            digest.update(f"{key}:{array.dtype.str}:{array.shape}:".encode() + array.tobytes())
    return digest.hexdigest()
