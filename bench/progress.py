"""Progress on stderr: bars on a terminal, a line per stage elsewhere, nothing when quiet."""

import time
from collections.abc import Callable
from types import TracebackType

from rich import progress
from rich.console import Console


class Progress:
    def __init__(self, console: Console, quiet: bool) -> None:
        self._console = console
        self._quiet = quiet
        self._bars = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TimeRemainingColumn(),
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

    def start(self, what: str, total: int) -> Callable[[int], None]:
        """Begin a stage of `total` steps; the returned function counts steps off."""
        if self._task is not None:
            self._bars.remove_task(self._task)
        self._task = task = self._bars.add_task(what, total=total)
        started, done = time.monotonic(), 0

        def advance(steps: int) -> None:
            nonlocal done
            done += steps
            self._bars.advance(task, steps)
            seconds = time.monotonic() - started
            if done == total and seconds > 1 and not self._console.is_terminal:
                self.say(f"{what}: {total} in {seconds:.0f} s")

        return advance
