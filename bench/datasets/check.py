"""What is wrong with a data set: everything at once, where loading it stops at the first fault."""

import inspect
import os
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from bench.datasets import base as formats
from bench.datasets import coco, folder, ilsvrc, imagenet, labelmaps, voc
from bench.datasets.contents import Contents, Item
from bench.datasets.files import look_at, oddities, twins
from bench.datasets.tree import below, readable
from bench.errors import ConfigError, DataError
from bench.tasks.categories import common_name
from bench.tasks.records import Label, MaskedObjects, Objects, PackedRegions

READERS: dict[str, Callable[..., Contents]] = {
    "coco": coco.read,
    "imagenet": imagenet.read,
    "voc": voc.read,
    "labelmaps": labelmaps.read,
    "folder": folder.read,
}
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


@readable()
def guess(root: Path) -> str:
    """The format that a folder looks like. Raises DataError where there is no folder."""
    if not root.is_dir():
        raise DataError(f"{root}: no such folder")
    if (root / "instances.json").is_file() or any(root.glob("annotations/instances_*.json")):
        return "coco"
    patterns = [year + folder for year in ("", "*/") for folder in voc.LABELS]
    if any(path.is_dir() for pattern in patterns for path in root.glob(pattern)):
        return "voc"
    if os.path.lexists(root / "labels.csv") or (root / ilsvrc.DEVKIT).is_dir():
        return "imagenet"
    if (root / "images").is_dir() and any((root / "labels").rglob("*.png")):
        return "labelmaps"
    images = below(root).images
    classes = {name.split("/")[0] for name in images if name.count("/") == 1}
    deep = all(name.count("/") == 1 for name in images)
    return "imagenet" if images and deep and classes != {"images"} else "folder"


def check(
    root: Path,
    format: str,
    options: dict[str, Any],
    deep: bool,
    start: Start,
    task: str | None = None,
) -> Findings:
    """Look at every annotation and at every image's header; `deep` decodes every image. `task` is
    for which a format of several is read, by default det, or what a VOC tree looks made for.

    Raises ConfigError for an unknown format, option or task.
    """
    if format not in READERS:
        raise ConfigError(f"--format {format}: there are {', '.join(READERS)}")
    findings = Findings(format)
    known = formats.options(format)
    for option in options:
        if option not in known:
            raise ConfigError(
                f"--option {option}: format {format} has the options: {', '.join(known) or 'none'}"
            )
    if task is not None and "task" in inspect.signature(READERS[format]).parameters:
        options = options | {"task": task}
    try:
        with readable():
            contents = READERS[format](root, **options)
            findings.facts |= contents.facts
            for kind, fault in contents.faults:
                findings.faults[kind].append(fault.removeprefix(f"{root}/"))
            _look(contents, findings, deep, start)
            findings.remarks |= contents.remarks
            findings.remarks["notes"] = contents.notes
    except DataError as error:
        findings.faults["the data set cannot be read"].append(str(error))
        return findings
    if task not in (None, contents.task) and contents.labelled:
        raise ConfigError(f"--task {task}: format {format} is for {contents.task}")
    say = LABELS.get(type(contents.items[0].target)) if contents.items else None
    if say:
        say(contents, findings)
    return findings


# --- images ---------------------------------------------------------------------------------------


