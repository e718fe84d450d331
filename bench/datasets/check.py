"""What is wrong with a data set: everything at once, where loading it stops at the first fault."""

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from bench.datasets import base as formats
from bench.datasets import coco, folder, ilsvrc, imagenet, voc
from bench.datasets.categories import common_name
from bench.datasets.files import look_at, twins
from bench.errors import ConfigError, DataError

FORMATS = ("coco", "imagenet", "voc", "folder")
SLACK = 1.0
"""Pixels that a box may reach out of its image: COCO's own do by fractions."""

Start = Callable[[str, int], Callable[[int], None]]


@dataclass
class Findings:
    """`faults` stop a run or make its numbers wrong; `remarks` are worth knowing. Both are kind →
    one line for each case."""

    format: str
    facts: dict[str, str] = field(default_factory=dict)
    faults: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    remarks: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))


@dataclass
class _Image:
    """An image file that the data set names, and what it says of it."""

    path: Path
    size: tuple[int, int] | None = None
    """(height, width) as annotated."""
    boxes: list[tuple[str, tuple[float, float, float, float]]] = field(default_factory=list)
    """What it is, and x1 y1 x2 y2 in pixels."""
    label: int | None = None


_Images = dict[str, _Image]
"""By name."""


def guess(root: Path) -> str:
    """The format that a folder looks like. Raises DataError where there is no folder."""
    if not root.is_dir():
        raise DataError(f"{root}: no such folder")
    if (root / "instances.json").is_file() or any(root.glob("annotations/instances_*.json")):
        return "coco"
    if (root / "Annotations").is_dir() or any(root.glob("*/Annotations")):
        return "voc"
    if (root / "labels.csv").is_file() or (root / ilsvrc.DEVKIT).is_dir():
        return "imagenet"
    images, _ = folder.image_files(root)
    classes = {name.split("/")[0] for name in images if name.count("/") == 1}
    deep = all(name.count("/") == 1 for name in images)
    return "imagenet" if images and deep and classes != {"images"} else "folder"


def check(root: Path, format: str, options: dict[str, Any], deep: bool, start: Start) -> Findings:
    """Look at every annotation and at every image's header; `deep` decodes every image.

    Raises ConfigError for an unknown format or option.
    """
    if format not in FORMATS:
        raise ConfigError(f"--format {format}: there are {', '.join(FORMATS)}")
    findings = Findings(format)
    read = {"coco": _coco, "imagenet": _imagenet, "voc": _voc, "folder": _folder}[format]
    known = formats.options(format)
    for option in options:
        if option not in known:
            raise ConfigError(
                f"--option {option}: format {format} has the options: {', '.join(known) or 'none'}"
            )
    try:
        images = read(root, findings, **options)
    except DataError as error:
        findings.faults["the data set cannot be read"].append(str(error))
        return findings
    _look(images, findings, deep, start)
    return findings


# --- images ---------------------------------------------------------------------------------------


