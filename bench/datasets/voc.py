"""Data sets in Pascal VOC's format: an XML file of objects per image, or a label map."""

import codecs
import math
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from bench.datasets.base import DATASETS, Dataset
from bench.datasets.contents import Contents, Item, dataset, possible
from bench.datasets.labelmaps import add_maps
from bench.datasets.tree import is_image, is_text, read_text, readable, visible
from bench.datasets.values import Spellings, flag, shown
from bench.errors import DataError
from bench.tasks import TASKS
from bench.tasks.records import Objects, Regions

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
BACKGROUND = "background"
"""Label 0 of label maps."""
SPLITS = ("test", "val")
LAYOUT = (
    "a Pascal VOC data set is a folder with JPEGImages/ and Annotations/*.xml, or "
    "SegmentationClass/*.png for semantic segmentation"
)
LABELS = ("Annotations", "SegmentationClass")
"""Folders of which such a tree has one or both."""
CORNERS = ("xmin", "ymin", "xmax", "ymax")
_DECLARED = re.compile(rb"""\s*<\?xml\s[^>]*?\bencoding\s*=\s*["']([^"'>]*)["']""")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_SIDE = re.compile(r"0*[1-9][0-9]{0,8}(\.0*)?")
_FLAGGED = re.compile(r"(.*\S)\s+(-1|0|1)")
"""A line of a category's list: an image, and whether the category is in it."""


@dataclass(frozen=True)
class _Object:
    """`box` is x1 y1 x2 y2 in pixels, from 0, ends exclusive."""

    number: int
    category: str
    box: tuple[float, float, float, float]
    difficult: bool


@dataclass
class _Annotation:
    """`size` is (height, width) as annotated; `faults` say what cannot be read."""

    size: tuple[int, int] | None = None
    objects: list[_Object] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


@DATASETS.register("voc")
def load(
    root: Path, task: str = "det", name: str | None = None, split: str | None = None
) -> Dataset:
    """Read a year of Pascal VOC (e.g. `VOCdevkit/VOC2007`), or what follows its layout.

    `split` names a list in `ImageSets/Main` (by default `test`, or else `val`) and its order is
    that of the samples; without that folder every file of `Annotations` is taken, by name. For a
    task of label maps these are `ImageSets/Segmentation` and `SegmentationClass`, categories are
    the background (0) and the twenty of VOC (1 to 20), and 255 is ignored.

    Boxes are annotated in pixels from 1, both ends inclusive, as the development kit says. Here
    x1 = xmin − 1, y1 = ymin − 1, x2 = xmax, y2 = ymax: a box (1, 1, W, H) covers the whole image of
    W × H pixels (as in detectron2; mmdet takes 1 off all four, which is a pixel less).

    `difficult` objects become crowds, as in mmdet's conversion to COCO's format, because that is
    what COCO's evaluation ignores: they need not be found, and any number of detections inside
    them counts for nothing. Area is width × height.

    Categories are the twenty of VOC (ids 1 to 20), or the names found, sorted, if there are
    others. Raises DataError where files are missing or malformed, and where there is nothing to
    find.
    """
    return dataset(read(root, split, task), name)


@readable()
def read(root: Path, split: str | None = None, task: str | None = None) -> Contents:
    """By default for the task that the folder looks made for. Raises DataError for folders and
    lists that are missing or malformed."""
    root = Path(root)
    named = task or ("seg" if _only_label_maps(root) else "det")
    regions = TASKS.get(named).target is Regions
    contents = _regions(root, split) if regions else _objects(root, split)
    if task is None:
        contents.facts["task"] = f"{named} (by its files)"
    return contents


def _only_label_maps(root: Path) -> bool:
    """Whether there are label maps, and no boxes, or lists of images with label maps alone."""
    lists, boxes = root / "ImageSets", root / "Annotations"
    if not (root / "SegmentationClass").is_dir():  # perhaps it is a folder of years
        return any(root.glob("*/SegmentationClass")) and not any(root.glob("*/Annotations"))
    if (lists / "Segmentation").is_dir() and not (lists / "Main").is_dir():
        return True
    return not boxes.is_dir() or not any(e.name.lower().endswith(".xml") for e in visible(boxes))


def _regions(root: Path, split: str | None) -> Contents:
    _require_layout(root, "SegmentationClass")
    contents = Contents(f"{root.resolve().name}-seg", "seg", root / "JPEGImages")
    contents.categories = dict(enumerate((BACKGROUND, *CATEGORIES)))
    contents.n_classes = len(contents.categories)
    entries = [entry.name for entry in visible(root / "SegmentationClass")]
    maps = _by_stem(name for name in entries if name.lower().endswith(".png"))
    images = _by_stem(e.name for e in visible(contents.folder) if is_image(e.name))
    chosen = _list_of(root, split, "Segmentation")
    contents.facts["split"] = chosen.stem if chosen else "all label maps"
    contents.name += f"-{chosen.stem}" if chosen else ""
    identifiers = _identifiers(chosen, maps) if chosen else sorted(maps)
    if not identifiers:
        raise DataError(f"{root / 'SegmentationClass'}: no .png files; {LAYOUT}")
    pairs: dict[str, Path] = {}
    for identifier in identifiers:
        image = _only_file(images, identifier, ".jpg", contents)
        placed = contents.placed(image, f"{chosen or root / 'SegmentationClass'}")
        if placed is not None:
            file = _only_file(maps, identifier, ".png", contents)
            pairs[placed] = root / "SegmentationClass" / file
    add_maps(contents, pairs)
    return contents


