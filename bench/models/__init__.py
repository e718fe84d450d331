"""Task models: torchvision, timm, mmdetection, and the small ones trained on `mini`."""

from bench.models import mini, mmdet, timm, torchvision
from bench.models.base import LIBRARIES

__all__ = ["LIBRARIES", "mini", "mmdet", "timm", "torchvision"]
