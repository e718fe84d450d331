"""The tasks: what is asked of a decoded picture, and how well it was answered."""

from collections.abc import Callable

from bench.tasks import classification, detection
from bench.tasks.agreement import Agreement, ClassificationAgreement, DetectionAgreement
from bench.tasks.base import Prediction, Task
from bench.tasks.classification import Classification
from bench.tasks.detection import Detection

AGREEMENTS: dict[str, Agreement] = {
    "det": DetectionAgreement(),
    "cls": ClassificationAgreement(),
}
"""By the name used in configs: how the task is scored on images without ground truth."""

_TASKS: list[Task] = [Detection(), Classification(), *AGREEMENTS.values()]
TASKS: dict[str, Task] = {task.name: task for task in _TASKS}
"""By the name used in results: det, cls, det-agreement, cls-agreement."""

FAULTS: dict[str, Callable[[Prediction], str]] = {
    "det": detection.fault,
    "cls": classification.fault,
}
"""By the name used in configs: what makes a prediction unusable."""

__all__ = ["AGREEMENTS", "FAULTS", "TASKS", "Agreement", "Classification", "Detection", "Task"]