def _objects(root: Path, split: str | None) -> Contents:
    _require_layout(root, "Annotations")
    contents = Contents(root.resolve().name, "det", root / "JPEGImages")
    entries = [entry.name for entry in visible(root / "Annotations")]
    files = _by_stem(name for name in entries if name.lower().endswith(".xml"))
    images = _by_stem(e.name for e in visible(contents.folder) if is_image(e.name))
    chosen = _list_of(root, split, "Main")
    if chosen is None:
        contents.facts["split"] = "all annotation files"
        others = [name for name in entries if not name.lower().endswith(".xml")]
        contents.remark("entries of Annotations that are not .xml, left out", *others)
    else:
        contents.facts["split"] = chosen.stem
        contents.name += f"-{chosen.stem}"
    identifiers = _identifiers(chosen, files) if chosen else sorted(files)
    if not identifiers:
        raise DataError(f"{root / 'Annotations'}: no .xml files; {LAYOUT}")

    difficult = Spellings("difficult", ("", "0", "1"))
    annotations: dict[str, _Annotation] = {}
    for identifier in identifiers:
        file = root / "Annotations" / _only_file(files, identifier, ".xml", contents)
        image = _only_file(images, identifier, ".jpg", contents)
        placed = contents.placed(image, f"{chosen or file}")
        if identifier not in files:
            contents.fault("annotation files missing", f"{file}: no such file")
        annotation = _annotation(file, difficult) if identifier in files else _Annotation()
        for fault in annotation.faults:
            contents.fault("unusable annotations", f"{file}: {fault}")
        if placed is not None:
            annotations[placed] = annotation

    used = Counter(o.category for a in annotations.values() for o in a.objects)
    names = list(CATEGORIES) if used.keys() <= {*CATEGORIES} else sorted(used)
    contents.categories = dict(enumerate(names, start=1))
    index = {category: i for i, category in contents.categories.items()}
    contents.items = [
        Item(name, _target(a.objects, index), a.size, [f"object {o.number}" for o in a.objects])
        for name, a in annotations.items()
    ]
    contents.require_objects(chosen or root / "Annotations")
    if n := sum(o.difficult for a in annotations.values() for o in a.objects):
        contents.notes.append(f"{n} objects are marked difficult and ignored as crowds are")
    contents.remark("difficult written otherwise than 0 or 1", *difficult.cases())
    contents.remark(
        "categories that Pascal VOC does not have",
        *(f"{name}: {n} objects" for name, n in used.items() if name not in CATEGORIES),
    )
    alone = [name for stem, names in images.items() if stem not in files for name in names]
    contents.remark("images without an annotation file", *alone)
    return contents


def _require_layout(root: Path, annotations: str) -> None:
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; {LAYOUT}")
    for folder in (annotations, "JPEGImages"):
        if not (root / folder).is_dir():
            years = sorted(p.parent.name for p in root.glob(f"*/{annotations}"))
            hint = f"; it holds {', '.join(years)}: give one of them" if years else ""
            raise DataError(f"{root / folder}: no such folder; {LAYOUT}{hint}")


