"""Savings against the anchor: intervals side by side, over accuracies, and of several runs."""

import math
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from bench.report.curve_figures import new_figure, place_legend
from bench.report.style import COLUMN, PAGE, TALLEST, Style
from bench.report.text import MINUS, number, percent, with_interval

_LINE = 0.165  # inches
LINES = int((TALLEST - 1) / _LINE)
"""Of a forest that fits on a page."""
_MOST = 1e5
"""Percent beyond which a number is written and not drawn."""
_TICKS = (-99, -95, -90, -75, -50, -25, 0, 50, 100, 200, 400, 900, 4900, 24900, 99900)


@dataclass(frozen=True)
class Saving:
    """A difference in rate, percent, with its paired interval; None where there is none."""

    value: float | None
    low: float | None
    high: float | None
    little: bool = False
    """Whether it rests on a small part of the curves."""

    @property
    def text(self) -> str:
        if self.value is None:
            return "undefined"
        ends = (number(None, 0) if v is None else percent(v) for v in (self.low, self.high))
        return with_interval(percent(self.value), *ends) + (" †" if self.little else "")

    @property
    def place(self) -> float | None:
        """The value, where it can be drawn."""
        return self.value if self.value is not None and -100 < self.value < _MOST else None

    def ends(self) -> tuple[float, float] | None:
        if self.low is None or self.high is None or not -100 < self.low <= self.high < _MOST:
            return None
        return self.low, self.high


@dataclass(frozen=True)
class Line:
    """A line of a forest: a heading, or a method's saving in each of the columns."""

    label: str
    look: Style | None = None
    savings: tuple[Saving, ...] = ()


# --- forest ---------------------------------------------------------------------------------------


def draw_forest(lines: list[Line], titles: tuple[str, ...], label: str, warning: str) -> Figure:
    """Savings with their intervals, a line each, a column of axes for each of `titles`."""
    figure = new_figure(PAGE, 0.75 + _LINE * len(lines))
    if warning:
        figure.suptitle(warning, fontsize=7)
    columns = figure.subplots(1, len(titles), sharey=True, squeeze=False)[0]
    for i, (axes, title) in enumerate(zip(columns, titles, strict=True)):
        shown = [(y, line.look, line.savings[i]) for y, line in enumerate(lines) if line.look]
        _scale_savings(axes, [saving for line in lines for saving in line.savings])
        axes.axvline(0, color="#555555", linewidth=0.8, linestyle=(0, (4, 2)), zorder=1)
        for y, look, saving in shown:
            _draw_saving(axes, y, look, saving)
        axes.set_title(title, fontsize=7.5)
        axes.set_xlabel(label, fontsize=7.5)
        axes.tick_params(axis="x", labelsize=7.5)
        axes.grid(axis="y", visible=False)
    axes = columns[0]
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.set_yticks(range(len(lines)), [line.label for line in lines], fontsize=7)
    for tick, line in zip(axes.get_yticklabels(), lines, strict=True):
        tick.set_fontstyle("normal" if line.look else "italic")
    for axes in columns:
        axes.tick_params(axis="y", length=0, left=False, right=False)
    return figure


def _draw_saving(axes: Axes, y: float, look: Style | None, saving: Saving) -> None:
    colour = look.colour if look else "black"
    ends = saving.ends()
    if ends:
        axes.plot(ends, (y, y), color=colour, linewidth=1.1, solid_capstyle="butt", zorder=2)
    if look and saving.place is not None:
        axes.plot(
            [saving.place],
            [y],
            linestyle="none",
            marker=look.marker,
            markersize=look.size,
            markerfacecolor="white" if saving.little else colour,
            markeredgecolor=colour,
            markeredgewidth=0.8,
            zorder=3,
        )
    axes.annotate(
        saving.text,
        (1, y),
        xycoords=("axes fraction", "data"),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        fontsize=6.5,
        color="black" if saving.value is not None else "#777777",
        annotation_clip=False,
    )


def _scale_savings(axes: Axes, savings: list[Saving]) -> None:
    """Percent of rate: linear, or by ratio where something costs more than twice the bits."""
    values = [s.place for s in savings if s.place is not None]
    values += [end for s in savings for end in s.ends() or ()]
    low, high = min([0.0, *values]), max([0.0, *values])
    if high <= 100:
        space = 0.06 * ((high - low) or 20)
        axes.set_xlim(max(low - space, -105), high + space)
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    else:
        axes.set_xscale(
            "function",
            functions=(
                lambda p: np.log(np.maximum(1 + np.asarray(p) / 100, 1e-9)),
                lambda r: 100 * (np.exp(r) - 1),
            ),
        )
        bottom, top = math.log(1 + low / 100), math.log(1 + high / 100)
        space = 0.06 * (top - bottom)
        axes.set_xlim(*(100 * (math.exp(r) - 1) for r in (bottom - space, top + space)))
        axes.xaxis.set_major_locator(FixedLocator(_apart(low, high)))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: percent(x).removesuffix(".0")))


