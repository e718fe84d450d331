"""torchvision's classifiers and detectors, with the preprocessing that their weights name; its
segmentation networks are in `torchvision_segmentation`."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torchvision
from PIL import Image as PILImage
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights, list_models
from torchvision.transforms._presets import ImageClassification
from torchvision.transforms.functional import normalize

from bench.datasets.views import ModelView
from bench.errors import ConfigError
from bench.models import torchvision_segmentation
from bench.models.base import (
    LIBRARIES,
    Image,
    Library,
    ModelSpec,
    Stated,
    TaskModel,
    fetched,
    fixed_draws,
    in_batches,
    published,
    ready,
    without_weights,
)
from bench.models.gradients import DifferentiableClassifier, at_strides, maps_inside, normalised
from bench.models.instances import Found, asked, runs
from bench.models.sharing import Part, with_losses
from bench.models.weights import load_weights
from bench.tasks.records import Arrays, Detections, Instances, Logits

AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
"""Heads of GoogLeNet and Inception that only training looks at: a file may lack them."""


def pixels(rgb: Image) -> Tensor:
    """(H, W, 3) uint8 → (3, H, W) float32 in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1))).float() / 255


@dataclass
class Classifier(DifferentiableClassifier):
    """A network from normalised pixels to logits, behind torchvision's own preset."""

    network: nn.Module
    preset: ImageClassification
    device: torch.device
    task: str = "cls"
    classes: None = None

    @property
    def view(self) -> ModelView:
        p = self.preset
        return ModelView(p.resize_size[0], p.crop_size[0], p.interpolation.value)

    def logits(self, x: Tensor) -> Tensor:
        return normalised(self.network, self.preset.mean, self.preset.std)(x)

    def predict(self, images: list[Image], viewed: bool) -> list[Logits]:
        inputs = [
            normalize(pixels(i), self.preset.mean, self.preset.std)
            if viewed
            else self.preset(PILImage.fromarray(i))
            for i in images
        ]
        return in_batches(self._logits, inputs, lambda x: x.shape)

    @torch.inference_mode()
    def _logits(self, inputs: list[Tensor]) -> list[Logits]:
        logits = self.network(torch.stack(inputs).to(self.device)).float().cpu().numpy()
        return [Logits(row) for row in logits]


@dataclass
class Detector:
    """A torchvision detector, which resizes and normalises inside; pictures of equal size share a
    batch, since padding to a common size would let neighbours change a prediction. Mask R-CNN may
    be asked for its `masks`, too."""

    network: nn.Module
    classes: list[str] | None
    device: torch.device
    masks: bool = False
    view: None = None  # they resize in floating point

    @property
    def task(self) -> str:
        return "ins" if self.masks else "det"

    def predict(self, images: list[Image], viewed: bool) -> list[Found]:
        return in_batches(self._detect, images, lambda i: i.shape)

    @torch.inference_mode()
    def _detect(self, images: list[Image]) -> list[Found]:
        outputs = self.network([pixels(i).to(self.device) for i in images])
        return [self._found(output) for output in outputs]

    def _found(self, output: dict[str, Tensor]) -> Found:
        arrays = {name: output[name].cpu().numpy() for name in Detections.names()}
        if not self.masks or "masks" not in output:
            return Detections(**arrays)
        # As torchvision's own evaluation has it.
        return Instances(**arrays, **runs(output["masks"][:, 0] > 0.5))

    @property
    def gives_loss(self) -> bool:
        regions: Any = getattr(self.network, "roi_heads", None)
        return regions is None or not (regions.has_mask() or regions.has_keypoint())

    @torch.inference_mode()
    def losses(self, images: list[Image], targets: list[Arrays]) -> list[float]:
        return training_losses(
            self.network, [pixels(i).to(self.device) for i in images], targets
        ).tolist()

    def predict_with_losses(
        self, images: list[Image], targets: list[Arrays], viewed: bool
    ) -> list[tuple[Found, float]]:
        pairs = list(zip(images, targets, strict=True))
        return in_batches(self._detect_with_losses, pairs, lambda pair: pair[0].shape)

    def _detect_with_losses(self, pairs: list[tuple[Image, Arrays]]) -> list[tuple[Found, float]]:
        def loss(i: int) -> float:
            return self.losses([pairs[i][0]], [pairs[i][1]])[0]

        return with_losses(lambda: self._detect([image for image, _ in pairs]), loss, self._parts)

    @property
    def _parts(self) -> list[Part]:
        """Backbone, and the head of a one-stage detector or that which proposes regions."""
        network: Any = self.network
        heads = [getattr(of, "head", None) for of in (network, getattr(network, "rpn", None))]
        return [(m, "forward") for m in (network.backbone, *heads) if m is not None]

    def loss(self, x: Tensor, targets: list[Arrays], longer_side: int | None = None) -> Tensor:
        if not self.gives_loss:
            raise ConfigError(
                f"no own loss of torchvision's {type(self.network).__name__}: it is trained on "
                "masks or keypoints; use loss 'features'"
            )
        return training_losses(self.network, list(x), targets)

    def features(self, x: Tensor, longer_side: int | None = None) -> list[Tensor]:
        """Of the backbone."""
        seen: Any = self.network
        prepared = seen.transform(list(x))[0].tensors
        maps = at_strides(prepared, seen.backbone(prepared).values())
        return maps or maps_inside(seen.backbone, seen.backbone, prepared)


