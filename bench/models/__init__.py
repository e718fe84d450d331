"""Task models: torchvision, timm, mmdet, mmpretrain, deployed files in onnxruntime and LiteRT, and
the small ones trained on `mini`."""

from bench.models import litert, mini, mmdet, mmpretrain, onnx_runtime, timm, torchvision
from bench.models.base import LIBRARIES

__all__ = [
    "LIBRARIES",
    "litert",
    "mini",
    "mmdet",
    "mmpretrain",
    "onnx_runtime",
    "timm",
    "torchvision",
]
