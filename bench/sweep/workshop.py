"""What a process builds once and keeps: the plan with its networks, the cache, the device."""

import copy
import ctypes
import hashlib
import os
import platform
import sys
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import numpy as np
import torch
from joblib import cpu_count
from numpy.typing import NDArray

from bench import devices
from bench.config import BenchConfig
from bench.errors import BenchError
from bench.sweep import versions
from bench.sweep.cache import PARTIAL, Cache, Carried, Entry
from bench.sweep.limits import NONE, Limits
from bench.sweep.plan import Experiment, plan
from bench.sweep.watchdog import Watchdog

T = TypeVar("T")
Pixels = NDArray[np.uint8]

RECENT = 64 << 20
"""Bytes of uncompressed pictures that a process keeps for other units of the same pictures."""


@dataclass(frozen=True)
class Setup:
    """A sweep as it is sent to a process: names and values, no networks and no pixels."""

    config: BenchConfig
    device: str
    limit: int | None
    cache: Path
    folder: Path
    """Where the run was started, which relative paths in the config go from."""
    mark: str
    """A file in the cache by which a process knows that it sees the same folder."""

    versions: dict[str, str]
    data: tuple[str, ...]
    """The hash of every experiment's annotations: a process that sees other data says so."""
    limits: Limits = NONE

    @cached_property
    def key(self) -> str:
        config = self.config.model_dump_json()
        parts = (config, self.device, self.limit, self.cache, self.mark, self.limits)
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    @property
    def notes(self) -> Path:
        """The file of the mark: processes that end themselves leave a line in it (watchdog.py)."""
        return self.cache / PARTIAL / self.mark


@dataclass
class Counts:
    """How many results of each kind were computed, and how many came from the cache."""

    computed: Counter[str] = field(default_factory=Counter)
    cached: Counter[str] = field(default_factory=Counter)

    def share(self) -> float:
        """Of all results, those that came from the cache."""
        cached = self.cached.total()
        return cached / max(1, cached + self.computed.total())

    def add(self, other: "Counts") -> None:
        self.computed.update(other.computed)
        self.cached.update(other.cached)


_thread = threading.local()


class Workshop:
    def __init__(
        self,
        experiments: list[Experiment],
        cache: Cache,
        device: str,
        coders: int,
        watchdog: Watchdog | None = None,
    ) -> None:
        _keep_freed_memory()
        self.experiments = experiments
        self.cache = cache
        self.watchdog = watchdog
        self._on_gpu = device != "cpu"
        self._kept: dict[Hashable, Any] = {}
        self._recent: OrderedDict[str, Pixels] = OrderedDict()
        self._recent_bytes = 0
        self._making = threading.RLock()
        self._locks: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()
        self.coding = threading.BoundedSemaphore(coders)
        """To hold while pictures are coded: more at once than there are cores only wait for each
        other, and then all for the network."""
        # One thread makes all calls of task models: one at a time on a device, and one team of
        # OpenMP's threads however many units are in flight.
        threads = torch.get_num_threads()
        self._turn = ThreadPoolExecutor(1, "network", lambda: torch.set_num_threads(threads))

    def with_cache(self, cache: Cache) -> "Workshop":
        """The same plan and networks over another cache."""
        other = copy.copy(self)
        other.cache = cache
        return other

    def close(self) -> None:
        self._turn.shutdown(wait=False)

    def on_device(self, call: Callable[[], T]) -> T:
        """The call of a task model, in its turn."""
        return self._turn.submit(call).result()

    def limit(self, stage: str, pictures: int) -> AbstractContextManager[None]:
        """To enter for as long as a call for so many pictures takes, in whichever thread."""
        return self.watchdog.call(stage, pictures) if self.watchdog else nullcontext()

    def filtered(self, call: Callable[[], T]) -> T:
        """The call of a preprocessor: on a CPU it goes with the coding, one core for each."""
        if self._on_gpu:
            return self.on_device(call)
        if not hasattr(_thread, "alone"):
            torch.set_num_threads(1)  # of this thread
            _thread.alone = True
        return call()

    def kept(self, name: Hashable, make: Callable[[], T]) -> T:
        """What is made once in a process."""
        with self._making:
            if name not in self._kept:
                self._kept[name] = make()
            kept: T = self._kept[name]
            return kept

    def recent(self, sha256: str, make: Callable[[], Pixels]) -> Pixels:
        """The uncompressed picture of that fingerprint, made unless it is one of the last ones."""
        with self.alone(sha256):
            with self._making:
                pixels = self._recent.pop(sha256, None)
                self._recent_bytes -= 0 if pixels is None else pixels.nbytes
            if pixels is None:
                pixels = make()
            with self._making:
                self._recent[sha256] = pixels
                self._recent_bytes += pixels.nbytes
                while self._recent_bytes > RECENT:
                    _, oldest = self._recent.popitem(last=False)
                    self._recent_bytes -= oldest.nbytes
        return pixels

    def stored(self, kind: str, under: str, make: Callable[[], Entry], counts: Counts) -> Entry:
        """A cache entry, made where there is none."""
        entry = self.cache.get(under)
        if entry is None:
            with self.alone(under):
                entry = self.cache.get(under)  # made by another unit meanwhile
                if entry is None:
                    counts.computed[kind] += 1
                    entry = make()
                    self.cache.put(under, entry)
                    return entry
        counts.cached[kind] += 1
        return entry

    def alone(self, name: str) -> threading.Lock:
        """To hold while something is made that other units of this process may want too."""
        with self._making:
            lock = self._locks.get(name)
            if lock is None:
                lock = self._locks[name] = threading.Lock()
            return lock


