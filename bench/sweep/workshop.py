"""What a process builds once and keeps: the plan with its networks, the cache, the device."""

import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch

from bench.config import BenchConfig
from bench.errors import BenchError
from bench.sweep.cache import Cache, Entry
from bench.sweep.plan import Experiment, plan

T = TypeVar("T")


@dataclass(frozen=True)
class Setup:
    """A sweep as it is sent to a process: names and values, no networks and no pixels."""

    config: BenchConfig
    device: str
    limit: int | None
    cache: Path
    data: tuple[str, ...]
    """The hash of every experiment's annotations: a process that sees other data says so."""

    @cached_property
    def key(self) -> str:
        parts = (self.config.model_dump_json(), self.device, self.limit, self.cache, self.data)
        return hashlib.sha256(repr(parts).encode()).hexdigest()


@dataclass
class Counts:
    """How many results of each kind were computed, and how many came from the cache."""

    computed: Counter[str] = field(default_factory=Counter)
    cached: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Counts") -> None:
        self.computed.update(other.computed)
        self.cached.update(other.cached)


class Workshop:
    def __init__(self, experiments: list[Experiment], cache: Cache) -> None:
        self.experiments = experiments
        self.cache = cache
        self._kept: dict[Hashable, Any] = {}
        self._making = threading.RLock()
        # One thread makes all calls of networks: one at a time on a device, and one team of
        # OpenMP's threads however many units are in flight.
        self._turn = ThreadPoolExecutor(1, "network")

    def on_device(self, call: Callable[[], T]) -> T:
        return self._turn.submit(call).result()

    def kept(self, name: Hashable, make: Callable[[], T]) -> T:
        """What is made once in a process."""
        with self._making:
            if name not in self._kept:
                self._kept[name] = make()
            kept: T = self._kept[name]
            return kept

    def stored(self, kind: str, under: str, make: Callable[[], Entry], counts: Counts) -> Entry:
        """A cache entry, made where there is none."""
        entry = self.cache.get(under)
        (counts.computed if entry is None else counts.cached)[kind] += 1
        if entry is None:
            entry = make()
            self.cache.put(under, entry)
        return entry


_built: dict[str, Workshop] = {}
_lock = threading.Lock()


def opened(
    config: BenchConfig,
    experiments: list[Experiment],
    device: torch.device,
    limit: int | None,
    cache: Cache,
) -> Setup:
    """Of a sweep that this process has planned; units that run in it share the plan."""
    data = tuple(e.dataset.annotations_sha256 for e in experiments)
    setup = Setup(config, device.type, limit, cache.folder.resolve(), data)
    cache.prepare()
    with _lock:
        _built.clear()
        _built[setup.key] = Workshop(experiments, cache)
    return setup


def workshop(setup: Setup) -> Workshop:
    """This process's, built at the first unit. Raises BenchError where the data differ here."""
    with _lock:
        if setup.key not in _built:
            experiments = plan(setup.config, device_here(setup.device), setup.limit)
            seen = tuple(e.dataset.annotations_sha256 for e in experiments)
            for e, here, there in zip(experiments, seen, setup.data, strict=True):
                if here != there:
                    raise BenchError(
                        f"data set {e.dataset.name} has other images or annotations on this worker "
                        f"({e.config.dataset.root}) than where the run was started"
                    )
            cache = Cache(setup.cache)
            cache.prepare()
            _built.clear()
            _built[setup.key] = Workshop(experiments, cache)
        return _built[setup.key]


def device_here(kind: str) -> torch.device:
    """Of this process: with several GPUs each worker takes the one of its number."""
    if kind != "cuda" or torch.cuda.device_count() < 2:
        return torch.device(kind)
    return torch.device(kind, _number() % torch.cuda.device_count())


def _number() -> int:
    """Of a worker process among its kind: its name ends in it, or Dask knows it."""
    import multiprocessing

    try:
        from distributed import get_worker

        name = str(get_worker().name)
    except (ImportError, ValueError):
        name = multiprocessing.current_process().name
    digits = name.rpartition("-")[2]
    return int(digits) if digits.isdigit() else 0
