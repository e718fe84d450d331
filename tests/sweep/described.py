"""The experiment that the tests of whole runs describe."""

N = 24
"""Pictures in it."""


def experiment() -> dict[str, object]:
    return {
        "task": "cls",
        "dataset": {"format": "imagenet"},
        "models": [{"library": "mini", "name": "mini_classifier"}],
        "anchor": "bpg",
        "methods": {
            "bpg": {"codec": "bpg", "qps": [33, 39, 45]},
            "jpeg": {"codec": "jpeg", "qps": [33, 39, 45]},
        },
    }
