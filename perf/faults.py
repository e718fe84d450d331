"""Commands on a machine that fails them: killed at random moments, no room for a file, few handles.

    python perf/faults.py [COMMAND…] [--tries N] [--seed N]

Commands: run, report, merge, train. Faults: SIGKILL at a random moment; no file may grow over a
random size, as on a disk that is full (RLIMIT_FSIZE); 64 file handles (RLIMIT_NOFILE). A try holds
where the command, unless it is killed, ends by itself with code 0 or 2 and a sentence, and the same
command again, left alone, gives the bytes that it always gives. Prints what happened and a table;
ends with 1 if anything did not hold.
"""

import argparse
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kills import ROOT, contents, members

SLOW = 300.0
"""Seconds after which a command counts as one that hangs."""
HANDLES = 64
SMALLEST = 4096
"""Bytes of the smallest limit on files."""
FAULTS = ("killed", "no room", f"{HANDLES} handles")


@dataclass(frozen=True)
class Command:
    """What is started in a folder of its own, which `prepare` fills, and where its results lie."""

    words: Callable[[Path], list[str]]
    out: str
    prepare: Callable[[Path], None] = lambda folder: None
    resumed: tuple[str, ...] = ()
    """Words more that go on with what is there already."""


def sweep(out: Path, methods: str = "bpg,npp+bpg") -> list[str]:
    return [
        "--tasks", "cls", "--methods", methods, "--qps", "33,41", "--limit", "12", "--jobs", "1",
        "--device", "cpu", "--backend", "threading", "--set", "analysis.resamples=50",
        "--out", str(out),
    ]  # fmt: skip


def one_run(folder: Path) -> None:
    program(sweep(folder / "run"), check=True)


def two_runs(folder: Path) -> None:
    program(sweep(folder / "a"), check=True)
    program(sweep(folder / "b", "bpg,qa-npp+bpg"), check=True)


TRAIN = [
    "train", "qa-npp", "--config", str(ROOT / "configs/train/qa_npp_mini_cls.yaml"), "--set",
    "steps=4", "--set", "validate_every=2", "--set", "validation=4", "--set", "width=8",
    "--set", "batch=4", "--device", "cpu",
]  # fmt: skip
COMMANDS = {
    "run": Command(lambda f: sweep(f / "run"), "run"),
    "report": Command(lambda f: ["report", str(f / "run")], "run", one_run),
    "merge": Command(
        lambda f: ["merge", str(f / "a"), str(f / "b"), "--out", str(f / "both")], "both", two_runs
    ),
    "train": Command(lambda f: [*TRAIN, "--out", str(f / "net")], "net", resumed=("--resume",)),
}


def program(
    words: list[str], limits: dict[int, int] | None = None, check: bool = False
) -> subprocess.CompletedProcess[str]:
    def limited() -> None:
        for limit, value in (limits or {}).items():
            resource.setrlimit(limit, (value, value))

    return subprocess.run(
        [sys.executable, str(ROOT / "run_bench.py"), *words],
        capture_output=True, text=True, check=check, preexec_fn=limited, timeout=SLOW,
    )  # fmt: skip


def killed(words: list[str], after: float) -> None:
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "run_bench.py"), *words],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    time.sleep(after)
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 10
    while members(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)


def outcome(folder: Path, out: str) -> dict[str, bytes]:
    """What a command must give again; of a training the weights and curves, not the checkpoint."""
    return {
        name: data
        for name, data in contents(folder / out).items()
        if Path(name).suffix not in {".pt", ".html"} and "events.out" not in name
    }


def tried(command: Command, whole: Path, fault: str, draw: random.Random, lasted: float) -> str:
    """What did not hold; empty where all did."""
    folder = whole.parent / "try"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    if (whole.parent / "given").exists():
        shutil.copytree(whole.parent / "given", folder, dirs_exist_ok=True)
    words, said = command.words(folder), ""
    if fault == "killed":
        killed(words, after := draw.uniform(0.1, 1.0) * lasted)
        said = f"after {after:.1f} s"
    else:
        largest = max(p.stat().st_size for p in whole.rglob("*") if p.is_file())
        size = round(SMALLEST * (largest / SMALLEST) ** draw.random())
        limits = (
            {resource.RLIMIT_FSIZE: size}
            if fault == "no room"
            else {resource.RLIMIT_NOFILE: HANDLES}
        )
        ended = program(words, limits)
        said = f"{size} bytes: " if fault == "no room" else ""
        said += f"code {ended.returncode} {ended.stderr.strip().splitlines()[-1:]}"
        if (
            ended.returncode not in (0, 2)
            or "Traceback" in ended.stderr
            or "a fault of" in ended.stderr
        ):
            print(f"    {ended.stderr[-2000:]}")
            return f"{said}: no answer"
    print(f"    {said}", flush=True)
    begun = (folder / command.out).exists()
    again = program([*words, *(command.resumed if begun else ())])
    if again.returncode:
        return f"the same command failed: {again.stderr[-500:]}"
    if outcome(folder, command.out) != outcome(whole, command.out):
        return "other bytes"
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("commands", nargs="*", metavar="COMMAND", default=list(COMMANDS))
    parser.add_argument("--tries", type=int, default=4, help="of each command and fault")
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    work, draw = Path(tempfile.mkdtemp()), random.Random(a.seed)
    held: Counter[tuple[str, str]] = Counter()
    for name in a.commands:
        command, whole = COMMANDS[name], work / name / "whole"
        whole.mkdir(parents=True)
        command.prepare(whole)
        if any(whole.iterdir()):
            shutil.copytree(whole, work / name / "given")
        began = time.monotonic()
        program(command.words(whole), check=True)
        lasted = time.monotonic() - began
        for fault in FAULTS:
            for _ in range(a.tries):
                wrong = tried(command, whole, fault, draw, lasted)
                held[name, fault] += not wrong
                print(f"{name}, {fault}: {wrong or 'held'}", flush=True)
    print("\n| command | fault | tries | held |\n|---|---|---|---|")
    for name in a.commands:
        for fault in FAULTS:
            print(f"| {name} | {fault} | {a.tries} | {held[name, fault]} |")
    shutil.rmtree(work)
    return int(sum(held.values()) < a.tries * len(a.commands) * len(FAULTS))


if __name__ == "__main__":
    sys.exit(main())
