"""A preprocessor's training config, small enough for a test."""

from typing import Any

QA_NPP: dict[str, Any] = {
    "model": {"library": "mini", "name": "mini_classifier"},
    "dataset": {"format": "mini", "task": "cls", "split": "train"},
    "crop": 96,
    "codec": {"name": "bpg", "level": 1},
    "qps": [35, 43],
    "width": 8,
    "steps": 8,
    "batch": 4,
    "learning_rate": 1e-3,
    "validation": 8,
}
