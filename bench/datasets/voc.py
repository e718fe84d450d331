"""Detection data sets in Pascal VOC's format: an XML file of annotations per image."""

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from bench.datasets.base import DATASETS, Dataset, Sample
from bench.datasets.images import SUFFIXES, annotations_sha256, read_sized
from bench.errors import DataError
from bench.tasks.base import Target

CATEGORIES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
SPLITS = ("test", "val")
MISSING = "no such file"
LAYOUT = "a Pascal VOC data set is a folder with Annotations/*.xml and JPEGImages/"


@dataclass(frozen=True)
class Object:
    """`box` is x1 y1 x2 y2 in pixels, from 0, ends exclusive; None where it cannot be read."""

    category: str
    box: tuple[float, float, float, float] | None
    difficult: bool


@dataclass(frozen=True)
class Annotation:
    """`size` is (height, width) as annotated; `faults` say what cannot be read."""

    size: tuple[int, int] | None = None
    objects: list[Object] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


@DATASETS.register("voc")
def load(root: Path, name: str | None = None, split: str | None = None) -> Dataset:
    """Read a year of Pascal VOC (e.g. `VOCdevkit/VOC2007`), or what follows its layout.

    `split` names a list in `ImageSets/Main` (by default `test`, or else `val`) and its order is
    that of the samples; without that folder every file of `Annotations` is taken, by name.

    Boxes are annotated in pixels from 1, both ends inclusive, as the development kit says. Here
    x1 = xmin − 1, y1 = ymin − 1, x2 = xmax, y2 = ymax: a box (1, 1, W, H) covers the whole image of
    W × H pixels (as in detectron2; mmdet takes 1 off all four, which is a pixel less).

    `difficult` objects become crowds, as in mmdet's conversion to COCO's format, because that is
    what COCO's evaluation ignores: they need not be found, and any number of detections inside
    them counts for nothing. Area is width × height.

    Categories are the twenty of VOC (ids 1 to 20), or the names found, sorted, if there are
    others. Raises DataError where files are missing or malformed.
    """
    root = Path(root)
    identifiers, used = identifiers_of(root, split)
    annotations: dict[str, Annotation] = {}
    for identifier in identifiers:
        file = root / "Annotations" / f"{identifier}.xml"
        annotations[identifier] = annotation = read(file)
        if annotation.faults:
            raise DataError(f"{file}: {annotation.faults[0]}")
    found = images_of(root)
    missing = [i for i in identifiers if i not in found]
    if missing:
        listed = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
        raise DataError(
            f"{root / 'JPEGImages'}: {len(missing)} of {len(identifiers)} images are missing: "
            f"{listed}"
        )
    names = category_names(annotations.values())
    index = {category: i for i, category in enumerate(names, start=1)}
    samples = [
        Sample(
            name=found[identifier],
            load=functools.partial(
                read_sized, root / "JPEGImages" / found[identifier], annotation.size
            ),
            target=_target(annotation.objects, index),
        )
        for identifier, annotation in annotations.items()
    ]
    difficult = sum(o.difficult for a in annotations.values() for o in a.objects)
    return Dataset(
        name=name or root.resolve().name + (f"-{used}" if used else ""),
        task="det",
        samples=samples,
        categories=dict(enumerate(names, start=1)),
        annotations_sha256=annotations_sha256(samples),
        notes=[f"{difficult} objects are marked difficult and ignored as crowds are"]
        if difficult
        else [],
    )


