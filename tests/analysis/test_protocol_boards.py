"""Results that met a protocol, on the leaderboard and merged."""

import json
from pathlib import Path
from typing import Any

import gated_results as gated
from gated_results import Method

from bench.analysis import baseline
from bench.analysis.leaderboard import leaderboard
from bench.cli import main
from bench.report.leaderboard import page

N = 300


def entry(folder: Path, name: str, protocol: str | None, **own: Method) -> None:
    def edit(manifest: dict[str, Any]) -> None:
        gated.reached(manifest)
        if protocol:
            about = {"name": protocol, "conditions": "0123abcd"}
            manifest["experiments"][0]["protocol"] = about

    def change(methods: dict[str, Method]) -> None:
        del methods["npp+bpg"]
        methods |= {method.replace("_", "+"): about for method, about in own.items()}

    run = gated.write(folder / "runs" / name, change, edit, n=N)
    (folder / "entries").mkdir(exist_ok=True)
    baseline.write(run, folder / "entries" / f"{name}.json")


def test_each_protocol_has_its_own_table(tmp_path: Path) -> None:
    entry(tmp_path, "a", "lab-v1", good_bpg=Method(0.7))
    entry(tmp_path, "b", "lab-v1", fair_bpg=Method(0.9))
    entry(tmp_path, "c", "lab-v2", other_bpg=Method(0.8))
    entry(tmp_path, "d", None, plain_bpg=Method(0.8))
    found = leaderboard(tmp_path / "entries")
    entries = [[e.name for e in board.entries] for board in found.boards]
    assert entries == [["a", "b"], ["c"], ["d"]]
    text = page(found, {})
    assert text.count("Protocol lab-v1, conditions 0123abcd") == 1
    assert text.count("Protocol lab-v2, conditions 0123abcd") == 1
    assert text.count("Protocol ") == 2
    heads = [head.partition("</h2>")[0] for head in text.split("<h2>")[1:]]
    named = [[p for p in ("lab-v1", "lab-v2") if p in head] for head in heads]
    assert [n for n in named if n] == [["lab-v1"], ["lab-v2"]]


def merged(tmp_path: Path) -> Any:
    files = [str(path) for path in sorted((tmp_path / "entries").glob("?.json"))]
    assert main(["merge", *files, "--out", str(tmp_path / "both")]) == 0
    manifest = json.loads((tmp_path / "both" / "manifest.json").read_text())
    return manifest["experiments"][0]["protocol"]


def test_what_met_one_protocol_has_its_name_merged(tmp_path: Path) -> None:
    entry(tmp_path, "a", "lab-v1", good_bpg=Method(0.7))
    entry(tmp_path, "b", "lab-v1", fair_bpg=Method(0.9))
    assert merged(tmp_path)["name"] == "lab-v1"


def test_with_what_met_none_it_loses_the_name(tmp_path: Path) -> None:
    entry(tmp_path, "a", "lab-v1", good_bpg=Method(0.7))
    entry(tmp_path, "b", None, fair_bpg=Method(0.9))
    assert merged(tmp_path) is None
