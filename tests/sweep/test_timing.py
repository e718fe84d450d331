"""Calls are timed within a bound, by a clock that the calls themselves move."""

from types import SimpleNamespace

import pytest

from bench.sweep import timing


class Clock:
    """Each call takes a second of wall time, on four cores."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, given: str = "") -> str:
        self.calls += 1
        return given.upper()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    times = {"perf_counter": lambda: clock.calls, "process_time": lambda: 4 * clock.calls}
    monkeypatch.setattr(timing, "time", SimpleNamespace(**times))
    monkeypatch.setattr(timing.torch.cuda, "synchronize", lambda: None)
    return clock


@pytest.mark.parametrize(
    ("bound", "found"),
    [(None, "ABCDE"), (100, "ABCDE"), (2, "AB"), (1.5, "AB"), (1, "A"), (0, "A")],
)
def test_calls_end_with_the_bound_but_one_is_made(
    clock: Clock, bound: float | None, found: str
) -> None:
    timed = timing.each(clock, "abcde", False, bound)
    assert timed == timing.Timed([*found], seconds=4)


def test_a_gpu_is_timed_by_the_clock_on_the_wall(clock: Clock) -> None:
    assert timing.each(clock, "abc", True, None).seconds == 1


def test_results_of_one_call_share_its_time(clock: Clock) -> None:
    assert timing.together(lambda: [clock("a"), "B", "C", "D"], False).seconds == 1


def test_a_first_call_counts_where_there_is_no_time_for_a_second(clock: Clock) -> None:
    slow = timing.slow_first_call(lambda: clock("a"), False, 1)
    assert slow == timing.Timed(["A"], seconds=4, first_call=True)
    assert timing.slow_first_call(clock, False, 1.5) is None
    assert timing.slow_first_call(clock, False, None) is None
    assert timing.slow_first_call(clock, True, 0) is None  # on a GPU it says nothing
    assert clock.calls == 4
