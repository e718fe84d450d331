"""A model of each family by its name alone: it is built, runs, and trains through."""

import numpy as np
import pytest
import timm
import torch
import torchvision

from bench.datasets import mini
from bench.errors import ConfigError
from bench.models.base import LIBRARIES, ModelSpec, Stated
from bench.models.check import ability
from bench.tasks.base import FullSet
from bench.tasks.detection import Detection

CPU = torch.device("cpu")
NEED_224 = ("vit_", "swin_", "maxvit", "deit", "mixer", "cait", "beit", "xcit", "levit", "pit_")
TORCHVISION = (
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "mnasnet0_5",
    "mobilenet_v2", "mobilenet_v3_small", "regnet_y_400mf", "resnet18", "resnext50_32x4d",
    "shufflenet_v2_x0_5", "squeezenet1_1", "swin_t", "vgg11_bn", "vit_b_32", "inception_v3",
    "wide_resnet50_2",
)  # fmt: skip
DETECTORS = (
    "fasterrcnn_mobilenet_v3_large_320_fpn", "fcos_resnet50_fpn", "retinanet_resnet50_fpn",
    "ssdlite320_mobilenet_v3_large", "ssd300_vgg16", "maskrcnn_resnet50_fpn",
)  # fmt: skip
TIMM = (
    "resnet10t", "resnet26d", "resnest14d", "resnext26ts", "tf_efficientnet_lite0",
    "mobilenetv3_small_050", "convnext_atto", "convnextv2_atto", "edgenext_xx_small",
    "efficientvit_b0",
    "ghostnet_050", "hardcorenas_a", "hrnet_w18_small", "mobilevit_xxs",
    "nf_regnet_b0", "regnetx_002", "rexnet_100", "selecsls42", "tinynet_e",
    "lcnet_035", "vit_tiny_patch16_224", "deit_tiny_patch16_224", "levit_128s",
)  # fmt: skip


def scenes(side: int) -> list[np.ndarray]:
    pictures = [mini.render_detection("test", i)[0] for i in range(2)]
    return [np.tile(p, (2, 2, 1))[:side, :side].copy() for p in pictures]


@pytest.mark.parametrize(
    ("library", "name"),
    [*(("torchvision", n) for n in TORCHVISION), *(("timm", n) for n in TIMM)],
)
def test_classifier(library: str, name: str) -> None:
    model = LIBRARIES.get(library).load(ModelSpec(library, name, "random"), CPU)
    side = 224 if name.startswith(NEED_224) else 128
    found = ability(model, scenes(side), viewed=True)
    assert found.together
    assert found.loss
    assert found.features


@pytest.mark.parametrize("name", DETECTORS)
def test_detector(name: str) -> None:
    model = LIBRARIES.get("torchvision").load(ModelSpec("torchvision", name, "random"), CPU)
    if not name.startswith("ssd"):  # of one size
        model.network.transform.min_size, model.network.transform.max_size = (128,), 128  # type: ignore[attr-defined]
    found = ability(model, scenes(128), viewed=False)
    assert found.together
    assert found.loss or name.startswith("maskrcnn")
    assert found.features


def test_random_weights_are_drawn_from_their_own_seed() -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    spec = ModelSpec("timm", "resnet10t", "random")
    first, second = (LIBRARIES.get("timm").load(spec, CPU) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    pairs = zip(first.network.parameters(), second.network.parameters(), strict=True)  # type: ignore[attr-defined]
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(
    ("library", "name", "weights"),
    [("timm", "resnet18", "a1_in1k"), ("torchvision", "resnet18", "IMAGENET1K_V1")],
)
def test_weights_that_cannot_be_fetched(
    library: str, name: str, weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*args: object, **kwargs: object) -> None:
        raise OSError("no route to the hub")

    monkeypatch.setattr(timm, "create_model", offline)
    monkeypatch.setattr("bench.models.torchvision.get_model", offline)
    with pytest.raises(ConfigError, match=f"{weights}.*no route to the hub.*give it as weights"):
        LIBRARIES.get(library).load(ModelSpec(library, name, weights), CPU)


def test_published_file_is_known_by_its_name_and_states_its_scores(
    tmp_path: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy of the older weights keeps their preprocessing, which is not the default's."""
    import hashlib
    from pathlib import Path

    enum = torchvision.models.ResNet50_Weights
    path = Path(str(tmp_path)) / "mine.pth"
    path.write_bytes(b"as if")
    digits = hashlib.sha256(b"as if").hexdigest()[:8]
    library = LIBRARIES.get("torchvision")
    spec = ModelSpec("torchvision", "resnet50", str(path))
    assert library.stated(spec) is None
    old = enum.IMAGENET1K_V1
    monkeypatch.setattr(type(old), "url", f"https://x/resnet50-{digits}.pth", raising=False)
    stated = library.stated(spec)
    assert stated is not None
    assert stated.scores == pytest.approx({"top1": 0.7613, "top5": 0.92862})
    named = library.stated(ModelSpec("torchvision", "fcos_resnet50_fpn", "COCO_V1"))
    assert named is not None
    assert (named.dataset, named.scores) == ("coco", {"mAP": pytest.approx(0.392)})


def test_stated_scores_hold_for_the_whole_set_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = mini.load(task="det")
    objects = sum(len(s.target.boxes) for s in dataset.samples)
    stated = Stated("coco", {"mAP": 0.4})
    assert not stated.on(dataset)
    whole = FullSet("coco", len(dataset.samples), objects, len(dataset.categories))
    monkeypatch.setattr(Detection, "full_sets", (whole,))
    assert stated.on(dataset)
    assert not stated.on(dataset.first(len(dataset.samples) - 1))
