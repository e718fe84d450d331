"""How far a task model's answer on a decoded picture is from its answer on the clean one.

No labels are needed, so any folder of photographs can train a preprocessor. Both losses are
Kullback–Leibler divergences in nats per picture, zero where coding changed nothing.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.errors import ConfigError
from bench.models import mmdet, timm, torchvision
from bench.models.base import TaskModel

Distance = Callable[[Tensor, Tensor], Tensor]
"""(clean, decoded), each (N, 3, H, W) in [0, 1] → (N,) nats, differentiable in the second."""


def distance(model: TaskModel) -> Distance:
    """Raises ConfigError for a model that has none. The model is frozen and stays in eval mode."""
    if isinstance(model, torchvision.Classifier):
        mean, std = model.preset.mean, model.preset.std
        return _classifier(model.network, mean, std)
    if isinstance(model, timm.Classifier):
        normalise = model.normalise.transforms[-1]
        return _classifier(model.network, normalise.mean, normalise.std)
    if isinstance(model, torchvision.Detector) and hasattr(model.network, "head"):
        return _dense(lambda x: _torchvision_outputs(model.network, x))
    if isinstance(model, mmdet.Detector) and hasattr(
        model.network.bbox_head, "multi_level_conv_obj"
    ):
        return _dense(lambda x: _yolox_outputs(model.network, x))
    raise ConfigError(
        f"no label-free loss for {type(model).__module__}'s {type(model).__name__} of this kind; "
        "there is one for classifiers, torchvision's one-stage detectors and mmdet's YOLOX"
    )


def _classifier(network: nn.Module, mean: object, std: object) -> Distance:
    m, s = (torch.as_tensor(v, dtype=torch.float32).view(1, 3, 1, 1) for v in (mean, std))

    def kl(clean: Tensor, decoded: Tensor) -> Tensor:
        normal = [(x - m.to(x)) / s.to(x) for x in (clean, decoded)]
        with torch.no_grad():
            target = network(normal[0]).log_softmax(dim=1)
        answer = network(normal[1]).log_softmax(dim=1)
        return functional.kl_div(answer, target, reduction="none", log_target=True).sum(dim=1)

    return kl


def _dense(outputs: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Distance:
    """For detectors that answer at every location: class logits (N, L, C), boxes (N, L, 4).

    The sum over locations and classes of the divergence between two coins, plus the boxes' shift in
    strides where the clean picture has an object, the same weight for a stride as for a nat.
    """

    def divergence(clean: Tensor, decoded: Tensor) -> Tensor:
        with torch.no_grad():
            target, boxes = outputs(clean)
            p = target.sigmoid()
            entropy = functional.binary_cross_entropy_with_logits(target, p, reduction="none")
            objectness = p.amax(dim=2)
        logits, moved = outputs(decoded)
        cross = functional.binary_cross_entropy_with_logits(logits, p, reduction="none")
        shift = functional.smooth_l1_loss(moved, boxes, reduction="none").sum(dim=2)
        return (cross - entropy).sum(dim=(1, 2)) + (objectness * shift).sum(dim=1)

    return divergence


def _torchvision_outputs(network: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    images, _ = network.transform(list(x))
    features = list(network.backbone(images.tensors).values())
    found = network.head(features)
    logits = found["cls_logits"]
    if "bbox_ctrness" in found:
        logits = torch.cat([logits, found["bbox_ctrness"]], dim=2)
    return logits, found["bbox_regression"]


def _yolox_outputs(network: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """YOLOX's own levels; the picture shrinks to 416 pixels as its pipeline does, in torch."""
    side = 416
    scale = side / max(x.shape[-2:])
    size = (round(x.shape[-2] * scale), round(x.shape[-1] * scale))
    small = functional.interpolate(255 * x, size, mode="bilinear", align_corners=False)
    padded = functional.pad(small, (0, side - size[1], 0, side - size[0]), value=114.0)
    levels = network.bbox_head(network.extract_feat(padded.flip(1)))

    def flat(maps: list[Tensor]) -> Tensor:
        return torch.cat([m.flatten(2).transpose(1, 2) for m in maps], dim=1)

    classes, boxes, objectness = (flat(list(maps)) for maps in levels)
    # A detection's score is the product of the two probabilities: its logit serves as one coin.
    score = functional.logsigmoid(classes) + functional.logsigmoid(objectness)
    logits = score - torch.log(-torch.expm1(score.clamp(max=-1e-6)))
    return logits, boxes
