"""Commands on a machine that fails them: killed, no room for a file, few handles, files cut short.

    python perf/faults.py [COMMAND…] [--faults FAULT…] [--tries N] [--seed N] [--device cuda]

Commands: `run` with each backend, `report`, `merge` and `train`. Faults:

- a signal at a random moment, after which no process of the command may live on for 30 s;
- no file may grow over a random size, as on a disk that is full (RLIMIT_FSIZE);
- 64 file handles (RLIMIT_NOFILE);
- less address space than it needs (RLIMIT_AS), where native code may end it by a signal;
- with `--device cuda`, less memory of the GPU than it may need, since another process has the rest;
- a file that it wrote is cut at a random byte, as after a power cut, before it is started again.

A try holds where the command, unless a signal ended it, is done or refused with a sentence, and
the same command again, left alone, gives the bytes that it always gives and leaves no other file,
or refuses a file that was cut with a sentence. Prints what happened and a table; ends with 1 if
anything did not hold.
"""

import argparse
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
SLOW = 300.0
"""Seconds after which a command counts as one that hangs."""
PATIENCE = 30.0
"""Seconds that processes of a command may live on after a signal."""
TIMED = ("manifest.json", "costs.parquet")
"""Files that hold times of the run."""
HANDLES = 64
SMALLEST = 4096
"""Bytes of the smallest limit on files."""
LEAST_MEMORY = 0.4
"""Of the address space that a command takes, the smallest limit."""
SIGNALS = {"SIGKILL": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT}
FAULTS = (*SIGNALS, "no room", f"{HANDLES} handles", "memory", "cut")
ON_A_GPU = "GPU memory"
LEFT = (100, 1500)
"""MiB of a GPU's memory that another process leaves: CUDA itself takes about 500."""
HOLDER = """
import sys, torch
free, _ = torch.cuda.mem_get_info()
held = torch.empty(free - (int(sys.argv[1]) << 20), dtype=torch.uint8, device="cuda")
print("held", flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True)
class Command:
    """What is started in a folder of its own, which `prepare` fills, and where its results lie."""

    words: Callable[[Path], list[str]]
    out: str
    prepare: Callable[[Path], None] = lambda folder: None
    resumed: tuple[str, ...] = ()
    """Words more that go on with what is there already."""


def sweep(out: Path, methods: str = "bpg,npp+bpg", backend: str = "threading") -> list[str]:
    return [
        "--tasks", "cls", "--methods", methods, "--qps", "33,41", "--limit", "12", "--jobs", "2",
        "--backend", backend, "--set", "analysis.resamples=50", "--out", str(out),
    ]  # fmt: skip


def one_run(folder: Path) -> None:
    program(sweep(folder / "run"), check=True)


def two_runs(folder: Path) -> None:
    program(sweep(folder / "a"), check=True)
    program(sweep(folder / "b", "bpg,qa-npp+bpg"), check=True)


def pictures(folder: Path) -> None:
    """Beside the folder: the same ones for each try, since a training knows its data by path."""
    (folder.parent / "pictures").mkdir()
    rng = np.random.default_rng(0)
    for i in range(12):
        blocks = rng.integers(0, 256, (16, 16, 3), np.uint8)
        rgb = blocks.repeat(8, 0).repeat(8, 1)
        Image.fromarray(rgb).save(folder.parent / "pictures" / f"{i}.png")


def training(folder: Path) -> list[str]:
    data = f"{{format: folder, task: cls, root: {folder.parent / 'pictures'}}}"
    return [
        "train", "qa-npp", "--config", str(ROOT / "configs/train/qa_npp_mini_cls.yaml"), "--set",
        f"dataset={data}", "--set", "steps=4", "--set", "validate_every=2", "--set",
        "validation=4", "--set", "width=8", "--set", "batch=4", "--out", str(folder / "net"),
    ]  # fmt: skip


COMMANDS = {
    "run": Command(lambda f: sweep(f / "run"), "run"),
    "run-loky": Command(lambda f: sweep(f / "run", backend="loky"), "run"),
    "run-dask": Command(lambda f: sweep(f / "run", backend="dask"), "run"),
    "report": Command(lambda f: ["report", str(f / "run")], "run", one_run),
    "merge": Command(
        lambda f: ["merge", str(f / "a"), str(f / "b"), "--out", str(f / "both")], "both", two_runs
    ),
    "train": Command(training, "net", pictures, resumed=("--resume",)),
}


def on_device(command: Command, device: str) -> Command:
    def words(folder: Path) -> list[str]:
        told = command.words(folder)
        return told if told[0] in {"report", "merge"} else [*told, "--device", device]

    return replace(command, words=words)


def line(words: list[str]) -> list[str]:
    return [sys.executable, str(ROOT / "run_bench.py"), *words]


def program(
    words: list[str], limits: dict[int, int] | None = None, check: bool = False
) -> subprocess.CompletedProcess[str]:
    def bound() -> None:
        for limit, value in (limits or {}).items():
            resource.setrlimit(limit, (value, value))

    return subprocess.run(
        line(words),
        capture_output=True, text=True, check=check, preexec_fn=bound, timeout=SLOW,
    )  # fmt: skip


def signalled(words: list[str], number: signal.Signals, after: float) -> tuple[int, bool]:
    """Its exit code, and whether all its processes were gone in time."""

    def as_from_a_terminal() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)

    process = subprocess.Popen(
        line(words),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        preexec_fn=as_from_a_terminal,
    )  # fmt: skip
    time.sleep(after)
    process.send_signal(number)
    deadline = time.monotonic() + PATIENCE
    while (left := members(process.pid)) and time.monotonic() < deadline:
        process.poll()
        time.sleep(0.05)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    return process.wait(), not left


def members(session: int) -> list[int]:
    """Processes of a session that run."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, its = (folder / "stat").read_text().rsplit(")", 1)[1].split()[:4]
        except OSError:
            continue
        if int(its) == session and state != "Z":
            found.append(int(folder.name))
    return found


