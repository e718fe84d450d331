"""Label maps: PNG files that hold the class index of each pixel of an image."""

from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from bench.datasets.base import DATASETS, Dataset
from bench.datasets.contents import Contents, Item, dataset
from bench.datasets.files import THREADS, header
from bench.datasets.tree import below, is_text, read_text, readable
from bench.datasets.values import shown
from bench.errors import DataError
from bench.tasks.categories import common_name
from bench.tasks.records import IGNORED, PackedRegions

LAYOUT = (
    "a data set of label maps is a folder with images/, labels/ with a PNG of the same name for "
    "each image, and, where classes have names, classes.txt with one a line"
)
SAVED = "label maps hold the class index of each pixel: save it as 8-bit gray or with a palette"
_PNG = b"\x89PNG\r\n\x1a\n"
_DEPTH, _COLOUR = 24, 25
"""Bytes of a PNG file that say how many bits a sample has, and its kind of colour."""
_GRAY, _PALETTE = 0, 3


@DATASETS.register("labelmaps")
def load(root: Path, name: str | None = None) -> Dataset:
    """Every image in `images`, and in folders below it, in the order of their relative paths, with
    the label map of the same relative name in `labels`: a single-channel PNG of 8 bits or with a
    palette, whose indices are the labels. 255 is ignored.

    Line n of `classes.txt`, counted from 0, names label n. Without that file categories are the
    labels found, called by their numbers.

    Raises DataError for files that are missing, malformed or of another size than their image, and
    where there is nothing to judge.
    """
    return dataset(read(root), name)


@readable()
def read(root: Path) -> Contents:
    """Raises DataError for a folder of another layout, and for names that cannot be used."""
    root = Path(root)
    for folder in (root, root / "images", root / "labels"):
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder; {LAYOUT}")
    contents = Contents(root.resolve().name, "seg", root / "images")
    if (root / "classes.txt").is_file():
        names = _names(root / "classes.txt")
        contents.categories, contents.n_classes = dict(enumerate(names)), len(names)
    add_maps(contents, _pairs(root, contents))
    if not contents.categories:
        present = frozenset[int]().union(*(i.target.present() for i in contents.items))
        contents.categories = {label: str(label) for label in sorted(present)}
        contents.notes.append("no classes.txt: categories are called by their numbers")
    return contents


def _names(file: Path) -> list[str]:
    """Of classes, from their list. Raises DataError."""
    names = [line.strip() for line in read_text(file).rstrip().splitlines()]
    lines: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        if not name or not is_text(name):
            raise DataError(
                f"{file}: line {number}: {shown(name)}: the name of a class is expected"
            )
        same = lines.setdefault(common_name(name), number)
        if same != number:
            raise DataError(
                f"{file}: lines {same} and {number}: {names[same - 1]!r} and {name!r} are the same "
                "to a model; give one of them another name"
            )
    if not 0 < len(names) <= IGNORED:
        raise DataError(f"{file}: {len(names)} lines; 1 to {IGNORED} names of classes are expected")
    return names


def _pairs(root: Path, contents: Contents) -> dict[str, Path]:
    """Image, relative to `images` → its label map."""
    images, labels = below(root / "images"), below(root / "labels")
    for folder, tree in (("images", images), ("labels", labels)):
        for name in tree.broken:
            contents.broken_link(root / folder / name)
        contents.remark(f"files of {folder} that are not taken for images", *tree.others)
        contents.remark("links to folders that are taken already", *tree.again)
    by_stem: defaultdict[str, list[str]] = defaultdict(list)
    for name in images.images:
        by_stem[_stem(name)].append(name)
    maps = {_stem(name): name for name in labels.images if name.lower().endswith(".png")}
    pairs = {}
    for stem, names in by_stem.items():
        if len(names) > 1:
            contents.fault(
                "several files of one name",
                f"{root / 'images'}: {' and '.join(names)} are both {stem}; keep one",
            )
        placed = contents.placed(names[0], f"{root / 'images'}")
        if stem not in maps:
            file = root / "labels" / f"{stem}.png"
            contents.fault("label maps missing", f"{file}: no such file, for image {names[0]}")
        elif placed is not None:
            pairs[placed] = root / "labels" / maps[stem]
    if not by_stem:
        raise DataError(f"{root / 'images'}: no images in it or below it; {LAYOUT}")
    alone = [name for stem, name in maps.items() if stem not in by_stem]
    contents.remark("label maps without an image", *alone)
    return pairs


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))


def add_maps(contents: Contents, pairs: Mapping[str, Path]) -> None:
    """The images, relative to the folder of images, with their label maps; a fault for each that
    cannot be used. Labels have to be among the categories, if those are known."""
    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(lambda pair: _target(contents, *pair), pairs.items()))
    for name, target in zip(pairs, found, strict=True):
        if isinstance(target, DataError):
            contents.fault("label maps that cannot be used", str(target))
        else:
            contents.items.append(Item(name, target))
    if not contents.faults and not any(item.target.present() for item in contents.items):
        contents.fault(
            "no label that counts",
            f"{contents.folder.parent}: every pixel is labelled {IGNORED}, ignored: there is "
            "nothing to judge, and mIoU would be undefined; label them, or use format: folder for "
            "images without labels",
        )


def _target(contents: Contents, image: str, file: Path) -> PackedRegions | DataError:
    try:
        labels = read_labels(file)
    except DataError as error:
        return error
    seen = header(contents.folder / image)
    if seen is not None and seen.size != labels.shape:
        return DataError(
            f"{file}: {labels.shape[1]}×{labels.shape[0]} pixels, but its image {image} has "
            f"{seen.size[1]}×{seen.size[0]}: a label for each pixel is expected"
        )
    target = PackedRegions(labels)
    known = contents.categories.keys()
    if known and (strange := sorted(target.present() - known)):
        return DataError(
            f"{file}: labels {', '.join(map(str, strange[:5]))}{' …' if strange[5:] else ''}; "
            f"{min(known)} to {max(known)} are expected, the indices of the {len(known)} classes, "
            f"and {IGNORED} for what is ignored"
        )
    return target


def read_labels(file: Path) -> NDArray[np.uint8]:
    """A label map → (H, W): gray levels, or indices of the palette, whose colours mean nothing.
    Raises DataError for a file that is missing, damaged, or no PNG of this kind."""
    # Another library may have asked Pillow to fill the rest of a truncated picture.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        with file.open("rb") as stream:
            head = stream.read(_COLOUR + 1)
        if not head.startswith(_PNG) or len(head) <= _COLOUR:
            raise DataError(f"{file}: no PNG file; label maps are expected in that format")
        depth, colour = head[_DEPTH], head[_COLOUR]
        if colour not in (_GRAY, _PALETTE):
            raise DataError(f"{file}: a picture of colours; {SAVED}")
        if colour == _GRAY and depth != 8:
            # Of fewer bits Pillow would stretch the levels to 8.
            raise DataError(f"{file}: gray of {depth} bits; {SAVED}")
        with Image.open(file) as twin:
            twin.verify()  # checksums, which loading passes over
        with Image.open(file) as image:
            return np.array(image, np.uint8)
    except FileNotFoundError:
        raise DataError(f"{file}: no such file") from None
    except (DataError, MemoryError):
        raise
    except Exception as error:  # whatever Pillow raises on bad bytes
        raise DataError(f"{file}: not readable as an image: {error}") from error
