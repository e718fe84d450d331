"""A data set: samples in a fixed order, each an image with its ground truth."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from bench.registry import Registry
from bench.tasks.base import Target


@dataclass(frozen=True)
class Sample:
    """An image and its ground truth. `name` is unique in its data set and names it to people."""

    name: str
    load: Callable[[], NDArray[np.uint8]]
    """→ (H, W, 3) RGB. Raises DataError naming the file."""
    target: Target


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

    def first(self, n: int) -> "Dataset":
        return replace(self, samples=self.samples[:n])


DATASETS: Registry[Callable[..., Dataset]] = Registry("dataset format", "bench.datasets")
