"""Models and data sets, as far as a task looks at them."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Model:
    classes: list[str] | None = None


@dataclass
class Sample:
    target: Any
    name: str = "a"


@dataclass
class Data:
    samples: list[Sample]
    categories: dict[int, str]
    n_classes: int | None = None
    labelled: bool = True
    name: str = "streets"
    left_out: tuple[str, ...] = field(default=())
