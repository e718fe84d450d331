"""`analysis.metrics: all`, from the config to the tables and the gate."""

import csv
import json
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from test_analyse import analyse, edit, write_folder

from bench.analysis import baseline
from bench.analysis.compare import compare
from bench.cli import main
from bench.config import load
from bench.errors import ConfigError
from bench.report.page import panel
from bench.report.results import read
from bench.results.files import ResultsError
from bench.results.rows import CategoryRow, columns
from bench.tasks import TASKS

FURTHER = {"AP75", "AP-small", "AP-medium", "AR100", "ECE"}
"""In mini no object is large."""
TABLES = ("points", "bd", "equal_accuracy", "pairs", "means", "fidelity")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same run as usual and with all metrics."""
    place = tmp_path_factory.mktemp("runs")
    experiments = [
        {
            "task": task,
            "dataset": {"format": "mini"},
            "models": [{"library": "mini", "name": model}],
            "anchor": "jpeg",
            "methods": {
                "jpeg": {"codec": "jpeg", "qps": [36, 44]},
                "webp": {"codec": "webp", "qps": [36, 44]},
            },
        }
        for task, model in (("det", "mini_fcos"), ("cls", "mini_classifier"))
    ]
    config = place / "config.yaml"
    config.write_text(yaml.safe_dump({"experiments": experiments}))
    given = ["--config", config, "--cache", place / "cache", "--limit", 12, "--device", "cpu"]
    words = [*map(str, given), "--quiet", "--set", "analysis.resamples=20"]
    usual, wider = place / "usual", place / "wider"
    assert main([*words, "--out", str(usual)]) == 0
    assert main([*words, "--out", str(wider), "--set", "analysis.metrics=all"]) == 0
    return usual, wider


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("name", TABLES)
def test_further_rows_stand_beside_those_of_a_usual_run(runs: tuple[Path, Path], name: str) -> None:
    usual, wider = (lines(root / f"{name}.csv") for root in runs)
    assert [row for row in wider if row["metric"] not in FURTHER] == usual
    assert {row["metric"] for row in wider} - {row["metric"] for row in usual} == (
        FURTHER if usual else set()
    )


def test_files_of_a_usual_run_know_nothing_of_it(runs: tuple[Path, Path]) -> None:
    usual, wider = runs
    names = [{p.relative_to(r).as_posix() for p in r.rglob("*") if p.is_file()} for r in runs]
    more = {name.partition(".")[0] for name in names[1] - names[0]}
    assert names[0] < names[1]
    assert more == {"categories"} | {
        f"figures/mini-{task}_{model}_{metric}"
        for task, model, metrics in (
            ("det", "mini_fcos", FURTHER - {"ECE"}),
            ("cls", "mini_classifier", {"ECE"}),
        )
        for metric in metrics
    }
    for path in sorted(usual.rglob("statistics/**/*.parquet")):
        plain, table = pq.read_table(path), pq.read_table(wider / path.relative_to(usual))
        assert len(table.column_names) > len(plain.column_names)
        assert table.select(plain.column_names).equals(plain)


def test_categories(runs: tuple[Path, Path]) -> None:
    _, wider = runs
    found = pd.read_csv(wider / "categories.csv")
    assert [*found.columns] == columns(CategoryRow)
    points = pd.read_csv(wider / "points.csv").set_index(["task", "method", "qp", "metric"])
    by_point = found.groupby(["task", "method", "qp", "metric"], dropna=False)
    assert len(by_point) == 2 * (1 + 2 * 2)
    for key, own in by_point:
        whole = points.value[key] if key[2] == key[2] else None
        if whole is None:
            clean = points.reset_index().query("method == 'uncompressed'")
            whole = clean.set_index(["task", "metric"]).value[key[0], key[3]]
        mean = own.value.mean() if key[0] == "det" else (own.value * own.n).sum() / own.n.sum()
        assert mean == pytest.approx(whole, abs=1e-12)
    assert (found[found.task == "cls"].groupby(["method", "qp"], dropna=False).n.sum() == 12).all()
    assert "striped disc" in set(found.name)


def test_the_page_knows_which_further_metrics_are_better_lower(runs: tuple[Path, Path]) -> None:
    panels = panel.content(read(runs[1]))["panels"]
    rises = {p["metric"]: p["up"] for p in panels}
    assert {metric for metric, up in rises.items() if not up} == {
        "loss",
        "cross-entropy",
        "ECE",
    }
    assert set(rises) > FURTHER


def test_the_gate_compares_runs_with_and_without(runs: tuple[Path, Path], tmp_path: Path) -> None:
    usual, wider = runs
    written = []
    for root in runs:
        file = tmp_path / root.name / "gate.json"
        baseline.write(root, file)
        for run in runs:
            verdicts = {row.verdict for row in compare(file, run, threshold=1.0).rows}
            assert verdicts == {"same"}
        written.append(json.loads(file.read_text()))
        for of_the_run in ("name", "checksum"):
            del written[-1][of_the_run]
    assert written[0] == written[1]
    assert {row.verdict for row in compare(wider, usual, threshold=1.0).rows} == {"same"}


@pytest.mark.parametrize("task", ["cls", "det"])
def test_a_folder_measured_without_is_refused(tmp_path: Path, task: str) -> None:
    root = write_folder(tmp_path, task)
    edit(root, lambda m: m["analysis"].update(metrics="all"))
    with pytest.raises(ResultsError, match=r"no column .*; analysis.metrics is all, but was not"):
        analyse(root)


def test_images_without_labels_have_no_further_metrics(tmp_path: Path) -> None:
    root = write_folder(tmp_path, "cls")
    points, _ = analyse(root)
    agreement = TASKS.get("cls").agreement
    assert agreement is not None
    assert agreement.wider() is agreement
    assert not FURTHER & set(points.metric)
    assert not (root / "categories.csv").exists()


def test_another_value_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"analysis\.metrics: .*'standard' or 'all'"):
        load(Path("configs/mini.yaml"), ["analysis.metrics=many"])
