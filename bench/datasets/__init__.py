"""Data sets: COCO, Pascal VOC, ImageNet, images without labels, and the built-in `mini`."""

from bench.datasets import coco, folder, imagenet, mini, voc
from bench.datasets.base import DATASETS, make

__all__ = ["DATASETS", "coco", "folder", "imagenet", "make", "mini", "voc"]
