"""torchvision's classifiers and detectors, with the preprocessing that their weights name."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torchvision
from PIL import Image as PILImage
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights, list_models
from torchvision.transforms.functional import center_crop, resize

from bench.errors import ConfigError
from bench.models.base import LIBRARIES, Image, Library, ModelSpec, TaskModel, in_batches
from bench.models.base import load_weights as load_file_weights
from bench.tasks.base import Prediction


def pixels(rgb: Image) -> Tensor:
    """(H, W, 3) uint8 → (3, H, W) float32 in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1))).float() / 255


@dataclass
class Classifier:
    """A network from normalised pixels to logits, and torchvision's ImageClassification preset
    split where the 8-bit pixels end: resize and crop before, normalisation after."""

    network: nn.Module
    resize_size: list[int]
    crop_size: list[int]
    interpolation: Any
    mean: list[float]
    std: list[float]
    device: torch.device
    task: str = "cls"
    classes: None = None

    def view(self, rgb: Image) -> Image:
        picture = resize(PILImage.fromarray(rgb), self.resize_size, self.interpolation)
        return np.asarray(center_crop(picture, self.crop_size))

    def predict(self, images: list[Image], viewed: bool) -> list[Prediction]:
        views = images if viewed else [self.view(i) for i in images]
        return in_batches(self._logits, views, lambda v: v.shape)

    @torch.inference_mode()
    def _logits(self, views: list[Image]) -> list[Prediction]:
        x = torch.stack([pixels(v) for v in views]).to(self.device)
        mean, std = (
            torch.tensor(v, device=self.device).view(3, 1, 1) for v in (self.mean, self.std)
        )
        logits = self.network((x - mean) / std).float().cpu().numpy()
        return [{"logits": row} for row in logits]


@dataclass
class Detector:
    """A torchvision detector, which resizes and normalises inside; pictures of equal size share a
    batch, since padding to a common size would let neighbours change a prediction."""

    network: nn.Module
    classes: list[str] | None
    device: torch.device
    task: str = "det"

    def view(self, rgb: Image) -> Image:
        raise ConfigError(
            "view 'model' is not defined for torchvision's detectors: they resize in floating "
            "point; use view: native"
        )

    def predict(self, images: list[Image], viewed: bool) -> list[Prediction]:
        return in_batches(self._detect, images, lambda i: i.shape)

    @torch.inference_mode()
    def _detect(self, images: list[Image]) -> list[Prediction]:
        outputs = self.network([pixels(i).to(self.device) for i in images])
        return [{k: o[k].cpu().numpy() for k in ("boxes", "scores", "labels")} for o in outputs]


def _weights(spec: ModelSpec) -> Any:
    """The named member of the model's weights enum, or its default for the preprocessing of a
    checkpoint file."""
    if spec.name not in _names():
        raise ConfigError(f"torchvision has no classifier or detector named {spec.name!r}")
    enum = get_model_weights(spec.name)
    if spec.weights is None or spec.weights_file:
        return enum.DEFAULT
    try:
        return enum[spec.weights]
    except KeyError:
        raise ConfigError(
            f"model {spec.name}: weights {spec.weights!r} are neither a file nor one of "
            f"torchvision's: {', '.join(w.name for w in enum)}"
        ) from None


def _names() -> list[str]:
    return list_models(module=torchvision.models) + list_models(module=torchvision.models.detection)


def _load(spec: ModelSpec, device: torch.device) -> TaskModel:
    weights = _weights(spec)
    detector = spec.name in list_models(module=torchvision.models.detection)
    extra: dict[str, Any] = {"weights_backbone": None} if detector else {}
    extra["num_classes"] = len(weights.meta["categories"])
    if spec.name in ("googlenet", "inception_v3"):
        extra["transform_input"] = True  # what their builders set with weights of their own
    if spec.weights_file:
        network = get_model(spec.name, weights=None, **extra)
        load_file_weights(network, spec.weights_file, f"torchvision {spec.name}")
    elif spec.weights:
        network = get_model(spec.name, weights=weights)
    else:
        network = get_model(spec.name, weights=None, **extra)
    network.eval().to(device)
    if detector:
        return Detector(network, list(weights.meta["categories"]), device)
    preset = weights.transforms()
    return Classifier(
        network,
        preset.resize_size,
        preset.crop_size,
        preset.interpolation,
        preset.mean,
        preset.std,
        device,
    )


def _fingerprint(spec: ModelSpec) -> dict[str, str]:
    return {"torchvision": torchvision.__version__, "preset": str(_weights(spec).transforms())}


LIBRARIES.register("torchvision")(Library(_load, _names, _fingerprint, lambda name: None))
