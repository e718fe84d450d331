"""What a task is: ground truth and predictions in, statistics out, and metrics from statistics."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bench.errors import ConfigError
from bench.registry import Registry
from bench.results.pictures import Mark
from bench.tasks.records import Arrays, Record

P = TypeVar("P", bound=Record)
T = TypeVar("T", bound=Record)

Shape = tuple[int | None, ...]


class Truth(Protocol):
    """A sample of a data set, as far as a task looks at it."""

    @property
    def name(self) -> str: ...

    @property
    def target(self) -> Any: ...


class DatasetLike(Protocol):
    """A data set, as far as a task looks at it; see `bench.datasets.base.Dataset`."""

    @property
    def name(self) -> str: ...

    @property
    def samples(self) -> Sequence[Truth]: ...

    @property
    def categories(self) -> Mapping[int, str]: ...

    @property
    def labelled(self) -> bool: ...

    @property
    def n_classes(self) -> int | None: ...


class ModelLike(Protocol):
    """A task model, as far as a task looks at it; see `bench.models.base.TaskModel`."""

    @property
    def classes(self) -> Sequence[str] | None: ...


def numbers_fault(arrays: Arrays, shapes: Mapping[str, Shape | None]) -> str:
    """What is wrong with the arrays named in `shapes` (None: of any shape, or of any length); empty
    if they are numbers, finite and of these shapes."""
    for name, shape in shapes.items():
        array = arrays.get(name)
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
            return f"no array of numbers {name!r}"
        fits = shape is None or (
            len(array.shape) == len(shape)
            and all(n in (None, given) for n, given in zip(shape, array.shape, strict=True))
        )
        if not fits:
            return f"{name!r} of shape {array.shape}"
        if not np.isfinite(array).all():
            return f"a value of {name!r} that is not finite"
    return ""


def placed(
    predictions: Sequence[P | None], targets: Sequence[T | None], images: Sequence[int] | None
) -> Iterator[tuple[int, P, T]]:
    """(position, prediction, target) of the images that have both. Raises ValueError if the lengths
    differ."""
    where = range(len(predictions)) if images is None else images
    for image, prediction, target in zip(where, predictions, targets, strict=True):
        if prediction is not None and target is not None:
            yield image, prediction, target


@dataclass(frozen=True)
class Metric:
    name: str
    higher_is_better: bool
    optional: bool = False
    """Whether there are models that have none; results leave it out for those."""
    version: int = 1
    """Of its definition, matching included: numbers of another version are not comparable."""

    def describe(self) -> str:
        """What two results must share to be compared on it."""
        direction = "higher" if self.higher_is_better else "lower"
        return f"{direction} is better, version {self.version}"


@dataclass(frozen=True)
class FullSet:
    """A data set that published scores were measured on, and its numbers."""

    name: str
    images: int
    labels: int
    categories: int


@dataclass(frozen=True)
class CategoryScore:
    """The headline of one category."""

    category: int
    value: float
    n: int
    """How many objects, or images, of the category it rests on."""


class Scored(ABC, Generic[P, T]):
    """How predictions of one kind are scored against targets of one kind."""

    name: str
    """By which results know it."""

    metrics: tuple[Metric, ...]
    """The first is the headline."""

    undefined: str
    """What it means that the headline is undefined on the uncompressed images, and what to do."""

    ground_truth: str | None = None
    """The column that says which rows of the statistics are ground truth, if such rows there are.
    They are the same at every operating point."""

    @abstractmethod
    def statistics(
        self,
        predictions: Sequence[P | None],
        targets: Sequence[T | None],
        images: Sequence[int] | None = None,
    ) -> pa.Table:
        """Everything that the metrics need, a few rows per image, column `image` being the image's
        position in the data set: `images`, or its place among the predictions. An image whose
        prediction is None (it failed) has no rows."""

    @abstractmethod
    def score(self, statistics: pa.Table, weights: NDArray[np.int64]) -> NDArray[np.float64]:
        """(B, n_images) non-negative integer image weights → (B, n_metrics).

        A weight w counts the image w times (copies adjacent in data set order), 0 leaves it out,
        ground truth included; weights of one give the metric itself. NaN where undefined.
        """

    def reduced(self, statistics: pa.Table) -> pa.Table:
        """Of an operating point, for a baseline: without what can change no metric under any
        weights, nor under another order of the images, and in the order that compresses best."""
        return statistics

    def wider(self) -> "Scored[P, T]":
        """The same with further metrics after these, and statistics with the further columns that
        they need, for `analysis.metrics: all`; itself where there are none."""
        return self

    def objects_by_category(
        self, statistics: pa.Table, weights: NDArray[np.int64]
    ) -> Mapping[str, NDArray[np.int64]]:
        """(n_images,) image weights → by name the metrics that are means of average precisions, and
        of how many objects in each category that has some. Few of them bias such a metric."""
        return {}

    def by_category(
        self, statistics: pa.Table, weights: NDArray[np.int64]
    ) -> Sequence[CategoryScore]:
        """(n_images,) image weights → the headline of each category that occurs there, by id; empty
        where it has no such parts."""
        return ()


class Agreement(Scored[P, T]):
    """How a task is scored on images without ground truth; its name is the task's and SUFFIX."""

    note = ""
    """What a reader of the scores should know of the reference."""

    @abstractmethod
    def reference(self, clean: P) -> T:
        """What stands for ground truth: made of the prediction on the uncompressed image."""


