"""timm's classifiers, with the preprocessing of the model's own data config."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image as PILImage
from timm.data.config import resolve_model_data_config
from timm.data.transforms_factory import create_transform
from torch import nn
from torchvision.transforms import Compose

from bench.errors import ConfigError
from bench.models.base import (
    LIBRARIES,
    Image,
    Library,
    ModelSpec,
    TaskModel,
    in_batches,
    load_weights,
)
from bench.tasks.base import Prediction


@dataclass
class Classifier:
    """timm's own evaluation transform, split where the 8-bit pixels end."""

    network: nn.Module
    resize_and_crop: Compose
    normalise: Compose
    device: torch.device
    task: str = "cls"
    classes: None = None

    def view(self, rgb: Image) -> Image:
        return np.asarray(self.resize_and_crop(PILImage.fromarray(rgb)))

    def predict(self, images: list[Image], viewed: bool) -> list[Prediction]:
        views = images if viewed else [self.view(i) for i in images]
        return in_batches(self._logits, views, lambda v: v.shape)

    @torch.inference_mode()
    def _logits(self, views: list[Image]) -> list[Prediction]:
        x = torch.stack([self.normalise(PILImage.fromarray(v)) for v in views])
        return [{"logits": row} for row in self.network(x.to(self.device)).float().cpu().numpy()]


def _load(spec: ModelSpec, device: torch.device) -> TaskModel:
    if not timm.is_model(spec.name):
        near = ", ".join(timm.list_models(f"*{spec.name[:8]}*")[:5])
        raise ConfigError(f"timm has no model {spec.name!r}" + (f"; near: {near}" if near else ""))
    if spec.weights and not spec.weights_file:
        # A tag of timm's own weights, e.g. "a1_in1k": fetched by timm.
        network = timm.create_model(f"{spec.name}.{spec.weights}", pretrained=True)
    else:
        network = timm.create_model(spec.name, pretrained=False)
    if spec.weights_file:
        load_weights(network, spec.weights_file, f"timm {spec.name}")
    data_config: dict[str, Any] = resolve_model_data_config(network)  # type: ignore[no-untyped-call]
    steps = create_transform(**data_config, is_training=False).transforms
    pixels_end = next(i for i, s in enumerate(steps) if type(s).__name__ == "MaybeToTensor")
    return Classifier(
        network.eval().to(device), Compose(steps[:pixels_end]), Compose(steps[pixels_end:]), device
    )


def _fingerprint(spec: ModelSpec) -> dict[str, str]:
    config: Any = timm.get_pretrained_cfg(spec.name)
    keys = ("input_size", "interpolation", "crop_pct", "crop_mode", "mean", "std")
    return {"timm": timm.__version__} | {k: str(getattr(config, k, None)) for k in keys}


def _no_default(name: str) -> Path | None:
    return None


LIBRARIES.register("timm")(Library(_load, timm.list_models, _fingerprint, _no_default))
