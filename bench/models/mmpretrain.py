"""mmpretrain's classifiers (it was mmcls once), from a config and a checkpoint, through the
config's own test pipeline."""

import warnings
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.errors import ConfigError
from bench.models import mmlab
from bench.models.base import LIBRARIES, Image, Library, ModelSpec, Stated, TaskModel, in_batches
from bench.models.gradients import DifferentiableClassifier
from bench.tasks.records import Logits

PACKAGE = "mmpretrain"


@dataclass
class Geometry:
    """The steps of a test pipeline between reading a picture and packing it: (H, W, 3) RGB → the
    pixels that are left to be normalised."""

    steps: Any

    def __call__(self, rgb: Image) -> Image:
        shape = rgb.shape[:2]
        bgr = np.ascontiguousarray(rgb[..., ::-1])
        seen = self.steps({"img": bgr, "img_shape": shape, "ori_shape": shape})["img"]
        return np.ascontiguousarray(seen[..., ::-1])


@dataclass
class Classifier(DifferentiableClassifier):
    network: Any
    view: Geometry | None
    device: torch.device
    task: str = "cls"
    classes: None = None

    def predict(self, images: list[Image], viewed: bool) -> list[Logits]:
        seen = images if viewed or self.view is None else [self.view(i) for i in images]
        return in_batches(self._logits, seen, lambda i: i.shape)

    @torch.inference_mode()
    def _logits(self, images: list[Image]) -> list[Logits]:
        x = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
        return [Logits(row) for row in self._run(x).float().cpu().numpy()]

    def logits(self, x: Tensor) -> Tensor:
        return self._run(255 * x)

    def _run(self, rgb: Tensor) -> Tensor:
        """(N, 3, H, W) RGB in 0…255, of any type; its preprocessor expects BGR, normalises and
        pads."""
        inputs = self.network.data_preprocessor({"inputs": rgb.flip(1)}, training=False)["inputs"]
        answer = self.network(inputs, mode="tensor")
        # Networks with two heads put out both; what counts is their sum.
        return sum(answer) if isinstance(answer, tuple | list) else answer  # type: ignore[return-value]


def _load(spec: ModelSpec, device: torch.device) -> TaskModel:
    config = mmlab.read(PACKAGE, spec.name)
    with mmlab.understood(PACKAGE, spec.name):
        return _classifier(spec, config, device)


def _classifier(spec: ModelSpec, config: Any, device: torch.device) -> Classifier:
    kind = str(config.model.get("type"))
    headless = kind == "ImageClassifier" and not config.model.get("head")
    if headless or not kind.endswith("Classifier"):
        raise ConfigError(
            f"mmpretrain {spec.name} is no classifier ({kind}{' without a head' * headless}): take "
            "a config of an ImageClassifier, e.g. one in the benchmarks/ of the same folder"
        )
    from mmengine.dataset import Compose

    preprocessor = {"type": "ClsDataPreprocessor", **(config.get("data_preprocessor") or {})}
    config.model.setdefault("data_preprocessor", preprocessor)
    network = mmlab.build(PACKAGE, config, spec, device)
    steps = [dict(s) for s in config.test_dataloader.dataset.pipeline]
    kept = [s for s in steps if not s["type"].startswith(("LoadImage", "Pack"))]
    from mmpretrain.registry import TRANSFORMS

    return Classifier(network, Geometry(Compose([TRANSFORMS.build(s) for s in kept])), device)


def _stated(spec: ModelSpec) -> Stated | None:
    names = {"Top 1 Accuracy": "top1", "Top 5 Accuracy": "top5"}
    scores = mmlab.stated(PACKAGE, spec, "ImageNet-1k", names)
    return Stated("imagenet", scores) if scores else None


def _fingerprint(spec: ModelSpec) -> dict[str, str]:
    return mmlab.fingerprint(PACKAGE, spec)


def _renamed(spec: ModelSpec, device: torch.device) -> TaskModel:
    warnings.warn("library mmcls is called mmpretrain now; taking that", stacklevel=2)
    return _load(spec, device)


_program = partial(mmlab.program, PACKAGE)

LIBRARIES.register(PACKAGE)(
    Library(
        _load,
        lambda: sorted(mmlab.bundled(PACKAGE)),
        _fingerprint,
        stated=_stated,
        program=_program,
    )
)
# Under its old name too, which lists nothing of its own.
LIBRARIES.register("mmcls")(Library(_renamed, list, _fingerprint, stated=_stated, program=_program))
