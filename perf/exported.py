"""torchvision's networks as ONNX files, for perf/models.py."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.models.base import ModelSpec


class _Answers(nn.Module):
    """One picture's answers alone, without their names."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Any:
        found = self.network(x)
        if isinstance(found, dict):  # label maps
            return found["out"]
        return found if isinstance(found, Tensor) else [found[0][k] for k in OUTPUTS["det"]]


OUTPUTS: dict[str, dict[str, int]] = {
    "cls": {"logits": 0},
    "seg": {"pixel_logits": 0},
    "det": {"boxes": 0, "scores": 1, "labels": 2},
}


def onnx(model: Any, name: str, side: int, path: Path) -> ModelSpec:
    """Write what `bench.models.torchvision` has loaded; detectors and segmentation networks take
    `side` pixels each way, classifiers what their preset crops."""
    given: dict[str, Any] = {"resize": "stretch", "mean": 0, "std": 255}
    classes = model.classes
    if model.task != "det":
        preset = model.preset
        given |= {"mean": [255 * m for m in preset.mean], "std": [255 * s for s in preset.std]}
    if model.task == "cls":
        given |= {"resize": "crop", "short_side": preset.resize_size[0]}
        side, classes = preset.crop_size[0], 1000
    options: dict[str, Any] = {"opset_version": 17, "dynamo": False}
    network = _Answers(model.network).eval()
    torch.onnx.export(network, (torch.rand(1, 3, side, side),), path, **options)
    said = {"input": given, "outputs": OUTPUTS[model.task], "classes": classes}
    return ModelSpec("onnx", name, str(path), options=said)
