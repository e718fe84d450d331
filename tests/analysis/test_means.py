"""BD-rates averaged over models and over data sets."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gated_results as gated
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.analysis import analyse
from bench.results.rows import BDRow, MeanRow, Tables

N = 300


def edit(root: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    manifest = json.loads((root / "manifest.json").read_text())
    change(manifest)
    (root / "manifest.json").write_text(json.dumps(manifest))


def add_model(root: Path, name: str, dataset: str = "data") -> None:
    """Another one that sees what `net` sees."""
    folder = root / "statistics" / "cls" / dataset
    shutil.copytree(folder / "net", folder / name)

    def listed(manifest: dict[str, Any]) -> None:
        for experiment in manifest["experiments"]:
            if experiment["dataset"] == dataset:
                first = experiment["models"][0]
                experiment["models"].append(first | {"name": name})

    edit(root, listed)


def add_dataset(root: Path, name: str) -> None:
    """Another one of the same pictures."""
    folder = root / "statistics" / "cls"
    shutil.copytree(folder / "data", folder / name)
    images = pq.read_table(root / "images.parquet")
    column = images.column_names.index("dataset")
    again = images.set_column(column, "dataset", pa.array([name] * len(images)))
    pq.write_table(pa.concat_tables([images, again]), root / "images.parquet")
    edit(root, lambda m: m["experiments"].append(m["experiments"][0] | {"dataset": name}))


def recognise_nothing(root: Path, model: str, method: str, dataset: str = "data") -> None:
    """At any QP, so that its curve is flat."""
    for path in (root / "statistics" / "cls" / dataset / model / method).iterdir():
        table = pq.read_table(path)
        for column, value in (("rank", 7), ("cross_entropy", 5.0)):
            if column in table.column_names:
                place = table.column_names.index(column)
                values = pa.array([value] * len(table)).cast(table.schema[place].type)
                table = table.set_column(place, table.schema[place], values)
        pq.write_table(table, path)


def more_resamples(manifest: dict[str, Any]) -> None:
    gated.reached(manifest)
    manifest["analysis"]["resamples"] = 400


def bd(tables: Tables) -> list[BDRow]:
    return [r for r in tables.bd if (r.metric, r.interpolation) == ("top1", "pchip")]


def mean(tables: Tables, over: str) -> MeanRow:
    (row,) = (
        r for r in tables.means if (r.over, r.metric, r.interpolation) == (over, "top1", "pchip")
    )
    return row


def test_one_model_on_one_data_set_has_no_mean(tmp_path: Path) -> None:
    assert analyse(gated.write(tmp_path / "r", edit=gated.reached, n=N)).means == []


def test_models_of_a_data_set_see_the_same_draws(tmp_path: Path) -> None:
    root = gated.write(tmp_path / "r", edit=gated.reached, n=N)
    add_model(root, "twin")
    tables = analyse(root)
    one, other = bd(tables)
    row = mean(tables, "models of data")
    assert (row.method, row.anchor, row.task, row.n, row.n_undefined) == (
        "npp+bpg", "bpg", "cls", 2, 0,
    )  # fmt: skip
    assert one.bd_rate == other.bd_rate == row.bd_rate
    assert (row.ci_low, row.ci_high) == pytest.approx((one.ci_low, one.ci_high), rel=1e-12)
    assert row.range_bd_rate == pytest.approx(one.range_bd_rate, rel=1e-12)
    assert row.range_low == pytest.approx(one.range_low, rel=1e-12)
    assert row.n_range == 2
    assert row.reason == ""
    assert {r.over for r in tables.means} == {"models of data"}


def test_data_sets_are_resampled_each_apart(tmp_path: Path) -> None:
    """So that the mean of two alike is surer than either."""
    root = gated.write(tmp_path / "r", edit=more_resamples, n=N, noise=1)
    add_dataset(root, "other")
    tables = analyse(root)
    row = mean(tables, "data sets")
    one, other = bd(tables)
    assert (row.n, row.n_undefined) == (2, 0)
    assert row.bd_rate == one.bd_rate == other.bd_rate
    widths = [r.ci_high - r.ci_low for r in (row, one, other)]  # type: ignore[operator]
    assert widths[0] / np.mean(widths[1:]) == pytest.approx(np.sqrt(0.5), rel=0.15)


def test_each_data_set_counts_the_same(tmp_path: Path) -> None:
    """However many models it has."""
    root = gated.write(tmp_path / "r", edit=gated.reached, n=N)
    add_dataset(root, "other")
    folder = root / "statistics" / "cls" / "other" / "net" / "npp+bpg"
    shutil.copy(folder / "31.parquet", folder / "35.parquet")
    add_model(root, "twin", "other")
    tables = analyse(root)
    rates = {(r.dataset, r.model): r.bd_rate for r in bd(tables)}
    assert rates["data", "net"] != rates["other", "net"] == rates["other", "twin"]
    row = mean(tables, "data sets")
    assert row.n == 3
    assert row.bd_rate == pytest.approx((rates["data", "net"] + rates["other", "net"]) / 2)  # type: ignore[operator]


def test_what_is_undefined_is_left_out_and_named(tmp_path: Path) -> None:
    root = gated.write(tmp_path / "r", edit=gated.reached, n=N)
    add_model(root, "blind")
    recognise_nothing(root, "blind", "npp+bpg")
    tables = analyse(root)
    seen, blind = bd(tables)
    assert blind.status == "undefined"
    row = mean(tables, "models of data")
    assert (row.n, row.n_undefined, row.n_range) == (1, 1, 1)
    assert (row.bd_rate, row.ci_low) == (seen.bd_rate, seen.ci_low)
    assert row.reason == "left out, as undefined: blind on data"

    recognise_nothing(root, "net", "npp+bpg")
    row = mean(analyse(root), "models of data")
    assert (row.n, row.n_undefined, row.n_range) == (0, 2, 0)
    assert (row.bd_rate, row.ci_low, row.range_bd_rate) == (None, None, None)
    assert row.reason == "left out, as undefined: net on data, blind on data"


def test_models_of_different_images_have_no_interval(tmp_path: Path) -> None:
    """Their resamples are not the same images."""
    root = gated.write(tmp_path / "r", edit=gated.reached, n=N)
    add_model(root, "twin")
    edit(root, lambda m: m["failures"].append(gated.failure(3, "bpg")))
    row = mean(analyse(root), "models of data")
    assert row.bd_rate is not None
    assert (row.ci_low, row.range_low) == (None, None)
    assert "no interval: the models of data do not rest on the same images" in row.reason


def test_without_resamples_there_is_no_interval(tmp_path: Path) -> None:
    root = gated.write(tmp_path / "r", edit=gated.reached, n=N)
    add_model(root, "twin")
    edit(root, lambda m: m["analysis"].update(resamples=0))
    row = mean(analyse(root), "models of data")
    assert row.bd_rate is not None
    assert (row.ci_low, row.reason) == (None, "no interval: net on data: no resamples")
