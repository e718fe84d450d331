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

from bench.errors import ConfigError
from bench.models.base import (
    LIBRARIES,
    Image,
    Library,
    ModelSpec,
    TaskModel,
    in_batches,
    load_weights,
    ready,
)
from bench.tasks.base import Prediction


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
        prepared = [
            self.pipeline({"img": np.ascontiguousarray(i[..., ::-1]), "img_id": 0, "img_path": ""})
            for i in images
        ]
        return in_batches(self._detect, prepared, lambda p: p["inputs"].shape)

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
