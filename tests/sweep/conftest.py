"""Small folders of mini's pictures, so that a whole run takes seconds."""

from pathlib import Path

import pytest
import yaml
from described import N, experiment
from PIL import Image

from bench.datasets import mini


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """An ImageNet-style folder of 24 pictures with labels.csv."""
    root = tmp_path / "pictures"
    (root / "images").mkdir(parents=True)
    lines = ["file,class_index"]
    for i in range(N):
        rgb, target = mini.render_classification("test", i)
        Image.fromarray(rgb).save(root / "images" / f"{i:02d}.png")
        lines.append(f"{i:02d}.png,{int(target.label)}")
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"experiments": [experiment()]}))
    return path
