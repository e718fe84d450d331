"""How far a task model's answer on a decoded picture is from its answer on the clean one.

No labels are needed, so any folder of photographs can train a preprocessor. The losses are
Kullback–Leibler divergences in nats per picture, weighted for detectors, zero where coding changed
nothing.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from bench.errors import ConfigError
from bench.models import mmdet, torchvision, torchvision_segmentation
from bench.models.base import TaskModel
from bench.models.gradients import DifferentiableClassifier

Distance = Callable[[Tensor], Callable[[Tensor], Tensor]]
"""Clean pictures (N, 3, H, W) in [0, 1] → how far decoded ones are from them, (N,) nats,
differentiable."""


def distance(model: TaskModel, longer_side: int | None = None) -> Distance:
    """Raises ConfigError for a model that has none. The model is frozen and stays in eval mode.

    A detector that shrinks its input sees a crop as part of a picture of `longer_side` pixels, by
    default as the whole picture.
    """
    answer = logits(model)
    if answer:
        return _softmax(answer)
    if isinstance(model, torchvision_segmentation.Segmenter):
        return _softmax(lambda x: model.logits(x, longer_side))
    if isinstance(model, torchvision.Detector) and hasattr(model.network, "head"):
        return _dense(lambda x: _torchvision_outputs(model.network, x))
    if isinstance(model, mmdet.Detector) and hasattr(
        getattr(model.network, "bbox_head", None), "multi_level_conv_obj"
    ):
        return _dense(lambda x: _yolox_outputs(model, x, longer_side))
    raise ConfigError(
        f"no label-free loss for {type(model).__module__}'s {type(model).__name__} of this kind; "
        "there is one for classifiers, torchvision's one-stage detectors and segmentation "
        "networks, and mmdet's YOLOX"
    )


def logits(model: TaskModel) -> Callable[[Tensor], Tensor] | None:
    """(N, 3, H, W) in [0, 1] → (N, classes) of a classifier; None for any other model."""
    return model.logits if isinstance(model, DifferentiableClassifier) else None


def _softmax(answer: Callable[[Tensor], Tensor]) -> Distance:
    """For logits (N, classes), or (N, classes, h, w): their mean over places."""

    def from_clean(clean: Tensor) -> Callable[[Tensor], Tensor]:
        with torch.no_grad():
            target = answer(clean).log_softmax(dim=1)

        def kl(decoded: Tensor) -> Tensor:
            seen = answer(decoded).log_softmax(dim=1)
            apart = functional.kl_div(seen, target, reduction="none", log_target=True).sum(dim=1)
            return apart.flatten(1).mean(dim=1) if apart.dim() > 1 else apart

        return kl

    return from_clean


def _dense(outputs: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Distance:
    """For detectors that answer at every location: logarithms of the scores that detections would
    have there (N, L, C), boxes (N, L, 4).

    The divergence between two coins that fall with the scores, weighted by the square of the higher
    score: at the thousands of locations without an object, scores of some percent move at every
    change of texture, and mAP does not see it. Plus the boxes' shift in strides where the clean
    picture has an object, the same weight for a stride as for a nat.
    """

    def from_clean(clean: Tensor) -> Callable[[Tensor], Tensor]:
        with torch.no_grad():
            log_score, boxes = outputs(clean)
            p, target = log_score.exp(), _logit(log_score)
            entropy = functional.binary_cross_entropy_with_logits(target, p, reduction="none")

        def divergence(decoded: Tensor) -> Tensor:
            log_seen, moved = outputs(decoded)
            seen = _logit(log_seen)
            cross = functional.binary_cross_entropy_with_logits(seen, p, reduction="none")
            coins = torch.maximum(p, log_seen.exp()) ** 2 * (cross - entropy)
            shift = functional.smooth_l1_loss(moved, boxes, reduction="none").sum(dim=2)
            return coins.sum(dim=(1, 2)) + (p.amax(dim=2) ** 2 * shift).sum(dim=1)

        return divergence

    return from_clean


def _logit(log_probability: Tensor) -> Tensor:
    return log_probability - torch.log(-torch.expm1(log_probability.clamp(max=-1e-6)))


def _torchvision_outputs(network: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    images, _ = network.transform(list(x))
    features = list(network.backbone(images.tensors).values())
    found = network.head(features)
    log_score = functional.logsigmoid(found["cls_logits"])
    if "bbox_ctrness" in found:
        log_score = (log_score + functional.logsigmoid(found["bbox_ctrness"])) / 2
    return log_score, found["bbox_regression"]


def _yolox_outputs(
    model: mmdet.Detector, x: Tensor, longer_side: int | None
) -> tuple[Tensor, Tensor]:
    """YOLOX's own levels."""
    inputs, _ = model.resized(x, longer_side)
    levels = model.network.bbox_head(model.network.extract_feat(inputs))

    def flat(maps: list[Tensor]) -> Tensor:
        return torch.cat([m.flatten(2).transpose(1, 2) for m in maps], dim=1)

    classes, boxes, objectness = (flat(list(maps)) for maps in levels)
    return functional.logsigmoid(classes) + functional.logsigmoid(objectness), boxes
