"""What training minimises: nothing where nothing changed, a gradient that reaches the pixels."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from bench.datasets import mini
from bench.datasets.base import DATASETS, Dataset
from bench.errors import ConfigError
from bench.models.base import LIBRARIES, ModelSpec, TaskModel
from bench.models.gradients import DifferentiableClassifier
from bench.models.timm import Classifier as TimmClassifier
from bench.tasks.records import Arrays
from bench.training import npp
from bench.training.losses import distance
from bench.training.pictures import cut_target
from bench.training.task_loss import (
    UNREGARDED,
    attention,
    features,
    labelled,
    regarded,
    task_loss,
)

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
    assert loss(clean)(clean).abs().max() < 1e-3

    worse = clean.clone()
    worse[1] += 0.2 * torch.randn(worse[1].shape, generator=torch.Generator().manual_seed(0))
    worse.requires_grad_()
    nats = loss(clean)(worse)
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

    for kind in ("answer", "labels", "features"):
        with pytest.raises(ConfigError, match="Other"):
            task_loss(kind, Other())  # type: ignore[arg-type]


def pictures(task: str, n: int = 2) -> tuple[torch.Tensor, Dataset]:
    dataset = DATASETS.get("mini")(task).first(n)
    pixels = np.stack([s.load() for s in dataset.samples]).transpose(0, 3, 1, 2)
    return torch.from_numpy(pixels).float() / 255, dataset


def double(model: TaskModel) -> TaskModel:
    """In double precision, so that finite differences say something."""
    exact = copy.deepcopy(model)
    exact.network.double()  # type: ignore[attr-defined]
    return exact


def check_own_loss(model: TaskModel, x: torch.Tensor, targets: list[Arrays]) -> torch.Tensor:
    """Value, gradient against a finite difference along it, and nothing left behind."""
    network = model.network  # type: ignore[attr-defined]
    buffers = {k: v.clone() for k, v in network.named_buffers()}
    loss = task_loss("labels", model)
    x = x.clone().requires_grad_()
    random_state = torch.get_rng_state()
    values = loss(x.detach(), targets)(x)
    assert values.shape == (len(x),)
    assert torch.isfinite(values).all()
    values.sum().backward()  # type: ignore[no-untyped-call]
    gradient = x.grad
    assert gradient is not None
    assert torch.isfinite(gradient).all()
    assert (gradient.abs().amax(dim=(1, 2, 3)) > 0).all()
    step = gradient / gradient.norm() * 1e-6
    with torch.no_grad():
        up, down = (loss(x, targets)(x + s * step).sum() for s in (1, -1))
    assert (up - down).item() == pytest.approx(2e-6 * gradient.norm().item(), rel=1e-2)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert not any(m.training for m in network.modules())
    assert all(torch.equal(v, buffers[k]) for k, v in network.named_buffers())
    return values.detach()


def test_own_loss_of_a_classifier() -> None:
    model = shipped("mini_classifier")
    x, dataset = pictures("cls", 4)
    targets = [s.target for s in labelled(dataset, model)]
    values = check_own_loss(double(model), x.double(), targets)
    expected = torch.nn.functional.cross_entropy(
        model.network((x - 0.5) / 0.25),  # type: ignore[attr-defined]
        torch.tensor([int(t["label"]) for t in targets]),
        reduction="none",
    )
    torch.testing.assert_close(values.float(), expected, atol=1e-4, rtol=1e-4)
    with pytest.raises(ConfigError, match=r"class index 12.* 12 classes"):
        task_loss("labels", model)(x[:1], [{"label": np.array(12)}])(x[:1])


NOTHING: Arrays = {"boxes": np.zeros((0, 4), np.float32), "labels": np.zeros(0, np.int64)}


def test_own_loss_of_a_torchvision_detector() -> None:
    model = shipped("mini_fcos")
    x, dataset = pictures("det")
    targets = [s.target for s in labelled(dataset, model)]
    both = check_own_loss(double(model), x.double(), [targets[0], NOTHING])
    alone = task_loss("labels", model)(x[:1], targets[:1])(x[:1])
    torch.testing.assert_close(alone[0].float(), both[0].float(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "name", ["retinanet_resnet50_fpn", "fasterrcnn_mobilenet_v3_large_320_fpn"]
)
def test_own_loss_of_other_torchvision_detectors(name: str) -> None:
    from torchvision.models import get_model

    from bench.models.torchvision import Detector

    torch.manual_seed(0)
    sizes = {"min_size": 96, "max_size": 96, "num_classes": 13}
    network = get_model(name, weights=None, weights_backbone=None, **sizes).eval()
    model = Detector(network, ["background", *mini.CLASSES], CPU)
    x, dataset = pictures("det")
    samples = labelled(dataset, model)
    assert samples[0].target["labels"].tolist() == (dataset.samples[0].target.labels + 1).tolist()
    x = x.requires_grad_()
    loss = task_loss("labels", model)
    values = loss(x, [samples[0].target, NOTHING])(x)
    assert torch.isfinite(values).all()
    assert torch.equal(values, loss(x, [samples[0].target, NOTHING])(x))
    values.sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert (x.grad.abs().amax(dim=(1, 2, 3)) > 0).all()


@pytest.mark.filterwarnings("ignore")
def test_own_loss_and_features_of_yolox(shared: Path) -> None:
    model = yolox(shared)
    x, _ = pictures("det")
    known = {"boxes": np.array([[20, 30, 120, 150]], np.float32), "labels": np.array([2])}
    check_gradient_loosely(model, x, [known, NOTHING])
    check_features(model, x, longer_side=192, count=3)


@pytest.mark.filterwarnings("ignore")
def test_own_loss_and_features_of_fcos_of_mmdet() -> None:
    pytest.importorskip("mmdet", reason="the extra mmlab is not installed")
    from mmcv.transforms import Compose
    from mmdet.registry import MODELS
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    from bench.models.mmdet import Detector
    from bench.models.mmlab import config_file

    described = Config.fromfile(config_file("mmdet", "fcos_r50-caffe_fpn_gn-head_1x_coco"))
    init_default_scope("mmdet")
    described.model.backbone.update(depth=18, init_cfg=None)
    described.model.neck.in_channels = [64, 128, 256, 512]
    torch.manual_seed(0)
    resize = {"type": "mmdet.Resize", "scale": (96, 64), "keep_ratio": True}
    model = Detector(MODELS.build(described.model).eval(), Compose([resize]), ["a"] * 80, CPU)
    assert model.gives_loss
    x, _ = pictures("det")
    known = {"boxes": np.array([[20, 30, 120, 150]], np.float32), "labels": np.array([2])}
    check_gradient_loosely(model, x, [known, NOTHING])
    check_features(model, x, longer_side=192, count=3)


def check_gradient_loosely(model: TaskModel, x: torch.Tensor, targets: list[Arrays]) -> None:
    """In single precision, where the assignment of boxes jumps: along the gradient it grows."""
    network = model.network  # type: ignore[attr-defined]
    buffers = {k: v.clone() for k, v in network.named_buffers()}
    loss = task_loss("labels", model, longer_side=192)
    x = x.clone().requires_grad_()
    values = loss(x.detach(), targets)(x)
    assert torch.isfinite(values).all()
    values.sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    assert (x.grad.abs().amax(dim=(1, 2, 3)) > 0).all()
    step = x.grad / x.grad.norm()
    with torch.no_grad():
        up, down = (loss(x, targets)(x + s * step).sum() for s in (0.05, -0.05))
    assert up > values.sum() > down
    assert all(torch.equal(v, buffers[k]) for k, v in network.named_buffers())


def check_features(
    model: TaskModel, x: torch.Tensor, longer_side: int | None = None, count: int = 2
) -> None:
    maps = features(model, longer_side)(x)
    assert len(maps) == count
    assert {len(m) for m in maps} == {len(x)}
    loss = task_loss("features", model, longer_side)
    nothing: list[Arrays] = [{} for _ in x]
    assert loss(x, nothing)(x).abs().max() == 0
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    near, far = (x + s * noise for s in (0.02, 0.2))
    far.requires_grad_()
    values = loss(x, nothing)(far)
    assert (loss(x, nothing)(near) < values).all()
    values.sum().backward()  # type: ignore[no-untyped-call]
    assert far.grad is not None
    assert (far.grad.abs().amax(dim=(1, 2, 3)) > 0).all()
    modules = model.network.modules()  # type: ignore[attr-defined]
    assert not any(m._forward_hooks for m in modules)


def test_features() -> None:
    classes, objects = pictures("cls")[0], pictures("det")[0]
    check_features(shipped("mini_classifier"), classes)
    check_features(shipped("mini_fcos"), objects)
    import timm
    from timm.data.transforms_factory import create_transform
    from torchvision.transforms import Compose

    torch.manual_seed(0)
    network = timm.create_model("resnet10t", pretrained=False).eval()
    steps = create_transform(96, is_training=False)
    model = TimmClassifier(network, steps, Compose(steps.transforms), None, CPU)
    check_features(model, classes)


def test_features_count_where_the_detector_finds_something() -> None:
    model = shipped("mini_fcos")
    dataset = mini.load(task="det", split="train").first(2)
    seen = regarded(dataset.samples, model)
    assert all((s.target["scores"] > 0.05).all() for s in seen)
    assert all(len(s.target["boxes"]) > 0 for s in seen)
    x = torch.zeros(1, 3, 192, 192)
    changed = x.clone()
    changed[..., :64, :64] = 1
    loss = task_loss("features", model)
    there, elsewhere = (
        loss(x, [{"boxes": np.array([box], np.float32), "scores": np.array([0.9])}])(changed)
        for box in ([8, 8, 56, 56], [136, 136, 184, 184])
    )
    assert there > 3 * elsewhere


def test_a_place_counts_by_the_root_of_the_best_score_there() -> None:
    boxes = np.array([[8, 8, 40, 40], [16, 16, 24, 24]], np.float32)
    found = {"boxes": boxes, "scores": np.array([0.25, 0.64])}
    weights = attention([found, {"boxes": boxes[:0], "scores": np.zeros(0)}], 96)
    assert weights.shape == (2, 1, 12, 12)
    # Boxes are grown by 4 pixels, and a cell of 8 × 8 that they touch counts.
    assert weights[0, 0, 2, :7].tolist() == pytest.approx([0.5, 0.8, 0.8, 0.8, 0.5, 0.5, 0.1])
    assert (weights[1] == UNREGARDED).all()


def test_objects_are_cut_along_and_those_mostly_outside_dropped() -> None:
    target = {
        "boxes": np.array([[0, 0, 10, 10], [10, 10, 30, 30], [25, 5, 35, 15]], np.float32),
        "labels": np.array([3, 4, 5]),
    }
    kept = cut_target(target, top=8, left=6, side=24, mirrored=False)
    # Of the first 4 × 2 of 10 × 10 pixels are left, of the third half its width and 0.7 of its
    # height.
    assert kept["boxes"].tolist() == [[4, 2, 24, 22], [19, 0, 24, 7]]
    assert kept["labels"].tolist() == [4, 5]
    mirrored = cut_target(target, top=8, left=6, side=24, mirrored=True)
    assert mirrored["boxes"].tolist() == [[0, 2, 20, 22], [0, 0, 5, 7]]
    outside = cut_target(target, top=100, left=100, side=24, mirrored=False)
    assert outside["boxes"].shape == (0, 4)


def test_a_data_set_without_labels_is_refused_by_name() -> None:
    model, dataset = shipped("mini_fcos"), pictures("cls")[1]
    with pytest.raises(ConfigError, match=rf"{dataset.name}.*'answer' or 'features'"):
        labelled(dataset, model)
    bare = replace(dataset, samples=[replace(s, target=None) for s in dataset.samples])
    with pytest.raises(ConfigError, match=dataset.name):
        labelled(bare, shipped("mini_classifier"))


@pytest.mark.parametrize("loss", ["labels", "features"])
def test_training_with_it(loss: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(mini.COUNTS, ("det", "train"), 12)
    config: dict[str, Any] = {
        "model": {"library": "mini", "name": "mini_fcos"},
        "dataset": {"format": "mini", "task": "det", "split": "train"},
        "crop": 96,
        "codec": {"name": "bpg", "level": 1},
        "qps": [35, 43],
        "loss": loss,
        "width": 8,
        "steps": 2,
        "batch": 2,
        "learning_rate": 1e-3,
        "validation": 4,
    }
    npp.train("qa-npp", config, tmp_path, CPU, False, Console(quiet=True))
    assert (tmp_path / "weights.safetensors").exists()


def test_relevance_counts_where_the_answer_depends_on_the_picture() -> None:
    model = shipped("mini_classifier")
    assert isinstance(model, DifferentiableClassifier)
    x, _ = pictures("cls", 4)
    maps, weights = model.relevance(x)
    assert [m.shape[-1] for m in maps] == [12, 6, 3]
    for m, w in zip(maps, weights, strict=True):
        assert w.shape == (4, 1, *m.shape[2:])
        torch.testing.assert_close(w.mean(dim=(2, 3)), torch.ones(4, 1))
    # What is averaged over all locations before the last layer counts alike everywhere.
    torch.testing.assert_close(weights[2], torch.ones(4, 1, 3, 3))

    # Noise of the same size costs more where the weights are high than where they are low.
    where = torch.nn.functional.interpolate(weights[0], x.shape[2:], mode="nearest")
    order = where.flatten(2).argsort(dim=2)
    noise = 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    low, high = (
        x + noise * torch.zeros_like(where).flatten(2).scatter(2, part, 1.0).view_as(where)
        for part in order.chunk(2, dim=2)
    )
    loss = task_loss("relevance", model)
    nothing, little, much = (loss(x, [])(decoded).mean().item() for decoded in (x, low, high))
    assert nothing == pytest.approx(0, abs=1e-9)
    assert much > 1.5 * little > 0


def test_relevance_is_for_classifiers() -> None:
    with pytest.raises(ConfigError, match="is for classifiers"):
        task_loss("relevance", shipped("mini_fcos"))
