"""Threads and processes: every result, workers that die, workers whose parent dies."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.sweep.workers import Local

ROOT = Path(__file__).parents[2]


def square(n: int) -> int:
    return n * n


def fatal_at_multiples_of_five(n: int) -> int:
    if n % 5 == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return n


def lost(n: int) -> int:
    return -n


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_every_item_has_its_result(backend: str) -> None:
    found = Local(2, backend).stream(square, range(20), lost)
    assert sorted(found) == [n * n for n in range(20)]


def test_an_item_that_kills_its_worker_costs_that_item() -> None:
    found = Local(2, "loky").stream(fatal_at_multiples_of_five, range(1, 12), lost)
    assert sorted(found) == [-10, -5, *(n for n in range(1, 12) if n % 5)]


PARENT = """
import sys, time
from bench.sweep.workers import Local

def slow(n):
    import os, time
    open(sys.argv[1] + f"/{os.getpid()}", "w").close()
    time.sleep(60)

if __name__ == "__main__":
    list(Local(2, "loky").stream(slow, range(4), None))
"""


def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    pids = tmp_path / "pids"
    pids.mkdir()
    parent = subprocess.Popen(
        [sys.executable, script, pids], env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    deadline = time.monotonic() + 60
    while len(list(pids.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    workers = [int(p.name) for p in pids.iterdir()]
    assert len(workers) == 2
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 10
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(alive, workers))


def alive(pid: int) -> bool:
    """Whether it runs; one that ended and was not asked for yet does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
