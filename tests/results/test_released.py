"""What released versions wrote is read, or refused with a sentence: what it is, what is read, what
to do. `released/README.md` says how a version's folder is made."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import bench
from bench.analysis import analyse
from bench.cli import main
from bench.results import baseline, manifest
from bench.results.files import ResultsError
from bench.results.folder import check

RELEASED = Path(__file__).parent / "released"
VERSIONS = sorted(p.name for p in RELEASED.iterdir() if p.is_dir())


def test_there_is_one() -> None:
    assert VERSIONS


@pytest.mark.parametrize("version", VERSIONS)
def test_results_are_read(version: str) -> None:
    results = bench.load(RELEASED / version / "run")
    about = results.manifest
    assert about.versions["rabench"] == version
    assert about.status == "complete"
    assert {e.n_images for e in about.experiments} == {2}
    n_metrics = sum(len(e.metrics) for e in about.experiments)
    (methods,) = {tuple(e.methods) for e in about.experiments}
    n_points = 1 + sum(len(qps) for qps in about.experiments[0].methods.values())
    assert len(results.points) == n_metrics * n_points
    assert len(results.summary) == n_metrics * (len(methods) - 1)
    assert results.bd["bd_rate"].notna().any()


@pytest.mark.parametrize("version", VERSIONS)
def test_tables_are_made_again(version: str, tmp_path: Path) -> None:
    run = shutil.copytree(RELEASED / version / "run", tmp_path / "run")
    before = bench.load(run)
    analyse(run)
    after = bench.load(run)
    columns = ["method", "metric", "qp", "bpp", "value"]
    assert after.points[columns].equals(before.points[columns])
    assert len(after.pairs)  # which the older ones have not


@pytest.mark.parametrize("version", VERSIONS)
def test_a_run_may_take_its_place(version: str, tmp_path: Path) -> None:
    check(shutil.copytree(RELEASED / version / "run", tmp_path / "run"))


@pytest.mark.parametrize("version", VERSIONS)
def test_baselines_are_compared_with(version: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = RELEASED / version
    assert main(["compare", str(folder / "baseline" / "run.json"), str(folder / "run")]) == 0
    assert "fine: 4 same" in capsys.readouterr().out


def changed(tmp_path: Path, file: str, **values: Any) -> Path:
    """A released folder in whose JSON file stands something else."""
    folder = shutil.copytree(RELEASED / VERSIONS[0], tmp_path / "copy")
    path = folder / file
    content = {k: v for k, v in json.loads(path.read_text()).items() if k != "checksum"}
    manifest.seal(path, content | values)
    return path


@pytest.mark.parametrize("schema", [0, 2, None, True, "1"])
def test_a_folder_of_another_schema_is_refused_with_a_sentence(
    schema: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = changed(tmp_path, "run/manifest.json", schema=schema, experiments={"other": "layout"})
    with pytest.raises(ResultsError) as error:
        bench.load(path.parent)
    said = str(error.value)
    assert f"{path}: schema is {schema!r}, this rabench reads results folders of schema 1" in said
    assert said.endswith("measure again into another folder")
    assert ("a newer one wrote it: update rabench" in said) == (schema == 2)
    assert main(["report", str(path.parent)]) == 2
    assert "schema is" in capsys.readouterr().err


def test_a_baseline_of_an_older_version_is_refused_with_a_sentence(tmp_path: Path) -> None:
    path = changed(tmp_path, "baseline/run.json", version=0)
    with pytest.raises(ResultsError, match=r"version: 0, this rabench reads .*; make the baseline"):
        baseline.read(path)
