"""Target rates are called by their rate, never by the label that stands for them in files."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gated_results as gated
import pandas as pd
import pytest
from gated_results import Method

from bench.analysis import baseline
from bench.analysis.compare import compare
from bench.analysis.leaderboard import leaderboard
from bench.analysis.merged import merge, opened
from bench.errors import ConfigError
from bench.report.leaderboard import page
from bench.report.page.record import failures
from bench.results.manifest import Failure
from bench.results.names import rate_label

RATES = dict(zip(gated.QPS, (0.75, 0.5, 0.25, 0.12), strict=True))


def run(folder: Path, rates: dict[int, float] = RATES, rate: float = 0.7) -> Path:
    """Two methods with these target rates in place of QPs, one with this share of the bits."""
    labels = {qp: rate_label(rate) for qp, rate in rates.items()}

    def change(methods: dict[str, Method]) -> None:
        methods["npp+bpg"].rate = rate

    def edit(manifest: dict[str, Any]) -> None:
        gated.reached(manifest)
        methods = manifest["experiments"][0]["methods"]
        methods |= {name: list(labels.values()) for name in methods}

    gated.write(folder, change, edit, n=60)
    images = pd.read_parquet(folder / "images.parquet")
    images.assign(qp=images["qp"].replace(labels)).to_parquet(folder / "images.parquet")
    for method in gated.methods():
        for qp, label in labels.items():
            gated.statistics(folder, method, qp).rename(gated.statistics(folder, method, label))
    return folder


def test_in_the_conditions_of_a_leaderboard(tmp_path: Path) -> None:
    (tmp_path / "entries").mkdir()
    baseline.write(run(tmp_path / "run"), tmp_path / "entries" / "a.json")
    text = page(leaderboard(tmp_path / "entries"), {})
    assert "<dt>QPs of bpg</dt><dd>0.75, 0.5, 0.25, 0.12 bpp</dd>" in text
    assert "-250" not in text


def test_in_what_a_gate_says(tmp_path: Path) -> None:
    other = run(tmp_path / "b", RATES | {31: 0.9})
    rows = compare(run(tmp_path / "a"), other, 1).rows
    assert [row.verdict for row in rows] == ["not comparable"] * 2
    (reason,) = rows[0].reasons
    assert "0.75, 0.5, 0.25, 0.12 bpp → 0.9, 0.5, 0.25, 0.12 bpp" in reason


def test_in_what_merge_says(tmp_path: Path) -> None:
    sides = opened([run(tmp_path / "a"), run(tmp_path / "b", rate=0.8)])
    with pytest.raises(ConfigError, match=r"0000\.png at 0\.75 bpp takes"):
        merge(sides)


def test_of_a_baseline_that_lacks_a_point(tmp_path: Path) -> None:
    baseline.write(run(tmp_path / "run"), tmp_path / "a.json")
    content = json.loads((tmp_path / "a.json").read_text())
    del content["experiments"][0]["models"][0]["points"]["bpg"]["-250"]
    content["checksum"] = baseline.files.checksum(content)
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(baseline.ResultsError, match=r"of 0\.75, 0\.5, 0\.25, 0\.12 bpp"):
        baseline.open_side(tmp_path / "a.json")


def test_in_the_list_of_failures() -> None:
    failed = [
        Failure.model_validate(gated.failure(i, "bpg", label)) for i, label in enumerate((-250, 37))
    ]
    manifest = SimpleNamespace(failures=failed)
    text = failures(SimpleNamespace(manifest=manifest, points=[]))  # type: ignore[arg-type]
    assert "<td>0.25 bpp</td>" in text
    assert "<td>37</td>" in text
    assert "-250" not in text
