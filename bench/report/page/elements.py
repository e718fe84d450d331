"""Pieces of the page: names, tables and small pictures. Whatever is given as text is escaped."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from bench.report.table import Cell, Table
from bench.report.text import NOTHING, number, percent, printable

OPEN = 4
"""So many groups of a section are unfolded from the start,"""
LONG = 12
"""or only the first, if they have more rows than this."""

LONGEST = 48
"""Characters of a name; longer ones are elided in the middle."""


def name(text: str) -> str:
    """A name as it is, whichever way it is written; a long one with all of it in a title."""
    if len(text) <= LONGEST:
        return f"<bdi>{escape(text)}</bdi>"
    half = LONGEST // 2
    shown = f"{text[:half]}…{text[-half:]}"
    return f'<bdi title="{escape(text)}">{escape(shown)}</bdi>'


def folded(title: str, body: str, is_open: bool = False) -> str:
    """`title` and `body` are HTML."""
    return f"<details{' open' if is_open else ''}><summary>{title}</summary>{body}</details>"


def unfolded(group: int, rows: int) -> bool:
    """Whether a section's group, counted from 0, is unfolded from the start."""
    return group == 0 or (group < OPEN and rows <= LONG)


def scrolled(table: str, label: str, tall: bool = False) -> str:
    """A table in a box of its own that is reached and scrolled with the keyboard, too; a `tall` one
    in both directions, under its head."""
    kind = "scroll tall" if tall else "scroll"
    return (
        f'<div class="{kind}" tabindex="0" role="region" aria-label="{escape(label)}">{table}</div>'
    )


def table(content: Table) -> str:
    """The table under its caption. All names of a row but the last head a group of rows."""
    grouping = content.names - 1
    head = "".join(
        f'<th scope="col"{_class(i, content)}>{name(text)}</th>'
        for i, text in enumerate(content.header)
        if i >= grouping
    )
    width = len(content.header) - grouping
    rows, group = [], ""
    for row in content.rows:
        if content.group(row) != group:
            group = content.group(row)
            rows.append(
                f'<tr><th class="group" scope="rowgroup" colspan="{width}">'
                f"<span>{name(group)}</span></th></tr>"
            )
        cells = (
            _cell(row[i], _class(i, content), i < content.names) for i in range(grouping, len(row))
        )
        rows.append(f"<tr>{''.join(cells)}</tr>")
    notes = "".join(
        f"<li><sup>{escape(mark)}</sup> {escape(note)}</li>" for mark, note in content.notes
    )
    inner = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return f'<p class="caption">{escape(content.caption)}</p>{scrolled(inner, content.caption)}' + (
        f'<ul class="footnotes">{notes}</ul>' if notes else ""
    )


def _class(column: int, content: Table) -> str:
    return "" if column < content.names else ' class="n"'


def _cell(cell: Cell, attributes: str, names_row: bool) -> str:
    mark = f"<sup>{escape(cell.marks)}</sup>" if cell.marks else ""
    if names_row:
        return f'<th scope="row"{attributes}>{name(cell.text)}{mark}</th>'
    text = escape(cell.text) + mark
    verdict = f'<span class="{cell.verdict}">{text}</span>' if cell.verdict else text
    return f"<td{attributes}>{verdict}</td>"


# --- BD-rates -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rate:
    """A saving in percent, its interval of 95 %, and why it is missing or to be taken with care."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str = ""

    @property
    def verdict(self) -> str:
        """better or worse where the whole interval is on one side of zero, else empty."""
        if self.value is not None and self.high is not None and self.high < 0:
            return "better"
        return "worse" if self.value is not None and self.low is not None and self.low > 0 else ""

    def interval(self) -> str:
        if self.value is None or self.low is None or self.high is None:
            return ""
        return f"[{percent(self.low)}, {percent(self.high)}]"

    def html(self) -> str:
        """The number with its interval; why there is none, or a remark on it, in a title."""
        title = f' title="{escape(printable(self.reason))}"' if self.reason else ""
        mark = '<span class="mark">*</span>' if self.reason and self.value is not None else ""
        if self.value is None:
            return f'<span class="none"{title}>{"undefined" if self.reason else NOTHING}</span>'
        return (
            f'<span class="rate {self.verdict}"{title}>{percent(self.value)}{mark} '
            f"<small>{self.interval()}</small></span>"
        )


# --- pictures in a cell, whose coordinates are percentages, so that they have any width -----------


@dataclass(frozen=True)
class Axis:
    """Values → percent of the width. `logarithmic` takes positive values."""

    low: float
    high: float
    ticks: Sequence[float]
    logarithmic: bool = False

    def place(self, value: float) -> float:
        low, high, value = map(self._warped, (self.low, self.high, value))
        return min(max(100 * (value - low) / (high - low), 0), 100)

    def _warped(self, value: float) -> float:
        return math.log(value) if self.logarithmic else value

    def lines(self) -> str:
        return "".join(line(self.place(t), self.place(t), "0", "100%", "grid") for t in self.ticks)

    def labels(self, texts: Iterable[str]) -> str:
        """A picture of the ticks' labels."""
        drawn = []
        for tick, text in zip(self.ticks, texts, strict=True):
            place = self.place(tick)
            anchor = "start" if place < 6 else "end" if place > 94 else "middle"
            drawn.append(
                f'<text x="{place:.2f}%" y="12" text-anchor="{anchor}">{escape(text)}</text>'
            )
        return f'<svg class="ticks" aria-hidden="true">{"".join(drawn)}</svg>'


def line(x1: float, x2: float, y1: str, y2: str, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.2f}%" x2="{x2:.2f}%" y1="{y1}" y2="{y2}"/>'


def bar(x1: float, x2: float, y: str, height: str, kind: str) -> str:
    width = max(x2 - x1, 0.2)
    return f'<rect class="{kind}" x="{x1:.2f}%" width="{width:.2f}%" y="{y}" height="{height}"/>'


def picture(*parts: str) -> str:
    return f'<svg class="strip" aria-hidden="true">{"".join(parts)}</svg>'


RATIOS = (-99.0, -95.0, -90.0, -75.0, -50.0, -25.0, 0.0, 33.0, 100.0, 300.0, 900.0, 4900.0)
"""Percent; those on the right undo those on the left."""


def saving_axis(values: Iterable[float]) -> Axis:
    """For changes in percent: halving the bits is as far from zero as doubling them.

    Its values are 1 + percent / 100.
    """
    known = [min(max(v, -99.9), 99_900.0) for v in values] or [0.0]
    low, high = min(*known, -1.0), max(*known, 1.0)
    room = 0.04 * (math.log1p(high / 100) - math.log1p(low / 100))
    ends = [math.exp(math.log1p(low / 100) - room), math.exp(math.log1p(high / 100) + room)]
    inside = [t for t in _percents(low, high) if ends[0] <= 1 + t / 100 <= ends[1]]
    return Axis(ends[0], ends[1], [1 + t / 100 for t in inside], logarithmic=True)


def _percents(low: float, high: float) -> Iterable[float]:
    if high - low > 100:
        return RATIOS
    step = next(s for s in (1, 2, 5, 10, 25) if (high - low) / s <= 5)
    return [step * k for k in range(-20, 21)]


def ratio(value: float) -> float:
    """A change in percent → its place on a `saving_axis`."""
    return max(1 + value / 100, 1e-6)


def ratio_label(place: float) -> str:
    text = number(100 * (place - 1), 0)
    return text if place <= 1 or text == "0" else f"+{text}"
