"""The small torchvision-family networks trained on `mini`: a classifier, an FCOS detector and a
segmentation FCN."""

import itertools
from collections import OrderedDict
from pathlib import Path

import torch
import torchvision
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models.detection import FCOS
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.resnet import BasicBlock
from torchvision.models.segmentation import FCN
from torchvision.ops import Conv2dNormActivation, FeaturePyramidNetwork
from torchvision.transforms._presets import ImageClassification, SemanticSegmentation

from bench import assets
from bench.datasets import mini
from bench.errors import ConfigError
from bench.models.base import (
    LIBRARIES,
    Library,
    ModelSpec,
    TaskModel,
    fixed_draws,
    ready,
)
from bench.models.torchvision import Classifier, Detector
from bench.models.torchvision_segmentation import Segmenter
from bench.models.weights import load_weights

_WIDTHS = (24, 48, 96, 128, 160)  # at strides 2, 4, 8, 16, 32
_FPN_CHANNELS = 64
MEAN, STD = [0.5] * 3, [0.25] * 3


def _stage(inputs: int, outputs: int) -> nn.Module:
    """One torchvision BasicBlock that halves the size."""
    shortcut = Conv2dNormActivation(inputs, outputs, 1, stride=2, activation_layer=None)
    return BasicBlock(inputs, outputs, stride=2, downsample=shortcut)


class _Trunk(nn.Module):
    """(N, 3, H, W) → maps at strides 4, 8, 16, 32 of 48, 96, 128, 160 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Conv2dNormActivation(3, _WIDTHS[0], 3, stride=2)
        self.stages = nn.ModuleList(_stage(a, b) for a, b in itertools.pairwise(_WIDTHS))

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.stem(x)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


class MiniClassifier(nn.Module):
    """(N, 3, H, W), normalised to zero mean and unit range → (N, 12) logits. 1.0 M parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = _Trunk()
        self.head = nn.Linear(_WIDTHS[-1], len(mini.CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.trunk(x)[-1].mean(dim=(2, 3)))
        return logits


class _Pyramid(nn.Module):
    """The trunk's three coarser maps behind a feature pyramid, as torchvision's detectors want."""

    out_channels = _FPN_CHANNELS

    def __init__(self) -> None:
        super().__init__()
        self.trunk = _Trunk()
        self.fpn = FeaturePyramidNetwork(list(_WIDTHS[2:]), _FPN_CHANNELS)

    def forward(self, x: Tensor) -> "OrderedDict[str, Tensor]":
        maps: OrderedDict[str, Tensor] = self.fpn(
            OrderedDict((str(i), m) for i, m in enumerate(self.trunk(x)[1:]))
        )
        return maps


def classifier() -> nn.Module:
    return MiniClassifier()


def detector() -> nn.Module:
    """torchvision's FCOS on strides 8, 16 and 32; pictures enter at their native 192 × 192."""
    side = mini.SIZES["det"]
    network: nn.Module = FCOS(
        _Pyramid(),
        num_classes=len(mini.CLASSES),
        min_size=side,
        max_size=side,
        image_mean=MEAN,
        image_std=STD,
        anchor_generator=AnchorGenerator(sizes=((8,), (16,), (32,)), aspect_ratios=((1.0,),) * 3),
        score_thresh=0.05,
        nms_thresh=0.6,
    )
    return network


class _Fused(nn.Module):
    """(N, 3, H, W) → {"out": (N, 64, H/4, W/4)}, all maps of the trunk in one."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = _Trunk()
        self.fpn = FeaturePyramidNetwork(list(_WIDTHS[1:]), _FPN_CHANNELS)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps = OrderedDict((str(i), m) for i, m in enumerate(self.trunk(x)))
        return {"out": self.fpn(maps)["0"]}


def segmenter() -> nn.Module:
    """torchvision's FCN on maps of stride 4: background and classes, 1.2 M parameters."""
    head = nn.Sequential(
        Conv2dNormActivation(_FPN_CHANNELS, _FPN_CHANNELS, 3),
        nn.Conv2d(_FPN_CHANNELS, 1 + len(mini.CLASSES), 1),
    )
    network: nn.Module = FCN(_Fused(), head)
    return network


NETWORKS = {"mini_classifier": classifier, "mini_fcos": detector, "mini_fcn": segmenter}


def take_trunk(network: nn.Module, name: str) -> None:
    """Give one of NETWORKS the trunk of the one that ships as `name`, in place.

    Raises ConfigError where none of that name ships.
    """
    path = _default_weights(name) if name in NETWORKS else None
    if not path:
        raise ConfigError(f"trunk: {name!r} does not ship; there are: {', '.join(NETWORKS)}")
    (trunk,) = (m for m in network.modules() if isinstance(m, _Trunk))
    shipped = {k.partition("trunk.")[2]: v for k, v in load_file(path).items() if "trunk." in k}
    trunk.load_state_dict(shipped)


def _require(name: str) -> None:
    if name not in NETWORKS:
        raise ConfigError(f"library mini has no model {name!r}; it has {', '.join(NETWORKS)}")


def _default_weights(name: str) -> Path | None:
    """Raises ConfigError for an unknown name."""
    _require(name)
    path = Path(assets.__file__).with_name(f"{name}.safetensors")
    return path if path.exists() else None


def _load(spec: ModelSpec, device: torch.device) -> TaskModel:
    _require(spec.name)
    if not spec.weights_file and not spec.random:
        raise ConfigError(f"model {spec.name}: weights {spec.weights!r} are not a file")
    with fixed_draws():
        network = NETWORKS[spec.name]()
    if spec.weights_file:
        load_weights(network, spec.weights_file, spec.name, spec.chosen)
    network = ready(network, device)
    if spec.name == "mini_fcos":
        return Detector(network, list(mini.CLASSES), device)
    if spec.name == "mini_fcn":
        scene = SemanticSegmentation(
            resize_size=mini.SIZES["det"], mean=tuple(MEAN), std=tuple(STD)
        )
        return Segmenter(network, scene, ["background", *mini.CLASSES], device)
    side = mini.SIZES["cls"]
    preset = ImageClassification(crop_size=side, resize_size=side, mean=tuple(MEAN), std=tuple(STD))
    return Classifier(network, preset, device)


def _fingerprint(spec: ModelSpec) -> dict[str, str]:
    _require(spec.name)
    return {"torchvision": torchvision.__version__}


LIBRARIES.register("mini")(Library(_load, lambda: sorted(NETWORKS), _fingerprint, _default_weights))
