"""What data sets made of image files share: pixels whole or not at all, and a hash of the truth."""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import EpsImagePlugin, Image, ImageFile, UnidentifiedImageError, features
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION, SAMPLEFORMAT
from PIL.TiffImagePlugin import TiffImageFile as Tiff

from bench.datasets.base import Sample
from bench.errors import DataError

EpsImagePlugin.gs_binary = False  # no picture starts a program: Pillow runs Ghostscript for EPS

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""What is read, by content and not by name; Pillow's decoders of rarer formats never see a file."""
ORIENTATION = 0x0112
"""EXIF's tag, and TIFF's."""
TURNS = range(2, 9)
"""Orientations that ask for the picture to be turned or mirrored."""
_TURNED_BACK = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
NO_RANGE = "have no defined 8-bit range, as 0–255 and 0–65535 in 8 and 16 bits have"
_UNSIGNED = 1
_WHITE_IS_ZERO = 0
_WIDE_FORMATS = ("JPEG2000", "PNG", "PPM")
"""Whose gray of more than 8 bits Pillow gives as 16, whatever the mode."""


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Read an image file → (H, W, 3) uint8 RGB, in the file's own orientation.

    EXIF orientation is not applied, colour profiles are not applied, transparency is dropped and
    of an animation the first frame is taken. Samples of 12 or 16 bits keep their high byte.

    Raises DataError, naming the file and what is wrong, for a file that is missing, truncated or
    not an image of `FORMATS`, and for pixels without a defined 8-bit range (floats, signed
    integers, integers over 16 bits).
    """
    # Another library may have asked Pillow to fill the rest of a truncated picture with gray.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        # Not by its name: Pillow would map the file, and scrambles a TIFF that is to be turned. Nor
        # from a stream: Python takes the memory for as many bytes as a damaged file says it has.
        data = io.BytesIO(path.read_bytes())
        with Image.open(data, formats=FORMATS) as image:
            asked = orientation(image) if isinstance(image, Tiff) else 1
            if image.format == "PNG":  # loading it, Pillow passes over the checksums of its pixels
                with Image.open(io.BytesIO(data.getvalue()), formats=FORMATS) as twin:
                    twin.verify()
            image.load()
            rgb = _to_rgb(image)
            if asked in TURNS and orientation(image) != asked:  # Pillow has turned it
                rgb = np.array(Image.fromarray(rgb).transpose(_TURNED_BACK[asked]))
            return rgb
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


def source(path: Path, size: tuple[int, int] | None) -> str:
    """What `read_sized` makes its pixels from: the file, and the decoder. Raises OSError."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return f"{digest} at {size} by Pillow {PIL.__version__}, libjpeg {features.version('jpg')}"


def orientation(image: Image.Image) -> int:
    """1 for a picture that is stored upright."""
    return image.getexif().get(ORIENTATION, 1)


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    if not all(image.size):
        raise ValueError("it has no pixels")
    if image.mode == "F" or (
        isinstance(image, Tiff) and {*image.tag_v2.get(SAMPLEFORMAT, ())} - {_UNSIGNED}
    ):
        raise ValueError(f"signed or floating-point samples {NO_RANGE}")
    if image.mode.startswith("I"):  # Pillow's own conversion clips 16-bit gray at 255
        gray = (np.asarray(image).astype(np.int64) >> _bits(image) - 8).astype(np.uint8)
        if isinstance(image, Tiff) and image.tag_v2.get(PHOTOMETRIC_INTERPRETATION) == (
            _WHITE_IS_ZERO
        ):
            gray = 255 - gray
        return np.repeat(gray[:, :, None], 3, axis=2)
    return np.array(image.convert("RGB"), dtype=np.uint8)


def _bits(image: Image.Image) -> int:
    """Of a sample, as the file declares it: its values may all be small."""
    if isinstance(image, Tiff) and image.tag_v2.get(BITSPERSAMPLE) in ((12,), (16,)):
        (bits,) = image.tag_v2[BITSPERSAMPLE]
        return int(bits)
    if image.format in _WIDE_FORMATS:
        return 16
    raise ValueError(f"samples of more than 16 bits {NO_RANGE}")


def _reason(path: Path, error: Exception) -> str:
    if path.is_dir():
        return "it is a folder"
    if path.is_file() and path.stat().st_size == 0:
        return "the file is empty"
    if isinstance(error, UnidentifiedImageError):
        return f"none of the image formats that are read ({', '.join(FORMATS)})"
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
        arrays = sample.target.to_arrays() if sample.target else {}
        for key in sorted(arrays):
            array = np.asarray(arrays[key])
            array = array.astype(array.dtype.newbyteorder("<"))
            digest.update(f"{key}:{array.dtype.str}:{array.shape}:".encode() + array.tobytes())
    return digest.hexdigest()
