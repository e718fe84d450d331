"""What a task model is: the network that sees the decoded picture, behind one interface."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.datasets.base import Dataset
from bench.datasets.categories import common_name
from bench.errors import ConfigError
from bench.models.checkpoints import COPIES
from bench.models.weights import load_weights as load_weights  # other packages take it from here
from bench.registry import Registry, existing_file
from bench.tasks.base import Prediction, Target

Image = NDArray[np.uint8]
View = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
"""(H, W, 3) RGB → the 8-bit pixels that a model's own resize and crop leave of it."""
RANDOM = "random"
FULL_SETS = {"coco": (5000, (36781, 80)), "imagenet": (50000, (50000, 1000))}
"""Images, objects or labels, and categories."""
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class ModelSpec:
    """A model as the config names it. `weights` is a file, a name known to the library, `random`
    (untrained, as the library initialises it, seeded), or None. Where a file holds its weights
    twice, FILE#ema is the averaged copy and FILE#plain the other one."""

    library: str
    name: str
    weights: str | None = None

    @property
    def weights_file(self) -> Path | None:
        """Raises ConfigError for a file of which something else than a copy is asked."""
        return self._file_and_copy[0]

    @property
    def chosen(self) -> str | None:
        """Which of two copies in the file is asked for: one of `COPIES`, or None."""
        return self._file_and_copy[1]

    @property
    def _file_and_copy(self) -> tuple[Path | None, str | None]:
        whole = existing_file(self.weights or "")
        name, mark, copy = (self.weights or "").rpartition("#")
        if whole or not mark:
            return whole, None
        file = existing_file(name)
        if file and copy not in COPIES:
            raise ConfigError(f"weights {self.weights}: after # stands {' or '.join(COPIES)}")
        if copy in COPIES and not file:
            raise ConfigError(f"weights {self.weights}: there is no file {name}")
        return file, copy if file else None

    @property
    def random(self) -> bool:
        return self.weights == RANDOM and not self.weights_file


class TaskModel(Protocol):
    """`classes[i]` names the model's own class index i in det predictions; None: they are the data
    set's category ids already."""

    @property
    def task(self) -> str: ...

    @property
    def classes(self) -> Sequence[str] | None: ...

    @property
    def view(self) -> View | None:
        """Its resize and crop; None where they do not leave 8-bit pixels."""
        ...

    def predict(self, images: list[Image], viewed: bool) -> list[Prediction]:
        """One prediction per (H, W, 3) RGB image. They have any size and go through the library's
        own preprocessing, or are `viewed`: made by `view`, so that only normalisation is left."""
        ...


@runtime_checkable
class GivesLoss(Protocol):
    """What a detector is besides, if its library can compute the loss that it was trained on."""

    @property
    def gives_loss(self) -> bool:
        """False for a network whose loss needs more than boxes, e.g. masks."""
        ...

    def losses(self, images: list[Image], targets: list[Target]) -> list[float]:
        """The training loss of each (H, W, 3) RGB image by itself, on `own_targets`, with the
        library's own preprocessing. No buffer of the network changes."""
        ...


@runtime_checkable
class Differentiable(Protocol):
    """What a preprocessor can be trained on: pictures (N, 3, H, W) in [0, 1], as they are coded."""

    def loss(self, x: Tensor, targets: list[Target], longer_side: int | None = None) -> Tensor:
        """(N,) the training loss of each picture by itself, differentiable in the pixels; no buffer
        of the network changes. Targets are {label}, or a detector's `own_targets`.

        A detector that resizes what it sees takes x as crops of pictures of `longer_side` pixels;
        without it as whole pictures, and the value is that of the library's own resize, with the
        gradient of torch's. Raises ConfigError for a network whose loss needs more.
        """
        ...

    def features(self, x: Tensor, longer_side: int | None = None) -> list[Tensor]:
        """Inner maps, N first, differentiable likewise. Raises ConfigError if it has none."""
        ...


@dataclass(frozen=True)
class Stated:
    """The scores that a model's own documentation states, as fractions of one, and the data set
    that they were measured on: `coco` is all of val2017, `imagenet` all 50,000 of ILSVRC 2012."""

    dataset: str
    scores: dict[str, float]

    def on(self, dataset: Dataset) -> bool:
        """Whether that very set is this one, as far as its size and labels tell."""
        n, labels = FULL_SETS[self.dataset]
        key = "boxes" if dataset.task == "det" else "label"
        found = sum(np.atleast_2d(s.target[key]).shape[0] for s in dataset.samples)
        return (len(dataset.samples), found, len(dataset.categories)) == (n, *labels)


@dataclass(frozen=True)
class Library:
    """A source of task models. `fingerprint` names all but the weights that can move a prediction
    (versions, preprocessing); `names` lists what can be built, possibly by pattern."""

    load: Callable[[ModelSpec, torch.device], TaskModel]
    names: Callable[[], list[str]]
    fingerprint: Callable[[ModelSpec], dict[str, str]]
    default_weights: Callable[[str], Path | None] = lambda name: None
    """The weights that ship for a model, if any do."""
    stated: Callable[[ModelSpec], Stated | None] = lambda spec: None
    """The scores that the library states for just these weights, if it does."""


LIBRARIES: Registry[Library] = Registry(
    "model library", "bench.models", needs=("load", "names", "fingerprint", "default_weights")
)


