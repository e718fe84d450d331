"""A detector's own loss is measured beside its predictions, or left out."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from bench.cli import main
from bench.models.torchvision import Detector


def run(tmp_path: Path, out: str, **options: Any) -> pd.DataFrame:
    described = {
        "task": "det",
        "dataset": {"format": "mini"},
        "models": [{"library": "mini", "name": "mini_fcos", **options}],
        "anchor": "bpg",
        "methods": {"bpg": {"codec": "bpg", "qps": [45]}},
    }
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"experiments": [described]}))
    words = ["--config", config, "--out", tmp_path / out, "--cache", tmp_path / "cache"]
    words += ["--limit", 3, "--device", "cpu", "--jobs", 1, "--set", "analysis.resamples=5"]
    assert main([*map(str, words)]) == 0
    return pd.read_csv(tmp_path / out / "points.csv")


def test_it_can_be_left_out_and_predictions_are_kept_apart_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: Counter[str] = Counter()

    def counting(name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args: (calls.update([name]), plain(*args))[1]

    for name in ("predict", "predict_with_losses"):
        monkeypatch.setattr(Detector, name, counting(name, getattr(Detector, name)))
    whole = run(tmp_path, "with")
    assert set(whole.metric) == {"mAP", "AP50", "loss"}
    assert calls == {"predict_with_losses": 2}
    without = run(tmp_path, "without", loss=False)
    assert calls == {"predict_with_losses": 2}  # its predictions are those in the cache
    left = whole[whole.metric != "loss"].reset_index(drop=True)
    pd.testing.assert_frame_equal(without, left)
