"""Would the tests notice? Breaks the code in one place at a time, at random, and runs them.

    pip install mutmut
    python perf/mutants.py FOLDER [--count 400] [--seed 0] [--parts analysis tasks …]

mutmut (its version 3) makes the mutants of a part, in a clone of the last commit in FOLDER, which
it may take half an hour to begin with: it runs the part's tests once, to learn which test calls
which function. Then `count` mutants of each part, drawn at random, are tried, each with the tests
that call its function. One is killed where a test fails; one whose tests take 15 times as long as
usual is counted apart. Prints those that were not killed, as differences, and a table. The same
command again goes on with what is there.
"""

import argparse
import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PARTS = {
    # Left out: a test that starts the program, which does not know mutants.
    "analysis": (
        ["bench/analysis"],
        ["tests/analysis", "--ignore=tests/analysis/test_docs_ci.py"],
    ),
    "tasks": (["bench/tasks"], ["tests/tasks"]),
    "bpg": (["bench/codecs/bpg"], ["tests/codecs"]),
    "results": (
        ["bench/results"],
        [
            "tests/results",
            "tests/test_atomic.py",
            "tests/analysis/test_damaged_files.py",
            "tests/analysis/test_damaged_results.py",
            "tests/analysis/test_baseline_files.py",
        ],
    ),
    "cache": (["bench/sweep/cache.py"], ["tests/sweep/test_cache.py"]),
}
"""Code, and the tests that are to notice."""
VERDICTS = {
    0: "survived",
    **dict.fromkeys((5, 33), "not called"),
    **dict.fromkeys((1, 3, -11, -9), "killed"),  # a test fails, or the process ends
    **dict.fromkeys((24, -24, 36, 152, 255), "too long"),
}
"""Of mutmut's exit codes; with any other a mutant was not tried."""


def prepared(part: str, folder: Path) -> Path:
    """A clone with mutmut's configuration."""
    clone = folder / part
    if not clone.exists():
        subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
        code, tests = PARTS[part]
        told = {
            "source_paths": code,
            "pytest_add_cli_args_test_selection": tests,
            "also_copy": sorted(
                p.name for p in clone.iterdir() if p.name not in {"mutants", ".git"}
            ),
        }
        lines = [f"{key} = {json.dumps(value)}" for key, value in told.items()]
        with (clone / "pyproject.toml").open("a") as file:
            file.write("\n".join(["", "[tool.mutmut]", *lines, ""]))
    return clone


def mutmut(clone: Path, *words: str) -> str:
    command = [sys.executable, "-m", "mutmut", *words]
    # Tests run in forks of a process that ran them all: torch's threads would be missing there.
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    with (clone / "mutmut.log").open("a") as log:
        done = subprocess.run(
            command, cwd=clone, env=env, stdout=subprocess.PIPE, stderr=log, text=True
        )
        log.write(done.stdout)
    return done.stdout


def verdicts(clone: Path) -> dict[str, int | None]:
    """mutmut's exit code of each mutant; None for one that was not tried."""
    found = {}
    for file in sorted(clone.glob("mutants/**/*.meta")):
        found |= json.loads(file.read_text())["exit_code_by_key"]
    return found


def tried(part: str, folder: Path, count: int, seed: int) -> Counter[str]:
    """What became of the mutants that were drawn."""
    clone = prepared(part, folder)
    if not verdicts(clone):
        mutmut(clone, "run", "none")  # makes all of them, learns the tests, and tries none
    known = sorted(verdicts(clone))
    drawn = random.Random(seed).sample(known, min(count, len(known)))
    if left := [name for name in drawn if verdicts(clone)[name] is None]:
        mutmut(clone, "run", *left)
    codes = verdicts(clone)
    for name in drawn:
        if VERDICTS.get(codes[name]) != "killed":
            print(mutmut(clone, "show", name), flush=True)
    ended = Counter(VERDICTS.get(codes[name], "not tried") for name in drawn)
    return ended + Counter({"made": len(known)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=Path, help="for clones; kept")
    parser.add_argument("--count", type=int, default=400, help="of mutants, for each part")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--parts", nargs="*", choices=list(PARTS), default=list(PARTS))
    a = parser.parse_args()
    rows = {part: tried(part, a.folder.resolve(), a.count, a.seed) for part in a.parts}
    kinds = ("killed", "too long", "survived", "not called", "not tried")
    print(f"| part | made | drawn | {' | '.join(kinds)} | killed, of those drawn |")
    print("|---|---|---|---|---|---|---|---|---|")
    for part, ended in rows.items():
        drawn = ended.total() - ended["made"]
        cells = (ended[kind] for kind in kinds)
        share = f"{ended['killed'] / drawn:.1%}"
        print(f"| {part} | {ended['made']} | {drawn} | {' | '.join(map(str, cells))} | {share} |")


if __name__ == "__main__":
    main()
