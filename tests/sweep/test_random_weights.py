"""Untrained networks run to the end, and everything written says that they are untrained."""

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from bench import config as configs
from bench.cli import main

ROOT = Path(__file__).parents[2]
SAID = "andom weights"


@pytest.mark.filterwarnings("ignore")
def test_every_output_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    described = {
        "task": "det",
        "dataset": {"format": "mini"},
        "models": [{"library": "mini", "name": "mini_fcos"}],
        "anchor": "bpg",
        "methods": {
            "bpg": {"codec": "bpg", "qps": [33, 45]},
            "npp+bpg": {"preprocessor": {"name": "npp", "weights": None}, "codec": "bpg"},
        },
    }
    path, out = tmp_path / "config.yaml", tmp_path / "results" / "run"
    path.write_text(yaml.safe_dump({"experiments": [described]}))
    words = ["--config", str(path), "--out", str(out), "--limit", "2", "--device", "cpu"]
    words += ["--set", "analysis.resamples=5"]
    assert main(words) == 2  # npp has no weights, and nobody said that it may go without
    assert "weights" in capsys.readouterr().err
    assert main([*words, "--random-weights", "--dry-run"]) == 0
    plan = capsys.readouterr().err
    assert "mini_fcos, npp+bpg" in plan
    assert "core-minutes" in plan
    assert not out.exists()

    assert main([*words, "--random-weights", "--quiet"]) == 0
    assert SAID in capsys.readouterr().err
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["random_weights"] == ["mini_fcos", "npp+bpg"]
    bd = pd.read_csv(out / "bd.csv")
    assert set(bd.model) == {"mini_fcos"}
    undefined = bd[bd.status == "undefined"]
    assert undefined.reason.str.len().gt(0).all()
    written = [out / "report.html", *(out / "tables").iterdir(), *(out / "figures").glob("*.svg")]
    assert len(written) > 7
    for file in written:
        assert SAID in file.read_text(), file


def test_trained_networks_leave_no_such_word(tmp_path: Path) -> None:
    from bench.report.results import Results
    from bench.results.manifest import Manifest

    assert Results(tmp_path, Manifest(experiments=()), [], [], []).random_weights == ""


def test_the_papers_config_needs_only_data_and_checkpoints() -> None:
    config = configs.load(ROOT / "configs" / "paper.yaml")
    names = [m.name for e in config.experiments for m in e.models]
    files = configs.per_task("--weights", ",".join(f"{n}=a.pth" for n in names), names)
    narrowed = configs.narrowed(config, weights=files, data_root={"det": "d", "cls": "c"})
    assert [m.weights for e in narrowed.experiments for m in e.models] == ["a.pth"] * 6
    pytest.importorskip("mmdet", reason="the extra mmlab is not installed")
    from bench.models.mmlab import bundled

    known = {**bundled("mmdet"), **bundled("mmpretrain")}
    assert all(n in known for n in names)