def identifiers_of(root: Path, split: str | None) -> tuple[list[str], str | None]:
    """The images' names without suffix, and the split that was taken. Raises DataError."""
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; {LAYOUT}")
    for folder in ("Annotations", "JPEGImages"):
        if not (root / folder).is_dir():
            years = sorted(p.parent.name for p in root.glob("*/Annotations"))
            hint = f"; it holds {', '.join(years)}: give one of them" if years else ""
            raise DataError(f"{root / folder}: no such folder; {LAYOUT}{hint}")
    lists = root / "ImageSets" / "Main"
    # Beside the splits lie lists of a single category, dog_val.txt.
    there_are = sorted(p.stem for p in lists.glob("*.txt") if "_" not in p.stem)
    if split is None and not there_are:
        identifiers = sorted(p.stem for p in (root / "Annotations").glob("*.xml"))
        if not identifiers:
            raise DataError(f"{root / 'Annotations'}: no .xml files; {LAYOUT}")
        return identifiers, None
    chosen = split or next((s for s in SPLITS if s in there_are), None)
    if chosen is None or not (lists / f"{chosen}.txt").is_file():
        raise DataError(
            f"{lists}: no list {chosen or ' or '.join(SPLITS)}; set `split` to one of: "
            f"{', '.join(there_are) or 'none there'}"
        )
    identifiers = [line.split()[0] for line in _lines(lists / f"{chosen}.txt")]
    twice = next((i for i in identifiers if identifiers.count(i) > 1), None)
    if not identifiers or twice is not None:
        raise DataError(f"{lists / chosen}.txt: {'no lines' if not twice else f'{twice} twice'}")
    return identifiers, chosen


def _lines(file: Path) -> list[str]:
    try:
        return [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read: {error}") from error


def images_of(root: Path) -> dict[str, str]:
    """File names in JPEGImages by name without suffix; a .jpg goes before others."""
    files = sorted(
        (p for p in (root / "JPEGImages").iterdir() if p.suffix.lower() in SUFFIXES),
        key=lambda p: (p.suffix != ".jpg", p.name),
        reverse=True,
    )
    return {p.stem: p.name for p in files}


def category_names(annotations: Iterable[Annotation]) -> list[str]:
    found = {o.category for a in annotations for o in a.objects}
    return list(CATEGORIES) if found <= set(CATEGORIES) else sorted(found)


def read(file: Path) -> Annotation:
    """One file; what cannot be read stands in `faults`."""
    try:
        root = ElementTree.parse(file).getroot()
    except FileNotFoundError:
        return Annotation(faults=[MISSING])
    except (OSError, ElementTree.ParseError, UnicodeDecodeError) as error:
        return Annotation(faults=[f"malformed XML: {error}"])
    objects, faults = [], []
    for number, element in enumerate(root.findall("object"), start=1):
        category = (element.findtext("name") or "").strip()
        if not category:
            faults.append(f"object {number} has no name")
        box = _box(element)
        if box is None:
            faults.append(
                f"object {number} ({category}): bndbox needs finite numbers xmin ymin xmax ymax"
            )
        elif box[2] < box[0] or box[3] < box[1]:
            faults.append(f"object {number} ({category}): xmax or ymax is less than the minimum")
        difficult = (element.findtext("difficult") or "0").strip() not in ("0", "")
        objects.append(Object(category, box, difficult))
    size = [root.findtext(f"size/{key}") or "" for key in ("height", "width")]
    known = all(s.strip().isdigit() for s in size)
    return Annotation((int(size[0]), int(size[1])) if known else None, objects, faults)


def _box(element: ElementTree.Element) -> tuple[float, float, float, float] | None:
    try:
        x1, y1, x2, y2 = (
            float(element.findtext(f"bndbox/{key}") or "")
            for key in ("xmin", "ymin", "xmax", "ymax")
        )
    except ValueError:
        return None
    box = x1 - 1, y1 - 1, x2, y2
    return box if all(map(math.isfinite, box)) else None


def _target(objects: list[Object], index: dict[str, int]) -> Target:
    boxes = np.array([o.box for o in objects], dtype=np.float64).reshape(-1, 4)
    sides = boxes[:, 2:] - boxes[:, :2]
    return {
        "boxes": boxes,
        "labels": np.array([index[o.category] for o in objects], dtype=np.int64),
        "area": sides[:, 0] * sides[:, 1],
        "iscrowd": np.array([o.difficult for o in objects], dtype=np.bool_),
        "ignore": np.zeros(len(objects), dtype=np.bool_),
    }
