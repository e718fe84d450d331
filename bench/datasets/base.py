"""A data set: samples in a fixed order, each an image with its ground truth."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import ConfigError
from bench.registry import Registry


@dataclass(frozen=True)
class Sample:
    """An image and its ground truth. `name` is unique in its data set and names it to people."""

    name: str
    load: Callable[[], NDArray[np.uint8]]
    """→ (H, W, 3) RGB. Raises DataError naming the file."""
    target: Any
    """Of its task's own type, e.g. `bench.tasks.records.Objects`; None without ground truth."""
    source: Callable[[], str] | None = None
    """→ a text that differs where anything differs that the pixels are made from, found without
    making them. Raises OSError. None where there is no cheaper one than the pixels."""


@dataclass(frozen=True)
class Dataset:
    """`categories` maps the label found in targets to its name."""

    name: str
    task: str
    samples: list[Sample]
    categories: dict[int, str]
    annotations_sha256: str
    """Of images' names and ground truth: with the pixels' hashes it fingerprints the data set."""

    notes: list[str] = field(default_factory=list)
    """What a reader of the scores should know, e.g. that crowd regions are unknown."""

    labelled: bool = True
    """Without ground truth (targets are None) a model is scored by how far its predictions agree
    with its own on the uncompressed images."""

    n_classes: int | None = None
    """Of a classification set whose labels number all classes there are: the model has to give as
    many. None where the set may hold a part of the classes only."""

    left_out: tuple[str, ...] = ()
    """Names of categories in the files that are none of `categories`, since nothing is one."""

    def first(self, n: int) -> "Dataset":
        return replace(self, samples=self.samples[:n])


DATASETS: Registry[Callable[..., Dataset]] = Registry("dataset format", "bench.datasets")
"""Format → loader. A loader's parameters `root` (a folder) and `task` (its name) are filled by the
suite if it has them; all others are options that a config may give."""

FILLED = ("root", "task", "name")
TEXTS = (str, str | None, str | Path)
"""How a loader annotates an option that is a text."""


def options(format: str) -> list[str]:
    """What a config may say of a format besides `root`, `view`, `name` and `categories`."""
    return [p for p in inspect.signature(DATASETS.get(format)).parameters if p not in FILLED]


def make(format: str, task: str | None, root: Path | None, given: Mapping[str, Any]) -> Dataset:
    """The data set that a config describes; without a task, for the one that its format is for.
    Raises ConfigError, and DataError where files do not fit."""
    load = DATASETS.get(format)
    parameters = inspect.signature(load).parameters
    known = options(format)
    for option in given:
        if option not in known:
            raise ConfigError(
                f"dataset.{option}: there is no such key; the format {format} has the options: "
                f"{', '.join(known) or 'none'}"
            )
        takes = parameters[option].annotation
        if takes in TEXTS and not isinstance(given[option], takes):
            raise ConfigError(f"dataset.{option}: {given[option]!r}: a text is expected")
    filled: dict[str, Any] = {}
    if "root" in parameters:
        if root is None:
            raise ConfigError(
                f"dataset.root: the {format} data set has no folder; give --data-root DIR "
                f"(or --data-root {task or 'TASK'}=DIR)"
            )
        filled["root"] = root
    if "task" in parameters:
        if task is None and parameters["task"].default is inspect.Parameter.empty:
            raise ConfigError(f"dataset.task: the format {format} is for more than one: name it")
        if task is not None:
            filled["task"] = task
    dataset = load(**filled, **given)
    if task is not None and dataset.task != task:
        raise ConfigError(f"dataset.format: {format} is for {dataset.task}, not for {task}")
    return dataset
