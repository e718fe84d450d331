"""Classification data sets in ImageNet's manner: labels.csv, the devkit, or a folder per class."""

import csv
import functools
import re
from pathlib import Path

import numpy as np

from bench.datasets.base import DATASETS, Dataset, Sample
from bench.datasets.ilsvrc import DEVKIT, WNID, Label, validation_labels, wnids
from bench.datasets.images import SUFFIXES, annotations_sha256, read_rgb, require_images
from bench.errors import DataError

LAYOUTS = f"labels.csv and images/, {DEVKIT}/ and val/, or a folder of images per class"


@DATASETS.register("imagenet")
def load(root: Path, name: str | None = None) -> Dataset:
    """Read a classification data set from one of three layouts.

    - `root/labels.csv` with the columns file and class_index (wnid, name and others are optional)
      and `root/images/`, which the files are relative to. Samples keep the order of the rows, and
      the indices may be a part of the classes.
    - `root/ILSVRC2012_devkit_t12/` and the validation images, see `ilsvrc.validation_labels`.
    - a folder per class. If their names are WordNet ids (n01440764), all or some of the 1000 of
      ILSVRC 2012, the class index is the standard one; else it is the folder's place among the
      sorted names, and a model has to have as many classes.

    A target is {"label": () int64}. Raises DataError where files are missing or do not fit.
    """
    root = Path(root)
    require_root(root)
    n_classes = None
    if (root / "labels.csv").is_file():
        folder = root / "images"
        labels, faults, notes = read_csv(root / "labels.csv")
        if faults:
            raise DataError(faults[0])
    elif (root / DEVKIT).is_dir():
        folder, labels, n_classes, notes = validation_labels(root)
    else:
        folder = root
        labels, n_classes, notes = read_folders(root)
    require_images(folder, [label.file for label in labels])

    samples = [
        Sample(
            name=label.file,
            load=functools.partial(read_rgb, folder / label.file),
            target={"label": np.array(label.class_index, dtype=np.int64)},
        )
        for label in labels
    ]
    named: dict[int, str] = {}
    for label in labels:
        named.setdefault(label.class_index, label.name or label.wnid or str(label.class_index))
    return Dataset(
        name=name or root.resolve().name,
        task="cls",
        samples=samples,
        categories=dict(sorted(named.items())),
        annotations_sha256=annotations_sha256(samples),
        notes=notes,
        n_classes=n_classes,
    )


def require_root(root: Path) -> None:
    """Raises DataError where a folder is missing."""
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; expected {LAYOUTS}")
    if (root / "labels.csv").is_file() and not (root / "images").is_dir():
        raise DataError(f"{root / 'images'}: no such folder; expected {LAYOUTS}")


def read_csv(file: Path) -> tuple[list[Label], list[str], list[str]]:
    """The labels that can be used, what is wrong with the others, and notes. Raises DataError for
    a file that has none of what is expected."""
    labels: list[Label] = []
    faults: list[str] = []
    seen: set[str] = set()
    wnids: dict[int, str] = {}
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            columns = reader.fieldnames or []
            for column in ("file", "class_index"):
                if column not in columns:
                    raise DataError(
                        f"{file}: no column {column!r}; it has: {', '.join(columns) or 'none'}"
                    )
            for row in reader:
                try:
                    label = _row(row, f"{file}, line {reader.line_num}")
                except DataError as error:
                    faults.append(str(error))
                    continue
                if label.file in seen:
                    faults.append(f"{file}: {label.file!r} is listed twice")
                    continue
                seen.add(label.file)
                known = wnids.setdefault(label.class_index, label.wnid) if label.wnid else ""
                if known != label.wnid:
                    faults.append(
                        f"{file}: class {label.class_index} is both {known} and {label.wnid}"
                    )
                labels.append(label)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: cannot be read: {error}") from error
    if not labels and not faults:
        raise DataError(f"{file}: no rows")
    in_order = [wnids[index] for index in sorted(wnids)]
    notes = []
    if in_order != sorted(set(in_order)):
        notes.append(
            "class indices do not follow the order of the wnids: they are not the standard "
            "indices of ILSVRC 2012 that most networks are trained with"
        )
    return labels, faults, notes


def _row(row: dict[str, str | None], where: str) -> Label:
    file, index = (row["file"] or "").strip(), (row["class_index"] or "").strip()
    if not file:
        raise DataError(f"{where}: no file name")
    if not re.fullmatch(r"[0-9]+", index):
        raise DataError(f"{where}: class_index {index!r}: an integer from 0 is expected")
    wnid, name = (row.get("wnid") or "").strip(), (row.get("name") or "").strip()
    return Label(file, int(index), wnid, name)


def class_folders(root: Path) -> list[str]:
    return sorted(
        path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")
    )


def read_folders(root: Path) -> tuple[list[Label], int, list[str]]:
    """The labels, how many classes they are numbered among, and notes. Raises DataError."""
    folders = class_folders(root)
    if not folders or folders == ["images"]:
        raise DataError(f"{root}: no labels.csv and no class folders; expected {LAYOUTS}")
    named = [name for name in folders if WNID.fullmatch(name)]
    index_of = {name: i for i, name in enumerate(wnids() if named else folders)}
    unknown = [name for name in folders if name not in index_of]
    if unknown:
        raise DataError(
            f"{root}: {len(named)} of {len(folders)} class folders are named by WordNet ids, but "
            f"{', '.join(unknown[:5])}{' …' if len(unknown) > 5 else ''} "
            f"{'is' if len(unknown) == 1 else 'are'} not among the 1000 of ILSVRC 2012: there is "
            "no class index for them; add labels.csv (columns file, class_index) and images/"
        )
    labels, others = [], 0
    for name in folders:
        for path in sorted((root / name).iterdir()):
            if path.suffix.lower() in SUFFIXES and path.is_file():
                wnid = name if named else ""
                labels.append(Label(f"{name}/{path.name}", index_of[name], wnid, name))
            elif not path.name.startswith("."):
                others += 1
    if not labels:
        raise DataError(f"{root}: no images in the {len(folders)} class folders")
    notes = []
    if others:
        notes.append(f"{others} entries of the class folders are not images and were left out")
    return labels, len(index_of), notes
