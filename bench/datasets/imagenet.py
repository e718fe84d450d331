"""Classification data sets in ImageNet's manner: labels.csv, the devkit, or a folder per class."""

import csv
import io
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bench.datasets.base import DATASETS, Dataset
from bench.datasets.contents import Contents, Item, dataset
from bench.datasets.ilsvrc import DEVKIT, WNID, Label, validation_labels, wnids
from bench.datasets.tree import (
    below,
    is_image,
    is_text,
    leads_nowhere,
    printable,
    read_text,
    readable,
    visible,
)
from bench.datasets.values import shown
from bench.errors import DataError
from bench.tasks import records

LAYOUTS = f"labels.csv and images/, {DEVKIT}/ and val/, or a folder of images per class"
REMEDY = "add labels.csv (columns file, class_index) and images/"
COLUMNS = ("file", "class_index", "wnid", "name")
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
LARGEST_INDEX = 2**31 - 1
_INDEX = re.compile(r"([0-9]{1,100})(\.0*)?")
_LIKE_A_NUMBER = re.compile(r"[\s+-]*\d+([.,]\d*)?\s*")


@DATASETS.register("imagenet")
def load(root: Path, name: str | None = None) -> Dataset:
    """Read a classification data set from one of three layouts.

    - `root/labels.csv` with the columns file and class_index (wnid, name and others are optional)
      and `root/images/`, which the files are relative to. Samples keep the order of the rows, and
      the indices may be a part of the classes.
    - `root/ILSVRC2012_devkit_t12/` and the validation images, see `ilsvrc.validation_labels`.
    - a folder per class. If their names are WordNet ids (n01440764), all or some of the 1000 of
      ILSVRC 2012, the class index is the standard one; if they are whole numbers, it is that
      number; else it is the folder's place among the sorted names, and a model has to have as many
      classes.

    Raises DataError where files are missing or do not fit, and where class folders can be numbered
    in more than one way.
    """
    return dataset(read(root), name)


@readable()
def read(root: Path) -> Contents:
    """Raises DataError for another layout, and for class folders without a plain numbering."""
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; expected {LAYOUTS}")
    contents = Contents(root.resolve().name, "cls", root)
    if os.path.lexists(root / "labels.csv"):
        contents.folder = root / "images"
        if not contents.folder.is_dir():
            raise DataError(f"{contents.folder}: no such folder; expected {LAYOUTS}")
        labels = _read_csv(root / "labels.csv", contents)
    elif (root / DEVKIT).is_dir():
        contents.folder, labels, contents.n_classes, contents.notes = validation_labels(root)
    else:
        labels = _read_folders(root, contents)
    contents.items = [
        Item(label.file, records.Label(np.array(label.class_index, np.int64))) for label in labels
    ]
    named: dict[int, str] = {}
    for label in labels:
        named.setdefault(label.class_index, label.name or label.wnid or str(label.class_index))
    contents.categories = dict(sorted(named.items()))
    return contents


# --- labels.csv -----------------------------------------------------------------------------------


def _read_csv(file: Path, contents: Contents) -> list[Label]:
    """The labels that can be used; what is wrong with the others becomes faults. Raises DataError
    for a file that has none of what is expected."""
    labels: dict[str, Label] = {}
    wnids: dict[int, str] = {}
    text = read_text(file)
    delimiter, columns = _columns(file, text, contents)
    for where, row in list(_rows(file, text, delimiter))[1:]:
        try:
            label = _label(row, columns, where, contents)
            if label is None:
                continue
            if label.file in labels:
                raise DataError(f"{where}: {label.file!r} is listed twice")
            known = wnids.setdefault(label.class_index, label.wnid) if label.wnid else ""
            if known != label.wnid:
                raise DataError(
                    f"{where}: class {label.class_index} is both {known} and {label.wnid}"
                )
            labels[label.file] = label
        except DataError as error:
            contents.fault("labels that cannot be used", str(error))
    if not labels and not contents.faults:
        raise DataError(f"{file}: no rows")
    in_order = [wnids[index] for index in sorted(wnids)]
    if in_order != sorted(set(in_order)):
        contents.notes.append(
            "class indices do not follow the order of the wnids: they are not the standard "
            "indices of ILSVRC 2012 that most networks are trained with"
        )
    unlisted = [name for name in below(contents.folder).images if name not in labels]
    contents.remark("images without a label", *unlisted)
    return list(labels.values())


