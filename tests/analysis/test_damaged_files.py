"""Files that appear whole or not at all, and cells that no spreadsheet runs."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import gated_results as gated
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bench.analysis import analyse
from bench.atomic import atomic, checksum, write_text
from bench.report.results import read
from bench.results.files import ResultsError, read_json
from bench.results.spreadsheet import guarded, unguarded


def test_a_file_that_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old\n")
    write_text(path, "neu – \ud800\n")
    assert path.read_bytes() == "neu – \\ud800\n".encode()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError("full"), KeyboardInterrupt(), ValueError("wrong")])
def test_what_fails_leaves_the_old_file(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write() -> None:
        with atomic(path) as part:
            part.write_text("ne")
            assert path.read_text() == "old"
            assert part.name.startswith(".a.txt.")
            raise error

    with pytest.raises(type(error)):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_killed_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    code = (
        "import os, sys, pathlib; from bench.atomic import atomic\n"
        "with atomic(pathlib.Path(sys.argv[1])) as part: part.write_text('ne'); os._exit(9)"
    )
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code, path], cwd=root, check=False).returncode == 9
    assert path.read_text() == "old"


def test_a_checksum_is_of_what_reads_back() -> None:
    """Keys that are numbers become text, in another order, and tuples become lists."""
    written = {"a": {100: 1, 25: (1.5, None)}, "b": {39: "x", "44": "é"}}
    read_back = json.loads(json.dumps(written, indent=2)) | {"checksum": "sha256:0"}
    assert checksum(written) == checksum(read_back)
    assert checksum(written) != checksum(written | {"c": 1})


@pytest.mark.parametrize(
    "text",
    ["1e999", "-Infinity", "[NaN]", "[1", "9" * 5000, "[" * 60 + "]" * 60, '"\\udc00"', "\0"],
)
def test_json_that_is_none_of_ours(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(f'{{"a": {text}}}')
    with pytest.raises(ResultsError, match=r"a\.json: cannot be read as a manifest"):
        read_json(path, "manifest")


FORMULAS = [
    "=1+1", "+1+1", "-2+3", "@SUM(1)", "\tx", "\rx", "\n=1", "=cmd|'/c calc'!A1", " =1", "'=1",
    "''=1", "' @x", "＝1", "＋1", "－1", "＠x", "-", "=", "+5", "-1-1", "-e5", "+",
]  # fmt: skip
HARMLESS = [
    "",
    " ",
    "a=1",
    "bpg",
    "npp+bpg",
    "'quoted'",
    "-5",
    "-1.5e-7",
    "0",
    "12",
    "−12.3",
    "'",
    "1e5",
]


@pytest.mark.parametrize("text", FORMULAS)
def test_formulas_become_text(text: str) -> None:
    assert guarded(text) == f"'{text}"
    assert unguarded(guarded(text)) == text


@pytest.mark.parametrize("text", HARMLESS)
def test_numbers_and_names_stay(text: str) -> None:
    assert guarded(text) == unguarded(text) == text


@given(st.text(st.sampled_from("=+-@'\t 1ae.x"), max_size=6))
@example("'-5")
def test_no_two_texts_are_guarded_alike(text: str) -> None:
    assert unguarded(guarded(text)) == text


NAMES = [
    "=cmd|'/c calc'!A1",
    "+1+1",
    "-2+3",
    "@SUM(1)",
    "'=1",
    "-5",
    "a,b;c",
    'say "x"',
    "=1\u2028x",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_survive_the_tables(tmp_path: Path, name: str) -> None:
    """Written for spreadsheets, read by the report; numbers are numbers to anyone."""
    run = gated.write(
        tmp_path / "run", lambda methods: methods.update({name: gated.Method(0.5)}), n=30
    )
    bd = analyse(run).bd
    results = read(run)
    assert name in results.methods()
    assert {row.method for row in results.bd} == {"npp+bpg", name}
    assert {row.method for row in results.equal} == {"bpg", "npp+bpg", name}
    assert {p.method for p in results.points} == {"uncompressed", "bpg", "npp+bpg", name}
    assert results.bd == bd
    for file in ("points.csv", "bd.csv", "equal_accuracy.csv"):
        with (run / file).open(newline="") as stream:
            cells = [cell for row in csv.reader(stream) for cell in row]
        assert not [c for c in cells if c[:1] in tuple("=+@\t\r")]
        assert all(c.count("-") == 0 or float(c) for c in cells if c.startswith("-"))
    values = pd.read_csv(run / "points.csv", float_precision="round_trip")["value"]
    assert values.tolist() == [p.value for p in results.points]
