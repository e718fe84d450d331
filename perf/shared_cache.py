"""Several runs on one cache at once, while `prune` deletes from it and `report` reads a run.

    python perf/shared_cache.py [--times 4] [--keep GB]

Four runs, two of the same methods, in threads and in processes, start together. Beside them `cache
prune` and `report` on the first one's folder are called again and again. It holds where all runs
are done, each with the bytes that it gives alone, no call of `report` or `prune` ends but done or
refused with a sentence, and nothing half-written is left. There are no locks in the cache, only
renames, so this is also what hosts do that share a network drive, but for the drive's own delays.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from faults import answered, line, outcome, program, sweep

RUNS = {
    "a": ("bpg,npp+bpg", "threading"),
    "b": ("bpg,npp+bpg", "loky"),
    "c": ("bpg,qa-npp+bpg", "threading"),
    "d": ("bpg,npp+bpg,qa-npp+bpg", "loky"),
}


def runs(work: Path, cache: Path) -> dict[str, list[str]]:
    return {
        name: [*sweep(work / name, methods, backend), "--cache", str(cache)]
        for name, (methods, backend) in RUNS.items()
    }


def together(work: Path, alone: Path, keep: float, draw: random.Random) -> list[str]:
    """What did not hold."""
    started = {
        name: subprocess.Popen(
            line(words), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        for name, words in runs(work, work / "cache").items()
    }
    wrong, ended = [], Counter[str]()
    beside = {
        "prune": ["cache", "prune", str(work / "cache"), "--keep", str(keep)],
        "report": ["report", str(work / "a")],
    }
    while any(run.poll() is None for run in started.values()):
        time.sleep(draw.uniform(0, 2))
        name = draw.choice(list(beside))
        call = program(beside[name])
        ended[f"{name} {call.returncode}"] += 1
        if not answered(call):
            wrong.append(f"{name}: {call.stderr[-1000:]}")
    for name, run in started.items():
        said = run.stderr.read() if run.stderr else ""
        if run.wait():
            wrong.append(f"run {name}: code {run.returncode}: {said[-1000:]}")
        elif outcome(work, name) != outcome(alone, name):
            wrong.append(f"run {name}: other bytes")
    wrong += [f"left: {p.name}" for p in (work / "cache/.partial").glob("*")]
    print(f"    beside the runs: {dict(sorted(ended.items()))}")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--times", type=int, default=4)
    parser.add_argument("--keep", type=float, default=1e-4, help="GB that prune leaves")
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    draw, bad = random.Random(a.seed), 0
    with tempfile.TemporaryDirectory() as folder:
        alone = Path(folder) / "alone"
        for words in runs(alone, alone / "cache").values():
            program(words, check=True)
        for time_ in range(a.times):
            wrong = together(Path(folder) / str(time_), alone, a.keep, draw)
            bad += bool(wrong)
            print(f"{time_}: {'; '.join(wrong) or 'held'}", flush=True)
    print(f"{a.times} times four runs, {a.times - bad} held")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
