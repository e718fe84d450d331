"""A folder of images without any labels: what is scored is agreement, not accuracy."""

import functools
from pathlib import Path

from bench.datasets.base import DATASETS, Dataset, Sample
from bench.datasets.images import SUFFIXES, annotations_sha256, read_rgb
from bench.errors import DataError
from bench.tasks.agreement import REFERENCE_SCORE

NOTE = (
    "no labels: scores say how far predictions agree with the model's own on the uncompressed "
    "images, not how right they are"
)


@DATASETS.register("folder")
def load(root: Path, task: str, name: str | None = None) -> Dataset:
    """Every image in `root` and the folders below it, in the order of their relative paths.

    Hidden files and folders are passed over. Raises DataError for a folder that is missing or has
    no images.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; expected a folder of images")
    files, others = image_files(root)
    if not files:
        raise DataError(
            f"{root}: no images in it or below it; names should end in "
            f"{', '.join(sorted(SUFFIXES))}"
        )
    samples = [
        Sample(name=file, load=functools.partial(read_rgb, root / file), target={})
        for file in files
    ]
    objects = f"; detections of at least {REFERENCE_SCORE:g} are to be found again"
    note = NOTE + (objects if task == "det" else "")
    left_out = [f"{len(others)} files are not images and were left out"] if others else []
    return Dataset(
        name=name or f"{root.resolve().name}-{task}",
        task=task,
        samples=samples,
        categories={},
        annotations_sha256=annotations_sha256(samples),
        notes=[note, *left_out],
        labelled=False,
    )


def image_files(root: Path) -> tuple[list[str], list[str]]:
    """Paths below `root`, sorted and relative to it: those of images, and of all other files."""
    images: list[str] = []
    others: list[str] = []
    for path in root.rglob("*"):
        relative = path.relative_to(root)
        if path.is_file() and not any(part.startswith(".") for part in relative.parts):
            (images if path.suffix.lower() in SUFFIXES else others).append(relative.as_posix())
    return sorted(images), sorted(others)