def files(folder: Path) -> dict[str, Path]:
    """By name; those of the cache are not of any one command."""
    every = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    return {name: path for name, path in every.items() if not name.startswith(".cache/")}


def outcome(folder: Path, out: str) -> dict[str, bytes]:
    """What a command must give again: all but times; of a training the weights and curves."""
    return {
        name: path.read_bytes()
        for name, path in files(folder / out).items()
        if path.name not in TIMED
        and path.suffix not in {".pt", ".html"}
        and "events.out" not in name
    }


def left_behind(folder: Path, whole: Path) -> list[str]:
    """Files that a command which was left alone does not leave; each of TensorBoard's is named by
    the time and the process."""
    more = [n for n in files(folder).keys() - files(whole) if "events.out" not in n]
    return more + [str(p) for p in folder.glob("**/.cache/.partial/*")]


@dataclass(frozen=True)
class Whole:
    """A command that was left alone: its folder, before and after, and what it took."""

    given: Path
    done: Path
    seconds: float
    address_space: int
    """Bytes, at most."""


def left_alone(command: Command, work: Path) -> Whole:
    given, done = work / "given", work / "done"
    given.mkdir(parents=True)
    command.prepare(given)
    shutil.copytree(given, done)
    began, most = time.monotonic(), 0
    process = subprocess.Popen(line(command.words(done)), stdout=subprocess.DEVNULL)
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
            most = max([most, *(1024 * int(kib) for kib in re.findall(r"VmPeak:\s+(\d+)", status))])
        except OSError:  # it has just ended
            pass
        time.sleep(0.05)
    if process.returncode:
        raise SystemExit(f"without any fault: code {process.returncode}")
    return Whole(given, done, time.monotonic() - began, most)


