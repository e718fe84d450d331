"""ILSVRC 2012's own numbering: the thousand WordNet ids, and the development kit."""

import hashlib
import importlib.util
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bench.errors import DataError

WNID = re.compile(r"n\d{8}")
WNIDS_SHA256 = "385e0240499426c022b773be1ae4da780f057b89c9694c7f47199f62746b6edd"
"""Of the thousand ids, sorted and joined by newlines."""

DEVKIT = "ILSVRC2012_devkit_t12"
IMAGE_FOLDERS = ("val", "images", ".")
_IMAGE = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG")


@dataclass(frozen=True)
class Label:
    """`file` is relative to the folder of images."""

    file: str
    class_index: int
    wnid: str
    name: str


@cache
def wnids() -> list[str]:
    """The thousand WordNet ids in the order of the standard class indices, from timm's list.

    Raises DataError where this version of timm has another list or none.
    """
    found = importlib.util.find_spec("timm")  # found, not imported: that would import torch
    places = (found.submodule_search_locations or []) if found else []
    for place in places:
        file = Path(place) / "data" / "_info" / "imagenet_synsets.txt"
        if file.is_file():
            ids = file.read_text(encoding="utf-8").split()
            if hashlib.sha256("\n".join(ids).encode()).hexdigest() == WNIDS_SHA256:
                return ids
    raise DataError(
        "the thousand WordNet ids of ILSVRC 2012 are not where timm 1.0 keeps them; install "
        "another version of timm, or add labels.csv (columns file, class_index) to the data set"
    )


def validation_labels(root: Path) -> tuple[Path, list[Label], int, list[str]]:
    """The folder of the validation images, the labels of those that are there, the number of
    classes, and notes.

    Reads `ILSVRC2012_devkit_t12/data` in `root`, unpacked: line n of
    `ILSVRC2012_validation_ground_truth.txt` is the kit's own number of the class of
    `ILSVRC2012_val_<n>.JPEG`, and `meta.mat` says which WordNet id has that number (as torchvision
    reads them). The class index is the place of that id among the kit's sorted ids. The images lie
    in `val/`, `images/` or `root` itself, directly or in folders. Raises DataError.
    """
    data = root / DEVKIT / "data"
    file = data / "ILSVRC2012_validation_ground_truth.txt"
    synsets = _synsets(data / "meta.mat")
    order = {wnid: i for i, wnid in enumerate(sorted(wnid for wnid, _ in synsets.values()))}
    try:
        truth = [int(line) for line in file.read_text(encoding="ascii").split()]
    except FileNotFoundError:
        raise DataError(f"{file}: no such file; the development kit for task 1 has it") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: a number in each line is expected: {error}") from error
    for line, number in enumerate(truth, start=1):
        if number not in synsets:
            raise DataError(f"{file}, line {line}: class {number} is not in meta.mat")

    folder, files = _images(root)
    labels = []
    seen: dict[int, Path] = {}
    for path in files:
        number = int(path.name[15:23])
        if seen.setdefault(number, path) != path:
            raise DataError(f"{path}: the same image as {seen[number]}; keep one of them")
        if not 1 <= number <= len(truth):
            raise DataError(f"{path}: {file.name} has {len(truth)} lines, none for this image")
        wnid, name = synsets[truth[number - 1]]
        labels.append(Label(path.relative_to(folder).as_posix(), order[wnid], wnid, name))
    absent = len(truth) - len(files)
    notes = [f"{absent} of the {len(truth)} validation images are not there"] if absent else []
    return folder, labels, len(order), notes


def _images(root: Path) -> tuple[Path, list[Path]]:
    for name in IMAGE_FOLDERS:
        for pattern in ("*", "*/*"):
            paths = [p for p in (root / name).glob(pattern) if _IMAGE.fullmatch(p.name)]
            if paths:
                return root / name, sorted(paths, key=lambda p: p.name)
    raise DataError(
        f"{root}: {DEVKIT} is there, but no images ILSVRC2012_val_*.JPEG in val/, images/ or the "
        "folder itself"
    )


def _synsets(file: Path) -> dict[int, tuple[str, str]]:
    """The kit's number of a class → its WordNet id and its first name."""
    from scipy.io import loadmat

    if not file.is_file():
        raise DataError(f"{file}: no such file; the development kit for task 1 has it")
    try:
        records = loadmat(file, squeeze_me=True)["synsets"]
        # Inner nodes of the tree have children; classes have none.
        leaves = [r for r in records if int(r["num_children"]) == 0]
        return {
            int(r["ILSVRC2012_ID"]): (str(r["WNID"]), str(r["words"]).split(", ")[0])
            for r in leaves
        }
    except Exception as error:  # whatever scipy raises on bytes that are not MATLAB's
        raise DataError(f"{file}: cannot be read as the kit's synsets: {error}") from error
