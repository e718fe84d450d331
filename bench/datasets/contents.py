"""What the files of a data set say: read once, for a run and for `dataset check`."""

import functools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.datasets.base import Dataset, Sample
from bench.datasets.files import headers, oddities
from bench.datasets.images import annotations_sha256, read_sized, require_images, source
from bench.datasets.tree import inside, printable, readable
from bench.errors import DataError
from bench.tasks.matching import AREA_RANGE

LARGEST = 1e6
"""Of a box's coordinates, in pixels."""


@dataclass(frozen=True)
class Item:
    """An image that the data set names, and what it says of it."""

    name: str
    """Of its file, relative to the folder of images."""

    target: Any
    """See `Sample`."""
    size: tuple[int, int] | None = None
    """(height, width) as annotated."""

    objects: Sequence[str] = ()
    """What each box of the target is called in its file."""


@dataclass
class Contents:
    """Faults stop a run, notes and remarks are said by it; `dataset check` says them all."""

    name: str
    task: str
    folder: Path
    """Of images."""

    items: list[Item] = field(default_factory=list)
    categories: dict[int, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    labelled: bool = True
    n_classes: int | None = None

    faults: list[tuple[str, str]] = field(default_factory=list)
    """Kind of fault, and a sentence that names file and value."""

    notes: list[str] = field(default_factory=list)
    remarks: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """What was passed over or read otherwise than written: kind → the cases."""

    facts: dict[str, str] = field(default_factory=dict)
    """For `dataset check`."""

    def fault(self, kind: str, what: str) -> None:
        self.faults.append((kind, printable(what)))

    def remark(self, kind: str, *cases: str) -> None:
        if cases:
            self.remarks[kind] += map(printable, cases)

    def broken_link(self, path: Path) -> None:
        self.fault(
            "links that lead nowhere",
            f"{path}: the link leads nowhere; fetch what it leads to, or remove the link",
        )

    def placed(self, name: str, where: str) -> str | None:
        """`name` in its shortest form; None, and a fault, if it cannot be used."""
        try:
            short = inside(self.folder, name)
        except DataError as error:
            self.fault("names that cannot be used", f"{where}: {error}")
            return None
        if short != name:
            self.remark("file names taken in a shorter form", f"{name} as {short}")
        return short

    def require_objects(self, where: Path) -> None:
        """A fault if nothing is to be found in any image: mAP would be undefined."""
        counting = (a for i in self.items for a in i.target.area[~i.target.iscrowd])
        if not self.faults and not any(map(counts, counting)):
            n = sum(len(item.objects) for item in self.items)
            said = f"{n} objects, each ignored as a crowd or difficult" if n else "no objects"
            self.fault(
                "no object that counts",
                f"{where}: {said}: there is nothing to find, and mAP would be undefined; annotate "
                "objects, or use format: folder for images without labels",
            )


def counts(area: float) -> bool:
    """Whether COCO's evaluation counts an object of that area."""
    return bool(AREA_RANGE[0] <= area <= AREA_RANGE[1])


def possible(box: tuple[float, float, float, float]) -> bool:
    """Whether an image may be so large as to hold the box x1 y1 x2 y2."""
    x1, y1, x2, y2 = box
    return max(map(abs, box)) <= LARGEST and counts((x2 - x1) * (y2 - y1))


def dataset(contents: Contents, name: str | None) -> Dataset:
    """Raises DataError at the first fault, and where images are missing."""
    if contents.faults:
        more = len(contents.faults) - 1
        others = f" ({more} more faults: `dataset check` lists them)" if more else ""
        raise DataError(contents.faults[0][1] + others)
    names = [item.name for item in contents.items]
    with readable():
        require_images(contents.folder, names)
    found = headers(contents.folder / n for n in names)
    remarks = contents.remarks | oddities(zip(names, found, strict=True))
    samples = [
        Sample(
            name=item.name,
            load=functools.partial(read_sized, contents.folder / item.name, item.size),
            target=item.target,
            source=functools.partial(source, contents.folder / item.name, item.size),
        )
        for item in contents.items
    ]
    return Dataset(
        name=name or contents.name,
        task=contents.task,
        samples=samples,
        categories=contents.categories,
        annotations_sha256=annotations_sha256(samples),
        notes=contents.notes + [said(kind, cases) for kind, cases in remarks.items()],
        labelled=contents.labelled,
        n_classes=contents.n_classes,
        left_out=contents.left_out,
    )


def said(kind: str, cases: Sequence[str]) -> str:
    return f"{kind}: {len(cases)} ({', '.join(cases[:5])}{', …' if len(cases) > 5 else ''})"
