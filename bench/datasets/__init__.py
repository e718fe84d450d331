"""Data sets: COCO, Pascal VOC, ImageNet, label maps, images without labels, and the built-in
`mini`."""

from bench.datasets import coco, folder, imagenet, labelmaps, mini, voc
from bench.datasets.base import DATASETS, make

__all__ = ["DATASETS", "coco", "folder", "imagenet", "labelmaps", "make", "mini", "voc"]
