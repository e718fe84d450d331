"""What the shipped networks say of coded pictures, resampled, against pycocotools and torchmetrics.

The twelve classes are folded into the five that the references are for.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from test_segmentation import reference, scores
from test_wider_metrics import assert_equals_coco

from bench import codecs
from bench.datasets import mini
from bench.models.base import LIBRARIES, ModelSpec

N, QP = 16, 39
FOLDED = 5


def answers(name: str, render: Callable[[str, int], Any]) -> tuple[list[Any], list[Any]]:
    """Predictions on decoded pictures, and the truth."""
    library = LIBRARIES.get("mini")
    weights = str(library.default_weights(name))
    model = library.load(ModelSpec("mini", name, weights), torch.device("cpu"))
    bpg = codecs.make({"name": "bpg", "level": 1})
    scenes = [render("test", i) for i in range(N)]
    return model.predict([bpg.decode(bpg.encode(p, QP)) for p, _ in scenes], viewed=False), [
        t for _, t in scenes
    ]


@pytest.fixture
def draws() -> np.ndarray:
    """(20, N) how often each picture was drawn."""
    drawn = np.random.default_rng(0).integers(0, N, (20, N))
    return np.array([np.bincount(row, minlength=N) for row in drawn])


def test_detections_equal_pycocotools(draws: np.ndarray) -> None:
    found, truth = answers("mini_fcos", mini.render_detection)
    predictions, targets = (
        [replace(one, labels=one.labels % FOLDED + 1) for one in side] for side in (found, truth)
    )
    ours = assert_equals_coco(predictions, targets, *draws)
    assert ours[0] > 0.2


def test_label_maps_equal_torchmetrics(draws: np.ndarray) -> None:
    found, truth = answers("mini_fcn", mini.render_segmentation)
    said, truths = ([one.labels % FOLDED for one in side] for side in (found, truth))
    for row, (miou, accuracy, _) in zip(draws, scores(truths, said, draws), strict=True):
        repeated = [np.repeat(np.array(side), row, axis=0) for side in (truths, said)]
        assert (miou, accuracy) == pytest.approx(reference(*map(list, repeated)), abs=1e-9)
