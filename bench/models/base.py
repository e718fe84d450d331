"""What a task model is: the network that sees the decoded picture, behind one interface."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.datasets.base import Dataset
from bench.errors import ConfigError
from bench.models.checkpoints import COPIES
from bench.models.weights import load_weights as load_weights  # other packages take it from here
from bench.registry import Registry, existing_file
from bench.tasks import TASKS
from bench.tasks.records import Arrays, Record

Image = NDArray[np.uint8]
View = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
"""(H, W, 3) RGB → the 8-bit pixels that a model's own resize and crop leave of it."""
RANDOM = "random"
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class ModelSpec:
    """A model as the config names it. `weights` is a file, a name known to the library, `random`
    (untrained, as the library initialises it, seeded), or None. Where a file holds its weights
    twice, FILE#ema is the averaged copy and FILE#plain the other one. `prediction` is what is asked
    of a network that gives more than one kind of answer."""

    library: str
    name: str
    weights: str | None = None
    prediction: type[Record] | None = None
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Further keys of the config, see `Library.options`."""

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
    """`classes[i]` names the model's own class index i in detections; None: they are the data set's
    category ids already, or its predictions have no names."""

    @property
    def task(self) -> str: ...

    @property
    def classes(self) -> Sequence[str] | None: ...

    @property
    def view(self) -> View | None:
        """Its resize and crop; None where they do not leave 8-bit pixels."""
        ...

    def predict(self, images: list[Image], viewed: bool) -> Sequence[Record]:
        """One prediction, of its task's own type, per (H, W, 3) RGB image. They have any size and
        go through the library's own preprocessing, or are `viewed`: made by `view`, so that only
        normalisation is left."""
        ...


@runtime_checkable
class GivesLoss(Protocol):
    """What a detector is besides, if its library can compute the loss that it was trained on.

    Targets are of the task's `training_targets`."""

    @property
    def gives_loss(self) -> bool:
        """False for a network whose loss needs more than boxes, e.g. masks."""
        ...

    def losses(self, images: list[Image], targets: list[Arrays]) -> list[float]:
        """The training loss of each (H, W, 3) RGB image by itself, with the library's own
        preprocessing. No buffer of the network changes."""
        ...


@runtime_checkable
class SharesFeatures(GivesLoss, Protocol):
    """What gives both for little more than one of them costs."""

    def predict_with_losses(
        self, images: list[Image], targets: list[Arrays], viewed: bool
    ) -> list[tuple[Any, float]]:
        """`predict`, to the bit, and `losses`, up to rounding, of each image."""
        ...


@runtime_checkable
class Differentiable(Protocol):
    """What a preprocessor can be trained on: pictures (N, 3, H, W) in [0, 1], as they are coded."""

    @property
    def gives_loss(self) -> bool:
        """Whether `loss` can be computed."""
        ...

    def loss(self, x: Tensor, targets: list[Arrays], longer_side: int | None = None) -> Tensor:
        """(N,) the training loss of each picture by itself, differentiable in the pixels; no buffer
        of the network changes. Targets are of the task's `training_targets`.

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
    that they were measured on, one of its task's `full_sets`: `coco` is all of val2017, `imagenet`
    all 50,000 of ILSVRC 2012."""

    dataset: str
    scores: dict[str, float]

    def on(self, dataset: Dataset) -> bool:
        """Whether that very set is this one, as far as its size and labels tell."""
        return TASKS.get(dataset.task).is_full_set(self.dataset, dataset)


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
    program: Callable[[str], Path | None] = lambda name: None
    """The file that is run to build a model of that name, if one is; see `models.programs`."""
    options: tuple[str, ...] = ()
    """What a config may say of a model besides `library`, `name`, `weights` and `loss`."""


LIBRARIES: Registry[Library] = Registry(
    "model library", "bench.models", needs=("load", "names", "fingerprint", "default_weights")
)


def giver_of_losses(model: TaskModel) -> GivesLoss | None:
    return model if isinstance(model, GivesLoss) and model.gives_loss else None


def predicted_with_losses(
    model: TaskModel, giver: GivesLoss, images: list[Image], targets: list[Arrays], viewed: bool
) -> list[tuple[Any, float]]:
    """Prediction and own loss of each image, by a `model` that is a `giver`; together where it can
    give them so."""
    if isinstance(giver, SharesFeatures):
        return giver.predict_with_losses(images, targets, viewed)
    found, losses = model.predict(images, viewed), giver.losses(images, targets)
    return list(zip(found, losses, strict=True))


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
