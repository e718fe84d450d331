"""Data sets in COCO's format, `instances.json` and a folder of images: boxes, masks, label maps."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.datasets import coco_masks, voc
from bench.datasets.base import DATASETS, Dataset
from bench.datasets.coco_masks import Mask, Size
from bench.datasets.contents import Contents, Item, counts, dataset, possible
from bench.datasets.tree import below, is_text, read_text, readable
from bench.datasets.values import Spellings, finite, flag, shown, whole
from bench.errors import ConfigError, DataError
from bench.tasks import TASKS
from bench.tasks.categories import common_name
from bench.tasks.masks import packed
from bench.tasks.matching import AREA_RANGE
from bench.tasks.records import IGNORED, MaskedObjects, Objects, PackedRegions, Record, Regions

Fields = dict[str, Any]
Sizes = Mapping[int, Size | None]
Placed = Sequence[tuple[str, int, Sequence["_Object"]]]
"""Images that can be used: name, id and objects, by ascending id."""

FLAGS = ("iscrowd", "ignore")
TARGETS = (Objects, MaskedObjects, Regions)
"""What can be made of a file, by the ground truth that a task takes."""
CLASSES = {"voc": voc.CATEGORIES}
"""Lists of names that `classes` may be."""


@dataclass(frozen=True)
class _Object:
    id: int
    image: int
    category: int
    xywh: tuple[float, float, float, float]
    area: float
    crowd: bool
    ignore: bool
    mask: bytes
    """See `bench.tasks.masks`; empty where it is not asked for, and where there is none."""


@DATASETS.register("coco")
def load(
    root: Path,
    name: str | None = None,
    annotations: str | Path = "instances.json",
    images: str | Path = "images",
    task: str = "det",
    classes: str | list[str] | None = None,
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

    A task of masks gets `MaskedObjects`, a task of label maps `Regions`, drawn of the masks: what
    shows nothing is 0, background, and categories count from 1. Where instances overlap, that of
    fewer pixels lies on top; crowds, below all others, are IGNORED. `classes` (a list of names, or
    `voc` for the twenty of Pascal VOC) chooses and orders the categories of label maps; all others
    are background. For both, images that have objects, but no mask of any, are left out; elsewhere
    an object without a mask becomes a crowd, and its box the mask.

    Raises DataError where a file or an image is missing, the JSON is malformed, an annotation does
    not fit (unknown image or category, unusable box or mask, identifier used twice), or there is
    nothing to find; ConfigError for another task, and for other classes than the file's.
    """
    return dataset(read(root, annotations, images, task, classes), name)


@readable()
def read(
    root: Path,
    annotations: str | Path = "instances.json",
    images: str | Path = "images",
    task: str = "det",
    classes: str | list[str] | None = None,
) -> Contents:
    """Raises DataError for files that are missing or of another structure, ConfigError for a task
    or classes that do not fit."""
    kind = _kind(task, classes)
    root = Path(root)
    file, folder = root / annotations, root / images
    _require_layout(root, file, folder)
    document = _document(file)
    called = root.resolve().name
    contents = Contents(called if kind is Objects else f"{called}-{task}", task, folder)

    pictures = _by_id(document["images"], "image", file, contents)
    categories = _by_id(document["categories"], "category", file, contents)
    records = _by_id(document["annotations"], "annotation", file, contents)
    sizes = _sizes(pictures, kind is not Objects, file, contents)
    masks = None if kind is Objects else sizes
    objects = _objects(records, pictures, categories, masks, file, contents)
    placed = _placed(pictures, objects, file, contents)
    listed = {name for name, _, _ in placed}
    if masks is not None:
        placed = _masked(placed, sizes, file, contents)
    contents.categories = _names(categories, {o.category for o in objects}, file, contents)
    if kind is Regions:
        _draw(placed, sizes, classes, file, contents)
    else:
        contents.items = [_item(name, found, sizes[i], kind) for name, i, found in placed]
        contents.require_objects(file)
    if 0 in records:
        contents.notes.append(
            "an annotation has the id 0: pycocotools would count a match with it as a false "
            "positive; here it is a match"
        )
    unlisted = [name for name in below(folder).images if name not in listed]
    contents.remark("image files that no annotation names", *unlisted)
    return contents


