"""Where work runs: threads or processes of this machine, through joblib."""

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from joblib import Parallel, delayed
from joblib.externals.loky.process_executor import BrokenProcessPool, TerminatedWorkerError

from bench.errors import BenchError

Lost = Callable[[Any], Any]
"""An item → what stands for its result if every worker that takes it dies."""


@dataclass
class Workers:
    jobs: int
    backend: str

    def map(
        self,
        function: Callable[..., Any],
        items: Iterable[Any],
        ahead: int | None = None,
        lost: Lost | None = None,
    ) -> Iterator[Any]:
        """Results in order, as they come; `ahead` bounds how many are begun before being used.

        A process that dies takes the items in flight with it. Which of them killed it nobody knows,
        so each of these runs alone, and one that kills its process again has the result `lost`.
        """
        if self.backend == "threading":
            yield from self._parallel(function, items, ahead)
            return
        bound = partial(_beside_its_parent, os.getpid(), function)
        waiting, done = list(items), 0
        while done < len(waiting):
            try:
                for result in self._parallel(bound, waiting[done:], ahead):
                    done += 1
                    yield result
            except TerminatedWorkerError:
                if lost is None:
                    raise
                for item in waiting[done : done + 2 * self.jobs]:
                    done += 1
                    yield self._alone(bound, item, lost)
            except BrokenProcessPool as error:
                raise BenchError(
                    f"worker processes cannot take this work ({error.__cause__ or error}); use "
                    "--backend threading"
                ) from error

    def _parallel(
        self, function: Callable[..., Any], items: Iterable[Any], ahead: int | None = None
    ) -> Iterator[Any]:
        return iter(
            Parallel(
                n_jobs=self.jobs,
                backend=self.backend,
                return_as="generator",
                pre_dispatch=ahead or "2*n_jobs",
            )(delayed(function)(item) for item in items)
        )

    def _alone(self, function: Callable[..., Any], item: Any, lost: Lost) -> Any:
        try:
            # With one job joblib would run it here, and two give it a process of its own.
            return Parallel(n_jobs=2, backend=self.backend)([delayed(function)(item)])[0]
        except TerminatedWorkerError:
            return lost(item)


_watched = False


def _beside_its_parent(parent: int, function: Callable[..., Any], item: Any) -> Any:
    """Run in a worker process that ends with its parent: killed outright, a parent cannot end its
    workers, and loky's would live on for minutes."""
    global _watched
    if not _watched and os.getpid() != parent:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
        _watched = True
    return function(item)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
