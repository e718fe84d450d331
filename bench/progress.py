"""Progress on stderr: bars on a terminal, lines every half minute elsewhere, or nothing at all."""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol

from rich import progress
from rich.console import Console

EVERY = 30.0
"""Seconds between two lines."""


class Advance(Protocol):
    def __call__(self, steps: int, note: str = "") -> None:
        """Count off steps that are done; the last note is shown beside them."""


class Progress:
    """A context manager; bars are gone at its end. `clock` gives seconds that never go back."""

    def __init__(
        self, console: Console, quiet: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console
        self._quiet = quiet
        self._clock = clock
        self._telling = threading.RLock()
        self._bars = progress.Progress(
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TimeRemainingColumn(),
            progress.TextColumn("{task.fields[note]}", markup=False),
            console=console,
            transient=True,
            disable=quiet or not console.is_terminal,
        )
        self._task: progress.TaskID | None = None

    def __enter__(self) -> "Progress":
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def say(self, text: str) -> None:
        if not self._quiet:
            self._console.print(text, markup=False)

    def start(self, what: str, total: int) -> Advance:
        """Begin a stage of `total` steps; the returned function counts steps off."""
        if self._task is not None:
            self._bars.remove_task(self._task)
        self._task = task = self._bars.add_task(what, total=total, note="")
        began = said_at = self._clock()
        done = said_of = 0

        def advance(steps: int, note: str = "") -> None:
            with self._telling:  # steps come from one thread, how long they take from another
                counted(steps, note)

        def counted(steps: int, note: str) -> None:
            nonlocal done, said_at, said_of
            done += steps
            self._bars.update(task, advance=steps, note=note)
            if self._console.is_terminal:
                return
            now = self._clock()
            if done >= total and now - began > 1:
                self.say(f"{what}: {total} in {now - began:.0f} s")
            elif done < total and now - said_at >= EVERY:
                # Of the time since the last line: what came from a cache at the start was quicker.
                rate = (done - said_of) / (now - said_at)
                self.say(f"{what}: {_line(done, total, rate, note)}")
                said_at, said_of = now, done

        return advance


def _line(done: int, total: int, rate: float, note: str) -> str:
    """How far a stage is, `rate` being steps per second."""
    left = [f"about {_duration((total - done) / rate)} left"] if rate > 0 else []
    parts = [
        f"{done} of {total} ({100 * done / total:.0f} %)",
        f"{rate:.3g} per second",
        note,
        *left,
    ]
    return ", ".join(part for part in parts if part)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