_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)


def _keep_freed_memory() -> None:
    """Tells glibc not to hand freed memory back to the system after each picture, only to ask for
    it again: that takes half the time of arithmetic on arrays of a picture's size."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, 1 << 30)
        mallopt(_MMAP_THRESHOLD, 32 << 20)  # the most that it takes


_opened: dict[str, Workshop] = {}
"""Of the sweeps that this process has planned."""
_built: dict[str, Workshop] = {}
"""Of the one sweep that another process has planned and this one works for."""
_lock = threading.Lock()


@contextmanager
def opened(
    config: BenchConfig,
    experiments: list[Experiment],
    device: torch.device,
    limit: int | None,
    cache: Cache,
    coders: int,
    limits: Limits = NONE,
) -> Iterator[Setup]:
    """Of a sweep that this process has planned; units that run in it share the plan, and at most
    `coders` of them code at once."""
    cache.prepare()
    with cache.marked() as mark:
        setup = Setup(
            config,
            device.type,
            limit,
            cache.folder.resolve(),
            Path.cwd(),
            mark,
            versions.here(),
            tuple(e.dataset.annotations_sha256 for e in experiments),
            limits,
        )
        with _lock:
            _opened[setup.key] = Workshop(experiments, cache, device.type, coders)
        try:
            yield setup
        finally:
            with _lock:
                _opened.pop(setup.key).close()


def workshop(setup: Setup) -> Workshop:
    """This process's, built at the first unit. Raises BenchError where data or versions differ
    here from where the run was started."""
    with _lock:
        if setup.key in _opened:
            return _opened[setup.key]
        if setup.key not in _built:
            if differ := versions.differences(setup.versions):
                raise BenchError(
                    f"a worker on {platform.node()} is not set up as the process that started the "
                    f"run: {differ}; install the same versions on both"
                )
            if setup.folder.is_dir():
                os.chdir(setup.folder)
            experiments = plan(setup.config, devices.here(setup.device), setup.limit)
            seen = tuple(e.dataset.annotations_sha256 for e in experiments)
            for e, here, there in zip(experiments, seen, setup.data, strict=True):
                if here != there:
                    raise BenchError(
                        f"data set {e.dataset.name} has other images or annotations on this worker "
                        f"({e.config.dataset.root}) than where the run was started"
                    )
            sees = sees_cache(setup)
            cache = Cache(setup.cache) if sees else Carried()
            seconds = setup.limits.timeout
            watchdog = Watchdog(seconds, setup.notes if sees else None) if seconds else None
            experiments = setup.limits.applied(experiments, watchdog)
            while _built:
                _built.popitem()[1].close()
            _built[setup.key] = Workshop(experiments, cache, setup.device, cpu_count(), watchdog)
        return _built[setup.key]


def sees_cache(setup: Setup) -> bool:
    """Whether this process has the folder of the cache, and not another one of that name."""
    return setup.notes.is_file()
