"""Controls at their best on the train split."""

from pathlib import Path

import pytest
import torch
import yaml
from qa_npp_config import QA_NPP
from rich.console import Console

from bench.datasets import mini
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
