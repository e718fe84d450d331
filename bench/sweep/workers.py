"""Where units run: threads or processes of this machine, or a Dask cluster."""

import contextlib
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Protocol, TypeVar

from joblib import Parallel, cpu_count, delayed
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import BrokenProcessPool, TerminatedWorkerError

from bench.errors import BenchError
from bench.sweep import cluster
from bench.sweep.workshop import Setup

Item = TypeVar("Item")
Result = TypeVar("Result")

LOOK, UNNOTICED = 5.0, 60.0
"""Seconds between two looks at the worker processes, and in which the death of one is noticed."""
MANY = 4000
"""Pictures that repay the start of worker processes, a few seconds for each."""
IDLE = 300
"""Seconds after which a worker process without work ends."""
TEAMS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables that say how many threads a library may have in a worker process."""


class _StalledError(BenchError):
    """Of worker processes from which nothing can come any more."""


class Workers(Protocol):
    """Where units run."""

    @property
    def in_flight(self) -> int:
        """Units at once."""
        ...

    def oldest(self) -> float:
        """Seconds since the oldest unit that is in flight was handed out; 0 without any."""
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
    """Of the backend `threading`, `loky` or `dask`, or `auto`: processes where there is a time-out
    or much to do on the CPU, threads elsewhere. Raises ConfigError, and BenchError for workers that
    cannot do this run."""
    if backend == "dask":
        with cluster.opened(scheduler, jobs, setup) as there:
            yield there
    elif backend == "loky" or (backend == "auto" and setup.limits.timeout):
        yield Processes(jobs)
    elif backend == "auto" and setup.device == "cpu" and jobs > 1:
        yield Either(Threads(jobs), Processes(jobs), attrgetter("steps"))
    else:
        yield Threads(jobs)


@dataclass(frozen=True)
class Threads:
    """Of this process, through joblib."""

    jobs: int
    _since: dict[int, float] = field(default_factory=dict)
    """Number of an item in flight → when it was handed out."""

    @property
    def in_flight(self) -> int:
        """More than there are cores: while some wait for the network, which takes one at a time,
        the others keep the cores busy with coding."""
        return 2 * self.jobs + 2

    def oldest(self) -> float:
        return cluster.longest(self._since)

    def stream(
        self,
        function: Callable[[Item], Result],
        items: Sequence[Item],
        lost: Callable[[Item], Result],
    ) -> Iterator[Result]:
        """Results as they come, in any order."""
        self._since.clear()

        def numbered(number: int, item: Item) -> tuple[int, Result]:
            return number, function(item)

        def calls() -> Iterator[Any]:
            for number, item in enumerate(items):
                self._since[number] = time.monotonic()
                yield delayed(numbered)(number, item)

        n = self.in_flight
        parallel = Parallel(n, backend="threading", return_as="generator_unordered", pre_dispatch=n)
        for number, result in parallel(calls()):
            del self._since[number]
            yield result

    def alone(self, function: Callable[[Item], Result], item: Item) -> Result | None:
        return function(item)


@dataclass(frozen=True)
class Processes:
    """Of this machine, loky's. joblib would wait for ever where the death of one goes unnoticed,
    and with one job it would take none."""

    jobs: int
    _since: dict[Any, float] = field(default_factory=dict)
    """Future of an item in flight → when it was handed out."""

    @property
    def in_flight(self) -> int:
        return self.jobs

    def oldest(self) -> float:
        return cluster.longest(self._since)

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
        waiting, flying = deque(items), dict[Future[Result], Item]()

        def top_up() -> None:
            while waiting and len(flying) < self.in_flight:
                item = waiting.popleft()
                flying[self._handed_out(function, item)] = item

        try:
            top_up()
            while flying:
                outcomes = [(flying.pop(f), self._result(f)) for f in self._finished(flying)]
                suspects = [item for item, found in outcomes if found is None]
                if suspects:  # the others in flight are lost, too
                    suspects += flying.values()
                    self._forget(flying)
                else:
                    top_up()
                yield from (found for _, found in outcomes if found is not None)
                for item in suspects:
                    survived = self.alone(function, item)
                    yield lost(item) if survived is None else survived
                top_up()
        except _StalledError:
            flying.clear()  # nobody is there to be told
            raise
        finally:
            if flying:
                self._forget(flying)
                self._executor().shutdown(wait=False, kill_workers=True)

    def alone(self, function: Callable[[Item], Result], item: Item) -> Result | None:
        """None where the process that had it died."""
        future = self._handed_out(function, item)
        self._finished([future])
        return self._result(future)

    def _forget(self, flying: dict[Future[Result], Item]) -> None:
        """They are not cancelled: loky's own thread would fail on that and leave the processes."""
        for future in flying:
            self._since.pop(future, None)
        flying.clear()

    def _executor(self) -> Any:
        """What there is, or a new one where it is broken."""
        threads = str(max(1, cpu_count() // self.jobs))
        teams = {name: os.environ.get(name, threads) for name in TEAMS}
        return get_reusable_executor(
            max_workers=self.jobs,
            timeout=IDLE,
            env=teams,
            initializer=_watch_parent,
            initargs=(os.getpid(),),
        )

    def _handed_out(self, function: Callable[[Item], Result], item: Item) -> Future[Result]:
        try:
            future: Future[Result] = self._executor().submit(function, item)
        except TerminatedWorkerError:  # it broke a moment ago
            future = self._executor().submit(function, item)
        self._since[future] = time.monotonic()
        return future

    def _result(self, future: Future[Result]) -> Result | None:
        """None where the process that had it died. Raises BenchError."""
        self._since.pop(future, None)
        try:
            return future.result()
        except TerminatedWorkerError:
            return None
        except BrokenProcessPool as error:
            raise BenchError(
                f"worker processes cannot take this work ({error.__cause__ or error}); use "
                "--backend threading"
            ) from error

    def _finished(self, futures: Any) -> list[Future[Any]]:
        """At least one. Raises BenchError where none can come any more."""
        executor, unnoticed = self._executor(), 0.0
        while not (done := wait(futures, LOOK, FIRST_COMPLETED).done):
            processes = list((executor._processes or {}).values())
            unnoticed = unnoticed + LOOK if not all(p.is_alive() for p in processes) else 0.0
            if unnoticed > UNNOTICED:
                for process in processes:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(process.pid, signal.SIGKILL)
                raise _StalledError(
                    "a worker process died in the midst of handing over a result, and the others "
                    "wait for it. What was measured is kept: start the program anew with the same "
                    "command"
                )
        return list(done)


@dataclass(frozen=True)
class Either:
    """Threads for little work, processes for much: these do not wait for each other's interpreter,
    and take some seconds to start."""

    threads: Threads
    processes: Processes
    pictures: Callable[[Any], int]
    """Of an item."""

    @property
    def in_flight(self) -> int:
        return self.threads.in_flight

    def oldest(self) -> float:
        return max(self.threads.oldest(), self.processes.oldest())

    def stream(
        self,
        function: Callable[[Item], Result],
        items: Sequence[Item],
        lost: Callable[[Item], Result],
    ) -> Iterator[Result]:
        """Results as they come, in any order."""
        much = sum(map(self.pictures, items)) >= MANY
        return (self.processes if much else self.threads).stream(function, items, lost)

    def alone(self, function: Callable[[Item], Result], item: Item) -> Result | None:
        return self.processes.alone(function, item)


def _watch_parent(parent: int) -> None:
    """Have a worker process end with its parent: killed outright, a parent cannot end its workers,
    and loky's would live on for minutes."""
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
