"""Task models see pixels exactly as their own library would show them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file

from bench import codecs
from bench.datasets import mini
from bench.datasets.base import DATASETS
from bench.datasets.views import ModelView
from bench.errors import ConfigError
from bench.models.base import (
    LIBRARIES,
    ModelSpec,
    TaskModel,
    giver_of_losses,
    in_batches,
)
from bench.models.torchvision import Detector
from bench.tasks import TASKS

CPU = torch.device("cpu")
Pixels = NDArray[np.uint8]


def load(library: str, name: str, weights: Path | str | None) -> TaskModel:
    return LIBRARIES.get(library).load(ModelSpec(library, name, str(weights)), CPU)


@pytest.fixture
def pictures() -> list[Pixels]:
    """Of several sizes and both orientations."""
    scenes = [mini.render_detection("test", i)[0] for i in range(3)]
    return [scenes[0], scenes[1][:150, :], scenes[2][:, 30:130], scenes[0][::-1]]


def saved(network: torch.nn.Module, path: Path) -> Path:
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, path)
    return path


def test_timm_gives_the_logits_of_timm(tmp_path: Path, pictures: list[Pixels]) -> None:
    torch.manual_seed(0)
    reference = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    path = saved(reference, tmp_path / "weights.safetensors")
    config = timm.data.resolve_model_data_config(reference)
    transform = timm.data.create_transform(**config, is_training=False)
    batch = torch.stack([transform(Image.fromarray(p)) for p in pictures])
    with torch.inference_mode():
        expected = reference(batch).numpy()

    model = load("timm", "tf_efficientnet_lite0", path)
    logits = np.stack([p.logits for p in model.predict(pictures, viewed=False)])
    np.testing.assert_allclose(logits, expected, atol=1e-5)

    # A square picture has no longer side to round: its view and timm's agree to the pixel.
    assert model.view == ModelView(256, 224, "bicubic")
    view = model.view(pictures[0])
    seen = np.stack([p.logits for p in model.predict([view], viewed=True)])
    np.testing.assert_allclose(seen, expected[:1], atol=1e-5)


def test_torchvision_classifier_gives_the_logits_of_its_preset(
    tmp_path: Path, pictures: list[Pixels]
) -> None:
    torch.manual_seed(0)
    reference = torchvision.models.resnet18(weights=None).eval()
    path = saved(reference, tmp_path / "weights.safetensors")
    preset = torchvision.models.ResNet18_Weights.DEFAULT.transforms()
    with torch.inference_mode():
        expected = reference(torch.stack([preset(Image.fromarray(p)) for p in pictures])).numpy()
    model = load("torchvision", "resnet18", path)
    logits = np.stack([p.logits for p in model.predict(pictures, viewed=False)])
    np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_torchvision_detector_gives_the_boxes_of_torchvision(
    tmp_path: Path, pictures: list[Pixels]
) -> None:
    torch.manual_seed(0)
    reference = torchvision.models.detection.ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=91
    ).eval()
    path = saved(reference, tmp_path / "weights.safetensors")
    model = load("torchvision", "ssdlite320_mobilenet_v3_large", path)
    assert model.classes is not None
    assert model.classes[1] == "person"
    found = model.predict(pictures, viewed=False)
    for picture, prediction in zip(pictures, found, strict=True):
        chw = torch.from_numpy(picture.transpose(2, 0, 1).copy()).float() / 255
        with torch.inference_mode():
            (expected,) = reference([chw])
        assert len(prediction.boxes) == len(expected["boxes"])
        np.testing.assert_allclose(prediction.scores, expected["scores"].numpy(), atol=1e-5)


def test_shipped_networks_know_mini() -> None:
    """A slice of the test split; the cards have the whole."""
    default = LIBRARIES.get("mini").default_weights
    classifier = load("mini", "mini_classifier", default("mini_classifier"))
    scenes = [mini.render_classification("test", i) for i in range(96)]
    table = TASKS.get("cls").statistics(
        classifier.predict([p for p, _ in scenes], viewed=False), [t for _, t in scenes]
    )
    assert TASKS.get("cls").score(table, np.ones((1, 96), np.int64))[0, 0] > 0.8

    detector = load("mini", "mini_fcos", default("mini_fcos"))
    scenes = [mini.render_detection("test", i) for i in range(32)]
    table = TASKS.get("det").statistics(
        detector.predict([p for p, _ in scenes], viewed=False), [t for _, t in scenes]
    )
    assert TASKS.get("det").score(table, np.ones((1, 32), np.int64))[0, 0] > 0.5

    segmenter = load("mini", "mini_fcn", default("mini_fcn"))
    maps = [mini.render_segmentation("test", i) for i in range(16)]
    table = TASKS.get("seg").statistics(
        segmenter.predict([p for p, _ in maps], viewed=False), [t for _, t in maps]
    )
    assert TASKS.get("seg").score(table, np.ones((1, 16), np.int64))[0, 0] > 0.6


def test_own_loss_of_the_shipped_detector_falls_with_finer_coding() -> None:
    """It needs no neighbours, and crowds and slivers count for nothing."""
    detector = load("mini", "mini_fcos", LIBRARIES.get("mini").default_weights("mini_fcos"))
    dataset = DATASETS.get("mini")("det").first(8)
    giver = giver_of_losses(detector)
    assert giver is not None
    targets = TASKS.get("det").training_targets(detector, dataset)
    scenes = [s.load() for s in dataset.samples]
    bpg = codecs.make({"name": "bpg", "level": 1})
    means = [
        np.mean(giver.losses(pictures, targets))
        for pictures in (
            scenes,
            *([bpg.decode(bpg.encode(p, qp)) for p in scenes] for qp in (37, 45)),
        )
    ]
    assert means == sorted(means)
    assert giver.losses(scenes[:1], targets[:1]) == giver.losses(scenes, targets)[:1]

    first = dataset.samples[0].target
    extra = {"boxes": [[5, 5, 60, 60], [9, 9, 9.5, 40]], "labels": [0, 1], "iscrowd": [True, False]}
    held = first.to_arrays()
    more = {k: np.concatenate([held[k], np.array(v, held[k].dtype)]) for k, v in extra.items()}
    sample = replace(dataset.samples[0], target=replace(first, **more))
    one = replace(dataset, samples=[sample])
    (same,) = TASKS.get("det").training_targets(detector, one)
    for key, values in same.items():
        np.testing.assert_array_equal(values, targets[0][key])
    empty = {k: v[:0] for k, v in targets[0].items()}
    assert np.isfinite(giver.losses(scenes[:1], [empty])).all()


def test_a_classifier_and_a_detector_of_masks_give_no_loss(tmp_path: Path) -> None:
    default = LIBRARIES.get("mini").default_weights
    classifier = load("mini", "mini_classifier", default("mini_classifier"))
    assert giver_of_losses(classifier) is None
    masks = torchvision.models.detection.maskrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=3
    )
    assert giver_of_losses(Detector(masks.eval(), ["a", "b", "c"], CPU)) is None


def test_weights_of_another_network_are_refused_naming_both(tmp_path: Path) -> None:
    path = saved(torchvision.models.resnet18(weights=None), tmp_path / "resnet18.safetensors")
    with pytest.raises(ConfigError, match=r"resnet18\.safetensors.*resnet34"):
        load("torchvision", "resnet34", path)
    with pytest.raises(ConfigError, match="mini_classifier"):
        load("mini", "mini_classifier", path)
    (tmp_path / "broken.safetensors").write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ConfigError, match=r"broken\.safetensors"):
        load("torchvision", "resnet18", tmp_path / "broken.safetensors")


def test_batch_is_halved_when_memory_runs_out() -> None:
    sizes = []

    def run(items: list[int]) -> list[int]:
        sizes.append(len(items))
        if len(items) > 2:
            raise torch.cuda.OutOfMemoryError("made to fail")
        return [10 * i for i in items]

    assert in_batches(run, [1, 2, 3, 4, 5, 6, 7], lambda i: i == 7) == [10, 20, 30, 40, 50, 60, 70]
    assert sizes == [6, 3, 1, 2, 3, 1, 2, 1]