def _rows(
    file: Path, text: str, delimiter: str, strict: bool = True
) -> Iterator[tuple[str, list[str]]]:
    """Of each row that is not blank where it stands, and its fields."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=strict)
    try:
        for row in reader:
            if any(field.strip() for field in row):
                yield f"{file}, line {reader.line_num}", row
    except csv.Error as error:
        raise DataError(
            f"{file}, line {reader.line_num}: {error}; is a double quote not closed?"
        ) from error


def _columns(file: Path, text: str, contents: Contents) -> tuple[str, list[str]]:
    """The delimiter, and the names of the columns without blanks and in small letters."""
    headers = {d: next(_rows(file, text, d, strict=False), ("", []))[1] for d in DELIMITERS}
    plain = {d: [column.strip().lower() for column in headers[d]] for d in DELIMITERS}
    delimiter = next((d for d in DELIMITERS if {"file", "class_index"} <= {*plain[d]}), ",")
    columns = plain[delimiter]
    for column in ("file", "class_index"):
        if column not in columns:
            there_are = printable(", ".join(columns))[:200] or "none"
            raise DataError(f"{file}: no column {column!r}; it has: {there_are}")
    for column, written in zip(columns, headers[delimiter], strict=True):
        if column in COLUMNS and columns.count(column) > 1:
            raise DataError(f"{file}: more than one column {column!r}; keep one of them")
        if column in COLUMNS and column != written:
            contents.remark("columns of labels.csv in another spelling", shown(written))
    if delimiter != ",":
        contents.notes.append(f"the columns of labels.csv are parted by {DELIMITERS[delimiter]}")
    return delimiter, columns


def _label(row: list[str], columns: list[str], where: str, contents: Contents) -> Label | None:
    """None where the file's name became a fault. Raises DataError for another."""
    if len(row) > len(columns):
        raise DataError(
            f"{where}: {len(row)} fields, but {len(columns)} columns; a field that has the "
            "delimiter in it goes in double quotes"
        )
    cells = dict.fromkeys(COLUMNS, "") | {
        c: field.strip() for c, field in zip(columns, row, strict=False)
    }
    for field in cells.values():
        if not is_text(field):
            raise DataError(
                f"{where}: {shown(field)}: line breaks and control characters have no place in a "
                "field; is a double quote not closed?"
            )
    if not cells["file"]:
        raise DataError(f"{where}: no file name")
    index = _INDEX.fullmatch(cells["class_index"])
    if not index or int(index[1]) > LARGEST_INDEX:
        raise DataError(
            f"{where}: class_index {shown(cells['class_index'])}: an integer from 0 to "
            f"{LARGEST_INDEX} is expected"
        )
    if len(row) < len(columns):
        raise DataError(f"{where}: {len(row)} fields, but {len(columns)} columns")
    if index[2]:
        contents.remark(
            "class indices written as decimals", f"{cells['file']}: {index[0]} as {int(index[1])}"
        )
    file = contents.placed(cells["file"], where)
    return Label(file, int(index[1]), cells["wnid"], cells["name"]) if file else None


# --- a folder per class ---------------------------------------------------------------------------


def _read_folders(root: Path, contents: Contents) -> list[Label]:
    """Every image with its folder's class index. Raises DataError."""
    folders = _class_folders(root, contents)
    if not folders and contents.faults:
        return []
    if not folders or folders == ["images"]:
        raise DataError(f"{root}: no labels.csv and no class folders; expected {LAYOUTS}")
    index_of = _class_indices(root, folders, contents)
    labels: list[Label] = []
    for folder in sorted(folders, key=lambda name: index_of[name]):
        before = len(labels)
        for entry in visible(root / folder):
            name = f"{folder}/{entry.name}"
            if leads_nowhere(entry):
                contents.broken_link(root / name)
            elif not is_image(name) or not entry.is_file():
                contents.remark("entries of class folders that are not images, left out", name)
            elif contents.placed(name, f"{root}"):
                wnid = folder if WNID.fullmatch(folder) else ""
                labels.append(Label(name, index_of[folder], wnid, folder))
        if len(labels) == before:
            contents.remark("class folders without an image", folder)
    if not labels and not contents.faults:
        raise DataError(f"{root}: no images in the {len(folders)} class folders")
    return labels