def training_losses(network: nn.Module, images: list[Tensor], targets: list[Arrays]) -> Tensor:
    """(3, H, W) in [0, 1] each, and their boxes and labels → (N,) the sum of the detector's
    training losses on each picture by itself, differentiable in the pixels; no buffer changes."""
    # They give losses in train mode only. Raising the flag of the modules that look at it keeps
    # normalisation, dropout and the random choice of a size as they are in eval mode.
    asking = [network, *(m for n, m in network.named_children() if n in ("rpn", "roi_heads"))]
    values = []
    for module in asking:
        module.training = True
    try:
        for image, target in zip(images, targets, strict=True):
            objects = {k: torch.from_numpy(v).to(image.device) for k, v in target.items()}
            with fixed_draws():
                values.append(torch.stack([*network([image], [objects]).values()]).sum())
    finally:
        for module in asking:
            module.training = False
    return torch.stack(values)


def _weights(spec: ModelSpec) -> Any:
    """The named member of the model's weights enum; of a checkpoint file the one that it is a copy
    of, else the default, for the preprocessing."""
    if spec.name not in _names():
        raise ConfigError(
            f"torchvision has no classifier or detector named {spec.name!r}, and no network for "
            "semantic segmentation; `run_bench.py list models` names them"
        )
    enum = get_model_weights(spec.name)
    if spec.weights_file:
        own = (w for w in enum if published(w.url, spec.weights_file))
        return next(own, enum.DEFAULT)
    if spec.weights is None or spec.random:
        return enum.DEFAULT
    try:
        return enum[spec.weights]
    except KeyError:
        raise ConfigError(
            f"model {spec.name}: weights {spec.weights!r} are neither a file nor one of "
            f"torchvision's: {', '.join(w.name for w in enum)}"
        ) from None


def _names() -> list[str]:
    modules = (torchvision.models, torchvision.models.detection)
    return [n for m in modules for n in list_models(module=m)] + torchvision_segmentation.names()


def _load(spec: ModelSpec, device: torch.device) -> TaskModel:
    weights = _weights(spec)
    if spec.name in torchvision_segmentation.names():
        return torchvision_segmentation.load(spec, weights, device)
    if not spec.weights:
        raise without_weights(spec)
    categories = list(weights.meta["categories"])
    detector = spec.name in list_models(module=torchvision.models.detection)

    def built(classes: int) -> nn.Module:
        extra: dict[str, Any] = {"weights_backbone": None} if detector else {}
        if spec.name in ("googlenet", "inception_v3"):
            # As their builders have it with weights of their own.
            extra |= {"transform_input": True, "init_weights": spec.random}
        with fixed_draws():
            return get_model(spec.name, weights=None, num_classes=classes, **extra)

    if spec.weights_file:
        network = load_weights(
            built(len(categories)),
            spec.weights_file,
            f"torchvision {spec.name}",
            spec.chosen,
            aside=AUXILIARY,
            classes=len(categories),
            rebuilt=None if detector else built,
        )
    elif spec.random:
        network = built(len(categories))
    else:
        network = fetched(spec, lambda: get_model(spec.name, weights=weights))
    network = ready(network, device)
    if detector:
        return Detector(network, categories, device, masks=spec.prediction is Instances)
    return Classifier(network, weights.transforms(), device)


def _fingerprint(spec: ModelSpec) -> dict[str, str]:
    preset = str(_weights(spec).transforms())
    return {"torchvision": torchvision.__version__, "preset": preset, **asked(spec)}


def _stated(spec: ModelSpec) -> Stated | None:
    """What the weights' metadata say, of weights that torchvision publishes."""
    weights = _weights(spec)
    if spec.random or (spec.weights_file and not published(weights.url, spec.weights_file)):
        return None
    for measured_on, dataset, names in (
        ("ImageNet-1K", "imagenet", {"acc@1": "top1", "acc@5": "top5"}),
        ("COCO-val2017", "coco", {"mask_map": "mask-mAP"} if asked(spec) else {"box_map": "mAP"}),
    ):
        stated = weights.meta.get("_metrics", {}).get(measured_on, {})
        scores = {ours: stated[theirs] / 100 for theirs, ours in names.items() if theirs in stated}
        if scores:
            return Stated(dataset, scores)
    return None


LIBRARIES.register("torchvision")(Library(_load, _names, _fingerprint, stated=_stated))
