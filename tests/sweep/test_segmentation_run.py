"""Semantic segmentation from a folder of label maps to the report, and without labels."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from bench.cli import main
from bench.datasets import mini

MODEL = {"library": "torchvision", "name": "lraspp_mobilenet_v3_large", "weights": "random"}
NAMES = ["background", "person", "tv"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "rooms"
    for inner in ("images", "labels"):
        (root / inner).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(3):
        picture = mini.render_detection("test", i)[0][:96]
        Image.fromarray(picture).save(root / "images" / f"{i}.png")
        labels = rng.integers(0, len(NAMES), (4, 5)).astype(np.uint8)
        labels = np.array(Image.fromarray(labels).resize(picture.shape[1::-1], 0))
        labels[:8] = 255
        Image.fromarray(labels).save(root / "labels" / f"{i}.png")
    (root / "classes.txt").write_text("\n".join(NAMES))
    return root


def run(folder: Path, format: str) -> Path:
    described = {
        "task": "seg",
        "dataset": {"format": format, "root": str(folder)},
        "models": [MODEL],
        "anchor": "bpg",
        "methods": {
            "bpg": {"codec": "bpg", "qps": [28, 40]},
            "jpeg": {"codec": "jpeg", "qps": [30, 45]},
        },
    }
    path, out = folder.parent / "config.yaml", folder.parent / format
    path.write_text(yaml.safe_dump({"experiments": [described]}))
    words = ["--config", str(path), "--out", str(out), "--device", "cpu", "--quiet"]
    words += ["--set", "analysis.resamples=5", "--cache", str(folder.parent / "cache")]
    assert main(words) == 0
    return out


@pytest.mark.filterwarnings("ignore")
def test_from_a_folder_to_the_report(folder: Path) -> None:
    out = run(folder, "labelmaps")
    points = pd.read_csv(out / "points.csv")
    assert set(points.task) == {"seg"}
    assert set(points.metric) == {"mIoU", "pixel-accuracy", "pixel-cross-entropy"}
    assert points.value.notna().all()
    table = pd.concat(pd.read_parquet(f) for f in (out / "statistics").rglob("bpg/28.parquet"))
    assert table.groupby("image").pixels.sum().nunique() == 1  # eight rows are ignored
    assert set(table.truth) == {0, 1, 2}
    assert "Pixel accuracy" in (out / "report.html").read_text()
    # Nothing is predicted twice: the label maps come from the cache.
    again = json.loads((run(folder, "labelmaps") / "manifest.json").read_text())
    assert again["status"] == "complete"


@pytest.mark.filterwarnings("ignore")
def test_without_labels_it_is_agreement(folder: Path) -> None:
    points = pd.read_csv(run(folder / "images", "folder") / "points.csv")
    assert set(points.task) == {"seg-agreement"}
    assert set(points.metric) == {"agreement-mIoU", "agreement-pixels"}
    assert points.value.between(0, 1).all()
