"""mmdetection's detectors, from a config and a checkpoint, through the config's own test pipeline.

Needs the extra `mmlab`; nothing of it is imported before an mmdet model is asked for.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bench.errors import ConfigError
from bench.models import mmlab
from bench.models.base import (
    LIBRARIES,
    Image,
    Library,
    ModelSpec,
    Stated,
    TaskModel,
    fixed_draws,
    in_batches,
)
from bench.models.checkpoints import read_checkpoint
from bench.models.gradients import DEEP_STRIDES, at_strides, maps_inside
from bench.models.instances import Found, asked, runs
from bench.models.sharing import Part, with_losses
from bench.tasks.records import Arrays, Detections, Instances

PACKAGE = "mmdet"
LOSS_FROM_BOXES = (
    "YOLOX",
    "FCOS",
    "RetinaNet",
    "FasterRCNN",
    "DETR",
    "ATSS",
    "GFL",
    "CascadeRCNN",
)
"""mmdet's detectors whose training loss is known to need boxes and labels alone, without masks."""


@dataclass
class Detector:
    """`pipeline` is the config's test pipeline, fed with pixels instead of a file. A network that
    finds masks may be asked for these, too."""

    network: Any
    pipeline: Any
    classes: list[str]
    device: torch.device
    masks: bool = False
    view: None = None  # it resizes by its pipeline's own rules

    @property
    def task(self) -> str:
        return "ins" if self.masks else "det"

    def predict(self, images: list[Image], viewed: bool) -> list[Found]:
        return in_batches(self._detect, self._prepared(images), lambda p: p["inputs"].shape)

    def _prepared(self, images: list[Image]) -> list[dict[str, Any]]:
        return [
            self.pipeline({"img": np.ascontiguousarray(i[..., ::-1]), "img_id": 0, "img_path": ""})
            for i in images
        ]

    @torch.inference_mode()
    def _detect(self, prepared: list[dict[str, Any]]) -> list[Found]:
        batch = {k: [p[k] for p in prepared] for k in ("inputs", "data_samples")}
        return [self._found(sample) for sample in self.network.test_step(batch)]

    def _found(self, sample: Any) -> Found:
        found = sample.pred_instances
        boxes, scores = found.bboxes.float().cpu().numpy(), found.scores.float().cpu().numpy()
        labels = found.labels.cpu().numpy()
        if not self.masks or "masks" not in found:
            return Detections(boxes, scores, labels)
        # RTMDet-Ins rounds: its masks may lack a row or a column of the picture.
        height, width = sample.ori_shape
        h, w = found.masks.shape[-2:]
        masks = functional.pad(found.masks, (0, width - w, 0, height - h))
        return Instances(boxes, scores, labels, **runs(masks))

    @property
    def gives_loss(self) -> bool:
        kind = type(self.network).__name__
        if self.network.with_mask:
            return False
        # FCOS alone assigns boxes to locations without being told how.
        return kind in LOSS_FROM_BOXES and (kind == "FCOS" or self.network.train_cfg is not None)

    @torch.inference_mode()
    def losses(self, images: list[Image], targets: list[Arrays]) -> list[float]:
        pairs = zip(self._prepared(images), targets, strict=True)
        return [self._loss(prepared, target) for prepared, target in pairs]

    def _loss(self, prepared: dict[str, Any], target: Arrays) -> float:
        scale = prepared["data_samples"].metainfo.get("scale_factor", (1, 1))
        scaled = target | {"boxes": target["boxes"] * np.tile(np.float32(scale), 2)}
        return training_losses(self.network, [prepared["inputs"]], [scaled]).item()

    def predict_with_losses(
        self, images: list[Image], targets: list[Arrays], viewed: bool
    ) -> list[tuple[Found, float]]:
        pairs = list(zip(self._prepared(images), targets, strict=True))
        return in_batches(self._detect_with_losses, pairs, lambda p: p[0]["inputs"].shape)

    @torch.inference_mode()
    def _detect_with_losses(
        self, pairs: list[tuple[dict[str, Any], Arrays]]
    ) -> list[tuple[Found, float]]:
        return with_losses(
            lambda: self._detect([prepared for prepared, _ in pairs]),
            lambda i: self._loss(*pairs[i]),
            self._parts,
        )

    @property
    def _parts(self) -> list[Part]:
        """Backbone with neck, and a dense head: those of transformers answer layer by layer."""
        from mmdet.models.dense_heads.base_dense_head import BaseDenseHead

        heads = [getattr(self.network, name, None) for name in ("bbox_head", "rpn_head")]
        dense = [(head, "forward") for head in heads if isinstance(head, BaseDenseHead)]
        return [(self.network, "extract_feat"), *dense]

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

    def _seen(self, x: Tensor, longer_side: int | None) -> tuple[Tensor, Tensor]:
        """(N, 3, H, W) in [0, 1] → the input of its preprocessor, (N, 3, h, w) BGR in 0…255, and
        the factors (4,) of boxes; see `bench.models.base.Differentiable` for `longer_side`."""
        if longer_side is not None:
            inputs, factor = self.resized(x, longer_side)
            return inputs, torch.full((4,), factor)
        levels = (255 * x.detach()).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        prepared = self._prepared(list(levels))
        exact = torch.stack([p["inputs"] for p in prepared]).to(x)
        wide, high = prepared[0]["data_samples"].metainfo.get("scale_factor", (1.0, 1.0))
        size = (round(x.shape[-2] * high), round(x.shape[-1] * wide))
        near = functional.interpolate(255 * x, size, mode="bilinear", align_corners=False).flip(1)
        bottom, right = (e - n for e, n in zip(exact.shape[-2:], size, strict=True))
        near = functional.pad(near, (0, right, 0, bottom))
        return near + (exact - near).detach(), torch.tensor([wide, high, wide, high])

    def loss(self, x: Tensor, targets: list[Arrays], longer_side: int | None = None) -> Tensor:
        if not self.gives_loss:
            raise ConfigError(
                f"no own loss of mmdet's {type(self.network).__name__}: it is known of "
                f"{', '.join(LOSS_FROM_BOXES)} with a train_cfg; use loss 'features'"
            )
        inputs, factors = self._seen(x, longer_side)
        scaled = [t | {"boxes": t["boxes"] * factors.numpy()} for t in targets]
        return training_losses(self.network, list(inputs), scaled)

    def features(self, x: Tensor, longer_side: int | None = None) -> list[Tensor]:
        """What the head sees: of the neck, or of a backbone without one."""
        inputs = {"inputs": list(self._seen(x, longer_side)[0]), "data_samples": None}
        prepared = self.network.data_preprocessor(inputs, training=False)["inputs"]
        backbone = self.network.backbone
        maps = at_strides(prepared, self.network.extract_feat(prepared), DEEP_STRIDES)
        return maps or maps_inside(backbone, backbone, prepared)


