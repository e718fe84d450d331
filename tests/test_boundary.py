"""Whatever goes wrong reaches the person as a sentence and an exit code."""

import os
import signal
import subprocess
import sys
import time
import weakref
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from bench.boundary import answered
from bench.cli import main
from bench.errors import ConfigError, DataError

ROOT = Path(__file__).parents[1]


def said(error: BaseException | None) -> tuple[int, str]:
    def run() -> int:
        if error is not None:
            raise error
        return 0

    console = Console(file=StringIO(), width=10_000)
    code = answered(run, console)
    return code, console.file.getvalue()  # type: ignore[attr-defined]


def in_the_wake_of(first: Exception, then: Exception) -> Exception:
    then.__context__ = first
    return then


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (None, 0, []),
        (ConfigError("methods.bpg: [bold]no[/bold]"), 2, ["error: methods.bpg: [bold]no[/bold]"]),
        (DataError("a.png: not readable"), 2, ["a.png: not readable"]),
        (OSError(28, "No space left on device", "/data/x"), 2, ["/data/x: No space left", "room"]),
        (PermissionError(13, "Permission denied", "/y"), 2, ["/y: Permission denied"]),
        (OSError("odd"), 2, ["odd"]),
        (MemoryError(), 2, ["out of memory", "--jobs"]),
        (ImportError("a.so: failed to map segment from shared object"), 2, ["out of memory"]),
        (OSError(12, "Cannot allocate memory", "/z"), 2, ["out of memory"]),
        (in_the_wake_of(MemoryError(), OSError(5, "Input/output error")), 2, ["out of memory"]),
        (RuntimeError("can't start new thread"), 2, ["out of memory", "--jobs"]),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 2, ["out of memory"]),
        (in_the_wake_of(MemoryError(), AttributeError("terminate")), 2, ["out of memory"]),
        (KeyboardInterrupt(), 130, ["interrupted", "same command again"]),
        (KeyError("x"), 2, ["a fault of this program: KeyError: 'x'", "rabench-fault-"]),
        (RecursionError("deep"), 2, ["a fault of this program"]),
    ],
)
def test_every_ending(
    error: BaseException | None,
    code: int,
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    ended, text = said(error)
    assert ended == code
    for word in words:
        assert word in text
    assert "Traceback" not in text


def test_out_of_memory_is_said_once_what_failed_let_go_of_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Large:
        pass

    held: list[weakref.ref[Large]] = []

    def run() -> None:
        large = Large()
        held.append(weakref.ref(large))
        raise MemoryError

    class NoRoom(Console):
        def print(self, *_: object, **__: object) -> None:
            assert held[0]() is None
            raise MemoryError

    assert answered(run, NoRoom()) == 2
    assert capsys.readouterr().err.startswith("error: out of memory; what was measured is kept")


def test_a_fault_is_written_down_to_be_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    _, text = said(ZeroDivisionError("by \ud800"))
    (report,) = tmp_path.glob("rabench-fault-*.txt")
    assert str(report) in text
    assert "ZeroDivisionError" in report.read_text()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    assert "Traceback" in said(ZeroDivisionError())[1]


def program(*words: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, ROOT / "run_bench.py", *words],
        capture_output=True,
        env=os.environ | environment,
        check=False,
    )


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252"])
def test_output_of_any_encoding(encoding: str) -> None:
    ended = program("list", "methods", PYTHONIOENCODING=encoding)
    assert ended.returncode == 0
    assert b"(anchor)" in ended.stdout
    ended = program("--config", "漢字.yaml", PYTHONIOENCODING=encoding)
    assert ended.returncode == 2
    assert b"there is no such file" in ended.stderr


def test_a_reader_that_stops_reading() -> None:
    words = [sys.executable, str(ROOT / "run_bench.py"), "list", "models"]
    listing = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert listing.stdout is not None
    assert listing.stderr is not None
    listing.stdout.readline()
    listing.stdout.close()
    assert b"Traceback" not in listing.stderr.read()
    listing.stderr.close()
    listing.wait()


@pytest.mark.parametrize(
    "words",
    [
        ("--jobs", "5000"),
        ("--jobs", "0"),
        ("--jobs", "²"),
        ("--limit", "-1"),
        ("--limit", "9" * 5000),
        ("--out", ""),
        ("--cache", ""),
        ("--out", "a\0b"),
        ("--max-failures", "nan"),
        ("--qps", "9" * 5000),
    ],
)
def test_options_out_of_range(words: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    assert ended.value.code == 2
    assert words[0] in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_signals_leave_a_resumable_state_and_say_so(
    tmp_path: Path, number: signal.Signals, backend: str
) -> None:
    out = tmp_path / "run"
    words = ["--tasks", "cls", "--out", out, "--device", "cpu", "--backend", backend]
    process = subprocess.Popen(
        [sys.executable, ROOT / "run_bench.py", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    cache = tmp_path / ".cache"
    deadline = time.monotonic() + 120
    while len([*cache.glob("*/*")]) < 400 and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    _, text = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"interrupted" in text
    assert b"Traceback" not in text
    assert b"resource_tracker" not in text
    assert not out.exists()
