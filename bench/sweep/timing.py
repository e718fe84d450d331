"""Seconds that calls take in a process in which nothing else happens, within a bound."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Timed(Generic[R]):
    """Calls that were made, one result each."""

    found: list[R]
    seconds: float
    """Of one call, their mean: CPU time of all threads of this process, or time of the GPU."""
    first_call: bool = False
    """Whether it is a network's first call, which also prepares the later ones."""


def together(run: Callable[[], list[R]], on_gpu: bool) -> Timed[R]:
    """One call that gives several results, as so many calls."""
    clock = time.perf_counter if on_gpu else time.process_time
    started = clock()
    found = run()
    if on_gpu:
        torch.cuda.synchronize()
    return Timed(found, (clock() - started) / len(found))


def each(run: Callable[[T], R], given: Sequence[T], on_gpu: bool, bound: float | None) -> Timed[R]:
    """A call for each of `given`, at least one, until they took `bound` seconds of wall time."""

    def calls() -> list[R]:
        started, found = time.perf_counter(), []
        for one in given:
            found.append(run(one))
            if bound is not None and time.perf_counter() - started >= bound:
                break
        return found

    return together(calls, on_gpu)


def slow_first_call(run: Callable[[], R], on_gpu: bool, bound: float | None) -> Timed[R] | None:
    """A network's first call, if there is no time for a second: it took `bound` seconds of wall
    time. Not on a GPU, where most of a first call prepares the later ones."""
    started = time.perf_counter()
    timed = together(lambda: [run()], on_gpu)
    if bound is None or on_gpu or time.perf_counter() - started < bound:
        return None
    return Timed(timed.found, timed.seconds, first_call=True)
