"""Kills a sweep at random moments, by SIGKILL, SIGTERM and SIGINT, in threads and in processes.

    python perf/kills.py [KILLS] [SEED]

After each kill no process of it may live on for more than ten seconds, and the same command has to
give the same bytes as a run that was left alone, with nothing left behind. Prints a line per kill
and the count of what held; ends with 1 if anything did not.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
BACKENDS = ("threading", "loky")
TIMED = ("manifest.json", "report.html", "costs.parquet")
PATIENCE = 10.0
"""Seconds that processes of a killed run may live on."""


def command(out: Path, backend: str) -> list[str]:
    return [
        sys.executable, str(ROOT / "run_bench.py"), "--tasks", "cls", "--limit", "24",
        "--qps", "33,41", "--device", "cpu", "--quiet", "--set", "analysis.resamples=50",
        "--backend", backend, "--jobs", "2", "--out", str(out),
    ]  # fmt: skip


def started(out: Path, backend: str) -> subprocess.Popen[bytes]:
    def as_from_a_terminal() -> None:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    return subprocess.Popen(
        command(out, backend),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=as_from_a_terminal,
    )


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


def contents(out: Path) -> dict[str, bytes]:
    """What a run must give again: all but the files that hold its times."""
    return {
        p.relative_to(out).as_posix(): p.read_bytes()
        for p in sorted(out.rglob("*"))
        if p.is_file() and p.name not in TIMED
    }


def names(out: Path) -> set[str]:
    return {p.relative_to(out).as_posix() for p in out.rglob("*")}


def main() -> int:
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 36
    draw = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    work = Path(tempfile.mkdtemp())
    wholes, lasted = {}, {}
    for backend in BACKENDS:
        out, began = work / f"whole-{backend}" / "run", time.monotonic()
        if started(out, backend).wait() != 0:
            raise SystemExit("the run that was to be left alone failed")
        wholes[backend], lasted[backend] = out, time.monotonic() - began
    bad = 0
    for kill in range(kills):
        number, backend = SIGNALS[kill % 3], BACKENDS[kill // 3 % 2]
        out = work / f"kill-{kill}" / "run"
        process = started(out, backend)
        moment = draw.uniform(0.2, 1.0) * lasted[backend]
        time.sleep(moment)
        process.send_signal(number)
        sent = time.monotonic()
        while (left := members(process.pid)) and time.monotonic() - sent < PATIENCE:
            process.poll()
            time.sleep(0.05)
        seconds = time.monotonic() - sent
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        code = process.wait()
        again = subprocess.run(command(out, backend), capture_output=True, check=False)
        whole = wholes[backend]
        faults = [
            *(["processes lived on"] if left else []),
            *(["the same command failed"] if again.returncode else []),
            *(["other bytes"] if contents(out) != contents(whole) else []),
            *(["files left behind"] if names(out) != names(whole) else []),
            *(["half-written entries"] if list((out.parent / ".cache/.partial").iterdir()) else []),
        ]
        bad += bool(faults)
        print(
            f"{number.name} after {moment:.1f} s, {backend}: exit code {code}, all gone after "
            f"{seconds:.1f} s, {', '.join(faults) or 'the same bytes'}",
            flush=True,
        )
        shutil.rmtree(out.parent)
    print(f"{kills} kills, {kills - bad} held, {bad} did not")
    shutil.rmtree(work)
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
