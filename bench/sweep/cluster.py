"""Units on a Dask cluster: one that exists, or processes of this machine that are started for it.

joblib has a backend for Dask too, but its generators wait forever for a task whose worker died, so
the tasks are submitted here. Dask runs what a dead worker had elsewhere, three times by default.
"""

import logging
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from bench import devices
from bench.errors import BenchError, ConfigError
from bench.sweep.workshop import Setup, workshop

Item = TypeVar("Item")
Result = TypeVar("Result")

ANSWER = 15.0
"""Seconds in which a scheduler answers."""
JOIN = 120.0
"""Seconds in which a first worker comes, or another one after the last has gone."""
LOOK = 5.0
"""Seconds between looks at whether there are workers."""
SILENT = 120.0
"""Seconds after which a scheduler that does not answer any more is given up."""
READY = 3600.0
"""Seconds in which a worker has built what the run needs, weights fetched included."""
STARTED_HERE = {
    # After this time Dask gives up a worker that died, also while it is being started again.
    "distributed.deploy.lost-worker-timeout": "1000 d",
    "distributed.worker.profile.enabled": False,
    # Dask has memory given back after each use, which takes pictures a third of the time to code.
    "distributed.nanny.pre-spawn-environ": {
        "OMP_NUM_THREADS": 1,
        "MKL_NUM_THREADS": 1,
        "OPENBLAS_NUM_THREADS": 1,
    },
}
"""Settings of Dask for workers that are started here."""
AHEAD = 2
"""Units per thread of a worker that are sent to it: one that it does, one that waits there."""


@dataclass(frozen=True)
class Cluster:
    client: Any
    _since: dict[Any, float] = field(default_factory=dict)
    """Future of an item in flight → when it was handed out."""

    @property
    def in_flight(self) -> int:
        return AHEAD * sum(_threads(self.client).values())

    def oldest(self) -> float:
        return longest(self._since)

    def stream(
        self,
        function: Callable[[Item], Result],
        items: Sequence[Item],
        lost: Callable[[Item], Result],
    ) -> Iterator[Result]:
        """Results as they come, in any order; `lost(item)` for one whose workers died each time."""
        waiting, flying = deque(items), dict[Any, Item]()
        try:
            while waiting or flying:
                room = self.in_flight - len(flying)
                for _ in range(min(max(room, 0), len(waiting))):
                    item = waiting.popleft()
                    flying[self._handed_out(function, item)] = item
                for future in self._finished(list(flying)):
                    item = flying.pop(future)
                    found = self._result(future)
                    if found is None:  # perhaps it only stood beside what killed its workers
                        found = self.alone(function, item)
                    yield lost(item) if found is None else found
        finally:
            for future in flying:
                self._since.pop(future, None)
            self.client.cancel(list(flying), force=True)

    def alone(self, function: Callable[[Item], Result], item: Item) -> Result | None:
        """None where every process that had it died."""
        future = self._handed_out(function, item)
        while not self._finished([future]):
            pass
        return self._result(future)

    def _handed_out(self, function: Callable[[Item], Result], item: Item) -> Any:
        future = self.client.submit(function, item, pure=False)
        self._since[future] = time.monotonic()
        return future

    def _finished(self, futures: list[Any]) -> list[Any]:
        """At least one, or none where it is worth to look again. Raises BenchError where nobody
        works."""
        from distributed import wait

        patience = time.monotonic() + JOIN
        while not _threads(self.client):
            if time.monotonic() > patience:
                raise BenchError(
                    f"the Dask cluster has had no worker for {JOIN:.0f} s. What was measured is "
                    "kept: start workers and run the same command again"
                )
            time.sleep(1)
        if not futures:
            return []
        try:
            return list(wait(futures, timeout=LOOK, return_when="FIRST_COMPLETED").done)
        except TimeoutError:
            return []
        except CancelledError as error:
            raise _disconnected() from error

    def _result(self, future: Any) -> Any:
        from distributed.scheduler import KilledWorker

        self._since.pop(future, None)
        try:
            return future.result()
        except KilledWorker:
            return None
        except CancelledError as error:
            raise _disconnected() from error


