"""A folder of images without any labels: what is scored is agreement, not accuracy."""

from pathlib import Path

from bench.datasets.base import DATASETS, Dataset
from bench.datasets.contents import Contents, Item, dataset
from bench.datasets.tree import SUFFIXES, below, readable
from bench.errors import DataError
from bench.tasks import TASKS

NOTE = (
    "no labels: scores say how far predictions agree with the model's own on the uncompressed "
    "images, not how right they are"
)


@DATASETS.register("folder")
def load(root: Path, task: str, name: str | None = None) -> Dataset:
    """Every image in `root` and the folders below it, in the order of their relative paths.

    Links are followed; hidden files and folders are passed over. Raises DataError for a folder
    that is missing or has no images, and for links that lead nowhere.
    """
    contents = read(root)
    contents.name += f"-{task}"
    contents.task = task
    agreement = TASKS.get(task).agreement
    if agreement and agreement.note:
        contents.notes[0] += f"; {agreement.note}"
    return dataset(contents, name)


@readable()
def read(root: Path) -> Contents:
    """For no task in particular. Raises DataError where there are no images."""
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; expected a folder of images")
    tree = below(root)
    if not tree.images and not tree.broken:
        raise DataError(
            f"{root}: no images in it or below it; names should end in "
            f"{', '.join(sorted(SUFFIXES))}"
        )
    contents = Contents(root.resolve().name, "", root, labelled=False, notes=[NOTE])
    for name in tree.broken:
        contents.broken_link(root / name)
    names = [short for n in tree.images if (short := contents.placed(n, f"{root}"))]
    contents.items = [Item(name, None) for name in names]
    contents.remark("files that are not taken for images", *tree.others)
    contents.remark("links to folders that are taken already", *tree.again)
    return contents
