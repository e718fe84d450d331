"""A preprocessor is trained on a segmentation network: targets are cut with the pictures."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from qa_npp_config import QA_NPP
from rich.console import Console

from bench.datasets import mini
from bench.models.base import LIBRARIES, ModelSpec
from bench.training import npp
from bench.training.pictures import cut, zoomed
from bench.training.task_loss import task_loss

CPU = torch.device("cpu")
MODEL = {"library": "torchvision", "name": "lraspp_mobilenet_v3_large", "weights": "random"}


def picture(height: int, width: int) -> Any:
    """Whose labels are its red."""
    labels = np.random.default_rng(0).integers(0, 200, (height, width)).astype(np.uint8)
    return np.repeat(labels[:, :, None], 3, axis=2), {"regions": labels}


@pytest.mark.parametrize("seed", range(4))
def test_maps_are_cut_and_mirrored_with_their_pictures(seed: int) -> None:
    x, target = cut(picture(40, 50), 16, np.random.default_rng(seed))
    assert np.array_equal((255 * x[0]).round().numpy(), target["regions"])


def test_maps_are_resized_to_their_nearest_labels() -> None:
    rgb, target = zoomed(picture(40, 50), 60, np.random.default_rng(0))
    assert target["regions"].shape == rgb.shape[:2]
    assert set(np.unique(target["regions"])) <= set(np.unique(picture(40, 50)[1]["regions"]))


@pytest.mark.parametrize("kind", ["answer", "features"])
def test_distance_from_the_clean_picture(kind: Any) -> None:
    spec = ModelSpec(MODEL["library"], MODEL["name"], MODEL["weights"])
    loss = task_loss(kind, LIBRARIES.get("torchvision").load(spec, CPU), longer_side=520)
    clean = torch.rand(2, 3, 64, 64, generator=torch.manual_seed(0))
    from_clean = loss(clean, [{}, {}])
    decoded = clean.clone()
    decoded[1] = decoded[1].flip(-1)
    decoded.requires_grad_()
    apart = from_clean(decoded)
    assert apart.shape == (2,)
    assert apart[0].item() == pytest.approx(0, abs=1e-5)
    assert apart[1].item() > max(0, 10 * apart[0].item())
    (grad,) = torch.autograd.grad(apart.sum(), decoded)
    assert grad[1].abs().max() > 0


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("loss", ["labels", "answer"])
def test_training_runs(tmp_path: Path, loss: str) -> None:
    for inner in ("images", "labels"):
        (tmp_path / inner).mkdir()
    for i in range(2):
        rgb = mini.render_detection("train", i)[0]
        Image.fromarray(rgb).save(tmp_path / "images" / f"{i}.png")
        Image.fromarray((rgb[:, :, 0] > 99).astype(np.uint8)).save(tmp_path / "labels" / f"{i}.png")
    (tmp_path / "classes.txt").write_text("background\ncar")
    config = QA_NPP | {
        "model": MODEL,
        "dataset": {"format": "labelmaps", "root": str(tmp_path)},
        "loss": loss,
        "judge": "answer",
        "longer_side": 520,
        "context": False,
        "steps": 1,
        "batch": 2,
        "validation": 1,
    }
    assert npp.train("qa-npp", config, tmp_path / "out", CPU, False, Console(quiet=True)).is_file()
