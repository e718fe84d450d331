"""Data sets: COCO, ImageNet, images without labels, and the built-in `mini`."""

from bench.datasets import coco, folder, imagenet, mini
from bench.datasets.base import DATASETS, make

__all__ = ["DATASETS", "coco", "folder", "imagenet", "make", "mini"]
