"""timm's classifiers, with the preprocessing of the model's own data config.

timm is imported when the first of its models is asked for: it takes half a second.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image as PILImage
from torch import Tensor, nn
from torchvision.transforms import Compose

from bench.datasets.views import ModelView
from bench.errors import ConfigError
from bench.models.base import (
    LIBRARIES,
    Image,
    Library,
    ModelSpec,
    TaskModel,
    fetched,
    fixed_draws,
    in_batches,
    ready,
    without_weights,
)
from bench.models.gradients import DifferentiableClassifier, normalised
from bench.models.weights import load_weights
from bench.tasks.records import Logits


@dataclass
class Classifier(DifferentiableClassifier):
    """timm's own evaluation transform, of which `normalise` is what follows the 8-bit pixels."""

    network: nn.Module
    transform: Compose
    normalise: Compose
    view: ModelView | None
    device: torch.device
    task: str = "cls"
    classes: None = None

    def logits(self, x: Tensor) -> Tensor:
        last: Any = self.normalise.transforms[-1]
        return normalised(self.network, last.mean, last.std)(x)

    def predict(self, images: list[Image], viewed: bool) -> list[Logits]:
        prepare = self.normalise if viewed else self.transform
        inputs = [prepare(PILImage.fromarray(i)) for i in images]
        return in_batches(self._logits, inputs, lambda x: x.shape)

    @torch.inference_mode()
    def _logits(self, inputs: list[Tensor]) -> list[Logits]:
        logits = self.network(torch.stack(inputs).to(self.device)).float().cpu().numpy()
        return [Logits(row) for row in logits]


def _view(data_config: dict[str, Any]) -> ModelView | None:
    _, height, width = data_config["input_size"]
    if height != width or data_config["crop_mode"] != "center":
        return None
    return ModelView(
        math.floor(height / data_config["crop_pct"]), height, data_config["interpolation"]
    )


def _described(name: str) -> Any:
    """What timm says of a model. Raises ConfigError for a name that it does not know."""
    import timm

    try:
        if timm.is_model(name):
            return timm.get_pretrained_cfg(name)
        near = ", ".join(timm.list_models(f"*{name[:8]}*")[:5])
        why = f"near: {near}" if near else "`run_bench.py list models` names them"
    except RuntimeError as error:  # of a name with a tag
        why = str(error)
    raise ConfigError(f"timm has no model {name!r}; {why}")


def _built(name: str, **options: Any) -> nn.Module:
    """Untrained, the same every time. Raises ConfigError."""
    import timm

    try:
        with fixed_draws():
            network: nn.Module = timm.create_model(name, pretrained=False, **options)
    except Exception as error:
        raise ConfigError(f"timm cannot build {name}: {type(error).__name__}: {error}") from error
    return network


def _network(spec: ModelSpec) -> nn.Module:
    if not spec.weights:
        raise without_weights(spec)
    if spec.random:
        return _built(spec.name)
    if spec.weights_file:
        network: Any = _built(spec.name)
        return load_weights(
            network,
            spec.weights_file,
            f"timm {spec.name}",
            spec.chosen,
            classes=network.num_classes,
            rebuilt=lambda n: _built(spec.name, num_classes=n),
        )
    import timm

    # A tag of timm's own weights, e.g. "a1_in1k": fetched by timm.
    name = f"{spec.name}.{spec.weights}"
    return fetched(spec, lambda: timm.create_model(name, pretrained=True))


def _load(spec: ModelSpec, device: torch.device) -> TaskModel:
    from timm.data.config import resolve_model_data_config
    from timm.data.transforms_factory import create_transform

    _described(spec.name)
    network = _network(spec)
    data_config: dict[str, Any] = resolve_model_data_config(network)  # type: ignore[no-untyped-call]
    transform = create_transform(**data_config, is_training=False)
    steps = transform.transforms
    pixels_end = next(i for i, s in enumerate(steps) if type(s).__name__ == "MaybeToTensor")
    return Classifier(
        ready(network, device),
        transform,
        Compose(steps[pixels_end:]),
        _view(data_config),
        device,
    )


def _fingerprint(spec: ModelSpec) -> dict[str, str]:
    import timm

    config = _described(spec.name)
    keys = ("input_size", "interpolation", "crop_pct", "crop_mode", "mean", "std")
    return {"timm": timm.__version__} | {k: str(getattr(config, k, None)) for k in keys}


def _names() -> list[str]:
    import timm

    names: list[str] = timm.list_models()
    return names


LIBRARIES.register("timm")(Library(_load, _names, _fingerprint))