def _by_stem(names: Iterable[str]) -> dict[str, list[str]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        found[Path(name).stem].append(name)
    return dict(found)


def _only_file(
    files: Mapping[str, list[str]], identifier: str, suffix: str, contents: Contents
) -> str:
    """Its name in its folder, or the one it should have; a fault where there are several."""
    names = files.get(identifier, [f"{identifier}{suffix}"])
    if len(names) > 1:
        contents.fault(
            "several files of one name",
            f"{contents.folder.parent}: {' and '.join(names)} are both {identifier}; keep one",
        )
    return names[0]


def _list_of(root: Path, split: str | None, kind: str) -> Path | None:
    """The list of images to take; None for all that are annotated, where there are no lists."""
    lists = root / "ImageSets" / kind
    found = [Path(e.name) for e in visible(lists)] if lists.is_dir() else []
    # Beside the splits lie lists of a single category, dog_val.txt.
    there_are = [p.stem for p in found if p.suffix == ".txt" and "_" not in p.stem]
    if split is None and not there_are:
        return None
    chosen = split or next((s for s in SPLITS if s in there_are), None)
    if chosen is None or not (lists / f"{chosen}.txt").is_file():
        raise DataError(
            f"{lists}: no list {chosen or ' or '.join(SPLITS)}; set `split` to one of: "
            f"{', '.join(there_are) or 'none there'}"
        )
    return lists / f"{chosen}.txt"


def _identifiers(file: Path, annotated: Collection[str]) -> list[str]:
    """The images' names without suffix. Names may have blanks; a category's list has a flag after
    each, which is left out."""
    lines = [line.strip() for line in read_text(file).splitlines() if line.strip()]
    matches = [_FLAGGED.fullmatch(line) for line in lines]
    identifiers = []
    for line, match in zip(lines, matches, strict=True):
        short = match[1] if match else line
        if short != line and line in annotated and short in annotated and all(matches):
            raise DataError(
                f"{file}: {line!r} may be the image {line!r}, or {short!r} and a flag: both are "
                "annotated; rename one of them"
            )
        whole = line in annotated or not (short in annotated or all(matches))
        identifiers.append(line if whole else short)
    twice = [i for i, n in Counter(identifiers).items() if n > 1]
    if not identifiers or twice:
        raise DataError(f"{file}: {f'{twice[0]} twice' if twice else 'no lines'}")
    return identifiers


def _annotation(file: Path, difficult: Spellings) -> _Annotation:
    """One file; what cannot be read stands in `faults`."""
    found = _Annotation()
    try:
        root = _parsed(file.read_bytes())
        found.size = _size(root)
    except OSError as error:
        return _Annotation(faults=[f"cannot be read: {error.strerror}"])
    except DataError as error:
        return _Annotation(faults=[str(error)])
    for number, element in enumerate(root.findall("object"), start=1):
        try:
            found.objects.append(_object(number, element, difficult))
        except DataError as error:
            category = (element.findtext("name") or "").strip()
            found.faults.append(f"object {number} ({category}): {error}")
    return found


def _parsed(data: bytes) -> ElementTree.Element:
    """Raises DataError for what is no annotation."""
    declared = _DECLARED.match(data.removeprefix(codecs.BOM_UTF8))
    encoding = declared[1].decode("latin-1") if declared else None
    try:
        # Python knows more encodings than its parser of XML.
        root = ElementTree.fromstring(data.decode(encoding) if encoding else data)
    except LookupError:
        raise DataError(
            f"it declares the encoding {encoding!r}, which is not known; save it as UTF-8"
        ) from None
    except UnicodeError as error:
        raise DataError(
            f"it cannot be read in the encoding that it declares: {error}; save it as UTF-8"
        ) from error
    except (ElementTree.ParseError, ValueError) as error:
        raise DataError(f"malformed XML: {error}") from error
    direct, all_objects = root.findall("object"), list(root.iter("object"))
    if root.tag != "annotation" or len(direct) < len(all_objects):
        raise DataError("objects are expected directly in one element <annotation>")
    return root


def _text(element: ElementTree.Element, path: str) -> str:
    """Empty where there is no such element. Raises DataError for more than one."""
    found = element.findall(path)
    if len(found) > 1:
        raise DataError(f"{len(found)} elements {path}, where one is expected")
    return (found[0].text or "").strip() if found else ""


def _size(root: ElementTree.Element) -> tuple[int, int] | None:
    """(height, width); None where the file does not say both."""
    height, width = _text(root, "size/height"), _text(root, "size/width")
    for key, side in ("height", height), ("width", width):
        if side and not _SIDE.fullmatch(side):
            raise DataError(f"size: {key} {shown(side)}: a whole number from 1 is expected")
    return (int(float(height)), int(float(width))) if height and width else None


def _object(number: int, element: ElementTree.Element, difficult: Spellings) -> _Object:
    category = _text(element, "name")
    if not category or not is_text(category):
        raise DataError(f"name {shown(category)}: a text is expected")
    corners = [_text(element, f"bndbox/{key}") for key in CORNERS]
    x1, y1, x2, y2 = (float(c) if _NUMBER.fullmatch(c) else math.nan for c in corners)
    if not all(map(math.isfinite, (x1, y1, x2, y2))):
        raise DataError(
            f"bndbox needs finite numbers {' '.join(CORNERS)}, not {shown(' '.join(corners))}"
        )
    if x2 < x1 or y2 < y1:
        raise DataError(f"xmax or ymax is less than the minimum: {' '.join(corners)}")
    box = (x1 - 1, y1 - 1, x2, y2)
    if not possible(box):
        raise DataError(f"no image is as large as the box {' '.join(corners)}")
    marked = _text(element, "difficult")
    if flag(marked) is None:
        raise DataError(f"difficult {shown(marked)}: 0 or 1 is expected")
    return _Object(number, category, box, difficult.read(marked))


def _target(objects: list[_Object], index: Mapping[str, int]) -> Objects:
    boxes = np.array([o.box for o in objects], dtype=np.float64).reshape(-1, 4)
    sides = boxes[:, 2:] - boxes[:, :2]
    return Objects(
        boxes=boxes,
        labels=np.array([index[o.category] for o in objects], dtype=np.int64),
        area=sides[:, 0] * sides[:, 1],
        iscrowd=np.array([o.difficult for o in objects], dtype=np.bool_),
        ignore=np.zeros(len(objects), dtype=np.bool_),
    )
