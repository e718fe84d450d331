"""Task models: torchvision, timm, mmdet, mmpretrain, and the small ones trained on `mini`."""

from bench.models import mini, mmdet, mmpretrain, timm, torchvision
from bench.models.base import LIBRARIES

__all__ = ["LIBRARIES", "mini", "mmdet", "mmpretrain", "timm", "torchvision"]
