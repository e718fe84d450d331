"""Folders as data sets read them: what is listed, what is passed over, which names may be used."""

import codecs
import os
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.errors import DataError

SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}
"""Of files that are taken for images where nothing lists them."""
LEFT_BEHIND = {
    "$recycle.bin",
    "@eadir",
    "__macosx",
    "desktop.ini",
    "ehthumbs.db",
    "icon\r",
    "lost+found",
    "system volume information",
    "thumbs.db",
}
"""By operating systems, in any case; their other traces begin with a dot."""
_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)


@contextmanager
def readable() -> Iterator[None]:
    """What the system says of files that cannot be read becomes a DataError."""
    try:
        yield
    except OSError as error:
        what = error.filename or "a file"
        raise DataError(f"{what}: cannot be read: {error.strerror or error}") from error


def visible(folder: Path) -> list[os.DirEntry[str]]:
    """What `folder` holds, by name, without hidden entries and what systems leave behind."""
    with readable(), os.scandir(folder) as entries:
        return sorted(
            (e for e in entries if e.name[0] != "." and e.name.lower() not in LEFT_BEHIND),
            key=lambda e: e.name,
        )


def is_image(name: str) -> bool:
    return Path(name).suffix.lower() in SUFFIXES


def leads_nowhere(entry: os.DirEntry[str]) -> bool:
    """Whether it is a link to what is not there, or to itself."""
    return entry.is_symlink() and not os.path.exists(entry)  # noqa: PTH110  it never raises


@dataclass
class Tree:
    """Paths relative to a folder, sorted."""

    images: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    """Links that lead nowhere."""
    again: list[str] = field(default_factory=list)
    """Links to folders that are taken already, or that hold this very tree: left out."""


def below(root: Path) -> Tree:
    """Everything below `root`, through links too; no folder is taken twice, the unlinked first."""
    tree = Tree()
    top = root.resolve()
    entered: set[Path] = set()
    folders, links = [root], list[Path]()
    while folders or links:
        folder = folders.pop() if folders else links.pop()
        real = folder.resolve()
        if real in entered or (folder != root and top.is_relative_to(real)):
            tree.again.append(folder.relative_to(root).as_posix())
            continue
        entered.add(real)
        for entry in visible(folder):
            path = folder / entry.name
            name = path.relative_to(root).as_posix()
            if leads_nowhere(entry):
                tree.broken.append(name)
            elif entry.is_dir():
                (links if entry.is_symlink() else folders).append(path)
            else:
                (tree.images if is_image(name) and entry.is_file() else tree.others).append(name)
        links.sort(reverse=True)
    for names in (tree.images, tree.others, tree.broken, tree.again):
        names.sort()
    return tree


def inside(folder: Path, name: str) -> str:
    """`name`, which is relative to `folder`, in its shortest form: `a.png` for `./b/../a.png`.

    Raises DataError for a name that no file can have, and for one that leaves the folder.
    """
    if not is_text(name):
        raise DataError(
            f"the file name {name!r} holds a control character or one that is no text: rename it"
        )
    short = os.path.normpath(name)
    if short.startswith(("/", "..")):
        top = os.path.abspath(folder)  # noqa: PTH100  links are not followed
        short = os.path.relpath(os.path.join(top, short), top)  # noqa: PTH118
    if short == "." or short.split("/")[0] == "..":
        raise DataError(
            f"the file name {name!r} leaves the folder {folder}: names are relative to it; move "
            "the file there, or link to it from there"
        )
    return short


def is_text(name: str) -> bool:
    """Whether it can be written and printed: no control characters, halves of characters
    (surrogates) or undecodable bytes."""
    return name.isprintable() or not any(unicodedata.category(c) in ("Cc", "Cs") for c in name)


def printable(text: str) -> str:
    """With escapes for what could not be written, or would act on a terminal."""
    if is_text(text):
        return text
    return "".join(c if is_text(c) else ascii(c)[1:-1] for c in text)


def read_text(file: Path) -> str:
    """Of a UTF-8 file, with or without a byte order mark. Raises DataError."""
    with readable():
        data = file.read_bytes()
    if data.startswith(_WIDE):
        raise DataError(f"{file}: it is written in UTF-16 or UTF-32; save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: it is not in UTF-8 ({error}); save it as UTF-8") from error
