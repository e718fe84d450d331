"""Detection data sets in COCO's format: `instances.json` and a folder of images."""

import functools
import json
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bench.datasets.base import DATASETS, Dataset, Sample
from bench.datasets.images import annotations_sha256, read_sized, require_images
from bench.errors import DataError
from bench.tasks.base import Target

Record = dict[str, Any]


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
    annotations are kept. Within an image, objects keep the order of the file.

    A target has the keys of a detection target and `xywh` (n, 4) float64, the boxes exactly as
    annotated: (x + w) − x is seldom w in floating point, and pycocotools computes areas and
    overlaps from w and h. `ignore` is the annotation's own flag (False where it has none), apart
    from `iscrowd`; pycocotools ignores crowds only and overwrites that flag.

    Raises DataError where a file or an image is missing, the JSON is malformed, or an annotation
    does not fit (unknown image or category, unusable box, identifier used twice).
    """
    root = Path(root)
    file, folder = root / annotations, root / images
    require_layout(root, file, folder)
    document = read(file)
    pictures = _by_id(document["images"], "image", file)
    categories = _by_id(document["categories"], "category", file)
    objects = _by_id(document["annotations"], "annotation", file)

    per_image: dict[int, list[Record]] = {identifier: [] for identifier in sorted(pictures)}
    for identifier, record in objects.items():
        for _, problem in problems(record, pictures, categories):
            raise DataError(f"{file}: annotation {identifier}: {problem}")
        per_image[record["image_id"]].append(record)

    names = [_file_name(pictures[identifier], file) for identifier in per_image]
    twice = [n for n, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"{file}: file_name {twice[0]!r} belongs to more than one image")
    require_images(folder, names)

    samples = [
        Sample(
            name=n,
            load=functools.partial(read_sized, folder / n, annotated_size(pictures[identifier])),
            target=_target(records),
        )
        for n, (identifier, records) in zip(names, per_image.items(), strict=True)
    ]
    return Dataset(
        name=name or root.resolve().name,
        task="det",
        samples=samples,
        categories={i: str(categories[i].get("name", i)) for i in sorted(categories)},
        annotations_sha256=annotations_sha256(samples),
        notes=_notes(objects),
    )


def require_layout(root: Path, file: Path, folder: Path) -> None:
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


def read(file: Path) -> dict[str, list[Record]]:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read: {error}") from error
    except json.JSONDecodeError as error:
        raise DataError(
            f"{file}: malformed JSON at line {error.lineno}, column {error.colno}: {error.msg}"
        ) from error
    if not isinstance(document, dict):
        raise DataError(f"{file}: not a COCO file: an object is expected at the top")
    for key in ("images", "annotations", "categories"):
        value = document.get(key)
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise DataError(f"{file}: not a COCO file: `{key}` must be a list of objects")
    return document


def _by_id(records: list[Record], kind: str, file: Path) -> dict[int, Record]:
    by_id: dict[int, Record] = {}
    for record in records:
        identifier = record.get("id")
        if not isinstance(identifier, int) or isinstance(identifier, bool):
            raise DataError(f"{file}: {kind} with id {identifier!r}: an integer is expected")
        if identifier in by_id:
            raise DataError(f"{file}: {kind} id {identifier} is used twice")
        by_id[identifier] = record
    return by_id


def problems(
    record: Record, pictures: dict[int, Record], categories: dict[int, Record]
) -> Iterator[tuple[str, str]]:
    """What makes an annotation unusable: the kind of fault, and the fault."""
    for key, kind, known in (
        ("image_id", "annotations of unknown images", pictures),
        ("category_id", "annotations of unknown categories", categories),
    ):
        value = record.get(key)
        if not isinstance(value, int) or value not in known:
            yield kind, f"{key} {value!r} is not among the file's"
    box = record.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(map(_finite, box)):
        yield "unusable boxes", f"bbox {box!r}: four finite numbers x y width height are expected"
    elif box[2] < 0 or box[3] < 0:
        yield "unusable boxes", f"bbox {box!r}: width or height is negative"
    if "area" in record and not _finite(record["area"]):
        yield "unusable areas", f"area {record['area']!r}: a finite number is expected"


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _file_name(picture: Record, file: Path) -> str:
    name = picture.get("file_name")
    if not isinstance(name, str) or not name:
        raise DataError(f"{file}: image {picture['id']} has no file_name")
    return name


def annotated_size(picture: Record) -> tuple[int, int] | None:
    height, width = picture.get("height"), picture.get("width")
    return (height, width) if isinstance(height, int) and isinstance(width, int) else None


def _target(records: list[Record]) -> Target:
    xywh = np.array([r["bbox"] for r in records], dtype=np.float64).reshape(-1, 4)
    area = [r.get("area", r["bbox"][2] * r["bbox"][3]) for r in records]
    return {
        "boxes": np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1),
        "xywh": xywh,
        "labels": np.array([r["category_id"] for r in records], dtype=np.int64),
        "area": np.array(area, dtype=np.float64),
        "iscrowd": np.array([bool(r.get("iscrowd", 0)) for r in records], dtype=np.bool_),
        "ignore": np.array([bool(r.get("ignore", 0)) for r in records], dtype=np.bool_),
    }


def _notes(objects: dict[int, Record]) -> list[str]:
    notes = []
    without_area = sum("area" not in record for record in objects.values())
    if without_area:
        notes.append(f"{without_area} annotations have no area: width × height of the box is used")
    if 0 in objects:
        notes.append(
            "an annotation has the id 0: pycocotools would count a match with it as a false "
            "positive; here it is a match"
        )
    return notes
