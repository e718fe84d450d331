"""Boxes and masks of one network on one folder in COCO's format, from its files to the report."""

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from PIL import Image
from torchvision.models import get_model

from bench.cli import main
from bench.datasets import mini
from bench.models import torchvision as adapter

MODEL = {"library": "torchvision", "name": "maskrcnn_resnet50_fpn", "weights": "random"}


def small(name: str, **options: Any) -> Any:
    """The network on a tenth of the pixels."""
    return get_model(name, **options, min_size=64, max_size=96, box_detections_per_img=5)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "things"
    (root / "images").mkdir(parents=True)
    annotations = []
    for i in range(2):
        Image.fromarray(mini.render_detection("test", i)[0][:96]).save(root / "images" / f"{i}.png")
        annotations.append(
            {"id": i, "image_id": i, "category_id": 1, "bbox": [10, 10, 40, 40], "area": 1600,
             "segmentation": [[10, 10, 50, 10, 50, 50, 10, 50]]}
        )  # fmt: skip
    content = {
        "images": [{"id": i, "file_name": f"{i}.png", "height": 96, "width": 192} for i in (0, 1)],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": annotations,
    }
    (root / "instances.json").write_text(json.dumps(content))
    return root


@pytest.mark.filterwarnings("ignore")
def test_one_network_is_asked_for_boxes_and_for_masks(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "get_model", small)
    described = [
        {
            "task": task,
            "dataset": {"format": "coco", "root": str(folder)},
            "models": [MODEL],
            "anchor": "jpeg",
            "methods": {"jpeg": {"codec": "jpeg", "qps": [30, 45]}},
        }
        for task in ("det", "ins")
    ]
    path, out = folder.parent / "config.yaml", folder.parent / "out"
    path.write_text(yaml.safe_dump({"experiments": described}))
    words = ["--config", str(path), "--out", str(out), "--device", "cpu", "--quiet"]
    words += ["--set", "analysis.resamples=5", "--cache", str(folder.parent / "cache")]
    assert main(words) == 0
    points = pd.read_csv(out / "points.csv")
    metrics = points.groupby("task").metric.agg(set)
    assert metrics["det"] == {"mAP", "AP50"}
    assert metrics["ins"] == {"mask-mAP", "mask-AP50"}
    assert points.value.notna().all()
    first = json.loads((out / "manifest.json").read_text())
    boxes, masks = (e["models"][0]["fingerprint"] for e in first["experiments"])
    assert masks == boxes | {"prediction": "masks"}
    assert main(words) == 0  # from the cache
    assert json.loads((out / "manifest.json").read_text())["computed"].get("predicted", 0) == 0


@pytest.mark.filterwarnings("ignore")
def test_the_page_s_config_of_mini_s_masks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "get_model", small)
    page = (Path(__file__).parents[2] / "docs" / "datasets.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```yaml\n(experiments:\n  - task: ins.*?)^```$", page, re.M | re.S)
    path, out = tmp_path / "config.yaml", tmp_path / "out"
    path.write_text(block)
    words = ["--config", str(path), "--out", str(out), "--device", "cpu", "--quiet"]
    assert main([*words, "--limit", "2", "--set", "analysis.resamples=0"]) == 0
    points = pd.read_csv(out / "points.csv")
    assert set(points.dataset) == {"mini-ins"}
    assert set(points.metric) == {"mask-mAP", "mask-AP50"}
    assert points.value.notna().all()


def test_mini_has_no_network_for_masks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--tasks", "ins", "--dry-run"]) == 2
    assert "--tasks ins: the config has " in capsys.readouterr().err
