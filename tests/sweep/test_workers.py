"""Threads and processes: every result, workers that die, workers whose parent dies."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.sweep import workers as places
from bench.sweep.workers import Either, Processes, Threads, Workers

ROOT = Path(__file__).parents[2]


def square(n: int) -> int:
    return n * n


def fatal_at_multiples_of_five(n: int) -> int:
    if n % 5 == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return n


def lost(n: int) -> int:
    return -n


@pytest.mark.parametrize("workers", [Threads(2), Processes(2), Processes(1)])
def test_every_item_has_its_result(workers: Workers) -> None:
    found = workers.stream(square, range(20), lost)
    assert sorted(found) == [n * n for n in range(20)]
    assert workers.oldest() == 0


def process(n: int) -> int:
    return os.getpid()


@pytest.mark.parametrize(("many", "here"), [(101, True), (100, False)])
def test_much_is_for_processes(monkeypatch: pytest.MonkeyPatch, many: int, here: bool) -> None:
    monkeypatch.setattr(places, "MANY", many)
    either = Either(Threads(2), Processes(2), lambda n: 5 * n)
    found = set(either.stream(process, [10, 10], lost))
    assert (found == {os.getpid()}) == here


def test_an_item_that_kills_its_worker_costs_that_item() -> None:
    found = Processes(2).stream(fatal_at_multiples_of_five, range(1, 12), lost)
    assert sorted(found) == [-10, -5, *(n for n in range(1, 12) if n % 5)]


PARENT = """
import sys, time
from bench.sweep.workers import Processes

def slow(n):
    import os, time
    open(sys.argv[1] + f"/{os.getpid()}", "w").close()
    time.sleep(60)

if __name__ == "__main__":
    list(Processes(2).stream(slow, range(int(sys.argv[2])), None))
"""


@pytest.mark.parametrize("items", [2, 1], ids=["all at work", "one without work"])
def test_workers_end_with_their_parent(tmp_path: Path, items: int) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    pids = tmp_path / "pids"
    pids.mkdir()
    parent = subprocess.Popen(
        [sys.executable, script, pids, str(items)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while len(list(pids.iterdir())) < items and time.monotonic() < deadline:
        time.sleep(0.05)
    workers = [pid for pid in members(parent.pid) if pid != parent.pid]
    assert {int(p.name) for p in pids.iterdir()} < {*workers}  # and loky's own
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 30
    while members(parent.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not members(parent.pid)


@dataclass(frozen=True)
class Ahead(Processes):
    """Hands out more than its processes can begin."""

    @property
    def in_flight(self) -> int:
        return 16


def napping(n: int) -> int:
    if n:
        time.sleep(60)
    return os.getpid()


def test_a_run_that_is_given_up_ends_its_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    faults: list[object] = []
    monkeypatch.setattr(threading, "excepthook", faults.append)
    results = Ahead(2).stream(napping, range(32), lost)
    worker = Path(f"/proc/{next(iter(results))}")
    results.close()  # type: ignore[attr-defined]
    deadline = time.monotonic() + 30
    while worker.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not worker.exists()
    assert faults == []


HALF_A_RESULT = """
import os
import signal
from multiprocessing.connection import Connection

from bench.errors import BenchError
from bench.sweep import workers

def half(self, data, write=None):
    os.write(self.fileno(), bytes(data)[: len(data) // 2])
    os.kill(os.getpid(), signal.SIGKILL)

def fatal_at_three(n):
    if n == 3:
        Connection._send = half
    return n

if __name__ == "__main__":
    workers.LOOK, workers.UNNOTICED = 0.2, 1.0
    try:
        for n in workers.Processes(2).stream(fatal_at_three, range(40), None):
            print(n)
    except BenchError as error:
        print(error, flush=True)
        os._exit(2)
"""


def test_a_worker_that_dies_with_half_a_result_written_does_not_hold_up_the_run(
    tmp_path: Path,
) -> None:
    """The others wait for its turn at the pipe, and this process for the other half."""
    script = tmp_path / "script.py"
    script.write_text(HALF_A_RESULT)
    done = subprocess.run(
        [sys.executable, script],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "died in the midst of handing over a result" in done.stdout


def members(session: int) -> list[int]:
    """Processes of a session that have not ended."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, its = stat.read_text().rsplit(")", 1)[1].split()[:4]
        except OSError:
            continue
        if int(its) == session and state != "Z":
            found.append(int(stat.parent.name))
    return found
