"""Where the program meets the person who started it: whatever goes wrong becomes an answer."""

import errno
import os
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from rich.console import Console

from bench.errors import BenchError

FAILED, INTERRUPTED = 2, 130


def answered(run: Callable[[], int | None], err: Console) -> int:
    """The exit code of `run`: its own or 0; 2 where it was refused or failed, with the reason on
    `err`; 130 after Ctrl-C or SIGTERM."""
    try:
        return run() or 0
    except BenchError as error:
        _say(err, f"error: {error}")
        return FAILED
    except KeyboardInterrupt:
        err.print(
            "interrupted; what was measured is kept: the same command again goes on from here"
        )
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        if _lacks_memory(error):
            _let_go(error)
            _say(
                err,
                "error: out of memory; what was measured is kept. Try fewer --jobs, or smaller "
                "images",
            )
            return FAILED
        if isinstance(error, OSError):
            _say(err, f"error: {_of_the_system(error)}")
            return FAILED
        where = _written(error)
        _say(
            err,
            f"error: a fault of this program: {type(error).__name__}: {error}. What was measured "
            f"is kept. Please report it with {where}",
        )
        return FAILED


def _say(err: Console, text: str) -> None:
    try:
        err.print(text, style="red", markup=False)
    except MemoryError:
        print(text, file=sys.stderr)


def _lacks_memory(error: BaseException) -> bool:
    """Python and torch say it in several ways, and what tidies up after it may fail, too."""
    words = (
        "out of memory",
        "can't allocate memory",
        "can't start new thread",
        "failed to map segment from shared object",
    )
    return any(
        isinstance(e, MemoryError)
        or (isinstance(e, OSError) and e.errno == errno.ENOMEM)
        or any(word in str(e) for word in words)
        for e in _chain(error)
    )


def _let_go(error: BaseException) -> None:
    """Of what the functions hold that it went through, to have memory for an answer."""
    for e in _chain(error):
        traceback.clear_frames(e.__traceback__)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those in whose wake it came."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _of_the_system(error: OSError) -> str:
    """What could not be done to which file, and what to do."""
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    where = f"{' → '.join(names)}: " if names else ""
    return (
        f"{where}{error.strerror or error}; what was measured is kept. Make room, or check the "
        "path and its permissions, and run the same command again"
    )


def _written(error: BaseException) -> str:
    """The traceback's file, or the traceback itself where none can be written."""
    text = "".join(traceback.format_exception(error))
    name = f"rabench-fault-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    try:
        path = Path(tempfile.gettempdir()) / name
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError:
        return f"this:\n{text}"
    return str(path)


def settled() -> None:
    """What holds for the whole process, set before torch is imported."""
    # OpenMP's threads spin while they wait, and when anything else wants the cores (our own coding
    # threads do) every step of a network then takes tens of times longer.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # What mmdetection says of its own use of torch is not for the user of this suite.
    warnings.filterwarnings("ignore", category=FutureWarning, module="mmdet|mmengine|mmcv")
    warnings.filterwarnings("ignore", message="torch.meshgrid")
    # Of the process that removes loky's semaphores for a run that was refused, once it did.
    os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker")
    # joblib's, where a run is refused while units of work are still in flight.
    warnings.filterwarnings("ignore", message=".*have been (successfully executed|cancelled)")


def prepared() -> None:
    """Output that shows what it can whatever the terminal's encoding, and SIGTERM as Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    # A process started in a shell's background ignores SIGINT; one told so stays told.
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
