"""Controls at their best on the train split."""

import io
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from qa_npp_config import QA_NPP
from rich.console import Console

from bench.datasets import mini
from bench.errors import ConfigError
from bench.preprocessors import make
from bench.training import controls


def test_chosen_strengths_are_methods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(mini.COUNTS, ("cls", "train"), 16)
    config = QA_NPP | {"qps": [33, 45]}
    path = controls.choose(config, tmp_path, torch.device("cpu"), Console(quiet=True))
    methods = yaml.safe_load(path.read_text())["methods"]
    assert list(methods) == ["blur+bpg", "denoise+bpg", "rescale+bpg"]
    for method in methods.values():
        rgb = mini.render_classification("train", 0)[0]
        (strengths,) = (v for k, v in method["preprocessor"].items() if k != "name")
        assert list(strengths) == [33, 37, 41, 45]
        filtered = make(method["preprocessor"], [33], torch.device("cpu"))(rgb, 33)
        assert filtered.shape == rgb.shape


@pytest.mark.parametrize(
    ("codec", "judge"), [("jpeg", "features"), ({"name": "bpg", "level": 2}, "answer")]
)
def test_they_are_for_the_codec_and_the_measure_that_the_config_names(
    codec: str | dict[str, Any], judge: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(mini.COUNTS, ("cls", "train"), 12)
    monkeypatch.setattr(controls, "STRENGTHS", {"blur": ("sigma", (0.0, 0.8))})
    said = io.StringIO()
    config = QA_NPP | {"qps": [35, 37], "validation": 4, "codec": codec, "judge": judge}
    path = controls.choose(config, tmp_path, torch.device("cpu"), Console(file=said, width=200))
    ((name, method),) = yaml.safe_load(path.read_text())["methods"].items()
    assert name == f"blur+{codec if isinstance(codec, str) else codec['name']}"
    assert method["codec"] == codec
    assert f"% at equal {judge}\n" in said.getvalue()


def test_they_are_for_one_task_model(tmp_path: Path) -> None:
    config = QA_NPP | {"others": [{"model": {"library": "mini", "name": "mini_fcos"}}]}
    with pytest.raises(ConfigError, match="others: filters are chosen for one task model"):
        controls.choose(config, tmp_path, torch.device("cpu"), Console(quiet=True))
    assert not list(tmp_path.iterdir())
