"""The tasks: what is asked of a decoded picture, and how well it was answered."""

from bench.tasks import classification, detection, instances, segmentation
from bench.tasks.base import TASKS, Agreement, Scored, Task, scored, scored_names

__all__ = [
    "TASKS",
    "Agreement",
    "Scored",
    "Task",
    "classification",
    "detection",
    "instances",
    "scored",
    "scored_names",
    "segmentation",
]
