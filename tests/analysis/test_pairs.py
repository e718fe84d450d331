"""Any method against any other, from the resamples that bd.csv's intervals are made of."""

from dataclasses import astuple
from pathlib import Path
from typing import Any

import gated_results as gated
import pytest

from bench.analysis import analyse
from bench.results.rows import BDRow, PairRow

NUMBERS = (
    "bd_rate", "ci_low", "ci_high", "overlap", "status", "range", "range_bd_rate", "range_low",
    "range_high", "range_reason",
)  # fmt: skip
N = 300


def three(methods: dict[str, gated.Method]) -> None:
    """`twin` is bpg under another name."""
    methods["twin"] = gated.Method()


def only_one_point(manifest: dict[str, Any]) -> None:
    gated.reached(manifest)
    manifest["experiments"][0]["methods"]["twin"] = [39]


def numbers(row: BDRow | PairRow) -> list[Any]:
    return [getattr(row, name) for name in NUMBERS]


def test_against_the_anchor_it_is_what_bd_csv_says(tmp_path: Path) -> None:
    tables = analyse(gated.write(tmp_path / "r", three, gated.reached, n=N))
    pairs = {(r.metric, r.method, r.interpolation): r for r in tables.pairs if r.against == "bpg"}
    assert len(pairs) == len(tables.bd) > 0
    for row in tables.bd:
        pair = pairs[row.metric, row.method, row.interpolation]
        assert numbers(pair) == numbers(row)
        assert pair.reason == row.reason or row.status == "undefined"


def test_every_method_stands_against_every_other(tmp_path: Path) -> None:
    tables = analyse(gated.write(tmp_path / "r", three, gated.reached, n=N))
    found = {
        (r.method, r.against): r
        for r in tables.pairs
        if (r.metric, r.interpolation) == ("top1", "pchip")
    }
    methods = ("bpg", "npp+bpg", "twin")
    assert set(found) == {(a, b) for a in methods for b in methods if a != b}
    for (a, b), row in found.items():
        back = found[b, a]
        assert row.bd_rate is not None
        assert back.bd_rate is not None
        assert (1 + row.bd_rate / 100) * (1 + back.bd_rate / 100) == pytest.approx(1)
        assert row.overlap == back.overlap
    # What is exactly the anchor gives exactly the anchor's numbers, interval included.
    assert numbers(found["npp+bpg", "twin"]) == numbers(found["npp+bpg", "bpg"])
    assert found["npp+bpg", "twin"].bd_rate == pytest.approx(-30, abs=0.1)
    assert found["twin", "bpg"].range_low == found["twin", "bpg"].range_high == 0


def test_an_undefined_pair_names_the_method_at_fault(tmp_path: Path) -> None:
    tables = analyse(gated.write(tmp_path / "r", three, only_one_point, n=N))
    rows = [r for r in tables.pairs if "twin" in (r.method, r.against) and r.metric == "top1"]
    assert rows
    for row in rows:
        assert (row.status, row.bd_rate, row.ci_low) == ("undefined", None, None)
        assert row.reason.startswith("method twin has 1 usable points, 2 are needed")
        assert row.range_bd_rate is None


def test_without_resamples_there_is_no_interval(tmp_path: Path) -> None:
    def none(manifest: dict[str, Any]) -> None:
        manifest["analysis"]["resamples"] = 0

    tables = analyse(gated.write(tmp_path / "r", edit=none, n=N))
    assert all((r.ci_low, r.range_low) == (None, None) for r in tables.pairs)
    defined = [r for r in tables.pairs if r.bd_rate is not None]
    assert defined
    assert all("no interval: no resamples" in r.reason for r in defined)


def test_the_same_again(tmp_path: Path) -> None:
    root = gated.write(tmp_path / "r", n=N)
    first = analyse(root)
    assert list(map(astuple, analyse(root).pairs)) == list(map(astuple, first.pairs))