def giver_of_losses(model: TaskModel) -> GivesLoss | None:
    return model if isinstance(model, GivesLoss) and model.gives_loss else None


def categories_of_classes(model: TaskModel, dataset: Dataset) -> NDArray[np.int64] | None:
    """Model's class index → category id by `common_name`, −1 for classes that the data set lacks;
    None where the model's labels are category ids already, or the data set has no labels.

    Raises ConfigError if a category of an object is unknown to the model, or two are the same.
    Categories without an object add nothing to mAP and stop nothing.
    """
    if model.task != "det" or model.classes is None or not dataset.labelled:
        return None
    labels = [s.target["labels"] for s in dataset.samples]
    used = {int(i) for i in np.unique(np.concatenate(labels))} if labels else set()
    ids: dict[str, int] = {}
    for i, name in sorted(dataset.categories.items(), key=lambda item: item[0] not in used):
        same = ids.setdefault(common_name(name), i)
        if same != i and i in used:
            raise ConfigError(
                f"data set {dataset.name}: categories {dataset.categories[same]!r} and {name!r} "
                "are the same to a model; give one of them another name under dataset.categories"
            )
    known = {common_name(name) for name in model.classes}
    unknown = [
        name
        for i, name in dataset.categories.items()
        if i in used and common_name(name) not in known
    ]
    if unknown:
        raise ConfigError(
            f"data set {dataset.name} has {len(unknown)} categories that the model does not know: "
            f"{_some(unknown)}; the model's {len(model.classes)} classes are "
            f"{_some(model.classes)}. Where they only have other names, say so in the config: "
            f"dataset.categories: {{{unknown[0]}: the model's name}}; otherwise take a model that "
            "was trained on them"
        )
    return np.array([ids.get(common_name(name), -1) for name in model.classes], np.int64)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (" …" if len(names) > 5 else "")


def own_targets(model: TaskModel, dataset: Dataset) -> list[Target]:
    """Ground truth as a detector's training loss takes it: boxes (n, 4) float32 x1 y1 x2 y2 in
    pixels and labels (n,) int64, the model's own class indices. Crowds are left out, and objects
    thinner than a pixel. Raises ConfigError as `categories_of_classes` does.
    """
    categories = categories_of_classes(model, dataset)
    index = {c: c for c in dataset.categories}
    if categories is not None:
        index = {c: i for i, c in enumerate(categories.tolist())}
    targets: list[Target] = []
    for sample in dataset.samples:
        boxes = sample.target["boxes"].astype(np.float32).reshape(-1, 4)
        labels = np.array([index[c] for c in sample.target["labels"].tolist()], np.int64)
        kept = (boxes[:, 2:] - boxes[:, :2] >= 1).all(axis=1) & ~sample.target["iscrowd"]
        targets.append({"boxes": boxes[kept], "labels": labels[kept]})
    return targets


def sha256(path: Path) -> str:
    """Of a file of weights. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(f"weights {path}: cannot be read ({error.strerror or error})") from None


def published(url: str, file: Path) -> bool:
    """Whether a file is the one published there: such names end in eight digits of its sha256."""
    digits = Path(url).stem.rpartition("-")[2]
    return len(digits) == 8 and sha256(file).startswith(digits)


def fetched(spec: ModelSpec, build: Callable[[], torch.nn.Module]) -> torch.nn.Module:
    """A network whose weights its library downloads. Raises ConfigError where that fails."""
    try:
        return build()
    except Exception as error:
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise ConfigError(
            f"model {spec.name}: {spec.library} could not fetch its weights {spec.weights!r} "
            f"({why}). Check the name and the connection, or fetch the file elsewhere and give it "
            "as weights"
        ) from error


def without_weights(spec: ModelSpec) -> ConfigError:
    return ConfigError(
        f"model {spec.name} of {spec.library} has no weights: give a checkpoint, or `random` to "
        "try it out untrained"
    )


def ready(network: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    """For evaluation; with channels last, convolutions take half the time on a CPU."""
    laid_out: torch.nn.Module = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return laid_out.eval().to(device)


@contextmanager
def fixed_draws() -> Iterator[None]:
    """What is drawn at random inside is always the same: the regions that a two-stage detector's
    loss is taken on, the weights of an untrained network."""
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(0)
        yield


def in_batches(
    run: Callable[[list[Item]], list[Result]], items: list[Item], shape: Callable[[Item], Any]
) -> list[Result]:
    """`run` over neighbours of equal shape together, in order; on out-of-memory over halves."""
    groups: dict[Any, list[int]] = {}
    for i, item in enumerate(items):
        groups.setdefault(shape(item), []).append(i)
    results: dict[int, Result] = {}
    for indices in groups.values():
        outputs = _halving(run, [items[i] for i in indices])
        results.update(zip(indices, outputs, strict=True))
    return [results[i] for i in range(len(items))]


def _halving(run: Callable[[list[Item]], list[Result]], items: list[Item]) -> list[Result]:
    try:
        return run(items)
    except torch.cuda.OutOfMemoryError:
        if len(items) == 1:
            raise
    torch.cuda.empty_cache()
    middle = len(items) // 2
    return _halving(run, items[:middle]) + _halving(run, items[middle:])
