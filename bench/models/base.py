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
from safetensors.torch import load_file
from torch import Tensor

from bench.datasets.base import Dataset
from bench.datasets.categories import common_name
from bench.datasets.views import ModelView
from bench.errors import ConfigError
from bench.registry import Registry
from bench.tasks.base import Prediction, Target

Image = NDArray[np.uint8]
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class ModelSpec:
    """A model as the config names it. `weights` is a file, a name known to the library, or None."""

    library: str
    name: str
    weights: str | None = None

    @property
    def weights_file(self) -> Path | None:
        return Path(self.weights) if self.weights and Path(self.weights).is_file() else None


class TaskModel(Protocol):
    """`classes[i]` names the model's own class index i in det predictions; None: they are the data
    set's category ids already."""

    @property
    def task(self) -> str: ...

    @property
    def classes(self) -> Sequence[str] | None: ...

    @property
    def view(self) -> ModelView | None:
        """The geometry of its resize and crop; None where they are not done on 8-bit pixels."""
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


@dataclass(frozen=True)
class Library:
    """A source of task models. `fingerprint` names all but the weights that can move a prediction
    (versions, preprocessing); `names` lists what can be built, possibly by pattern."""

    load: Callable[[ModelSpec, torch.device], TaskModel]
    names: Callable[[], list[str]]
    fingerprint: Callable[[ModelSpec], dict[str, str]]
    default_weights: Callable[[str], Path | None] = lambda name: None
    """The weights that ship for a model, if any do."""


LIBRARIES: Registry[Library] = Registry(
    "model library", "bench.models", needs=("load", "names", "fingerprint", "default_weights")
)


def giver_of_losses(model: TaskModel) -> GivesLoss | None:
    return model if isinstance(model, GivesLoss) and model.gives_loss else None


def categories_of_classes(model: TaskModel, dataset: Dataset) -> NDArray[np.int64] | None:
    """Model's class index → category id by `common_name`, −1 for classes that the data set lacks;
    None where the model's labels are category ids already, or the data set has no labels.

    Raises ConfigError if a category of the data set is unknown to the model, or two are the same.
    """
    if model.task != "det" or model.classes is None or not dataset.labelled:
        return None
    ids: dict[str, int] = {}
    for i, name in dataset.categories.items():
        if ids.setdefault(common_name(name), i) != i:
            other = dataset.categories[ids[common_name(name)]]
            raise ConfigError(
                f"data set {dataset.name}: categories {other!r} and {name!r} are the same to a "
                "model; give one of them another name under dataset.categories"
            )
    known = {common_name(name) for name in model.classes}
    unknown = [name for name in dataset.categories.values() if common_name(name) not in known]
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
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_weights(path: Path) -> dict[str, Tensor]:
    """A state dict from .safetensors, or from a .pth holding tensors only. Raises ConfigError."""
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ConfigError(f"weights {path}: cannot be read ({error})") from error
    for key in ("state_dict", "model"):
        if isinstance(state.get(key), dict):
            return state[key]
    return state


def load_weights(network: torch.nn.Module, path: Path, what: str) -> None:
    """Raises ConfigError naming both sides if the file does not fit the network exactly."""
    state = {k: v.float() if v.is_floating_point() else v for k, v in read_weights(path).items()}
    own = network.state_dict()
    missing = sorted(own.keys() - state.keys())
    unknown = sorted(state.keys() - own.keys())
    shapes = sorted(k for k in own.keys() & state.keys() if own[k].shape != state[k].shape)
    if missing or unknown or shapes:
        faults = [
            f"{len(keys)} {title} (e.g. {keys[0]})"
            for title, keys in (
                ("tensors missing from the file", missing),
                ("tensors unknown to the model", unknown),
                ("tensors of another shape", shapes),
            )
            if keys
        ]
        raise ConfigError(f"weights {path} do not fit {what}: " + "; ".join(faults))
    network.load_state_dict(state)


def ready(network: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    """For evaluation; with channels last, convolutions take half the time on a CPU."""
    laid_out: torch.nn.Module = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return laid_out.eval().to(device)


@contextmanager
def fixed_draws() -> Iterator[None]:
    """Two-stage detectors draw the regions that their loss is taken on: always the same ones."""
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