def _class_folders(root: Path, contents: Contents) -> list[str]:
    """Their names, sorted. Raises DataError for two links to one folder."""
    names: dict[Path, str] = {}
    top = root.resolve()
    for entry in visible(root):
        if leads_nowhere(entry):
            contents.broken_link(root / entry.name)
        elif entry.is_dir():
            real = Path(entry.path).resolve()
            if top.is_relative_to(real):
                contents.remark("links to folders that are taken already", entry.name)
            elif real in names:
                raise DataError(
                    f"{root}: class folders {_some([names[real], entry.name])} are the same "
                    "folder: an image has one class; remove one of them"
                )
            else:
                names[real] = entry.name
    return list(names.values())


def _class_indices(root: Path, folders: list[str], contents: Contents) -> dict[str, int]:
    """By name; says in `contents` among how many classes. Raises DataError where it is not plain
    which index is meant."""
    named = [name for name in folders if WNID.fullmatch(name)]
    if named:
        contents.n_classes = len(wnids())
        return _by_wnid(root, folders, named)
    numbers = [name for name in folders if _LIKE_A_NUMBER.fullmatch(name)]
    if numbers:
        return _by_number(root, folders, numbers, contents)
    return _by_order(root, folders, contents)


def _by_wnid(root: Path, folders: list[str], named: list[str]) -> dict[str, int]:
    index_of = {name: i for i, name in enumerate(wnids())}
    unknown = [name for name in folders if name not in index_of]
    if unknown:
        raise DataError(
            f"{root}: {len(named)} of {len(folders)} class folders are named by WordNet ids, but "
            f"{_some(unknown)} {'is' if len(unknown) == 1 else 'are'} not among the 1000 of ILSVRC "
            f"2012: there is no class index for them; {REMEDY}"
        )
    return index_of


def _by_number(
    root: Path, folders: list[str], numbers: list[str], contents: Contents
) -> dict[str, int]:
    others = [name for name in folders if not re.fullmatch("[0-9]+", name)]
    if others:
        raise DataError(
            f"{root}: {len(numbers)} of {len(folders)} class folders are named by numbers, but "
            f"{_some(others)} {'is' if len(others) == 1 else 'are'} no whole number from 0: which "
            f"class index is meant is not plain; {REMEDY}"
        )
    index_of = {name: int(name) for name in folders}
    n, found = len(folders), set(index_of.values())
    if len(found) < n:
        counted = Counter(index_of.values())
        twice = [name for name in folders if counted[index_of[name]] > 1]
        raise DataError(f"{root}: class folders {_some(twice)} are the same number; {REMEDY}")
    if max(found) > LARGEST_INDEX:
        raise DataError(f"{root}: class folder {max(found)}: an index is at most {LARGEST_INDEX}")
    if found == set(range(1, n + 1)):
        raise DataError(
            f"{root}: class folders are numbered from 1 to {n}, but class indices count from 0: "
            f"whether 1 means the first class or the second is not plain; {REMEDY}, or number the "
            "folders from 0"
        )
    contents.n_classes = n if found == set(range(n)) else None
    contents.notes.append("class folders are named by numbers, which are taken as class indices")
    return index_of


def _by_order(root: Path, folders: list[str], contents: Contents) -> dict[str, int]:
    names = [unicodedata.normalize("NFC", name).casefold().strip() for name in folders]
    counted = Counter(names)
    same = [folder for folder, name in zip(folders, names, strict=True) if counted[name] > 1]
    if same:
        raise DataError(
            f"{root}: class folders {_some([shown(name) for name in same])} differ in case or "
            f"blanks only: whether they are one class is not plain; rename them, or {REMEDY}"
        )
    for i, (name, other) in enumerate(zip(folders, sorted(folders, key=_natural), strict=True)):
        if name != other:
            contents.notes.append(
                "class folders are numbered in the order of their names as texts, capitals first: "
                f"{_some([name])} is class {i} and comes before {_some([other])}"
            )
            break
    contents.n_classes = len(folders)
    return {name: i for i, name in enumerate(folders)}


def _natural(name: str) -> list[str | int]:
    """A key for the order that people expect: class 2 before class 10, Zebra after ape."""
    parts = re.split(r"([0-9]+)", name.casefold())
    return [int(part) if i % 2 else part for i, part in enumerate(parts)]


def _some(names: list[str]) -> str:
    return printable(", ".join(names[:5])) + (" …" if len(names) > 5 else "")
