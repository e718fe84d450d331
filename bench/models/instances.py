"""What the detectors of several libraries share that give masks if they are asked for them."""

import torch
from torch import Tensor

from bench.models.base import ModelSpec
from bench.tasks.masks import encoded
from bench.tasks.records import Arrays, Detections, Instances

Found = Detections | Instances


def asked(spec: ModelSpec) -> dict[str, str]:
    """For a fingerprint: its predictions hold masks, where others of the same model do not."""
    return {"prediction": "masks"} if spec.prediction is Instances else {}


def runs(masks: Tensor) -> Arrays:
    """(n, height, width) bool → the arrays that `Instances` has for masks."""
    columns = masks.to(torch.uint8).transpose(1, 2).contiguous()  # as they are encoded
    return encoded(columns.cpu().numpy().transpose(0, 2, 1))
