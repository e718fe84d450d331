"""Time-outs in a worker process: a call that takes too long ends the process that it is in.

Whoever gave it the work then finds out which picture that was, by giving it each alone
(`bench.sweep.execute`), and reads here why the process ended.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.codecs.base import Codec
from bench.codecs.isolated import overdue

GRACE = 5.0
"""Seconds after which the system ends a process whose interpreter is held by the call itself."""
EXIT = 124
"""The exit code, as of timeout(1)."""


class Watchdog:
    """Of one process, whose threads may make several calls at once. `notes`: a file, if the process
    sees it, in which a line is left for each picture that took too long."""

    def __init__(self, seconds: float, notes: Path | None) -> None:
        self._seconds, self._notes = seconds, notes
        self._deadlines: dict[object, float] = {}
        self._lock = threading.Lock()
        self._of_thread = threading.local()

    @contextmanager
    def looking_at(self, picture: str | None) -> Iterator[None]:
        """What this thread works on, where it is one picture alone."""
        self._of_thread.picture = picture
        try:
            yield
        finally:
            self._of_thread.picture = None

    def call(self, stage: str, pictures: int = 1) -> "Call":
        """To enter in whichever thread makes the call."""
        picture = getattr(self._of_thread, "picture", None)
        return Call(self, stage, picture, self._seconds * pictures)

    def begun(self, call: "Call") -> None:
        with self._lock:
            self._deadlines[call] = time.monotonic() + call.seconds + GRACE
            self._arm()

    def ended(self, call: "Call") -> None:
        with self._lock:
            del self._deadlines[call]
            self._arm()

    def _arm(self) -> None:
        """SIGALRM, which ends a process: a call in native code that holds the interpreter's lock
        lets no thread of Python run that could do it."""
        latest = max(self._deadlines.values(), default=None)
        left = 0.0 if latest is None else max(0.1, latest - time.monotonic())
        signal.setitimer(signal.ITIMER_REAL, left)

    def bark(self, call: "Call") -> None:
        """Ends the process."""
        try:
            if self._notes is not None and call.picture is not None:
                with self._notes.open("a") as file:
                    file.write(f"{call.picture} {call.stage} {overdue(self._seconds)}\n")
        finally:
            os._exit(EXIT)


class Call:
    """A context manager."""

    def __init__(self, watchdog: Watchdog, stage: str, picture: str | None, seconds: float) -> None:
        self.stage, self.picture, self.seconds = stage, picture, seconds
        self._watchdog = watchdog
        self._timer = threading.Timer(seconds, watchdog.bark, [self])
        self._timer.daemon = True

    def __enter__(self) -> None:
        self._watchdog.begun(self)
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._watchdog.ended(self)


def noted(notes: Path, picture: str) -> tuple[str, str] | None:
    """Stage and reason of what a process last said of a picture before it ended."""
    try:
        lines = notes.read_text().splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        name, _, rest = line.partition(" ")
        if name == picture:
            stage, _, reason = rest.partition(" ")
            return stage, reason
    return None


class Watched:
    """A codec whose calls the watchdog of this process times."""

    def __init__(self, codec: Codec, watchdog: Watchdog) -> None:
        self.codec, self.watchdog, self.name = codec, watchdog, codec.name

    @property
    def qps(self) -> Sequence[int]:
        return self.codec.qps

    def encode(self, rgb: NDArray[np.uint8], qp: int) -> bytes:
        """Raises what the codec raises."""
        with self.watchdog.call("encode"):
            return self.codec.encode(rgb, qp)

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        """Raises what the codec raises."""
        with self.watchdog.call("decode"):
            return self.codec.decode(data)

    def fingerprint(self) -> dict[str, str]:
        return self.codec.fingerprint()
