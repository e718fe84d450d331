"""Names of one category in different data sets and models, and which of them are the same."""

from collections.abc import Callable, Sequence, Set

import numpy as np
from numpy.typing import NDArray

from bench.errors import ConfigError
from bench.tasks.base import DatasetLike, ModelLike

ALIASES = {
    "aeroplane": "airplane",
    "diningtable": "dining table",
    "motorbike": "motorcycle",
    "pottedplant": "potted plant",
    "sofa": "couch",
    "tvmonitor": "tv",
}
"""Pascal VOC's names → COCO's, where the two differ."""


def common_name(name: str) -> str:
    """By which categories are matched: COCO's name, whatever the case, `_` and `-` as spaces."""
    plain = " ".join(name.lower().replace("_", " ").replace("-", " ").split())
    return ALIASES.get(plain, plain)


def categories_of_classes(
    model: ModelLike, dataset: DatasetLike, used: Set[int] | None = None
) -> NDArray[np.int64] | None:
    """A model's class index → category id by `common_name`, −1 for classes that the data set
    lacks; None where its labels are category ids already, or the data set has no labels.

    `used` are the categories that occur in the ground truth, by default as labels of objects.
    Raises ConfigError if one of them is unknown to the model, or two are the same. Categories that
    do not occur add nothing to a score and stop nothing.
    """
    if model.classes is None or not dataset.labelled:
        return None
    if used is None:
        labels = [s.target.labels for s in dataset.samples]
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


def label_matcher(
    model: ModelLike, dataset: DatasetLike, name: str
) -> Callable[[NDArray[np.int64]], NDArray[np.int64]]:
    """Class indices of the model, called `name` → category ids, −1 for classes that the data set
    lacks; where the model names no classes they are category ids already.

    Raises ConfigError as `categories_of_classes`; what it returns does for an index without a name.
    """
    classes = model.classes
    if classes is None:
        return lambda labels: labels
    mapping = categories_of_classes(model, dataset)

    def matched(labels: NDArray[np.int64]) -> NDArray[np.int64]:
        largest = max(labels.tolist(), default=0)
        if largest >= len(classes):
            raise ConfigError(
                f"model {name} gives class index {largest}, but names {len(classes)} classes only"
            )
        return labels if mapping is None else mapping[labels]

    return matched


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