def _kind(task: str, classes: str | list[str] | None) -> type[Record]:
    """Of ground truth that a task takes."""
    kind: type[Record] = TASKS.get(task).target
    if kind not in TARGETS:
        served = [name for name in TASKS.names() if TASKS.get(name).target in TARGETS]
        raise ConfigError(f"dataset.format: coco is for {', '.join(served)}, not for {task}")
    if classes is not None and kind is not Regions:
        raise ConfigError(
            f"dataset.classes: only label maps are drawn of chosen classes; leave it out for {task}"
        )
    return kind


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


def _document(file: Path) -> dict[str, list[Fields]]:
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


def _object_of(pairs: list[tuple[str, Any]]) -> Fields:
    record = dict(pairs)
    if len(record) < len(pairs):
        twice = next(key for key, n in Counter(key for key, _ in pairs).items() if n > 1)
        raise ValueError(
            f"the key {shown(twice)} stands twice in one object ({shown(record)}); keep one of them"
        )
    return record


def _by_id(records: list[Fields], kind: str, file: Path, contents: Contents) -> dict[int, Fields]:
    by_id: dict[int, Fields] = {}
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
    records: Mapping[int, Fields],
    pictures: Mapping[int, Fields],
    categories: Mapping[int, Fields],
    masks: Sizes | None,
    file: Path,
    contents: Contents,
) -> list[_Object]:
    """Those that can be used, with `masks` of images of these sizes where they are asked for; what
    is wrong with the others becomes faults."""
    flags = [Spellings(key, (0, 1)) for key in FLAGS]
    objects = []
    for identifier, record in records.items():
        problems = list(_problems(record, pictures, categories))
        size = (masks or {}).get(whole(record.get("image_id")) or 0)
        segmentation = record.get("segmentation")
        masked = size is not None and segmentation not in (None, [])
        if size and masked and (wrong := coco_masks.problem(segmentation, size)):
            problems.append(("unusable masks", f"segmentation {shown(segmentation)}: {wrong}"))
        for kind, problem in problems:
            contents.fault(kind, f"{file}: annotation {identifier}: {problem}")
        if not problems:
            image, category = int(record["image_id"]), int(record["category_id"])
            crowd, ignore = (f.read(record.get(f.key, 0)) for f in flags)
            xywh = record["bbox"]
            mask = coco_masks.code(segmentation, size) if size and masked else b""
            objects.append(
                _Object(identifier, image, category, xywh, _area(record), crowd, ignore, mask)
            )
    for f in flags:
        contents.remark(f"{f.key} written otherwise than 0 or 1", *f.cases())
    without_area = sum(records[o.id].get("area") is None for o in objects)
    if without_area:
        contents.notes.append(
            f"{without_area} annotations have no area: width × height of the box is used"
        )
    return objects


def _problems(
    record: Fields, pictures: Mapping[int, Fields], categories: Mapping[int, Fields]
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


def _area(record: Fields) -> Any:
    area = record.get("area")
    return record["bbox"][2] * record["bbox"][3] if area is None else area


def _placed(
    pictures: Mapping[int, Fields], objects: list[_Object], file: Path, contents: Contents
) -> Placed:
    per_image: defaultdict[int, list[_Object]] = defaultdict(list)
    for o in objects:
        per_image[o.image].append(o)
    found: list[tuple[str, int, Sequence[_Object]]] = []
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
        found.append((placed, identifier, per_image[identifier]))
    return found


def _sizes(
    pictures: Mapping[int, Fields], needed: bool, file: Path, contents: Contents
) -> dict[int, Size | None]:
    """By image, see `_size`; a fault where masks need what is not there."""
    sizes: dict[int, Size | None] = {}
    for identifier, record in sorted(pictures.items()):
        where = f"{file}: image {identifier}"
        size = sizes[identifier] = _size(record, where, contents)
        if needed and None in (record.get("height"), record.get("width")):
            contents.fault(
                "images without a size", f"{where}: height and width are expected: masks need them"
            )
        if needed and size and size[0] * size[1] > coco_masks.MOST_PIXELS:
            contents.fault(
                "images too large for masks",
                f"{where}: {size[1]}×{size[0]} pixels: at most {coco_masks.MOST_PIXELS:,} may have "
                "masks",
            )
            sizes[identifier] = None
    return sizes


def _size(record: Fields, where: str, contents: Contents) -> Size | None:
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
    categories: Mapping[int, Fields], used: set[int], file: Path, contents: Contents
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


def _item(name: str, objects: Sequence[_Object], size: Size | None, kind: type[Record]) -> Item:
    xywh = np.array([o.xywh for o in objects], dtype=np.float64).reshape(-1, 4)
    target = Objects(
        boxes=np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1),
        xywh=xywh,
        labels=np.array([o.category for o in objects], dtype=np.int64),
        area=np.array([o.area for o in objects], dtype=np.float64),
        iscrowd=np.array([o.crowd for o in objects], dtype=np.bool_),
        ignore=np.array([o.ignore for o in objects], dtype=np.bool_),
    )
    if kind is MaskedObjects:
        masks = packed([o.mask for o in objects], size or (0, 0))
        target = MaskedObjects(**target.to_arrays(), **masks)
    return Item(name, target, size, [f"annotation {o.id}" for o in objects])


