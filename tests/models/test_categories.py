"""Which of a data set's categories a detector has to know: those that its objects carry."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from bench.datasets.base import Dataset, Sample
from bench.errors import ConfigError
from bench.tasks import TASKS
from bench.tasks.categories import categories_of_classes
from bench.tasks.records import Objects


@dataclass
class Detector:
    classes: Sequence[str] | None
    task: str = "det"
    view: None = None

    def predict(self, images: list[Any], viewed: bool) -> list[Any]:
        raise AssertionError


MODEL: Any = Detector(["cat", "dog", "cell phone"])


def target(labels: list[int]) -> Objects:
    n = len(labels)
    return Objects(
        boxes=np.tile(np.array([[1.0, 1, 9, 9]]), (n, 1)),
        labels=np.array(labels, np.int64),
        area=np.full(n, 64.0),
        iscrowd=np.zeros(n, bool),
        ignore=np.zeros(n, bool),
    )


def dataset(categories: dict[int, str], *labels: list[int]) -> Dataset:
    return Dataset(
        "pets",
        "det",
        [
            Sample(f"{i}", lambda: np.zeros((9, 9, 3), np.uint8), target(k))
            for i, k in enumerate(labels)
        ],
        categories,
        "0",
    )


@pytest.mark.parametrize(
    ("categories", "expected"),
    [
        ({1: "Cat", 2: "dog", 3: "cell_phone"}, [1, 2, 3]),
        ({0: "pets", 1: "cat", 2: "dog"}, [1, 2, -1]),
        ({0: "dog", 1: "cat", 2: "dog"}, [1, 2, -1]),
        ({1: "cat", 2: "dog", 9: "dog", 8: "DOG"}, [1, 2, -1]),
        ({0: "x", 1: "cat", 2: "dog", 5: "x", 6: "phone"}, [1, 2, -1]),
    ],
)
def test_a_category_without_objects_stops_nothing(
    categories: dict[int, str], expected: list[int]
) -> None:
    data = dataset(categories, [1], [2, 1], [])
    found = categories_of_classes(MODEL, data)
    assert found is not None
    assert found.tolist() == expected
    assert [t["labels"].tolist() for t in TASKS.get("det").training_targets(MODEL, data)] == [
        [0],
        [1, 0],
        [],
    ]


@pytest.mark.parametrize(
    ("categories", "said"),
    [
        ({0: "pets", 1: "cat", 2: "dog"}, "has 1 categories that the model does not know: pets"),
        ({0: "dog", 1: "cat", 2: "Dog"}, "'dog' and 'Dog' are the same to a model"),
        ({2: "Dog", 1: "cat", 0: "dog"}, "'Dog' and 'dog' are the same to a model"),
    ],
)
def test_a_category_of_an_object_has_to_be_known_and_one(
    categories: dict[int, str], said: str
) -> None:
    data = dataset(categories, [1], [2], [0])
    with pytest.raises(ConfigError, match=said):
        categories_of_classes(MODEL, data)
    crowd = replace(data.samples[2].target, iscrowd=np.array([True]))
    crowded = replace(data, samples=[*data.samples[:2], replace(data.samples[2], target=crowd)])
    with pytest.raises(ConfigError, match=said):
        categories_of_classes(MODEL, crowded)


def test_no_objects_and_no_names() -> None:
    empty = dataset({1: "unicorn"}, [], [])
    found = categories_of_classes(MODEL, empty)
    assert found is not None
    assert found.tolist() == [-1, -1, -1]
    nameless: Any = Detector(None)
    assert categories_of_classes(nameless, dataset({7: "unicorn"}, [7])) is None
