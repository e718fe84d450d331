"""Data sets: COCO, ImageNet-style folders, and the built-in `mini`."""

from bench.datasets import coco, imagenet, mini
from bench.datasets.base import DATASETS

__all__ = ["DATASETS", "coco", "imagenet", "mini"]
