"""Image files looked at without decoding them: size, orientation, wholeness, twins."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from bench.datasets.images import FORMATS, ORIENTATION, TURNS, read_rgb
from bench.errors import DataError

TAIL = 4096
"""Bytes at the end of a file among which its end mark is looked for."""
END_MARKS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
PLAIN_MODES = {"1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"}
THREADS = 8
_PNG_SIGNATURE = 8
_LATE = (b"eXIf", b"zTXtRaw profile type", b"tEXtRaw profile type", b"iTXtXML:com.adobe.xmp")
"""How a PNG chunk begins that may hold an orientation."""


@dataclass(frozen=True)
class Header:
    """`size` is (height, width)."""

    format: str
    mode: str
    size: tuple[int, int]
    turned: bool = False
    """Whether EXIF asks to turn it, which no data set does."""
    several: bool = False
    """Whether the file holds more pictures than the one that is taken."""


@dataclass(frozen=True)
class Look:
    """`size` is (height, width), None for a file that cannot be read; `fault` says why."""

    size: tuple[int, int] | None
    n_bytes: int = 0
    fault: str = ""
    header: Header | None = None


def header(path: Path) -> Header | None:
    """None for a file that Pillow cannot open; reading it says what is wrong."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            size = image.size[1], image.size[0]
            several = bool(getattr(image, "is_animated", False))
            # Pillow decodes a PNG whole to look for EXIF after the pixels, where it seldom is.
            plain = image.format == "PNG" and not _metadata_follows(path)
            exif = Image.Image.getexif(image) if plain else image.getexif()
            turned = exif.get(ORIENTATION) in TURNS
            return Header(image.format or "", image.mode, size, turned, several)
    except Exception:  # whatever a decoder raises on bad bytes: it differs by format
        return None


def _metadata_follows(path: Path) -> bool:
    """Whether a PNG file has chunks that may hold an orientation after its pixels."""
    with path.open("rb") as file:
        file.seek(_PNG_SIGNATURE)
        pixels = False
        while len(start := file.read(8)) == 8:
            length, kind = int.from_bytes(start[:4]), start[4:]
            pixels = pixels or kind == b"IDAT"
            data = file.read(min(length, 20))
            if pixels and (kind + data).startswith(_LATE):
                return True
            file.seek(length - len(data) + 4, 1)
    return False


def headers(paths: Iterable[Path]) -> list[Header | None]:
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(header, paths))


def oddities(headers: Iterable[tuple[str, Header | None]]) -> dict[str, list[str]]:
    """What a reader of the scores should know of the images: kind → their names."""
    found = defaultdict(list)
    for name, seen in headers:
        if seen and seen.turned:
            found["EXIF asks to turn the image, which is not done"].append(name)
        if seen and seen.several:
            found["only the first picture of the file is taken, there are more"].append(name)
    return found


def look(path: Path, deep: bool) -> Look:
    """Its header; the pixels are decoded if `deep`, or if anything hints that they cannot be."""
    seen = header(path)
    size = seen.size if seen else (0, 0)
    try:
        n_bytes = path.stat().st_size
        if deep or not seen or seen.mode not in PLAIN_MODES or not _has_end(path, n_bytes, seen):
            size = read_rgb(path).shape[:2]
    except OSError as error:
        return Look(None, fault=str(error))
    except DataError as error:
        return Look(None, fault=str(error).removeprefix(f"{path}: "))
    return Look(size, n_bytes, "", seen)


def _has_end(path: Path, n_bytes: int, seen: Header) -> bool:
    """Whether the format's end mark is there. Entropy-coded JPEG data cannot hold it by chance."""
    mark = END_MARKS.get(seen.format)
    if mark is None:
        return False
    with path.open("rb") as file:
        file.seek(max(0, n_bytes - TAIL))
        return mark in file.read()


def look_at(paths: Iterable[Path], deep: bool, advance: Callable[[int], None]) -> list[Look]:
    looks = []
    with ThreadPoolExecutor(THREADS) as pool:
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
