"""Image files looked at without decoding them: size, wholeness, twins."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from bench.datasets.images import read_rgb
from bench.errors import DataError

TAIL = 4096
"""Bytes at the end of a file among which its end mark is looked for."""
END_MARKS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
PLAIN_MODES = {"1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"}
ORIENTATION = 0x0112


@dataclass(frozen=True)
class Look:
    """`size` is (height, width), None for a file that cannot be read; `fault` says why."""

    size: tuple[int, int] | None
    n_bytes: int = 0
    fault: str = ""
    turned: bool = False
    """Whether EXIF asks to turn it, which no data set does."""


def look(path: Path, deep: bool) -> Look:
    """Its header; the pixels are decoded if `deep`, or if anything hints that they cannot be."""
    try:
        n_bytes = path.stat().st_size
        with Image.open(path) as image:
            size = image.size[1], image.size[0]
            # Pillow decodes a PNG whole to look for EXIF, which may follow the pixels.
            exif = {} if image.format == "PNG" else image.getexif()
            turned = exif.get(ORIENTATION, 1) != 1
            whole = image.mode in PLAIN_MODES and _has_end(path, n_bytes, image.format or "")
    except Exception:  # whatever a decoder raises on bad bytes; reading it says what is wrong
        size, n_bytes, turned, whole = (0, 0), 0, False, False
    if deep or not whole:
        try:
            size = read_rgb(path).shape[:2]
        except DataError as error:
            return Look(None, fault=str(error).removeprefix(f"{path}: "))
    return Look(size, n_bytes, "", turned)


def _has_end(path: Path, n_bytes: int, format: str) -> bool:
    """Whether the format's end mark is there. Entropy-coded JPEG data cannot hold it by chance."""
    mark = END_MARKS.get(format)
    if mark is None:
        return False
    with path.open("rb") as file:
        file.seek(max(0, n_bytes - TAIL))
        return mark in file.read()


def look_at(
    paths: Iterable[Path], deep: bool, advance: Callable[[int], None], threads: int = 8
) -> list[Look]:
    looks = []
    with ThreadPoolExecutor(threads) as pool:
        for found in pool.map(lambda path: look(path, deep), paths):
            looks.append(found)
            advance(1)
    return looks


def twins(files: dict[str, tuple[Path, int]]) -> list[list[str]]:
    """Groups of names of files that are the same byte for byte; `files` is name → path, size.

    Only files of equal size are read.
    """
    by_size: defaultdict[int, list[str]] = defaultdict(list)
    for name, (_, n_bytes) in files.items():
        by_size[n_bytes].append(name)
    by_digest: defaultdict[str, list[str]] = defaultdict(list)
    for names in by_size.values():
        for name in names if len(names) > 1 else []:
            with files[name][0].open("rb") as file:
                by_digest[hashlib.file_digest(file, "sha256").hexdigest()].append(name)
    return [names for names in by_digest.values() if len(names) > 1]
