"""Progress where no terminal is: lines every half minute, told by a clock of the test's own."""

from io import StringIO

import pytest
from rich.console import Console

from bench.progress import Progress


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def lines(*steps: tuple[float, int, str], total: int = 100, quiet: bool = False) -> list[str]:
    """Said of a stage whose steps are done (seconds since it began, how many, note)."""
    written, clock = StringIO(), Clock()
    with Progress(Console(file=written, width=200), quiet, clock) as progress:
        advance = progress.start("photos: [points]", total)
        for at, n, note in steps:
            clock.now = 1000 + at
            advance(n, note)
    return written.getvalue().splitlines()


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        pytest.param([(0.9, 100, "")], [], id="under a second"),
        pytest.param([(5, 50, ""), (12, 50, "")], ["100 in 12 s"], id="under half a minute"),
        pytest.param([(29, 50, ""), (29.9, 49, "")], [], id="not yet"),
        pytest.param(
            [(10, 10, ""), (30, 20, "34 % from the cache"), (31, 20, ""), (59, 20, "")],
            ["30 of 100 (30 %), 1 per second, 34 % from the cache, about 70 s left"],
            id="a line and its note",
        ),
        pytest.param(
            [(30, 60, ""), (60, 3, ""), (90, 37, "")],
            [
                "60 of 100 (60 %), 2 per second, about 20 s left",
                "63 of 100 (63 %), 0.1 per second, about 6 min left",
                "100 in 90 s",
            ],
            id="time left by what was quick lately",
        ),
        pytest.param([(30, 0, "")], ["0 of 100 (0 %), 0 per second"], id="nothing done"),
        pytest.param(
            [(400, 1, "")], ["1 of 100 (1 %), 0.0025 per second, about 11 h 0 min left"], id="hours"
        ),
    ],
)
def test_lines(steps: list[tuple[float, int, str]], said: list[str]) -> None:
    assert lines(*steps) == [f"photos: [points]: {line}" for line in said]


def test_each_stage_has_its_own_clock() -> None:
    written, clock = StringIO(), Clock()
    with Progress(Console(file=written, width=200), False, clock) as progress:
        for what in ("first", "second"):
            advance = progress.start(what, 4)
            clock.now += 20
            advance(2)
            clock.now += 5
            advance(2)
    assert written.getvalue().splitlines() == ["first: 4 in 25 s", "second: 4 in 25 s"]


def test_nothing_when_quiet() -> None:
    assert lines((30, 50, ""), (60, 50, ""), quiet=True) == []


def test_bars_on_a_terminal() -> None:
    """Steps, their number and the note; no lines."""
    written, clock = StringIO(), Clock()
    console = Console(file=written, width=200, force_terminal=True, color_system=None)
    with Progress(console, False, clock) as progress:
        advance = progress.start("photos: [points]", 100)
        clock.now += 60
        advance(30, "[half] from the cache")
        console.print("between")  # draws the bars anew
    drawn = written.getvalue()
    for part in ("photos: [points]", "30/100", "[half] from the cache"):
        assert part in drawn
    assert "per second" not in drawn
