"""Label-free losses: nothing where nothing changed, and a gradient that reaches the pixels."""

from pathlib import Path

import pytest
import torch

from bench.datasets import mini
from bench.errors import ConfigError
from bench.models.base import LIBRARIES, ModelSpec, TaskModel
from bench.training.losses import distance

CPU = torch.device("cpu")


def shipped(name: str) -> TaskModel:
    library = LIBRARIES.get("mini")
    return library.load(ModelSpec("mini", name, str(library.default_weights(name))), CPU)


def yolox(shared: Path) -> TaskModel:
    pytest.importorskip("mmdet", reason="the extra mmlab is not installed")
    weights = shared / "weights" / "yolox_nano_mmdet.pth"
    spec = ModelSpec("mmdet", "yolox_nano_8xb8-300e_coco", str(weights))
    return LIBRARIES.get("mmdet").load(spec, CPU)


def check(model: TaskModel, side: int) -> None:
    scenes = [mini.render_detection("train", i)[0][:side, :side] for i in range(2)]
    clean = torch.stack([torch.from_numpy(s.transpose(2, 0, 1).copy()) for s in scenes]).float()
    clean /= 255
    network = model.network  # type: ignore[attr-defined]
    buffers = {k: v.clone() for k, v in network.named_buffers()}
    loss = distance(model)
    assert loss(clean, clean).abs().max() < 1e-3

    worse = clean.clone()
    worse[1] += 0.2 * torch.randn(worse[1].shape, generator=torch.Generator().manual_seed(0))
    worse.requires_grad_()
    nats = loss(clean, worse)
    assert nats.shape == (2,)
    assert nats[0].abs() < 1e-3
    assert nats[1] > 0.01
    nats.sum().backward()  # type: ignore[no-untyped-call]
    assert worse.grad is not None
    assert worse.grad[1].abs().max() > 0
    assert all(torch.equal(v, buffers[k]) for k, v in network.named_buffers())


def test_classifier() -> None:
    check(shipped("mini_classifier"), 96)


def test_torchvision_detector() -> None:
    check(shipped("mini_fcos"), 192)


@pytest.mark.filterwarnings("ignore")
def test_yolox(shared: Path) -> None:
    check(yolox(shared), 192)


def test_a_model_without_one_is_refused() -> None:
    class Other:
        pass

    with pytest.raises(ConfigError, match="Other"):
        distance(Other())  # type: ignore[arg-type]
