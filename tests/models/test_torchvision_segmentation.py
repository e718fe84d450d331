"""torchvision's segmentation networks: their own preprocessing, label maps, and gradients."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from bench.datasets import mini
from bench.errors import ConfigError
from bench.models.base import LIBRARIES, Differentiable, ModelSpec
from bench.models.torchvision_segmentation import names
from bench.tasks import TASKS
from bench.tasks.records import IGNORED

CPU = torch.device("cpu")
FAMILIES = ("lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large", "fcn_resnet50")
SMALL = "lraspp_mobilenet_v3_large"


def network(name: str, weights: str = "random", short: int = 64) -> Any:
    model: Any = LIBRARIES.get("torchvision").load(ModelSpec("torchvision", name, weights), CPU)
    assert model.preset.resize_size == [520]
    model.preset.resize_size = [short]  # in a fifth of the time
    return model


def pictures() -> list[np.ndarray]:
    scenes = [mini.render_detection("test", i)[0] for i in range(2)]
    return [scenes[0][:, :81].copy(), scenes[1][:, :81].copy(), scenes[1][:50].copy()]


@pytest.mark.parametrize("name", FAMILIES)
def test_labels_are_those_of_the_networks_own_forward(name: str) -> None:
    model, images = network(name), pictures()
    found = model.predict(images, False)
    for image, seen in zip(images, found, strict=True):
        x = model.preset(Image.fromarray(image))[None]
        with torch.inference_mode():
            own = model.network(x)["out"]
        size = image.shape[:2]
        wide = functional.interpolate(own, size, mode="bilinear", align_corners=False)
        agree = wide.argmax(dim=1)[0].numpy() == seen.labels
        assert agree.mean() > 0.999  # a batch may round otherwise
        assert TASKS.get("seg").fault(seen) == ""
        assert seen.labels.shape == size
        # The head's own grid: a sixty-fourth of the input's pixels, or fewer.
        assert seen.log_probabilities.dtype == np.float16
        height, width = seen.log_probabilities.shape[1:]
        assert height * width <= x.shape[-2] * x.shape[-1] / 49
        logits = torch.from_numpy(seen.log_probabilities).float()
        assert np.allclose(logits.exp().sum(dim=0), 1, atol=0.01)
        back = functional.interpolate(logits[None], x.shape[-2:], mode="bilinear")
        assert np.allclose(back.log_softmax(1), own.log_softmax(1), rtol=1e-3, atol=0.01)


@pytest.mark.parametrize("name", FAMILIES)
def test_gradients_reach_the_pixels(name: str) -> None:
    model = network(name)
    assert isinstance(model, Differentiable)
    x = torch.from_numpy(np.stack(pictures()[:2])).permute(0, 3, 1, 2).float() / 255
    regions = np.random.default_rng(0).integers(0, 21, x.shape[-2:]).astype(np.uint8)
    regions[:20] = IGNORED
    targets = [{"regions": regions}, {"regions": np.full_like(regions, IGNORED)}]
    buffers = {k: v.clone() for k, v in model.network.named_buffers()}
    x.requires_grad_()
    losses = model.loss(x, targets)
    with torch.inference_mode():
        prepared = torch.stack([model.preset(Image.fromarray(p)) for p in pictures()[:2]])
        own = model.network(prepared)["out"]
        near = functional.interpolate(own, x.shape[-2:], mode="bilinear", align_corners=False)
        wanted = functional.cross_entropy(near[:1], torch.from_numpy(regions[None]).long(),
                                          ignore_index=IGNORED)  # fmt: skip
    # The preset rounds to 8 bits what it has resized; the coarse grid is resized once, not twice.
    assert losses.tolist() == pytest.approx([wanted.item(), 0], abs=0.02)
    (grad,) = torch.autograd.grad(losses.sum(), x)
    assert grad[0].abs().max() > 0
    assert grad[1].abs().max() == 0
    maps = model.features(x)
    assert maps
    (grad,) = torch.autograd.grad(sum(m.square().mean() for m in maps), x)
    assert (grad.abs().amax(dim=(1, 2, 3)) > 0).all()
    assert all(torch.equal(v, buffers[k]) for k, v in model.network.named_buffers())


def test_a_crop_is_seen_at_the_scale_of_its_picture() -> None:
    model = network(SMALL, short=96)
    x = torch.rand(1, 3, 64, 64)
    assert model._seen(x, None).shape[-2:] == (96, 96)
    assert model._seen(x, 128).shape[-2:] == (48, 48)


def saved(path: Path, classes: int, **extra: Any) -> str:
    from torchvision.models import get_model

    torch.manual_seed(1)
    built = get_model(SMALL, weights=None, weights_backbone=None, num_classes=classes)
    torch.save(built.state_dict() | extra, path)
    return str(path)


def test_a_checkpoint_for_other_classes_names_none(tmp_path: Path) -> None:
    model = network(SMALL, saved(tmp_path / "own.pth", 4))
    assert model.classes is None
    assert model.predict(pictures()[:1], False)[0].log_probabilities.shape[0] == 4
    same = network(SMALL, saved(tmp_path / "voc.pth", 21))
    assert same.classes[:2] == ["__background__", "aeroplane"]


def test_the_auxiliary_head_may_be_there_or_not(tmp_path: Path) -> None:
    from torchvision.models import get_model

    name, states = "fcn_resnet50", {}
    for aux in (True, False):
        torch.manual_seed(1)
        built = get_model(name, weights=None, weights_backbone=None, aux_loss=aux)
        states[aux] = built.state_dict()
        torch.save(states[aux], tmp_path / f"{aux}.pth")
    loaded = network(name, str(tmp_path / "True.pth")).network.state_dict()
    assert loaded.keys() == states[False].keys()
    assert all(torch.equal(v, states[True][k]) for k, v in loaded.items())


def test_what_is_refused(tmp_path: Path) -> None:
    assert SMALL in names()
    assert SMALL in LIBRARIES.get("torchvision").names()
    with pytest.raises(ConfigError, match="no classifier or detector named 'unet', and no network"):
        network("unet")
    with pytest.raises(ConfigError, match="neither a file nor one of torchvision's: COCO_WITH_VOC"):
        network(SMALL, "COCO_V1")
    file = saved(tmp_path / "other.pth", 21)
    with pytest.raises(ConfigError, match="do not fit torchvision fcn_resnet50"):
        network("fcn_resnet50", file)