# --- masks and label maps -------------------------------------------------------------------------


def _masked(placed: Placed, sizes: Sizes, file: Path, contents: Contents) -> Placed:
    """Without images whose objects all lack a mask; elsewhere objects without one become crowds,
    whose masks are their boxes: nobody knows which pixels count."""
    kept: list[tuple[str, int, Sequence[_Object]]] = []
    boxed = 0
    for name, i, objects in placed:
        size = sizes[i]
        if size is None or (objects and not any(o.mask for o in objects)):
            continue
        boxed += sum(not o.mask for o in objects)
        whole = [
            o if o.mask else replace(o, crowd=True, mask=coco_masks.box(o.xywh, size))
            for o in objects
        ]
        kept.append((name, i, whole))
    if len(kept) < len(placed):
        contents.notes.append(
            f"{len(placed) - len(kept)} of {len(placed)} images have objects, but no mask "
            "(segmentation) of any, and are left out"
        )
    if boxed:
        contents.notes.append(
            f"{boxed} objects have no mask: their boxes are ignored, as crowds are"
        )
    if not contents.faults and not any(objects for _, _, objects in kept):
        contents.fault(
            "no masks", f"{file}: no annotation has a mask (segmentation): take it for boxes alone"
        )
    return kept


def _draw(
    placed: Placed,
    sizes: Sizes,
    classes: str | list[str] | None,
    file: Path,
    contents: Contents,
) -> None:
    index, contents.categories = _labels(contents.categories, classes, file)
    contents.n_classes = len(contents.categories)
    for name, i, objects in placed:
        chosen = [o for o in objects if o.category in index]
        masks = [Mask(o.mask, index[o.category], o.crowd) for o in chosen]
        if size := sizes[i]:
            regions = PackedRegions(coco_masks.drawn(masks, size))
            contents.items.append(Item(name, regions, size))


def _labels(
    names: Mapping[int, str], classes: str | list[str] | None, file: Path
) -> tuple[dict[int, int], dict[int, str]]:
    """Category id → label, from 1, of the chosen ones, and label → name, 0 being background.
    Raises ConfigError for classes that the file lacks."""
    wanted = [*names.values()] if classes is None else _wanted(classes)
    if len(wanted) >= IGNORED:
        raise ConfigError(
            f"dataset.classes: {len(wanted)} categories: a label map tells at most "
            f"{IGNORED - 1} apart; choose as many"
        )
    known = {common_name(name) for name in names.values()}
    for name in wanted:
        if common_name(name) not in known:
            raise ConfigError(
                f"dataset.classes: {name!r} is none of the categories of {file}: "
                f"{', '.join(names.values())}"
            )
    labels = {common_name(name): label for label, name in enumerate(wanted, start=1)}
    index = {i: labels[same] for i, name in names.items() if (same := common_name(name)) in labels}
    return index, dict(enumerate([voc.BACKGROUND, *wanted]))


def _wanted(classes: str | list[str]) -> Sequence[str]:
    """Raises ConfigError for what is no list of names, and for one that stands twice."""
    wanted = CLASSES.get(classes) if isinstance(classes, str) else classes
    if not isinstance(wanted, list | tuple) or not all(isinstance(n, str) for n in wanted):
        raise ConfigError(
            f"dataset.classes: {classes!r}: a list of names, or {' or '.join(CLASSES)}, is expected"
        )
    if not wanted or len(set(map(common_name, wanted))) < len(wanted):
        raise ConfigError(f"dataset.classes: {classes!r}: names that differ are expected")
    return wanted