def longest(since: Mapping[Any, float]) -> float:
    """Seconds since the earliest of these moments; 0 without any."""
    earliest = min(list(since.values()), default=None)
    return 0.0 if earliest is None else time.monotonic() - earliest


def _threads(client: Any) -> dict[str, int]:
    """Worker → its threads. Raises BenchError for a scheduler that does not answer."""
    try:
        found: dict[str, int] = client.nthreads(callback_timeout=SILENT)
    except TimeoutError as error:
        raise BenchError(
            f"the Dask scheduler has not answered for {SILENT:.0f} s. What was measured is kept: "
            "run the same command again"
        ) from error
    return found


def _disconnected() -> BenchError:
    return BenchError(
        "the connection to the Dask scheduler was lost. What was measured is kept: run the same "
        "command again"
    )


@contextmanager
def opened(scheduler: str | None, jobs: int, setup: Setup) -> Iterator[Cluster]:
    """The cluster of the scheduler at that address, or `jobs` processes of this machine, each of
    which has built what the run needs.

    Raises ConfigError where Dask is not installed, no scheduler answers or no worker comes, and
    BenchError where one has other versions, other data, or lacks what the config needs.
    """
    try:
        from distributed import Client
    except ImportError:
        raise ConfigError(
            "--backend dask: the package distributed is not installed; install the extra `dask`"
        ) from None
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # deaths are handled here
    with ExitStack() as stack:
        address = scheduler or stack.enter_context(local(jobs, setup.device))
        try:
            client = stack.enter_context(Client(address, timeout=ANSWER))
            client.wait_for_workers(1, timeout=JOIN)
        except (OSError, ValueError) as error:  # a TimeoutError is an OSError
            raise ConfigError(
                f"--scheduler {scheduler}: no scheduler with a worker answers there ({error}); "
                "start `dask scheduler` and `dask worker`, or give another address"
            ) from error
        _require_prepared(client, setup)
        yield Cluster(client)


@contextmanager
def local(jobs: int, device: str) -> Iterator[Any]:
    """A process per core, or per GPU with threads that code for it."""
    import dask
    from distributed import LocalCluster

    gpus = devices.count(device)
    with (
        dask.config.set(STARTED_HERE),
        tempfile.TemporaryDirectory(prefix="rabench-dask-") as folder,
        LocalCluster(
            n_workers=gpus or jobs,
            threads_per_worker=-(-jobs // gpus) + 1 if gpus else 1,
            processes=True,
            dashboard_address="127.0.0.1:0",  # not for other machines
            memory_limit=None,
            local_directory=folder,
            silence_logs=logging.CRITICAL,
        ) as cluster,
    ):
        yield cluster


def _require_prepared(client: Any, setup: Setup) -> None:
    """Raises ConfigError or BenchError where a worker cannot take the work."""
    futures = {
        address: client.submit(_prepare, setup, workers=[address], pure=False)
        for address in _threads(client)
    }
    patience = time.monotonic() + READY
    for address, future in futures.items():
        try:
            while not future.done():
                if address not in _threads(client):
                    raise BenchError("it left before it was ready; run the same command again")
                if time.monotonic() > patience:
                    raise BenchError(f"it was not ready after {READY:.0f} s; nothing was measured")
                time.sleep(0.1)
            future.result()
        except BenchError as error:
            raise type(error)(f"Dask worker {address}: {error}") from error
        except Exception as error:
            raise ConfigError(
                f"Dask worker {address} cannot take this work ({type(error).__name__}: {error}); "
                "install the same version of rabench there, with the same extras"
            ) from error


def _prepare(setup: Setup) -> None:
    """Build what the run needs, so that what is missing is said before any work."""
    for experiment in workshop(setup).experiments:
        for model in experiment.models:
            _ = model.network
