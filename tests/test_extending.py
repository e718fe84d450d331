"""Codecs, models, tasks and more of another package: docs/extending.md, installed."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from bench.cli import main
from bench.codecs import CODECS
from bench.errors import ConfigError

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pip has installed the package that the page describes; its configs are beside it."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    blocks = re.findall(r"^```\w+\n# (\S+)\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    assert len(blocks) == PAGE.read_text().count("\n```\n") == 9
    for name, text in blocks:
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text(text)
    words = [
        "-m",
        "pip",
        "install",
        "-q",
        "--no-index",
        "--no-deps",
        "--no-build-isolation",
        "--target",
    ]
    subprocess.run([sys.executable, *words, target, source], check=True)
    for name in ("config.yaml", "counting.yaml"):
        (source / name).replace(target / name)
    return target


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(site)
    return site


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("codecs", "posterise  QP 0…7  (from rabench-example 0.1)"),
        ("preprocessors", "median  (from rabench-example 0.1)"),
        ("datasets", "npy  options: classes  (from rabench-example 0.1)"),
        ("models", "example  tiny  (from rabench-example 0.1)"),
    ],
)
def test_they_are_listed(
    installed: Path, capsys: pytest.CaptureFixture[str], what: str, line: str
) -> None:
    assert main(["list", what]) == 0
    printed = capsys.readouterr()
    assert line in printed.out.splitlines()
    assert "warning" not in printed.err


def test_they_run(installed: Path, tmp_path: Path) -> None:
    import torch
    from rabench_example.model import network

    rng = np.random.default_rng(0)
    root = tmp_path / "pictures"
    root.mkdir()
    np.save(root / "images.npy", rng.integers(0, 256, (6, 24, 40, 3), dtype=np.uint8))
    np.save(root / "labels.npy", np.arange(6) % 3)
    (root / "names.txt").write_text("sky\nsea\nsand\n")
    torch.manual_seed(0)
    torch.save(network().state_dict(), tmp_path / "tiny.pth")
    out = tmp_path / "results" / "run"
    words = ["--config", installed / "config.yaml", "--data-root", root, "--out", out]
    words += ["--weights", tmp_path / "tiny.pth", "--device", "cpu", "--jobs", 1]
    assert main([*map(str, words), "--set", "analysis.resamples=5"]) == 0

    points = pd.read_csv(out / "points.csv").query("metric == 'top1'").set_index(["method", "qp"])
    assert points.bpp["posterise", 4] > points.bpp["posterise", 5] > points.bpp["posterise", 6]
    assert points.bpp["median+jpeg", 36] < points.bpp["jpeg", 36]
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["versions"]["rabench-example"] == "0.1"
    (told,) = manifest["experiments"]
    assert told["models"][0]["fingerprint"]["package"] == "rabench-example 0.1"
    assert told["codecs"]["posterise"]["version"] == "0.1"
    assert told["preprocessors"]["median+jpeg"]["size"] == "3"


def test_a_task_runs(installed: Path, tmp_path: Path) -> None:
    """Its data set, its model and its metrics, from pictures to curves."""
    root, n = tmp_path / "squares", 8
    root.mkdir()
    images = np.full((n, 32, 64, 3), 60, np.uint8)
    for i in range(n):
        for k in range(i % 4 + 1):
            images[i, 10:18, 4 + 14 * k : 12 + 14 * k] = 150
    np.save(root / "images.npy", images)
    np.save(root / "counts.npy", np.arange(n) % 4 + 1)
    out = tmp_path / "results" / "run"
    words = ["--config", installed / "counting.yaml", "--data-root", root, "--out", out]
    words += ["--device", "cpu", "--jobs", 1]
    assert main([*map(str, words), "--set", "analysis.resamples=20"]) == 0
    points = pd.read_csv(out / "points.csv")
    assert set(points.task) == {"count"}
    assert set(points.metric) == {"exact", "miscount"}
    scores = points.set_index(["metric", "method", "qp"]).value.sort_index()
    assert scores.xs("uncompressed", level="method").tolist() == [1.0, 0.0]
    assert scores["exact", "posterise", 7] == 1.0  # 150 keeps its highest bit, 60 has none
    assert scores["miscount", "posterise", 7] == 0.0
    assert (
        out / "statistics" / "count" / "squares" / "blobs" / "posterise" / "7.parquet"
    ).is_file()


@pytest.fixture
def broken(installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second package: one codec does not import, one is none, two names are taken already."""
    about = tmp_path / "rabench_broken-2.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: rabench-broken\nVersion: 2.0\n")
    (about / "entry_points.txt").write_text(
        "[bench.codecs]\nabsent = no_such_module:Codec\nnothing = json:dumps\n"
        "jpeg = rabench_example.codec:Posterise\nposterise = rabench_example.codec:Posterise\n"
        "[bench.models]\nabsent = no_such_module:LIBRARY\n"
    )
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("broken")
def test_a_broken_package_is_named_and_stops_nothing_else(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["list", "codecs"]) == 0
    printed = capsys.readouterr()
    lines = {line.split()[0]: line for line in printed.out.splitlines()}
    assert "QP 0…51" in lines["bpg"]
    assert lines["jpeg"] == "jpeg  QP 0…51"
    assert "package rabench-broken 2.0 offers codec 'jpeg', which is built in" in printed.err
    for name, reason in [
        ("absent", "No module named 'no_such_module'"),
        ("nothing", "json:dumps has no encode, decode, fingerprint"),
        ("posterise", "offered by packages"),
    ]:
        assert "not usable here" in lines[name]
        assert reason in lines[name]
        assert "rabench-broken 2.0" in lines[name]
    assert main(["list", "models"]) == 0
    printed = capsys.readouterr()
    assert "mini  mini_fcos" in printed.out
    assert "absent  not usable here" in printed.out


@pytest.mark.usefixtures("broken")
def test_what_is_broken_is_refused_where_it_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"rabench-broken 2\.0.*ModuleNotFoundError.*uninstall"):
        CODECS.get("absent")
    with pytest.raises(ConfigError, match=r"rabench-\w+ \d\.\d and rabench-\w+ \d\.\d: uninstall"):
        CODECS.get("posterise")
    with pytest.warns(UserWarning, match=r"rabench-broken 2\.0.*built-in one is used"):
        assert CODECS.get("jpeg").__module__ == "bench.codecs.pillow"
    described = {
        "task": "cls",
        "dataset": {"format": "mini"},
        "models": [{"library": "absent", "name": "x"}],
        "anchor": "bpg",
        "methods": {"bpg": {"codec": "bpg", "qps": [33]}},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"experiments": [described]}))
    assert main(["--config", str(tmp_path / "config.yaml"), "--dry-run"]) == 2