SUFFIX = "-agreement"


class Task(Scored[P, T]):
    """A task that a config can name, and everything that is particular to it. What has a default
    here a task may leave as it is."""

    prediction: type[P]
    """What its models return."""

    target: type[T]
    """The ground truth of a sample."""

    model: str
    """What it needs, e.g. 'a detector'."""

    agreement: Agreement[P, Any] | None = None
    """How it is scored without ground truth; None: it cannot be."""

    full_sets: tuple[FullSet, ...] = ()

    own_loss = False
    """Whether a model's own training loss is one of its metrics, see `with_losses`."""

    locates = False
    """Whether a prediction says where in the picture something is, see `regarded`."""

    def fault(self, prediction: P) -> str:
        """What makes a prediction unusable, e.g. 'a value of 'count' that is not finite'; empty if
        nothing."""
        return numbers_fault(prediction.to_arrays(), dict.fromkeys(prediction.names()))

    def match(self, model: ModelLike, dataset: DatasetLike, name: str) -> Callable[[P], P]:
        """A prediction of the model, called `name` → the same in the data set's categories.

        Either raises ConfigError, naming both sides, where model and data set do not fit.
        """
        return lambda prediction: prediction

    def with_losses(self, statistics: pa.Table, losses: Sequence[tuple[int, float]]) -> pa.Table:
        """`statistics` and the models' own training losses as (image, loss). Raises ConfigError
        where there is no metric of them."""
        raise ConfigError(f"task {self.name} has no metric of a model's own loss")

    def labels_of(self, target: T) -> int:
        """How many labels an image has."""
        return 1

    def is_full_set(self, name: str, dataset: DatasetLike) -> bool:
        """Whether a data set is that one of `full_sets`, as far as its size and labels tell."""
        labels = sum(self.labels_of(s.target) for s in dataset.samples if s.target is not None)
        seen = FullSet(name, len(dataset.samples), labels, len(dataset.categories))
        return seen in self.full_sets

    def training_targets(self, model: ModelLike, dataset: DatasetLike) -> list[Arrays]:
        """Ground truth of each sample as the training loss of this task's models takes it. Raises
        ConfigError where model and data set do not fit, or there is no such loss."""
        raise ConfigError(f"task {self.name} has no training loss of labels")

    def marks(self, prediction: P, target: T, categories: Mapping[int, str]) -> list[Mark]:
        """What to show of a prediction on its picture."""
        return []

    def regarded(self, prediction: P) -> Arrays:
        """Where a model finds something, for training: boxes (n, 4) and scores (n,)."""
        return {}


TASKS: Registry[Task[Any, Any]] = Registry(
    "task",
    "bench.tasks",
    needs=("name", "metrics", "undefined", "prediction", "target", "model", "statistics", "score"),
)
"""By the name used in configs."""


def scored(name: str) -> Scored[Any, Any] | None:
    """A task or an agreement by its name in results, one of `scored_names`; None for another."""
    known = name.removesuffix(SUFFIX)
    if known not in TASKS.names():
        return None
    task = TASKS.get(known)
    return task.agreement if name.endswith(SUFFIX) else task


def scored_names() -> list[str]:
    return [name + suffix for suffix in ("", SUFFIX) for name in TASKS.names()]
