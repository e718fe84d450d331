"""What `import bench` gives: runs, results and BD-rates without the command line."""

import copy
import io
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import bjontegaard
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image
from rich.console import Console

import bench
from bench import config as configs
from bench.cli import main
from bench.cli.tables import of
from bench.errors import BenchError, ConfigError, DataError
from bench.models.base import LIBRARIES, ModelSpec

DOCS = Path(__file__).parents[1] / "docs"
METHODS: dict[str, Any] = {"bpg": {"codec": "bpg", "qps": [33, 45]}, "jpeg": {"codec": "jpeg"}}
DESCRIBED: dict[str, Any] = {
    "experiments": [
        {
            "task": "cls",
            "dataset": {"format": "mini"},
            "models": [{"library": "mini", "name": "mini_classifier"}],
            "anchor": "bpg",
            "methods": METHODS,
        }
    ],
    "analysis": {"resamples": 20},
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> bench.Results:
    out = tmp_path_factory.mktemp("api") / "run"
    given = copy.deepcopy(DESCRIBED)
    measured = bench.run(given, out=out, limit=12, device="cpu", jobs=2, quiet=True)
    assert given == DESCRIBED
    return measured


# --- runs -----------------------------------------------------------------------------------------


def test_the_command_line_gives_the_same(results: bench.Results, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(DESCRIBED))
    words = ["--config", tmp_path / "c.yaml", "--out", tmp_path / "run", "--limit", "12"]
    words += ["--cache", results.folder.parent / ".cache", "--device", "cpu", "--quiet"]
    assert main(list(map(str, words))) == 0
    for name in ("points.csv", "bd.csv", "equal_accuracy.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (results.folder / name).read_bytes()


def test_a_run_is_told_and_kept(
    results: bench.Results, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A part of the config, from the same cache, with progress on stderr."""
    again = bench.run(
        configs.validate(DESCRIBED, "of the test"),
        methods=["bpg"],
        qps=[33],
        out=tmp_path / "run",
        cache=results.folder.parent / ".cache",
        limit=12,
        device="cpu",
        settings=["analysis.resamples=0"],
    )
    assert again.manifest.computed == {"coded": 0, "predicted": 0}
    assert again.manifest.analysis.resamples == 0
    coded = again.points.dropna(subset="qp")
    assert set(zip(coded.method, coded.qp, strict=True)) == {("bpg", 33)}
    assert "mini_classifier on uncompressed images: top1" in capsys.readouterr().err


def test_untrained_networks_are_a_warning(results: bench.Results, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="random weights.*mini_classifier") as told:
        made = bench.run(
            DESCRIBED,
            weights={"cls": "random"},
            methods="bpg",
            cache=results.folder.parent / ".cache",
            out=tmp_path / "run",
            limit=12,
            quiet=True,
        )
    assert told[0].filename == __file__
    assert "Random weights" in made._repr_html_()


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"config": "nothing.yaml"}, "nothing.yaml: there is no such file"),
    ({"config": {"experiments": []}}, "dictionary.*\n.*at least 1"),
    ({"config": {"experiments": [{"task": "pose"}]}}, "'pose'.*cls, det"),
    ({"limit": 0}, "limit 0: a whole number from 1"),
    ({"limit": 2.5}, "limit 2.5"),
    ({"jobs": 1000}, "jobs 1000: .* to 256"),
    ({"device": "tpu"}, "device 'tpu'.*auto, cpu, cuda"),
    ({"backend": "mpi"}, "backend 'mpi'.*threading, loky, dask"),
    ({"scheduler": "tcp://here:8786"}, "tcp://here:8786: .*backend dask, not threading"),
    ({"max_failures": 1.5}, "max_failures 1.5: a share"),
    ({"tasks": "det"}, "det: the config has cls"),
    ({"methods": ["bpg", "x"]}, "x: the config has bpg, jpeg"),
    ({"settings": ["nonsense"]}, "nonsense: expected key=value"),
    ({"weights": "gone.pth"}, "gone.pth: there is no such file"),
]


@pytest.mark.parametrize(("options", "said"), REFUSED)
def test_what_is_odd_is_refused(
    options: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=said):
        bench.run(**({"config": DESCRIBED, "device": "cpu"} | options))
    assert not list(tmp_path.iterdir())


def test_relative_paths_are_from_where_the_user_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Config, data root, weights, results and cache, wherever the config lies."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "pictures").mkdir()
    rng = np.random.default_rng(0)
    for name in "abcd":
        pixels = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"{name}.png")
    library = LIBRARIES.get("torchvision")
    spec = ModelSpec("torchvision", "squeezenet1_1", "random")
    network = library.load(spec, torch.device("cpu")).network  # type: ignore[attr-defined]
    torch.save(network.state_dict(), tmp_path / "net.pth")
    described = copy.deepcopy(DESCRIBED)
    described["experiments"][0] |= {
        "dataset": {"format": "folder"},
        "models": [{"library": "torchvision", "name": "squeezenet1_1"}],
    }
    (tmp_path / "configs" / "mine.yaml").write_text(yaml.safe_dump(described))
    monkeypatch.chdir(tmp_path)
    made = bench.run("configs/mine.yaml", data_root="pictures", weights="net.pth", quiet=True)
    assert made.folder == tmp_path / "results" / "mine"
    assert (tmp_path / "results" / ".cache").is_dir()
    monkeypatch.chdir(tmp_path / "configs")
    assert bench.load("../results/mine").figure("agreement") is not None
    assert made.figure("agreement") is not None


# --- results --------------------------------------------------------------------------------------


def test_tables_are_those_on_disk(results: bench.Results) -> None:
    for name in ("points", "bd", "equal_accuracy", "pairs", "means", "fidelity"):
        table: pd.DataFrame = getattr(results, name)
        text = pd.read_csv(results.folder / f"{name}.csv", dtype=str, keep_default_na=False)
        assert list(table) == list(text)
        for column in table:
            written = ["" if pd.isna(v) else str(v) for v in table[column]]
            assert written == text[column].tolist(), column


def test_names_that_a_spreadsheet_would_run(results: bench.Results, tmp_path: Path) -> None:
    """In files they are guarded; here they are what they are."""
    methods = {"=bpg": METHODS["bpg"], "nan": METHODS["jpeg"]}
    described = copy.deepcopy(DESCRIBED)
    described["experiments"][0] |= {"anchor": "=bpg", "methods": methods}
    cache = results.folder.parent / ".cache"
    made = bench.run(described, out=tmp_path / "r", cache=cache, limit=12, device="cpu", quiet=True)
    assert "'=bpg" in (made.folder / "points.csv").read_text()
    assert set(made.points.method) == {"uncompressed", "=bpg", "nan"}
    assert made.summary.method.tolist()[0] == "nan vs =bpg"


def test_how_results_show_themselves(results: bench.Results) -> None:
    assert repr(results) == f"Results(folder={results.folder!r})"
    assert results.failures == []
    shown = results._repr_html_()
    assert shown.count("<tr") == 1 + len(results.summary)
    assert "jpeg vs bpg" in shown
    assert "Random weights" not in shown
    reason = f"no interval: {'said at length ' * 5}"
    told = replace(results, bd=results.bd.assign(ci_low=np.nan, reason=reason))
    assert max(map(len, told.summary["remarks"])) > 50
    assert "…</td>" not in told._repr_html_()  # as pandas shows long text, else


def test_the_range_near_the_clean_score_stands_before_the_whole_overlap(
    results: bench.Results,
) -> None:
    numbers = {"range_bd_rate": -20.3, "range_low": -29.5, "range_high": -12.1}
    numbers |= {"bd_rate": -34.6, "ci_low": -39.0, "ci_high": -30.0}
    reasons = {"reason": "npp tied", "range_reason": "", "status": "ok"}
    first = replace(results, bd=results.bd.assign(**numbers, **reasons)).summary.iloc[0]
    assert list(first.index[-3:]) == [
        "BD-rate at 1–10 % below clean", "BD-rate, whole overlap", "remarks",
    ]  # fmt: skip
    assert first.tolist()[-3:] == ["-20.3 % (-29.5 … -12.1)", "-34.6 % (-39.0 … -30.0)", ""]

    missing = {"range_bd_rate": np.nan, "range_reason": "too little; x"}
    withheld = {"ci_low": np.nan, "reason": "npp tied; no interval: no resamples"}
    table = results.bd.assign(**(numbers | missing | withheld), status="ok")
    shown = replace(results, bd=table).summary.iloc[0].tolist()[-3:]
    assert shown == [
        "undefined", "-34.6 % (no interval)", "too little; no interval: no resamples",
    ]  # fmt: skip


def test_the_console_has_the_remarks_below_the_table(results: bench.Results) -> None:
    told = replace(results, bd=results.bd.assign(ci_low=np.nan, reason="no interval: [because]"))
    console = Console(width=200, file=io.StringIO())
    console.print(of(told))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    bottom = next(i for i, line in enumerate(lines) if line.startswith("└"))
    assert "(no interval)" in lines[bottom - 1]
    assert len(lines) == bottom + 1 + len(told.summary)
    assert lines[-1].startswith("mini-cls, mini_classifier, ")
    assert lines[-1].endswith("no interval: [because]")


def test_figures(results: bench.Results) -> None:
    figure = results.figure("top1")
    assert figure.axes[0].get_xlabel() == "Rate (bpp)"
    drawn = {line.get_label().split("  ")[0] for line in figure.axes[0].lines}
    assert {"bpg", "jpeg"} <= drawn
    assert results.figure("top1", dataset="mini-cls", model="mini_classifier").axes


@pytest.mark.parametrize(
    "named", [("mAP",), ("top1", "other"), ("top1", None, "other"), ("top1", "mini-cls", "x")]
)
def test_figures_that_are_not_there(results: bench.Results, named: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=r"fits 0 .*\n.*'top1', 'mini-cls', 'mini_classifier'"):
        results.figure(*named)


def test_what_is_no_results_folder(tmp_path: Path, results: bench.Results) -> None:
    with pytest.raises(DataError, match="no such folder"):
        bench.load(tmp_path / "gone")
    with pytest.raises(DataError, match=r"manifest\.json"):
        bench.load(tmp_path)
    (tmp_path / "manifest.json").write_bytes((results.folder / "manifest.json").read_bytes())
    with pytest.raises(BenchError, match=r"points\.csv"):
        bench.load(tmp_path)


# --- BD-rates -------------------------------------------------------------------------------------

RATE = np.array([0.1, 0.2, 0.4, 0.8])
ANCHOR = np.column_stack([RATE, [0.2, 0.3, 0.4, 0.45]])
METHOD = np.column_stack([RATE * 0.8, [0.22, 0.3, 0.41, 0.44]])


def reference(anchor: np.ndarray, method: np.ndarray, interpolation: str = "pchip") -> float:
    curves = (*anchor.T, *method.T)
    return float(
        bjontegaard.bd_rate(*curves, interpolation, require_matching_points=False, min_overlap=0)
    )


@pytest.mark.parametrize("interpolation", ["pchip", "akima"])
@pytest.mark.parametrize("kind", [np.array, np.ndarray.tolist, pd.DataFrame])
def test_bd_rate_of_pairs(kind: Any, interpolation: str) -> None:
    found = bench.bd_rate(kind(ANCHOR), kind(METHOD[::-1]), interpolation=interpolation)
    assert found.bd_rate == pytest.approx(reference(ANCHOR, METHOD, interpolation), rel=1e-12)
    assert (found.status, found.reason) == ("ok", "")
    assert np.isnan([found.ci_low, found.ci_high]).all()


def test_bd_rate_of_losses() -> None:
    down = np.array([1.0, -1.0])
    found = bench.bd_rate(ANCHOR * down, METHOD * down, higher_is_better=False)
    assert found == bench.bd_rate(ANCHOR, METHOD)
    assert found.bd_metric > 0


def test_bd_rate_of_rows_of_results(results: bench.Results) -> None:
    rows = dict(iter(results.points.groupby("method")))
    for row in results.bd.itertuples():
        found = bench.bd_rate(
            rows["bpg"],
            rows["jpeg"],
            metric=row.metric,
            higher_is_better=row.metric != "cross-entropy",
            interpolation=row.interpolation,
        )
        assert found.status == row.status
        assert found.bd_rate == pytest.approx(row.bd_rate, rel=1e-12, nan_ok=True)
        assert found.bd_metric == pytest.approx(row.bd_metric, rel=1e-12, nan_ok=True)


def images(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rates and accuracies of (4, n) images about those of ANCHOR."""
    rng = np.random.default_rng(seed)
    rates = RATE[:, None] * rng.uniform(0.5, 1.5, n)
    return rates, (rng.uniform(size=n) < ANCHOR[:, 1:]).astype(float)


def test_bd_rate_of_images_has_an_interval() -> None:
    """As one drawn by hand: other images of the same kind move it so far."""
    rng = np.random.default_rng(1)
    rates, accuracies = images(300)
    other = rates * rng.uniform(0.7, 0.9, 300)
    found = bench.bd_rate((rates, accuracies), (other, accuracies), resamples=2000)
    means = [np.column_stack([r.mean(axis=1), accuracies.mean(axis=1)]) for r in (rates, other)]
    assert found.bd_rate == pytest.approx(reference(*means), rel=1e-9)
    resampled = []
    for _ in range(2000):
        drawn = rng.integers(0, 300, 300)
        one, two = (
            np.column_stack([r[:, drawn].mean(axis=1), accuracies[:, drawn].mean(axis=1)])
            for r in (rates, other)
        )
        resampled.append(reference(one, two))
    low, high = np.quantile(resampled, [0.025, 0.975])
    assert (found.ci_low, found.ci_high) == pytest.approx((low, high), abs=0.1 * (high - low))
    assert found == bench.bd_rate((rates, accuracies), (other, accuracies), resamples=2000)


@pytest.mark.parametrize(
    ("n", "resamples", "said"),
    [
        (3, 1000, "no interval: there are 3 images, 4 are needed"),
        (50, 0, "no interval: no resamples"),
        (50, 10, "no interval: 10 resamples, 20 are needed"),
    ],
)
def test_intervals_that_would_say_nothing(n: int, resamples: int, said: str) -> None:
    rates = np.repeat(RATE[:, None], n, axis=1)
    accuracies = np.repeat(ANCHOR[:, 1:], n, axis=1) + np.linspace(0, 0.01, n)
    found = bench.bd_rate((rates, accuracies), (0.9 * rates, accuracies), resamples=resamples)
    assert found.bd_rate == pytest.approx(-10)
    assert said in found.reason
    assert np.isnan([found.ci_low, found.ci_high]).all()


def test_images_that_are_all_the_same() -> None:
    rates, accuracies = (np.repeat(v[:, None], 9, axis=1) for v in ANCHOR.T)
    found = bench.bd_rate((rates, accuracies), (rates, accuracies))
    assert "no interval: all images give the same numbers" in found.reason


def test_undefined_with_a_reason() -> None:
    apart = bench.bd_rate(ANCHOR, ANCHOR + np.array([0, 1]))
    assert (apart.status, apart.reason) == ("undefined", "the curves share no accuracy")
    assert np.isnan(apart.bd_rate)
    dropped = bench.bd_rate(np.vstack([ANCHOR, [0.9, 0.1], [0.5, np.nan]]), METHOD)
    assert dropped.reason == "anchor dominated: point 5; no value: point 6"
    raw = bench.bd_rate(np.vstack([ANCHOR, [0.9, 0.1]]), METHOD, policy="raw")
    assert "falls" in raw.reason


BAD: list[tuple[Any, Any, dict[str, Any], str]] = [
    (ANCHOR, METHOD.T, {}, r"method is of shape \(2, 4\)"),
    (RATE, METHOD, {}, r"anchor is of shape \(4,\)"),
    ([[1, 2], [3]], METHOD, {}, "anchor: an array of numbers"),
    (ANCHOR, [["a", "b"]], {}, "method: an array of numbers"),
    (images(5), images(6), {}, "same images.* 5 and 6"),
    (ANCHOR, images(6), {}, "same images.* 1 and 6"),
    ((images(5)[0], np.full((4, 5), np.nan)), images(5), {}, "anchor: a number is missing"),
    (ANCHOR, METHOD, {"interpolation": "cubic"}, "interpolation 'cubic'.*pchip, akima"),
    (ANCHOR, METHOD, {"policy": "best"}, "policy 'best'.*pareto"),
    (ANCHOR, METHOD, {"resamples": -1}, "resamples -1"),
    (ANCHOR, METHOD, {"seed": "x"}, "seed 'x'"),
    (ANCHOR, METHOD, {"metric": "mAP"}, "'mAP'.*anchor is none"),
    (pd.DataFrame(ANCHOR), METHOD, {"metric": "mAP"}, "anchor: the table has no metric 'mAP'"),
]


@pytest.mark.parametrize(("anchor", "method", "options", "said"), BAD, ids=range(len(BAD)))
def test_what_is_no_curve(anchor: Any, method: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        bench.bd_rate(anchor, method, **options)


def test_rows_of_several_things_are_no_curve(results: bench.Results) -> None:
    points = results.points
    with pytest.raises(ConfigError, match=r"anchor: rows of one metric.*top1, top5"):
        bench.bd_rate(points[points.method == "bpg"], points[points.method == "jpeg"])
    with pytest.raises(ConfigError, match=r"anchor: rows of one method.*bpg, jpeg"):
        bench.bd_rate(points, points, metric="top1")


# --- documents ------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("error::UserWarning")
def test_the_notebook_and_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    notebook = json.loads((DOCS / "notebook.ipynb").read_text())
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    names: dict[str, Any] = {}
    for cell in cells:
        exec("".join(cell["source"]), names)
    assert {p.name for p in tmp_path.iterdir()} == {"results"}
    assert names["again"].summary.equals(names["results"].summary)
    blocks = re.findall(r"^```python\n(.*?)^```$", (DOCS / "python.md").read_text(), re.M | re.S)
    assert len(blocks) == 4
    for block in blocks:
        exec(block, names)
    assert sorted(names["results"].points.method.unique())[-1] == "uncompressed"


# --- what is imported -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [
        "import bench",
        "import bench.codecs",
        "import bench.cli; bench.cli.main(['list', 'codecs'])",
        "import bench.cli\ntry: bench.cli.main(['--help'])\nexcept SystemExit: pass",
    ],
)
def test_what_is_large_is_not_imported(code: str) -> None:
    large = ["torch", "pandas", "matplotlib", "pyarrow", "scipy", "pydantic", "joblib"]
    code += f"\nimport sys, json; print(json.dumps([m for m in {large} if m in sys.modules]))"
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout.splitlines()[-1]) == []