def _look(images: _Images, findings: Findings, deep: bool, start: Start) -> None:
    there: _Images = {}
    for name, image in images.items():
        if image.path.is_file():
            there[name] = image
        else:
            findings.faults["image files missing"].append(name)
    advance = start("looking at images", len(there))
    looks = dict(zip(there, look_at((i.path for i in there.values()), deep, advance), strict=True))
    for name, seen in looks.items():
        image = there[name]
        if seen.size is None:
            findings.faults["images that cannot be read"].append(f"{name}: {seen.fault}")
            continue
        if image.size and image.size != seen.size:
            findings.faults["images of another size than annotated"].append(
                f"{name}: {seen.size[1]}×{seen.size[0]}, annotated {image.size[1]}×{image.size[0]}"
            )
        if seen.turned:
            findings.remarks["EXIF asks to turn the image, which is not done"].append(name)
        _boxes(name, image, seen.size, findings)

    readable = {name: seen for name, seen in looks.items() if seen.size}
    for group in twins({n: (there[n].path, seen.n_bytes) for n, seen in readable.items()}):
        labels = {there[name].label for name in group}
        if len(labels) > 1:
            kind = "the same image under different labels"
            findings.faults[kind].append(
                ", ".join(f"{name} ({there[name].label})" for name in group)
            )
        else:
            findings.remarks["the same image more than once"].append(", ".join(group))

    findings.facts["images"] = str(len(images))
    if readable:
        sizes = sorted((s.size for s in readable.values() if s.size), key=lambda s: s[0] * s[1])
        shown = [f"{w}×{h}" for h, w in (sizes[0], sizes[len(sizes) // 2], sizes[-1])]
        findings.facts["width×height"] = f"{shown[0]} … {shown[2]}, median {shown[1]}"
        total = sum(seen.n_bytes for seen in readable.values())
        findings.facts["files"] = f"{total / 1e6:.1f} MB"


def _boxes(name: str, image: _Image, size: tuple[int, int], findings: Findings) -> None:
    height, width = size
    for what, (x1, y1, x2, y2) in image.boxes:
        where = f"{name}: {what}: {x1:g} {y1:g} {x2:g} {y2:g}"
        if x2 <= x1 or y2 <= y1:
            findings.faults["boxes of no area"].append(where)
        elif min(x1, y1) < -SLACK or x2 > width + SLACK or y2 > height + SLACK:
            findings.faults["boxes that reach out of the image"].append(
                f"{where} of {width}×{height}"
            )


def _objects(per_image: list[int], per_category: Counter[str], findings: Findings) -> None:
    findings.facts["objects"] = str(sum(per_category.values()))
    if per_image:
        findings.facts["objects per image"] = _spread(per_image)
    used = [n for n in per_category.values() if n]
    findings.facts["categories"] = f"{len(used)} of {len(per_category)} have objects"
    if used:
        findings.facts["objects per category"] = _spread(used)
    for name, n in per_category.items():
        if not n:
            findings.remarks["categories without an object"].append(name)


def _spread(counts: list[int]) -> str:
    return f"{min(counts)} … {max(counts)}, median {median(counts):g}"


# --- formats --------------------------------------------------------------------------------------


def _coco(
    root: Path,
    findings: Findings,
    annotations: str = "instances.json",
    images: str = "images",
) -> _Images:
    file, pixels = root / annotations, root / images
    coco.require_layout(root, file, pixels)
    document = coco.read(file)
    by_id = {
        kind: _by_id(document[key], kind, findings)
        for key, kind in (
            ("images", "image"),
            ("categories", "category"),
            ("annotations", "annotation"),
        )
    }
    found: _Images = {}
    name_of: dict[int, str] = {}
    for identifier, record in by_id["image"].items():
        name = record.get("file_name")
        if not isinstance(name, str) or not name:
            findings.faults["images without a file_name"].append(f"image {identifier}")
        elif name in found:
            findings.faults["file names of more than one image"].append(name)
        else:
            name_of[identifier] = name
            found[name] = _Image(pixels / name, coco.annotated_size(record))

    names = {i: str(c.get("name", i)) for i, c in by_id["category"].items()}
    for same, n in Counter(map(common_name, names.values())).items():
        if n > 1:
            findings.faults["categories of one name"].append(f"{same}: {n} times")
    counts = Counter(dict.fromkeys(names.values(), 0))
    per_image = dict.fromkeys(by_id["image"], 0)
    seen: set[tuple[Any, ...]] = set()
    for identifier, record in by_id["annotation"].items():
        where = f"annotation {identifier}"
        problems = list(coco.problems(record, by_id["image"], by_id["category"]))
        for kind, problem in problems:
            findings.faults[kind].append(f"{where}: {problem}")
        if problems:
            continue
        per_image[record["image_id"]] += 1
        counts[names[record["category_id"]]] += 1
        x, y, w, h = record["bbox"]
        what = f"{where} ({names[record['category_id']]})"
        name = name_of.get(record["image_id"])
        if name is not None:
            found[name].boxes.append((what, (x, y, x + w, y + h)))
        same_object = (record["image_id"], record["category_id"], x, y, w, h)
        if same_object in seen:
            findings.remarks["objects annotated twice"].append(f"{name}: {what}")
        seen.add(same_object)
    for identifier, n in per_image.items():
        if not n:
            findings.remarks["images without an object"].append(name_of.get(identifier, "?"))
    _unlisted(pixels, set(found), "image files that no annotation names", findings)
    _objects(list(per_image.values()), counts, findings)
    findings.facts["crowds"] = str(
        sum(bool(r.get("iscrowd")) for r in by_id["annotation"].values())
    )
    return found


def _by_id(records: list[coco.Record], kind: str, findings: Findings) -> dict[int, coco.Record]:
    kept: dict[int, coco.Record] = {}
    for record in records:
        identifier = record.get("id")
        if not isinstance(identifier, int) or isinstance(identifier, bool):
            findings.faults["ids that are no integers"].append(f"{kind} with id {identifier!r}")
        elif identifier in kept:
            findings.faults["ids used twice"].append(f"{kind} {identifier}")
        else:
            kept[identifier] = record
    return kept


def _unlisted(pixels: Path, listed: set[str], kind: str, findings: Findings) -> None:
    files, _ = folder.image_files(pixels)
    findings.remarks[kind] += [name for name in files if name not in listed]


def _imagenet(root: Path, findings: Findings) -> _Images:
    imagenet.require_root(root)
    if (root / "labels.csv").is_file():
        pixels = root / "images"
        labels, faults, notes = imagenet.read_csv(root / "labels.csv")
        findings.faults["labels that cannot be used"] += faults
        _unlisted(pixels, {label.file for label in labels}, "images without a label", findings)
    elif (root / ilsvrc.DEVKIT).is_dir():
        pixels, labels, _, notes = ilsvrc.validation_labels(root)
    else:
        pixels = root
        labels, _, notes = imagenet.read_folders(root)
        with_images = {label.file.split("/")[0] for label in labels}
        findings.remarks["class folders without an image"] += [
            name for name in imagenet.class_folders(root) if name not in with_images
        ]
    findings.remarks["notes"] += notes
    per_class = Counter(label.class_index for label in labels)
    if per_class:
        findings.facts["classes"] = str(len(per_class))
        findings.facts["class indices"] = f"{min(per_class)} … {max(per_class)}"
        findings.facts["images per class"] = _spread(list(per_class.values()))
    return {label.file: _Image(pixels / label.file, label=label.class_index) for label in labels}


def _voc(root: Path, findings: Findings, split: str | None = None) -> _Images:
    identifiers, used = voc.identifiers_of(root, split)
    findings.facts["split"] = used or "all annotation files"
    files = voc.images_of(root)
    annotations = {i: voc.read(root / "Annotations" / f"{i}.xml") for i in identifiers}
    names = voc.category_names(annotations.values())
    counts = Counter(dict.fromkeys(names, 0))
    found: _Images = {}
    for identifier, annotation in annotations.items():
        for fault in annotation.faults:
            kind = "annotation files missing" if fault == voc.MISSING else "unusable annotations"
            findings.faults[kind].append(f"{identifier}.xml: {fault}")
        counts.update(o.category for o in annotation.objects)
        if not annotation.objects and not annotation.faults:
            findings.remarks["images without an object"].append(identifier)
        name = files.get(identifier, f"{identifier}.jpg")
        found[name] = _Image(
            root / "JPEGImages" / name,
            annotation.size,
            [
                (f"object {n} ({o.category})", o.box)
                for n, o in enumerate(annotation.objects, start=1)
                if o.box and o.box[0] <= o.box[2] and o.box[1] <= o.box[3]
            ],
        )
    for category in counts:
        if category not in voc.CATEGORIES:
            findings.remarks["categories that Pascal VOC does not have"].append(
                f"{category or '(no name)'}: {counts[category]} objects"
            )
    annotated = {p.stem for p in (root / "Annotations").glob("*.xml")}
    findings.remarks["images without an annotation file"] += sorted(
        name for stem, name in files.items() if stem not in annotated
    )
    _objects([len(a.objects) for a in annotations.values()], counts, findings)
    difficult = sum(o.difficult for a in annotations.values() for o in a.objects)
    findings.facts["difficult"] = str(difficult)
    return found


def _folder(root: Path, findings: Findings) -> _Images:
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; expected a folder of images")
    names, others = folder.image_files(root)
    if not names:
        raise DataError(f"{root}: no images in it or below it")
    findings.remarks["files that are not taken for images"] += others
    findings.remarks["notes"].append(folder.NOTE)
    return {name: _Image(root / name) for name in names}
