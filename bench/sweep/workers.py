"""Where units run: threads or processes of this machine, or a Dask cluster."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

from joblib import Parallel, delayed
from joblib.externals.loky.process_executor import BrokenProcessPool, TerminatedWorkerError

from bench.errors import BenchError
from bench.sweep import cluster
from bench.sweep.workshop import Setup

Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers(Protocol):
    """Where units run."""

    @property
    def in_flight(self) -> int:
        """Units at once."""
        ...

    def stream(
        self,
        function: Callable[[Item], Result],
        items: Sequence[Item],
        lost: Callable[[Item], Result],
    ) -> Iterator[Result]:
        """Results as they come, in any order; `lost(item)` for one that ends its process."""
        ...

    def alone(self, function: Callable[[Item], Result], item: Item) -> Result | None:
        """None where the process that had it died."""
        ...


@contextmanager
def opened(backend: str, jobs: int, scheduler: str | None, setup: Setup) -> Iterator[Workers]:
    """Of the backend `threading`, `loky` or `dask`. Raises ConfigError, and BenchError for workers
    that cannot do this run."""
    if backend == "dask":
        with cluster.opened(scheduler, jobs, setup) as there:
            yield there
    else:
        yield Local(jobs, backend)


@dataclass(frozen=True)
class Local:
    """Threads or processes of this machine, through joblib."""

    jobs: int
    backend: str

    @property
    def in_flight(self) -> int:
        """In threads more than there are cores: while some wait for the network, which takes one at
        a time, the others keep the cores busy with coding."""
        return 2 * self.jobs + 2 if self.backend == "threading" else self.jobs

    def stream(
        self,
        function: Callable[[Item], Result],
        items: Sequence[Item],
        lost: Callable[[Item], Result],
    ) -> Iterator[Result]:
        """Results as they come, in any order.

        A process that dies takes the items in flight with it. Which of them killed it nobody knows,
        so each of these runs alone, and one that kills its process again has the result `lost`.
        """
        waiting = dict(enumerate(items))
        while waiting:
            taken: list[int] = []
            try:
                for number, result in self._parallel(function, waiting, taken):
                    del waiting[number]
                    yield result
            except TerminatedWorkerError:
                for number in [n for n in taken if n in waiting]:
                    item = waiting.pop(number)
                    survived = self.alone(function, item)
                    yield lost(item) if survived is None else survived
            except BrokenProcessPool as error:
                raise BenchError(
                    f"worker processes cannot take this work ({error.__cause__ or error}); use "
                    "--backend threading"
                ) from error

    def alone(self, function: Callable[[Item], Result], item: Item) -> Result | None:
        """None where the process that had it died."""
        call = delayed(partial(_beside_its_parent, os.getpid(), function))
        try:
            # With one job joblib would run it here, and two give it a process of its own.
            found: Result = Parallel(n_jobs=2, backend=self.backend)([call(item)])[0]
            return found
        except TerminatedWorkerError:
            return None

    def _parallel(
        self, function: Callable[[Item], Result], items: dict[int, Item], taken: list[int]
    ) -> Iterator[tuple[int, Result]]:
        call = delayed(partial(_numbered, os.getpid(), function))

        def calls() -> Iterator[Any]:
            for number, item in list(items.items()):
                taken.append(number)
                yield call(number, item)

        n = self.in_flight
        parallel = Parallel(
            n, backend=self.backend, return_as="generator_unordered", pre_dispatch=n
        )
        return iter(parallel(calls()))


def _numbered(
    parent: int, function: Callable[[Item], Result], number: int, item: Item
) -> tuple[int, Result]:
    return number, _beside_its_parent(parent, function, item)


_watched = False


def _beside_its_parent(parent: int, function: Callable[[Item], Result], item: Item) -> Result:
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