def _look(contents: Contents, findings: Findings, deep: bool, start: Start) -> None:
    items = {item.name: item for item in contents.items}
    paths = {name: contents.folder / name for name in items}
    there = {name: path for name, path in paths.items() if path.is_file()}
    findings.faults["image files missing"] += [name for name in paths if name not in there]
    advance = start("looking at images", len(there))
    looks = dict(zip(there, look_at(there.values(), deep, advance), strict=True))
    for name, seen in looks.items():
        size = items[name].size
        if seen.size is None:
            findings.faults["images that cannot be read"].append(f"{name}: {seen.fault}")
        elif size and size != seen.size:
            findings.faults["images of another size than annotated"].append(
                f"{name}: {seen.size[1]}×{seen.size[0]}, annotated {size[1]}×{size[0]}"
            )
    findings.remarks |= oddities((name, seen.header) for name, seen in looks.items())
    for item in contents.items:
        if item.name in looks and (size := looks[item.name].size):
            _boxes(item, size, contents.categories, findings)

    good = {name: seen for name, seen in looks.items() if seen.size}
    for group in twins({name: (paths[name], seen.n_bytes) for name, seen in good.items()}):
        labels = [t.label if isinstance(t := items[name].target, Label) else None for name in group]
        if len(set(map(str, labels))) > 1:
            findings.faults["the same image under different labels"].append(
                ", ".join(f"{name} ({label})" for name, label in zip(group, labels, strict=True))
            )
        else:
            findings.remarks["the same image more than once"].append(", ".join(group))

    findings.facts["images"] = str(len(contents.items))
    if good:
        sizes = sorted((s.size for s in good.values() if s.size), key=lambda s: s[0] * s[1])
        shown = [f"{w}×{h}" for h, w in (sizes[0], sizes[len(sizes) // 2], sizes[-1])]
        findings.facts["width×height"] = f"{shown[0]} … {shown[2]}, median {shown[1]}"
        total = sum(seen.n_bytes for seen in good.values())
        findings.facts["files"] = f"{total / 1e6:.1f} MB"


# --- labels ---------------------------------------------------------------------------------------


def _classes(contents: Contents, findings: Findings) -> None:
    per_class = Counter(int(item.target.label) for item in contents.items)
    if per_class:
        findings.facts["classes"] = str(len(per_class))
        findings.facts["class indices"] = f"{min(per_class)} … {max(per_class)}"
        findings.facts["images per class"] = _spread(list(per_class.values()))


def _objects(contents: Contents, findings: Findings) -> None:
    per_category = Counter(dict.fromkeys(contents.categories, 0))
    for item in contents.items:
        labels = item.target.labels.tolist()
        per_category.update(labels)
        if not labels:
            findings.remarks["images without an object"].append(item.name)
        seen: set[tuple[Any, ...]] = set()
        for what, label, box in zip(item.objects, labels, item.target.boxes.tolist(), strict=True):
            if (label, *box) in seen:
                findings.remarks["objects annotated twice"].append(
                    f"{item.name}: {what} ({contents.categories[label]})"
                )
            seen.add((label, *box))
    for same, n in Counter(map(common_name, contents.categories.values())).items():
        if n > 1:
            findings.faults["categories of one name"].append(f"{same}: {n} times")
    findings.remarks["categories without an object"] += [
        contents.categories[category] for category, n in per_category.items() if not n
    ]
    used = [n for n in per_category.values() if n]
    findings.facts["objects"] = str(sum(used))
    if contents.items:
        findings.facts["objects per image"] = _spread([len(i.objects) for i in contents.items])
    findings.facts["categories"] = f"{len(used)} of {len(per_category)} have objects"
    if used:
        findings.facts["objects per category"] = _spread(used)
    ignored = sum(int(item.target.iscrowd.sum()) for item in contents.items)
    findings.facts["crowds or difficult"] = str(ignored)


def _regions(contents: Contents, findings: Findings) -> None:
    per_category = Counter(dict.fromkeys(contents.categories, 0))
    for item in contents.items:
        present = item.target.present()
        per_category.update(present)
        if not present:
            findings.remarks["images of which every pixel is ignored"].append(item.name)
    findings.remarks["categories without a pixel"] += [
        contents.categories[category] for category, n in per_category.items() if not n
    ]
    used = [n for n in per_category.values() if n]
    findings.facts["categories"] = f"{len(used)} of {len(per_category)} have pixels"
    if used:
        findings.facts["images per category"] = _spread(used)


LABELS: dict[type, Callable[[Contents, Findings], None]] = {
    Objects: _objects,
    MaskedObjects: _objects,
    Label: _classes,
    PackedRegions: _regions,
}
"""What is said of labels, by their type."""


def _boxes(
    item: Item, size: tuple[int, int], categories: dict[int, str], findings: Findings
) -> None:
    if not isinstance(item.target, Objects):
        return
    height, width = size
    for what, label, (x1, y1, x2, y2) in zip(
        item.objects, item.target.labels.tolist(), item.target.boxes.tolist(), strict=True
    ):
        where = f"{item.name}: {what} ({categories[label]}): {x1:g} {y1:g} {x2:g} {y2:g}"
        if x2 <= x1 or y2 <= y1:
            findings.faults["boxes of no area"].append(where)
        elif min(x1, y1) < -SLACK or x2 > width + SLACK or y2 > height + SLACK:
            findings.faults["boxes that reach out of the image"].append(
                f"{where} of {width}×{height}"
            )


def _spread(counts: list[int]) -> str:
    return f"{min(counts)} … {max(counts)}, median {median(counts):g}"
