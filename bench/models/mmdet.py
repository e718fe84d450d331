"""mmdetection's detectors, from a config and a checkpoint, through the config's own test pipeline.

Needs the extra `mmlab`; nothing of it is imported before an mmdet model is asked for.
"""

import importlib.util
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bench.errors import ConfigError
from bench.models.base import (
    LIBRARIES,
    Image,
    Library,
    ModelSpec,
    TaskModel,
    fixed_draws,
    in_batches,
    load_weights,
    ready,
)
from bench.tasks.base import Prediction, Target

LOSS_FROM_BOXES = ("YOLOX", "FCOS", "RetinaNet", "FasterRCNN")
"""mmdet's detectors whose training loss is known to need boxes and labels alone."""


@dataclass
class Detector:
    """`pipeline` is the config's test pipeline, fed with pixels instead of a file."""

    network: Any
    pipeline: Any
    classes: list[str]
    device: torch.device
    task: str = "det"
    view: None = None  # it resizes by its pipeline's own rules

    def predict(self, images: list[Image], viewed: bool) -> list[Prediction]:
        return in_batches(self._detect, self._prepared(images), lambda p: p["inputs"].shape)

    def _prepared(self, images: list[Image]) -> list[dict[str, Any]]:
        return [
            self.pipeline({"img": np.ascontiguousarray(i[..., ::-1]), "img_id": 0, "img_path": ""})
            for i in images
        ]

    @torch.inference_mode()
    def _detect(self, prepared: list[dict[str, Any]]) -> list[Prediction]:
        batch = {k: [p[k] for p in prepared] for k in ("inputs", "data_samples")}
        predictions = []
        for sample in self.network.test_step(batch):
            found = sample.pred_instances
            predictions.append(
                {
                    "boxes": found.bboxes.float().cpu().numpy(),
                    "scores": found.scores.float().cpu().numpy(),
                    "labels": found.labels.cpu().numpy(),
                }
            )
        return predictions

    @property
    def gives_loss(self) -> bool:
        kind = type(self.network).__name__
        # FCOS alone assigns boxes to locations without being told how.
        return kind in LOSS_FROM_BOXES and (kind == "FCOS" or self.network.train_cfg is not None)

    @torch.inference_mode()
    def losses(self, images: list[Image], targets: list[Target]) -> list[float]:
        prepared = self._prepared(images)
        scales = [p["data_samples"].metainfo.get("scale_factor", (1, 1)) for p in prepared]
        return training_losses(
            self.network,
            [p["inputs"] for p in prepared],
            [
                t | {"boxes": t["boxes"] * np.tile(np.float32(s), 2)}
                for t, s in zip(targets, scales, strict=True)
            ],
        ).tolist()

    def resized(self, x: Tensor, longer_side: int | None) -> tuple[Tensor, float]:
        """(N, 3, H, W) in [0, 1] → what the pipeline makes of it, but in torch: BGR in 0…255,
        resized by the factor that is returned too, padded to a multiple of the coarsest stride.

        It counts as part of a picture of its shape and `longer_side` pixels, by default as whole.
        """
        steps = {type(t).__name__: t for t in self.pipeline.transforms}
        height, width = x.shape[-2:]
        factor = 1.0
        if "Resize" in steps:
            long, short = sorted(steps["Resize"].scale, reverse=True)
            whole = longer_side or max(height, width)
            shape = min(height, width) / max(height, width)
            factor = min(long / whole, short / (whole * shape))
        size = (round(height * factor), round(width * factor))
        small = functional.interpolate(255 * x, size, mode="bilinear", align_corners=False)
        if "Pad" in steps:
            value = steps["Pad"].pad_val["img"]
            value = value[0] if isinstance(value, tuple) else value
            small = functional.pad(small, (0, -size[1] % 32, 0, -size[0] % 32), value=value)
        return small.flip(1), factor


def training_losses(network: Any, inputs: list[Tensor], targets: list[Target]) -> Tensor:
    """(3, h, w) BGR in 0…255 each, resized, and `own_targets` on their scale → (N,) the sum of the
    detector's training losses on each picture by itself, differentiable in the pixels; no buffer
    changes."""
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    values = []
    for x, target in zip(inputs, targets, strict=True):
        shape = {"img_shape": tuple(x.shape[-2:]), "scale_factor": (1.0, 1.0)}
        sample = DetDataSample(metainfo=shape)
        sample.gt_instances = InstanceData(
            bboxes=torch.from_numpy(target["boxes"]), labels=torch.from_numpy(target["labels"])
        )
        # Not `training`: that resizes at random.
        data = network.data_preprocessor({"inputs": [x], "data_samples": [sample]}, training=False)
        with fixed_draws():
            total, _ = network.parse_losses(network.loss(data["inputs"], data["data_samples"]))
        values.append(total)
    return torch.stack(values)


@cache
def _bundled() -> dict[str, Path]:
    """Names of the configs that come inside the mmdet package, and where they are."""
    found = importlib.util.find_spec("mmdet")
    if found is None or found.origin is None:
        return {}
    folder = Path(found.origin).parent / ".mim" / "configs"
    return {p.stem: p for p in folder.glob("*/*.py") if p.parent.name != "_base_"}


def _config_file(name: str) -> Path:
    if importlib.util.find_spec("mmdet") is None or importlib.util.find_spec("mmcv") is None:
        raise ConfigError(
            f"model {name}: library mmdet is not installed; the README's section on mmdetection "
            "has the two commands that install it"
        )
    if Path(name).is_file():
        return Path(name)
    if name not in _bundled():
        near = [n for n in sorted(_bundled()) if n.startswith(name.split("_")[0])][:5]
        raise ConfigError(
            f"mmdet has no bundled config {name!r}, and there is no such file"
            + (f"; near: {', '.join(near)}" if near else "")
        )
    return _bundled()[name]


def _load(spec: ModelSpec, device: torch.device) -> TaskModel:
    file = _config_file(spec.name)
    if not spec.weights_file:
        raise ConfigError(f"model {spec.name}: mmdet needs a checkpoint file, given as weights")
    from mmcv.transforms import Compose
    from mmdet.registry import DATASETS, MODELS
    from mmdet.utils import get_test_pipeline_cfg
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    config = Config.fromfile(file)
    init_default_scope(config.get("default_scope", "mmdet"))
    if config.model.type not in LOSS_FROM_BOXES:
        config.model.train_cfg = None
    if config.model.get("backbone", {}).get("init_cfg"):
        config.model.backbone.init_cfg = None  # the checkpoint has the backbone's weights
    network = MODELS.build(config.model)
    load_weights(network, spec.weights_file, f"mmdet {spec.name}")
    state = torch.load(spec.weights_file, map_location="cpu", weights_only=True)
    meta = state.get("meta", {}).get("dataset_meta", {}) if isinstance(state, dict) else {}
    classes = meta.get("classes") or meta.get("CLASSES")
    if not classes:
        classes = DATASETS.get(config.test_dataloader.dataset.type).METAINFO["classes"]
    pipeline = get_test_pipeline_cfg(config)
    pipeline[0].type = "mmdet.LoadImageFromNDArray"
    return Detector(
        ready(network, device),
        Compose(pipeline),
        list(classes),
        device,
    )


def _fingerprint(spec: ModelSpec) -> dict[str, str]:
    from mmengine.config import Config

    packages = {p: version(p) for p in ("mmdet", "mmcv", "mmengine")}
    return packages | {"config": Config.fromfile(_config_file(spec.name)).pretty_text}


LIBRARIES.register("mmdet")(Library(_load, lambda: sorted(_bundled()), _fingerprint))
