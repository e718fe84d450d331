"""The tasks: what is asked of a decoded picture, and how well it was answered."""

from bench.tasks.base import Task
from bench.tasks.classification import Classification
from bench.tasks.detection import Detection

TASKS: dict[str, Task] = {task.name: task for task in (Detection(), Classification())}
"""By the name used in configs and in results: det, cls."""

__all__ = ["TASKS", "Classification", "Detection", "Task"]