def tried(command: Command, whole: Whole, fault: str, draw: random.Random) -> str | None:
    """What did not hold; empty where all did, None where it was done before the signal."""
    folder = whole.done.parent / "try"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole.done if fault == "cut" else whole.given, folder)
    words = command.words(folder)
    if fault in SIGNALS:
        after = draw.uniform(0.1, 1.0) * whole.seconds
        code, gone = signalled(words, SIGNALS[fault], after)
        said = f"after {after:.1f} s: code {code}"
        if code == 0:
            return None
        if not gone:
            return f"{said}: processes lived on"
    elif fault == "cut":
        said = cut(folder, draw)
    elif fault == ON_A_GPU:
        left = draw.randrange(*LEFT)
        with memory_held(left):
            ended = program(words)
        said = f"{left} MiB: code {ended.returncode} {ended.stderr.strip().splitlines()[-1:]}"
        if not answered(ended):
            return f"{said}: no answer\n{ended.stderr[-2000:]}"
    else:
        limit, value = limited(fault, whole, draw)
        ended = program(words, {limit: value})
        said = f"{value}: code {ended.returncode} {ended.stderr.strip().splitlines()[-1:]}"
        if not (answered(ended) or (fault == "memory" and ended.returncode < 0)):
            return f"{said}: no answer\n{ended.stderr[-2000:]}"
    print(f"    {said}", flush=True)
    begun = (folder / command.out).exists()
    again = program([*words, *(command.resumed if begun else ())])
    if fault == "cut" and again.returncode == 2 and answered(again):
        print(f"    {again.stderr.strip().splitlines()[-1:]}")
        return ""
    if again.returncode:
        return f"{said}: the same command failed: {again.stderr[-500:]}"
    if outcome(folder, command.out) != outcome(whole.done, command.out):
        return f"{said}: other bytes"
    if more := left_behind(folder, whole.done):
        return f"{said}: left behind: {more}"
    return ""


@contextmanager
def memory_held(left: int) -> Iterator[None]:
    """All of the GPU's but so many MiB, by another process, which ends when its input does."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(left)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        if holder.stdout.readline() != b"held\n":
            raise SystemExit("the memory of the GPU could not be taken")
        yield


def limited(fault: str, whole: Whole, draw: random.Random) -> tuple[int, int]:
    """A limit of the system, and its value."""
    if fault == "memory":
        return resource.RLIMIT_AS, round(draw.uniform(LEAST_MEMORY, 1) * whole.address_space)
    if fault == "no room":
        largest = max(p.stat().st_size for p in whole.done.rglob("*") if p.is_file())
        return resource.RLIMIT_FSIZE, round(SMALLEST * (largest / SMALLEST) ** draw.random())
    return resource.RLIMIT_NOFILE, HANDLES


def cut(folder: Path, draw: random.Random) -> str:
    """One file of a random kind, at a random byte."""
    written = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.stat().st_size]
    suffix = draw.choice(sorted({p.suffix for p in written}))
    file = draw.choice([p for p in written if p.suffix == suffix])
    size = draw.randrange(file.stat().st_size)
    os.truncate(file, size)
    return f"{file.relative_to(folder)} at {size}"


def answered(ended: subprocess.CompletedProcess[str]) -> bool:
    """Whether it was done, or refused with a sentence."""
    wrong = any(word in ended.stderr for word in ("Traceback", "a fault of"))
    return ended.returncode in (0, 2) and not wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("commands", nargs="*", metavar="COMMAND", default=list(COMMANDS))
    parser.add_argument("--faults", nargs="*", choices=[*FAULTS, ON_A_GPU], default=list(FAULTS))
    parser.add_argument("--tries", type=int, default=4, help="of each command and fault")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    a = parser.parse_args()
    work, draw = Path(tempfile.mkdtemp()), random.Random(a.seed)
    held: Counter[tuple[str, str]] = Counter()
    for name in a.commands:
        command = on_device(COMMANDS[name], a.device)
        whole = left_alone(command, work / name)
        for fault in a.faults:
            for _ in range(a.tries):
                while (wrong := tried(command, whole, fault, draw)) is None:
                    pass
                held[name, fault] += not wrong
                print(f"{name}, {fault}: {wrong or 'held'}", flush=True)
    print("\n| command | fault | tries | held |\n|---|---|---|---|")
    for name in a.commands:
        for fault in a.faults:
            print(f"| {name} | {fault} | {a.tries} | {held[name, fault]} |")
    shutil.rmtree(work)
    return int(sum(held.values()) < a.tries * len(a.commands) * len(a.faults))


if __name__ == "__main__":
    sys.exit(main())