def _apart(low: float, high: float) -> list[float]:
    """Ticks from low to high, so many that their labels stand apart."""
    inside = [t for t in _TICKS if low <= t <= high]
    step = -(-len(inside) // 6)
    zero = inside.index(0) % step
    return [float(t) for t in inside[zero::step]]


# --- saving over accuracy -------------------------------------------------------------------------


@dataclass(frozen=True)
class Course:
    """A method's savings at accuracies so many percent below the clean score."""

    label: str
    look: Style
    within: list[float]
    savings: list[Saving]


def draw_savings(
    courses: list[Course], targets: dict[float, float], metric: str, label: str, warning: str
) -> Figure:
    """Savings at equal accuracy, accuracy rising to the right, with bands of paired intervals.

    `targets` maps percent below the clean score to the accuracy there.
    """
    figure = new_figure(COLUMN, 2.3)
    axes = figure.add_subplot()
    reached = [
        within
        for course in courses
        for within, saving in zip(course.within, course.savings, strict=True)
        if saving.place is not None
    ]
    levels = [within for within in sorted(targets) if min(reached) <= within <= max(reached)]
    place = {within: -float(i) for i, within in enumerate(levels)}
    axes.axhline(0, color="black", linewidth=0.8, linestyle=(0, (4, 2)), zorder=1)
    for i, course in enumerate(courses):
        # Beside each other, so that each interval is seen.
        shift = 0.04 * (i - (len(courses) - 1) / 2)
        _draw_course(axes, course, {within: x + shift for within, x in place.items()})
    axes.set_xlim(-len(levels) + 0.7, 0.3)
    axes.set_xticks(
        list(place.values()), [f"{number(targets[w], 3)}\n({MINUS}{w:g} %)" for w in levels]
    )
    axes.tick_params(labelsize=7)
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: percent(v).removesuffix(".0")))
    axes.set_xlabel(f"{metric} (against uncompressed)")
    axes.set_ylabel(label)
    if warning:
        axes.set_title(warning, fontsize=7)
    place_legend(figure, axes)
    return figure


def _draw_course(axes: Axes, course: Course, place: dict[float, float]) -> None:
    known = dict(zip(course.within, course.savings, strict=True))
    own = [known.get(within, Saving(None, None, None)) for within in place]
    x = list(place.values())
    y = np.array([math.nan if s.place is None else s.place for s in own], float)
    ends = np.array([s.ends() or (math.nan, math.nan) for s in own], float)
    look = course.look
    axes.plot(
        x,
        y,
        **look.line(),
        label=course.label,
        zorder=3,
    )
    axes.fill_between(x, *ends.T, color=look.colour, alpha=0.12, linewidth=0)
    axes.errorbar(
        x,
        ends.mean(axis=1),
        (ends[:, 1] - ends[:, 0]) / 2,
        fmt="none",
        ecolor=look.colour,
        elinewidth=0.7,
        capsize=1.5,
    )


# --- bars of several runs -------------------------------------------------------------------------


@dataclass(frozen=True)
class Bars:
    """A group of bars: what they are of, and a saving for each label; None where a run has none."""

    title: str
    savings: list[Saving | None]


def draw_bars(groups: list[Bars], labels: list[tuple[str, str]], x: str, warning: str) -> Figure:
    """Bars with intervals: `labels` have a bar's text and colour, each group axes of its own."""
    width = COLUMN if len(groups) == 1 else PAGE
    figure = new_figure(width, 0.75 + 0.22 * len(labels))
    if warning:
        figure.suptitle(warning, fontsize=7)
    columns = figure.subplots(1, len(groups), sharey=True, squeeze=False)[0]
    for axes, group in zip(columns, groups, strict=True):
        present = [saving for saving in group.savings if saving]
        _scale_savings(axes, present)
        for y, (saving, (_, colour)) in enumerate(zip(group.savings, labels, strict=True)):
            if saving:
                _draw_bar(axes, y, saving, colour)
        axes.axvline(0, color="black", linewidth=0.8, zorder=3)
        axes.set_title(group.title, fontsize=7)
        axes.set_xlabel(x, fontsize=7)
        axes.tick_params(axis="x", labelsize=7)
        axes.tick_params(axis="y", length=0, left=False, right=False)
        axes.grid(axis="y", visible=False)
    columns[0].set_yticks(range(len(labels)), [text for text, _ in labels], fontsize=7)
    columns[0].set_ylim(len(labels) - 0.4, -0.6)
    return figure


def _draw_bar(axes: Axes, y: float, saving: Saving, colour: str) -> None:
    if saving.place is not None:
        axes.barh(
            y,
            saving.place,
            0.62,
            facecolor="white" if saving.little else colour,
            edgecolor=colour,
            hatch="////" if saving.little else None,
            linewidth=0.8,
            zorder=2,
        )
    else:
        axes.annotate("undefined", (0, y), (3, 0), textcoords="offset points", va="center",
                      fontsize=6.5, color="#777777")  # fmt: skip
    ends = saving.ends()
    if ends:
        middle, half = sum(ends) / 2, (ends[1] - ends[0]) / 2
        axes.errorbar(middle, y, xerr=half, fmt="none", ecolor="black", elinewidth=0.8,
                      capsize=2, zorder=4)  # fmt: skip
