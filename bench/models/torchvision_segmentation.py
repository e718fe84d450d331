"""torchvision's semantic segmentation networks, with the preprocessing that their weights name."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torchvision
from PIL import Image as PILImage
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import get_model, list_models
from torchvision.models.segmentation.lraspp import LRASPP
from torchvision.transforms._presets import SemanticSegmentation
from torchvision.transforms.functional import resize

from bench.models.base import (
    Image,
    ModelSpec,
    fetched,
    fixed_draws,
    in_batches,
    ready,
    without_weights,
)
from bench.models.gradients import at_strides, maps_inside, normalised
from bench.models.weights import load_weights
from bench.tasks.records import IGNORED, Arrays, LabelMap

AUXILIARY = ("aux_classifier.",)
"""A head that only training looks at."""
LEAST = -1e4
"""Log-probability: float16 has no less than −65504."""


@dataclass
class Segmenter:
    """A network from normalised pixels to logits of every class on a coarse grid, behind
    torchvision's own preset, which resizes the short side."""

    network: nn.Module
    preset: SemanticSegmentation
    classes: list[str] | None
    device: torch.device
    task: str = "seg"
    view: None = None  # the label map is that of the whole picture
    gives_loss: bool = True

    def predict(self, images: list[Image], viewed: bool) -> list[LabelMap]:
        """Labels are the argmax of the logits resized twice, bilinearly: to the network's input, as
        it does itself, and to the picture. Log-probabilities are those of the coarse grid."""
        inputs = [(self.preset(PILImage.fromarray(i)), i.shape[:2]) for i in images]
        return in_batches(self._labelled, inputs, lambda item: item[0].shape)

    @torch.inference_mode()
    def _labelled(self, inputs: list[tuple[Tensor, tuple[int, int]]]) -> list[LabelMap]:
        x = torch.stack([tensor for tensor, _ in inputs]).to(self.device)
        coarse = self._coarse(x).float()
        answers = coarse.log_softmax(dim=1).clamp(min=LEAST).half().cpu().numpy()
        found = []
        for logits, answer, (_, size) in zip(coarse, answers, inputs, strict=True):
            labels = _resized(_resized(logits[None], x.shape[-2:]), size)[0].argmax(dim=0)
            found.append(LabelMap(labels.to(torch.uint8).cpu().numpy(), answer))
        return found

    def _maps(self, x: Tensor) -> dict[str, Tensor]:
        """Normalised pixels → what the head sees."""
        network: Any = self.network
        maps: dict[str, Tensor] = network.backbone(x)
        return maps if isinstance(network, LRASPP) else {"out": maps["out"]}

    def _coarse(self, x: Tensor) -> Tensor:
        """Normalised pixels (N, 3, H, W) → logits (N, classes, h, w)."""
        network: Any = self.network
        maps = self._maps(x)
        return network.classifier(maps if isinstance(network, LRASPP) else maps["out"])

    # --- for training a preprocessor --------------------------------------------------------------

    def _seen(self, x: Tensor, longer_side: int | None) -> Tensor:
        """(N, 3, H, W) in [0, 1] → the network's input: resized as the preset does, but for its
        rounding to 8 bits, as part of a picture of its shape and `longer_side` pixels, by default
        as whole, and normalised."""
        preset, (height, width) = self.preset, x.shape[-2:]
        size: list[int] = preset.resize_size  # of the short side
        if longer_side is not None:
            factor = size[0] * max(height, width) / (min(height, width) * longer_side)
            size = [round(height * factor), round(width * factor)]
        resized = resize(x, size, preset.interpolation, antialias=preset.antialias)
        return normalised(nn.Identity(), preset.mean, preset.std)(resized)

    def logits(self, x: Tensor, longer_side: int | None = None) -> Tensor:
        """(N, 3, H, W) in [0, 1] → (N, classes, h, w)."""
        return self._coarse(self._seen(x, longer_side))

    def loss(self, x: Tensor, targets: list[Arrays], longer_side: int | None = None) -> Tensor:
        """Cross-entropy in nats, the mean over the pixels that are not ignored; 0 without any."""
        logits = _resized(self.logits(x, longer_side), x.shape[-2:])
        regions = torch.from_numpy(np.stack([t["regions"] for t in targets])).long().to(x.device)
        lost = functional.cross_entropy(logits, regions, ignore_index=IGNORED, reduction="none")
        judged = (regions != IGNORED).sum(dim=(1, 2)).clamp(min=1)
        return lost.sum(dim=(1, 2)) / judged

    def features(self, x: Tensor, longer_side: int | None = None) -> list[Tensor]:
        """Of the backbone."""
        backbone: Any = self.network.backbone
        seen = self._seen(x, longer_side)
        return at_strides(seen, self._maps(seen).values()) or maps_inside(backbone, backbone, seen)


def _resized(logits: Tensor, size: Any) -> Tensor:
    return functional.interpolate(logits, size, mode="bilinear", align_corners=False)


def names() -> list[str]:
    return list_models(module=torchvision.models.segmentation)


def load(spec: ModelSpec, weights: Any, device: torch.device) -> Segmenter:
    """`weights` is the member of the model's enum whose preprocessing is taken. A file for another
    number of classes does not name them: they are the data set's. Raises ConfigError."""
    if not spec.weights:
        raise without_weights(spec)
    classes = list(weights.meta["categories"])

    def built(n: int) -> nn.Module:
        with fixed_draws():
            return get_model(
                spec.name, weights=None, weights_backbone=None, num_classes=n, aux_loss=False
            )

    if spec.weights_file:
        network: Any = load_weights(
            built(len(classes)),
            spec.weights_file,
            f"torchvision {spec.name}",
            spec.chosen,
            aside=AUXILIARY,
            classes=len(classes),
            rebuilt=built,
        )
    elif spec.random:
        network = built(len(classes))
    else:
        network = fetched(spec, lambda: get_model(spec.name, weights=weights))
        network.aux_classifier = None
    answers = [*network.classifier.parameters()][-1].shape[0]
    return Segmenter(
        ready(network, device),
        weights.transforms(),
        classes if answers == len(classes) else None,
        device,
    )
