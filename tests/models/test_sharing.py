"""A detector's own loss made of the maps that its prediction is made of."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.models import get_model

from bench.datasets import mini
from bench.datasets.base import DATASETS
from bench.models.base import (
    LIBRARIES,
    ModelSpec,
    SharesFeatures,
    giver_of_losses,
    predicted_with_losses,
)
from bench.models.torchvision import Detector
from bench.tasks import TASKS

CPU = torch.device("cpu")


def shipped() -> Detector:
    library = LIBRARIES.get("mini")
    weights = library.default_weights("mini_fcos")
    model: Any = library.load(ModelSpec("mini", "mini_fcos", str(weights)), CPU)
    return model


def untrained(name: str, **options: Any) -> Callable[[], Detector]:
    def build() -> Detector:
        torch.manual_seed(0)
        options.update(weights=None, weights_backbone=None, num_classes=13)
        network = get_model(name, **options)
        return Detector(network.eval(), ["background", *mini.CLASSES], CPU)

    return build


SMALL = {"min_size": 64, "max_size": 64}
FAMILIES = {
    "mini_fcos": shipped,
    "fcos": untrained("fcos_resnet50_fpn", **SMALL),
    "retinanet": untrained("retinanet_resnet50_fpn", **SMALL),
    "ssdlite": untrained("ssdlite320_mobilenet_v3_large"),
    "fasterrcnn": untrained("fasterrcnn_mobilenet_v3_large_fpn", **SMALL),
}


def same_prediction(a: Any, b: Any) -> None:
    for name, values in a.to_arrays().items():
        np.testing.assert_array_equal(values, b.to_arrays()[name])


@pytest.mark.parametrize("family", FAMILIES)
def test_prediction_and_loss_are_those_of_either_alone(family: str) -> None:
    """To the bit, and up to rounding; a picture of another size is a batch of its own."""
    model = FAMILIES[family]()
    dataset = DATASETS.get("mini")("det").first(4)
    targets = TASKS.get("det").training_targets(model, dataset)
    pictures = [s.load() for s in dataset.samples]
    pictures[2] = np.ascontiguousarray(pictures[2][:, :150])
    targets[2] = {k: v[:0] for k, v in targets[2].items()}
    buffers = {k: v.clone() for k, v in model.network.named_buffers()}
    found = model.predict_with_losses(pictures, targets, False)
    for (prediction, _), alone in zip(found, model.predict(pictures, False), strict=True):
        same_prediction(prediction, alone)
    losses = model.losses(pictures, targets)
    np.testing.assert_allclose([loss for _, loss in found], losses, rtol=1e-5)
    assert all(torch.equal(v, buffers[k]) for k, v in model.network.named_buffers())
    assert not any("forward" in vars(m) for m in model.network.modules())


def test_the_backbone_sees_a_picture_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = shipped()
    seen: list[str] = []

    def counting(name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args: (seen.append(name), plain(*args))[1]

    for name in ("backbone", "head"):
        kind = type(getattr(model.network, name))
        monkeypatch.setattr(kind, "forward", counting(name, kind.forward))
    dataset = DATASETS.get("mini")("det").first(3)
    targets = TASKS.get("det").training_targets(model, dataset)
    model.predict_with_losses([s.load() for s in dataset.samples], targets, False)
    assert seen == ["backbone", "head"]


def test_a_model_that_shares_nothing_is_asked_twice() -> None:
    class Plain:
        task, classes, view, gives_loss = "det", None, None, True

        def predict(self, images: list[Any], viewed: bool) -> list[str]:
            return [f"{len(image)}" for image in images]

        def losses(self, images: list[Any], targets: list[Any]) -> list[float]:
            return [len(image) / 2 for image in images]

    model: Any = Plain()
    giver = giver_of_losses(model)
    assert giver is not None
    assert not isinstance(giver, SharesFeatures)
    images = [np.zeros((n, 4, 3), np.uint8) for n in (6, 8)]
    found = predicted_with_losses(model, giver, images, [{}, {}], False)
    assert found == [("6", 3.0), ("8", 4.0)]
