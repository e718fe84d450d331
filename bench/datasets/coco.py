"""Detection data sets in COCO's format: `instances.json` and a folder of images."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.datasets.base import DATASETS, Dataset
from bench.datasets.contents import Contents, Item, counts, dataset, possible
from bench.datasets.tree import below, is_text, read_text, readable
from bench.datasets.values import Spellings, finite, flag, shown, whole
from bench.errors import DataError
from bench.tasks.matching import AREA_RANGE
from bench.tasks.records import Objects

Record = dict[str, Any]

FLAGS = ("iscrowd", "ignore")


@dataclass(frozen=True)
class _Object:
    id: int
    image: int
    category: int
    xywh: tuple[float, float, float, float]
    area: float
    crowd: bool
    ignore: bool


@DATASETS.register("coco")
def load(
    root: Path,
    name: str | None = None,
    annotations: str | Path = "instances.json",
    images: str | Path = "images",
) -> Dataset:
    """Read a COCO-format data set, its images in order of ascending image id.

    `annotations` and `images` are taken relative to `root` unless absolute, so the original layout
    is `annotations="annotations/instances_val2017.json", images="val2017"`. Images without
    annotations are kept. Within an image, objects keep the order of the file. A category that no
    annotation uses and that others name as their supercategory is left out.

    Targets are `Objects` with `xywh` (n, 4) float64, the boxes exactly as annotated: (x + w) − x is
    seldom w in floating point, and pycocotools computes areas and overlaps from w and h. `ignore`
    is the annotation's own flag (False where it has none), apart from `iscrowd`; pycocotools
    ignores crowds only and overwrites that flag.

    Raises DataError where a file or an image is missing, the JSON is malformed, an annotation does
    not fit (unknown image or category, unusable box, identifier used twice), or there is nothing
    to find.
    """
    return dataset(read(root, annotations, images), name)


@readable()
def read(
    root: Path, annotations: str | Path = "instances.json", images: str | Path = "images"
) -> Contents:
    """Raises DataError for files that are missing or of another structure."""
    root = Path(root)
    file, folder = root / annotations, root / images
    _require_layout(root, file, folder)
    document = _document(file)
    contents = Contents(root.resolve().name, "det", folder)

    pictures = _by_id(document["images"], "image", file, contents)
    categories = _by_id(document["categories"], "category", file, contents)
    records = _by_id(document["annotations"], "annotation", file, contents)
    objects = _objects(records, pictures, categories, file, contents)
    contents.items = _items(pictures, objects, file, contents)
    contents.categories = _names(categories, {o.category for o in objects}, file, contents)
    contents.require_objects(file)
    if 0 in records:
        contents.notes.append(
            "an annotation has the id 0: pycocotools would count a match with it as a false "
            "positive; here it is a match"
        )
    listed = {item.name for item in contents.items}
    unlisted = [name for name in below(folder).images if name not in listed]
    contents.remark("image files that no annotation names", *unlisted)
    return contents


def _require_layout(root: Path, file: Path, folder: Path) -> None:
    expected = f"a COCO data set is a folder with {file.name} and {folder.name}/"
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; {expected}")
    if not file.is_file():
        raise DataError(f"{file}: no such file; {expected}{_elsewhere(root)}")
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; {expected}")


def _elsewhere(root: Path) -> str:
    found = sorted(path.relative_to(root) for path in root.glob("annotations/instances_*.json"))
    return f" (set `annotations` and `images` for {found[0]})" if found else ""


def _document(file: Path) -> dict[str, list[Record]]:
    text = read_text(file)
    try:
        document = json.loads(text, object_pairs_hook=_object_of)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{file}: malformed JSON at line {error.lineno}, column {error.colno}: {error.msg}"
        ) from error
    except RecursionError as error:
        raise DataError(f"{file}: not a COCO file: it is nested too deeply") from error
    except ValueError as error:  # a number of thousands of digits, or a key that is there twice
        raise DataError(f"{file}: malformed JSON: {error}") from error
    if not isinstance(document, dict):
        raise DataError(f"{file}: not a COCO file: an object is expected at the top")
    for key in ("images", "annotations", "categories"):
        value = document.get(key)
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise DataError(f"{file}: not a COCO file: `{key}` must be a list of objects")
    return document


def _object_of(pairs: list[tuple[str, Any]]) -> Record:
    record = dict(pairs)
    if len(record) < len(pairs):
        twice = next(key for key, n in Counter(key for key, _ in pairs).items() if n > 1)
        raise ValueError(
            f"the key {shown(twice)} stands twice in one object ({shown(record)}); keep one of them"
        )
    return record


def _by_id(records: list[Record], kind: str, file: Path, contents: Contents) -> dict[int, Record]:
    by_id: dict[int, Record] = {}
    for record in records:
        identifier = whole(record.get("id"))
        if identifier is None:
            contents.fault(
                "ids that are no integers",
                f"{file}: {kind} with id {shown(record.get('id'))}: an integer is expected",
            )
        elif identifier in by_id:
            contents.fault("ids used twice", f"{file}: {kind} id {identifier} is used twice")
        else:
            by_id[identifier] = record
    return by_id


def _objects(
    records: Mapping[int, Record],
    pictures: Mapping[int, Record],
    categories: Mapping[int, Record],
    file: Path,
    contents: Contents,
) -> list[_Object]:
    """Those that can be used; what is wrong with the others becomes faults."""
    flags = [Spellings(key, (0, 1)) for key in FLAGS]
    objects = []
    for identifier, record in records.items():
        problems = list(_problems(record, pictures, categories))
        for kind, problem in problems:
            contents.fault(kind, f"{file}: annotation {identifier}: {problem}")
        if not problems:
            image, category = int(record["image_id"]), int(record["category_id"])
            crowd, ignore = (f.read(record.get(f.key, 0)) for f in flags)
            xywh = record["bbox"]
            objects.append(_Object(identifier, image, category, xywh, _area(record), crowd, ignore))
    for f in flags:
        contents.remark(f"{f.key} written otherwise than 0 or 1", *f.cases())
    without_area = sum(records[o.id].get("area") is None for o in objects)
    if without_area:
        contents.notes.append(
            f"{without_area} annotations have no area: width × height of the box is used"
        )
    return objects


def _problems(
    record: Record, pictures: Mapping[int, Record], categories: Mapping[int, Record]
) -> Iterator[tuple[str, str]]:
    """What makes an annotation unusable: the kind of fault, and the fault."""
    for key, kind, known in (
        ("image_id", "annotations of unknown images", pictures),
        ("category_id", "annotations of unknown categories", categories),
    ):
        if whole(record.get(key)) not in known:
            yield kind, f"{key} {shown(record.get(key))} is not among the file's"
    box = record.get("bbox")
    wrong = ""
    if not isinstance(box, list) or len(box) != 4 or None in map(finite, box):
        wrong = "four finite numbers x y width height are expected"
    elif box[2] < 0 or box[3] < 0:
        wrong = "width or height is negative"
    elif not possible((box[0], box[1], box[0] + box[2], box[1] + box[3])):
        wrong = "no image is that large"
    if wrong:
        yield "unusable boxes", f"bbox {shown(box)}: {wrong}"
    elif finite(_area(record)) is None or not counts(_area(record)):
        expected = f"a finite number from 0 to {AREA_RANGE[1]:g} is expected"
        yield "unusable areas", f"area {shown(record['area'])}: {expected}"
    for key in FLAGS:
        if flag(record.get(key)) is None:
            yield "unusable flags", f"{key} {shown(record[key])}: 0 or 1, true or false is expected"


def _area(record: Record) -> Any:
    area = record.get("area")
    return record["bbox"][2] * record["bbox"][3] if area is None else area


def _items(
    pictures: Mapping[int, Record], objects: list[_Object], file: Path, contents: Contents
) -> list[Item]:
    per_image: defaultdict[int, list[_Object]] = defaultdict(list)
    for o in objects:
        per_image[o.image].append(o)
    items: list[Item] = []
    names: set[str] = set()
    for identifier, record in sorted(pictures.items()):
        where = f"{file}: image {identifier}"
        name = record.get("file_name")
        if not isinstance(name, str) or not name:
            contents.fault("images without a file_name", f"{where} has no file_name")
            continue
        placed = contents.placed(name, where)
        if placed is None:
            continue
        if placed in names:
            contents.fault(
                "file names of more than one image",
                f"{file}: file_name {name!r} belongs to more than one image",
            )
        names.add(placed)
        found = per_image[identifier]
        items.append(
            Item(
                placed,
                _target(found),
                _size(record, where, contents),
                [f"annotation {o.id}" for o in found],
            )
        )
    return items


def _size(record: Record, where: str, contents: Contents) -> tuple[int, int] | None:
    """(height, width); None where the file does not say both."""
    height, width = record.get("height"), record.get("width")
    for key, value in ("height", height), ("width", width):
        if value is not None and (whole(value) or 0) < 1:
            contents.fault(
                "unusable image sizes",
                f"{where}: {key} {shown(value)}: a whole number from 1 is expected",
            )
            return None
    return None if height is None or width is None else (int(height), int(width))


def _names(
    categories: Mapping[int, Record], used: set[int], file: Path, contents: Contents
) -> dict[int, str]:
    """Id → name, without those that only stand above others."""
    names: dict[int, str] = {}
    for identifier, record in sorted(categories.items()):
        name = record.get("name")
        if name is None:
            contents.remark("categories called by their id, for want of a name", f"{identifier}")
            name = identifier
        named = isinstance(name, str | int) and not isinstance(name, bool)
        if not named or not str(name).strip() or not is_text(str(name)):
            contents.fault(
                "unusable categories",
                f"{file}: category {identifier}: name {shown(name)}: a text is expected",
            )
            name = identifier
        names[identifier] = str(name)
    below_it: defaultdict[str, list[int]] = defaultdict(list)
    for identifier, record in categories.items():
        if isinstance(record.get("supercategory"), str):
            below_it[record["supercategory"]].append(identifier)
    above = [i for i in names if i not in used and any(other != i for other in below_it[names[i]])]
    contents.remark(
        "supercategories without objects, left out", *(f"{names[i]} (id {i})" for i in above)
    )
    contents.left_out = tuple(names[i] for i in above)
    return {i: name for i, name in names.items() if i not in above}


def _target(objects: list[_Object]) -> Objects:
    xywh = np.array([o.xywh for o in objects], dtype=np.float64).reshape(-1, 4)
    return Objects(
        boxes=np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1),
        xywh=xywh,
        labels=np.array([o.category for o in objects], dtype=np.int64),
        area=np.array([o.area for o in objects], dtype=np.float64),
        iscrowd=np.array([o.crowd for o in objects], dtype=np.bool_),
        ignore=np.array([o.ignore for o in objects], dtype=np.bool_),
    )