def training_losses(network: Any, inputs: list[Tensor], targets: list[Arrays]) -> Tensor:
    """(3, h, w) BGR in 0…255 each, resized, and boxes and labels on their scale → (N,) the sum of
    the detector's training losses on each picture by itself, differentiable in the pixels; no
    buffer changes."""
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    values = []
    for x, target in zip(inputs, targets, strict=True):
        size = tuple(x.shape[-2:])
        shape = {"img_shape": size, "ori_shape": size, "scale_factor": (1.0, 1.0), "img_id": 0}
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


def _load(spec: ModelSpec, device: torch.device) -> TaskModel:
    config = mmlab.read(PACKAGE, spec.name)
    with mmlab.understood(PACKAGE, spec.name):
        return _detector(spec, config, device)


def _detector(spec: ModelSpec, config: Any, device: torch.device) -> Detector:
    from mmcv.transforms import Compose
    from mmdet.utils import get_test_pipeline_cfg

    if config.model.type not in LOSS_FROM_BOXES:
        config.model.train_cfg = None
    network = mmlab.build(PACKAGE, config, spec, device)
    classes = _classes(spec, config)
    n = _head_classes(network)
    if n is not None and n != len(classes):
        raise ConfigError(
            f"mmdet {spec.name}: its head tells {n} classes apart, but the checkpoint or the "
            f"config's data set names {len(classes)} ({', '.join(classes[:3])} …); set "
            "test_dataloader.dataset.metainfo.classes in the config"
        )
    pipeline = get_test_pipeline_cfg(config)
    pipeline[0].type = "mmdet.LoadImageFromNDArray"
    masks = spec.prediction is Instances
    return Detector(network, Compose(pipeline), classes, device, masks)


def _classes(spec: ModelSpec, config: Any) -> list[str]:
    """By the checkpoint, else by the config's test data, else by that data set's class."""
    from mmdet.registry import DATASETS

    meta: dict[str, Any] = {}
    if spec.weights_file:
        about = _dictionary(dict.get(read_checkpoint(spec.weights_file), "meta"))
        meta = _dictionary(about.get("dataset_meta")) or about
    dataset = config.test_dataloader.dataset
    while "dataset" in dataset:  # wrapped
        dataset = dataset.dataset
    named = [meta.get("classes"), meta.get("CLASSES")]
    named.append(_dictionary(dataset.get("metainfo")).get("classes"))
    named.append(getattr(DATASETS.get(dataset.type), "METAINFO", {}).get("classes"))
    for names in named:
        names = [names] if isinstance(names, str) else names
        if isinstance(names, list | tuple) and names and all(isinstance(n, str) for n in names):
            return list(names)
    raise ConfigError(
        f"mmdet {spec.name}: neither the checkpoint nor the config's data set names its classes; "
        "set test_dataloader.dataset.metainfo.classes in the config"
    )


def _dictionary(value: object) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}


def _head_classes(network: Any) -> int | None:
    """None where the head does not say."""
    head = getattr(getattr(network, "roi_head", None), "bbox_head", None)
    head = head if head is not None else getattr(network, "bbox_head", None)
    if isinstance(head, torch.nn.ModuleList):
        head = head[-1]
    n = getattr(head, "num_classes", None)
    return n if isinstance(n, int) else None


def _stated(spec: ModelSpec) -> Stated | None:
    names = {"mask AP": "mask-mAP"} if asked(spec) else {"box AP": "mAP"}
    scores = mmlab.stated(PACKAGE, spec, "COCO", names)
    return Stated("coco", scores) if scores else None


def _fingerprint(spec: ModelSpec) -> dict[str, str]:
    return mmlab.fingerprint(PACKAGE, spec) | asked(spec)


LIBRARIES.register(PACKAGE)(
    Library(
        _load,
        lambda: sorted(mmlab.bundled(PACKAGE)),
        _fingerprint,
        stated=_stated,
        program=partial(mmlab.program, PACKAGE),
    )
)
