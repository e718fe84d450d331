"""What else a preprocessor can be trained on: the task model's own loss, or its features."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bench.datasets.base import Dataset, Sample
from bench.errors import ConfigError
from bench.models import mmdet
from bench.models.base import Differentiable, TaskModel
from bench.models.gradients import DifferentiableClassifier
from bench.tasks import TASKS
from bench.tasks.records import Arrays
from bench.training.losses import distance

MARGIN, UNREGARDED = 4, 0.1
"""Of detections that count: pixels around them, weight where there are none."""

Kind = Literal["answer", "labels", "features", "relevance"]
Features = Callable[[Tensor], list[Tensor]]
"""(N, 3, H, W) in [0, 1] → maps with N first, differentiable."""
TaskLoss = Callable[[Tensor, list[Arrays]], Callable[[Tensor], Tensor]]
"""Clean pictures (N, 3, H, W) in [0, 1] and the N targets of `labelled` or `regarded` → what
decoded pictures of the same shape cost, (N,), differentiable; no buffer of the task model changes.
In two steps, as a codec may still be at work on the decoded ones during the first."""


def task_loss(kind: Kind, model: TaskModel, longer_side: int | None = None) -> TaskLoss:
    """What a decoded picture costs, by `kind`:

    - answer: `losses.distance` of the model's answer from that on the clean picture
    - labels: the model's own training loss on the decoded picture
    - features: the mean over its feature maps of the squared distance from the clean picture's
      map, as a share of that map's variance; for a detector more where it finds something, see
      `regarded`
    - relevance: the same over a classifier's maps at strides 8, 16 and 32, and more where its
      answer depends on what is there

    A feature map's gradient is steadier than the answer's: along filters and gains of the picture
    it agrees with the real codec's finite differences, where the answer's drowns in noise (see
    docs/research/training.md).

    `longer_side` as for `losses.distance`. Raises ConfigError for a model that has none.
    """
    if kind == "labels":
        own = _own_loss(model, longer_side)
        return lambda clean, targets: lambda decoded: own(decoded, targets)
    if kind == "relevance":
        return _between_relevant(model)
    if kind == "features":
        return _between(features(model, longer_side))
    answer = distance(model, longer_side)
    return lambda clean, targets: answer(clean)


def labelled(dataset: Dataset, model: TaskModel) -> list[Sample]:
    """The samples with their targets as the model's own loss takes them, the `training_targets` of
    its task. Raises ConfigError where the data set has no such labels, or categories that the model
    does not know."""
    task = TASKS.get(model.task)
    bare = next((s.name for s in dataset.samples if not isinstance(s.target, task.target)), None)
    if bare is not None:
        raise ConfigError(
            f"loss: 'labels' needs labels of every picture, and data set {dataset.name} has none "
            f"for {bare}; use a labelled data set for {model.task}, or loss 'answer' or "
            "'features', which read no labels"
        )
    targets = task.training_targets(model, dataset)
    return [replace(s, target=t) for s, t in zip(dataset.samples, targets, strict=True)]


def _own_loss(
    model: TaskModel, longer_side: int | None
) -> Callable[[Tensor, list[Arrays]], Tensor]:
    if isinstance(model, Differentiable) and model.gives_loss:
        return lambda x, targets: model.loss(x, targets, longer_side)
    raise ConfigError(
        f"no own loss for {type(model).__module__}'s {type(model).__name__} of this kind; there is "
        "one for classifiers, torchvision's segmentation networks and its detectors without masks "
        f"or keypoints, and mmdet's {', '.join(mmdet.LOSS_FROM_BOXES)}"
    )


def features(model: TaskModel, longer_side: int | None = None) -> Features:
    """Maps at gradients.STRIDES: of what a detector's head sees (mmdet's at DEEP_STRIDES), or a
    classifier's last output there.

    Raises ConfigError for a model that has none.
    """
    if isinstance(model, Differentiable):
        return lambda x: model.features(x, longer_side)
    raise ConfigError(
        f"no features of {type(model).__module__}'s {type(model).__name__}; there are those of "
        "the classifiers, detectors and segmentation networks of torchvision, timm, mmdet and "
        "mmpretrain"
    )


def regarded(samples: list[Sample], model: TaskModel) -> list[Sample]:
    """The samples with what a detector itself finds on them as targets, {boxes, scores}: no labels
    are needed. Those of a model that locates nothing are empty."""
    task = TASKS.get(model.task)
    if not task.locates:
        return [replace(s, target={}) for s in samples]
    targets: list[Arrays] = []
    for start in range(0, len(samples), 16):
        pictures = [s.load() for s in samples[start : start + 16]]
        targets += [task.regarded(found) for found in model.predict(pictures, False)]
    return [replace(s, target=t) for s, t in zip(samples, targets, strict=True)]


def attention(targets: list[Arrays], side: int) -> Tensor:
    """(N, 1, side / 8, side / 8): the root of the score of the best detection whose box, grown by
    MARGIN pixels, is there, and UNREGARDED where there is none."""
    weights = torch.full((len(targets), 1, side // 8, side // 8), UNREGARDED)
    for weight, target in zip(weights, targets, strict=True):
        order = np.argsort(target["scores"])
        for (x0, y0, x1, y1), score in zip(
            target["boxes"][order], target["scores"][order], strict=True
        ):
            left, top = (max(0, int((v - MARGIN) // 8)) for v in (x0, y0))
            right, bottom = (int((v + MARGIN) // 8) + 1 for v in (x1, y1))
            weight[0, top:bottom, left:right].clamp_(min=math.sqrt(score))
    return weights


Where = Callable[[Tensor, list[Arrays]], Tensor]
"""Clean pictures (N, 3, S, S) and their targets → where they count, (N, 1, S / 8, S / 8) from 0 to
1."""


def where_it_counts(model: TaskModel) -> Where:
    """`attention` of a detector's finds; of a classifier how much its answer depends on a place, r
    times the mean, as r / (1 + r)."""
    if TASKS.get(model.task).locates:
        return lambda clean, targets: attention(targets, clean.shape[-1]).to(clean)
    if not isinstance(model, DifferentiableClassifier):
        raise ConfigError(
            f"guidance: {type(model).__module__}'s {type(model).__name__} neither locates nor "
            "classifies; leave it out"
        )

    def relevant(clean: Tensor, targets: list[Arrays]) -> Tensor:
        middle = model.relevance(clean)[1][1]  # at stride 16
        size = (clean.shape[-2] // 8, clean.shape[-1] // 8)
        return functional.interpolate(middle / (1 + middle), size, mode="bilinear")

    return relevant


def _between(maps: Features) -> TaskLoss:
    def from_clean(clean: Tensor, targets: list[Arrays]) -> Callable[[Tensor], Tensor]:
        with torch.no_grad():
            wanted = maps(clean)
        weights = [torch.ones(()).to(clean)] * len(wanted)
        if "boxes" in targets[0]:
            regard = attention(targets, clean.shape[-1]).to(clean)
            weights = [functional.interpolate(regard, m.shape[2:], mode="area") for m in wanted]
        return lambda decoded: _apart(wanted, maps(decoded), weights)

    return from_clean


def _between_relevant(model: TaskModel) -> TaskLoss:
    if not isinstance(model, DifferentiableClassifier):
        raise ConfigError(
            f"loss 'relevance' is for classifiers, and {type(model).__module__}'s "
            f"{type(model).__name__} is none; for detectors 'features' counts where they find "
            "something"
        )

    def from_clean(clean: Tensor, targets: list[Arrays]) -> Callable[[Tensor], Tensor]:
        wanted, weights = model.relevance(clean)
        return lambda decoded: _apart(wanted, model.deep_features(decoded), weights)

    return from_clean


def _apart(wanted: list[Tensor], seen: list[Tensor], weights: list[Tensor]) -> Tensor:
    """(N,) the mean over maps of their weighted squared distance, as a share of their variance."""
    total = torch.zeros(len(wanted[0])).to(wanted[0])
    for a, b, weight in zip(wanted, seen, weights, strict=True):
        error = weight * ((b - a) ** 2).mean(dim=1, keepdim=True)
        total = total + error.mean(dim=(1, 2, 3)) / a.var(dim=(1, 2, 3)).clamp(min=1e-12)
    return total / len(wanted)
