"""A baseline's files: how large they are, what travels in them, and other versions."""

import json
from pathlib import Path
from typing import Any

import gated_results as gated
import numpy as np
import pyarrow as pa
import pytest

from bench.analysis import baseline
from bench.analysis.baseline import open_side
from bench.atomic import checksum
from bench.results import baseline as files
from bench.results.baseline import Baseline, Environment
from bench.results.files import ResultsError
from bench.results.manifest import Analysis, Machine
from bench.tasks.classification import SCHEMA

IMAGES, METHODS, QPS = 5000, 6, 5


def synthetic() -> dict[str, pa.Table]:
    """A classifier on 5,000 photographs at 30 points, with as much chance in every number as a
    measurement has: no two images have the same bits or cross-entropy."""
    rng = np.random.default_rng(0)
    width, height = (rng.integers(300, 640, IMAGES) for _ in range(2))
    size, difficulty = rng.lognormal(10.5, 0.6, IMAGES), rng.normal(size=IMAGES)
    label = rng.integers(0, 1000, IMAGES)
    places = np.arange(IMAGES)
    names = [f"ILSVRC2012_val_{i:08d}.JPEG" for i in rng.permutation(50_000)[:IMAGES]]
    images, statistics = [], []
    for method in range(METHODS):
        for step in range(QPS):
            noise = rng.normal(0, 0.05, IMAGES)
            bits = 8 * (size * np.exp(-step / 2 + noise) / 8).astype(int)
            loss = np.exp(difficulty + 0.3 * step + rng.normal(0, 0.4, IMAGES) - 1)
            rank = np.where(loss < 1, 0, rng.geometric(0.1, IMAGES))
            where = {"dataset": "imagenet", "method": f"method {method}", "qp": 25 + 5 * step}
            same = {name: pa.array([value] * IMAGES) for name, value in where.items()}
            images.append(
                pa.table(
                    same
                    | {"view": ["native"] * IMAGES, "index": places, "image": names}
                    | {"bits": bits, "width": width, "height": height}
                )
            )
            columns = [places, label, rank, loss]
            arrays = [pa.array(c).cast(f.type) for c, f in zip(columns, SCHEMA, strict=True)]
            table = pa.table(arrays, schema=SCHEMA)
            statistics.append(
                files.labelled(table, "imagenet", "network", where["method"], where["qp"])
            )
    return {"images": pa.concat_tables(images), "cls": pa.concat_tables(statistics)}


def test_5000_images_at_30_points_take_less_than_2_mb(tmp_path: Path) -> None:
    empty = Baseline(
        analysis=Analysis(),
        environment=Environment(versions={}, device=Machine()),
        experiments=(),
        failures=(),
    )
    tables = synthetic()
    written = files.write(tmp_path / "large.json", empty, tables)
    assert sum(path.stat().st_size for path in written) < 2_000_000
    for name, table in tables.items():
        path = tmp_path / f"large.{name}.parquet"
        assert files.parse_table(path, path.read_bytes()).equals(table)  # nothing is rounded


def test_what_a_merge_needs_travels(tmp_path: Path) -> None:
    def edit(manifest: dict[str, Any]) -> None:
        manifest |= {"name": "ours", "random_weights": ["net"]}
        manifest["experiments"][0] |= {"limited": True, "notes": ["a note"]}

    run = gated.write(tmp_path / "run", edit=edit, n=50)
    baseline.write(run, tmp_path / "base.json")
    told, read = (open_side(p).manifest for p in (run, tmp_path / "base.json"))
    assert read.experiments == told.experiments
    assert read.random_weights == ("net",)
    assert (read.name, read.analysis, read.failures) == (told.name, told.analysis, told.failures)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    baseline.write(gated.write(tmp_path / "run", n=50), tmp_path / "base.json")
    return tmp_path / "base.json"


def rewritten(path: Path, **values: Any) -> None:
    """With fields that another version might have, and a checksum that fits."""
    content = json.loads(path.read_text()) | values
    path.write_text(json.dumps(content | {"checksum": checksum(content)}))


def test_what_an_older_program_wrote_is_read(base: Path) -> None:
    content = json.loads(base.read_text())
    later = ("name", "random_weights", "published")
    old = {k: v for k, v in content.items() if k not in later} | {"version": 1}
    for experiment in old["experiments"]:
        del experiment["limited"], experiment["notes"]
    base.write_text(json.dumps(old | {"checksum": checksum(old)}))
    assert files.read(base).experiments == files.Baseline.model_validate(content).experiments


def test_a_newer_one_is_refused_with_a_sentence(base: Path) -> None:
    """Whatever else it has."""
    rewritten(base, version=3, experiments={"quite": "another layout"}, more=[1])
    with pytest.raises(ResultsError, match="version: 3, this rabench reads 1 and 2; a newer") as e:
        files.read(base)
    assert "update rabench, or make the baseline anew" in str(e.value)
    assert str(base) in str(e.value)


def test_an_older_program_says_so_of_this_one(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its fields that are new do not come before the version."""
    monkeypatch.setattr(files, "READ", (1,))
    with pytest.raises(ResultsError, match="version: 2, this rabench reads 1; a newer one wrote"):
        files.read(base)


@pytest.mark.parametrize("version", [0, True, "2", None])
def test_what_is_no_version_is_refused(base: Path, version: Any) -> None:
    rewritten(base, version=version)
    with pytest.raises(ResultsError, match=r"version: .*, this rabench reads 1 and 2; make the"):
        files.read(base)
