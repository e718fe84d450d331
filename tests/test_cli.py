"""What is refused, and how: before any coding, naming key, value and what is allowed."""

import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from rich.console import Console

import bench.cli
from bench import config as configs
from bench.cli import main
from bench.sweep import plan

GOOD = {
    "task": "cls",
    "dataset": {"format": "mini"},
    "models": [{"library": "mini", "name": "mini_classifier"}],
    "anchor": "bpg",
    "methods": {"bpg": {"codec": "bpg", "qps": [33, 39]}, "jpeg": {"codec": "jpeg"}},
}


def refusal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], experiment: object, *words: str
) -> str:
    config = tmp_path / "config.yaml"
    text = experiment if isinstance(experiment, str) else yaml.safe_dump(experiment)
    config.write_text(text)
    out = tmp_path / "results" / "run"
    assert main(["--config", str(config), "--out", str(out), *words]) == 2
    assert not (tmp_path / "results").exists()
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "words", "named"),
    [
        ({}, ["--methods", "bpg,magic"], ["magic", "bpg, jpeg"]),
        ({}, ["--methods", "jpeg"], ["anchor", "bpg"]),
        ({}, ["--tasks", "seg"], ["seg", "cls"]),
        ({}, ["--qps", "33,77"], ["methods.bpg.qps", "77", "0…51"]),
        ({}, ["--set", "analysis.policy=best"], ["analysis.policy", "best", "pareto"]),
        ({}, ["--set", "nonsense"], ["nonsense", "key=value"]),
        ({}, ["--scheduler", "tcp://here:1"], ["tcp://here:1", "dask", "auto"]),
        ({}, ["--weights", "gone.pth"], ["gone.pth", "mini_classifier"]),
        ({"methods": {"bpg": {"codec": "bpq", "qps": [1]}}}, [], ["bpq", "bpg"]),
        ({"methods": {"bpg": {"codec": "bpg"}}}, [], ["methods.bpg.qps"]),
        ({"anchor": "hevc"}, [], ["hevc", "bpg, jpeg"]),
        ({"speed": 3}, [], ["speed"]),
        ({"dataset": {"format": "imagenet"}}, [], ["dataset.root", "--data-root"]),
        ({"dataset": {"format": "cooc"}}, [], ["cooc", "coco"]),
        (
            {"dataset": {"format": "imagenet", "root": "/nowhere/at/all"}},
            [],
            ["/nowhere/at/all", "labels.csv"],
        ),
        ({"models": [{"library": "timm", "name": "resnet18"}]}, [], ["resnet18", "--weights"]),
        (
            {"models": [{"library": "torchvision", "name": "resnet17", "weights": "DEFAULT"}]},
            [],
            ["resnet17"],
        ),
        ({"models": [{"library": "keras", "name": "x"}]}, [], ["keras", "timm"]),
    ],
)
def test_refused_before_any_coding(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: dict[str, object],
    words: list[str],
    named: list[str],
) -> None:
    error = refusal(tmp_path, capsys, {"experiments": [GOOD | change]}, *words)
    for word in named:
        assert word in error
    assert "Traceback" not in error


def test_malformed_yaml(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "not valid YAML" in refusal(tmp_path, capsys, "experiments: [")
    assert "experiments" in refusal(tmp_path, capsys, "- a list")


def test_missing_config(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", "no/such.yaml"]) == 2
    assert "no/such.yaml" in capsys.readouterr().err


def test_a_path_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", "configs/a:fire:[red].yaml"]) == 2
    assert "configs/a:fire:[red].yaml" in capsys.readouterr().err


def test_dry_run_shows_the_plan_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["--dry-run", "--tasks", "cls", "--limit", "10"]) == 0
    assert "mini-cls" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_output_goes_where_the_caller_wants_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said, printed = StringIO(), StringIO()
    monkeypatch.setattr(bench.cli, "err", Console(file=said))
    monkeypatch.setattr(bench.cli, "out", Console(file=printed))
    assert main(["list", "methods"]) == 0
    assert main(["list", "methods", "--config", "no/such.yaml"]) == 2
    assert "(anchor)" in printed.getvalue()
    assert "no/such.yaml" in said.getvalue()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("command", bench.cli.COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert f"run_bench.py {command}" in capsys.readouterr().out


def test_it_says_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"rabench {bench.__version__}\n"


@pytest.mark.parametrize("asked", ["--version", "--help"])
def test_what_it_is_is_said_without_torch(asked: str) -> None:
    code = f"""
import sys
from bench.cli import main
try:
    main([{asked!r}])
finally:
    print('torch' in sys.modules)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.endswith("False\n")


@pytest.mark.parametrize("what", ["codecs", "preprocessors", "models", "datasets", "methods"])
def test_list(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    expected = {"codecs": "bpg", "models": "mini_fcos", "datasets": "voc  options: split"}
    expected |= {"preprocessors": "qa-npp", "methods": "(anchor)"}
    assert main(["list", what]) == 0
    assert expected[what] in capsys.readouterr().out


def test_config_for_a_folder_is_planned_without_a_download(tmp_path: Path) -> None:
    Image.new("RGB", (64, 48)).save(tmp_path / "a.jpg")
    config = configs.load(Path(__file__).parents[1] / "configs" / "folder.yaml")
    config = configs.narrowed(config, data_root={"": str(tmp_path)})
    experiments = plan.plan(config, torch.device("cpu"), None)
    assert [e.task.name for e in experiments] == ["cls-agreement", "det-agreement"]
    assert [m.viewed for e in experiments for m in e.models] == [True, False]
