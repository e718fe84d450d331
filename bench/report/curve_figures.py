"""Rate–accuracy curves: one for a column of a two-column paper, or several across its page."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import NDArray

from bench.report.names import elided
from bench.report.results import Curves
from bench.report.style import COLUMN, PAGE, REST, Style
from bench.report.text import metric_label, number
from bench.results.rows import PointRow

HEIGHT = 2.5  # inches, of a figure for one column
MANY = 12
"""Methods beyond which only the best are told apart."""
TOLD_APART = 6
"""Of them, beside the anchor."""
LONGEST = 30
"""Columns of a method's name in a legend."""

_FAR = 1e100
"""No measurement, and too near the largest number for axes around it."""

Range = tuple[float, float]


@dataclass(frozen=True)
class Panel:
    """One of several axes: its curves, and the accuracies near the clean score to shade."""

    curves: Curves
    shaded: Range | None


def new_figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


# --- figures --------------------------------------------------------------------------------------


def draw(
    curves: Curves,
    looks: dict[str, Style],
    entries: dict[str, str],
    title: str = "",
    shaded: Range | None = None,
) -> Figure:
    """One figure: bpp against the metric, 95 % bands, the uncompressed score as a dashed line.

    `entries` has a method's text in the legend. Of more than `MANY` methods, those that are best
    at some rate keep their looks and the others are grey.
    """
    figure = new_figure(COLUMN, HEIGHT)
    axes = figure.add_subplot()
    told = told_apart(curves)
    ceiling = _draw_axes(axes, Panel(curves, shaded), looks, entries, told)
    axes.set_xlabel("Rate (bpp)")
    axes.set_ylabel(_axis_label(curves.metric, 40))
    if title:
        axes.set_title(title, fontsize=7)
    compared = any(entries[m] != elided(m, LONGEST) for m in curves.methods)
    against = elided(f"BD-rate vs. {curves.anchor}", 50) if compared else None
    place_legend(figure, axes, ceiling, against)
    return figure


def draw_panels(panels: list[Panel], columns: int, looks: dict[str, Style], title: str) -> Figure:
    """Several axes across both columns of a page, row by row, under them one legend for all."""
    rows = -(-len(panels) // columns)
    figure = new_figure(PAGE, _panel_height(columns) * rows + 0.35)
    told = {method for panel in panels for method in told_apart(panel.curves)}
    if title:
        figure.suptitle(title, fontsize=7)
    for i, panel in enumerate(panels):
        axes = figure.add_subplot(rows, columns, i + 1)
        axes.tick_params(labelsize=7)
        ticks = 6 if columns == 2 else 4
        entries = {method: elided(method, LONGEST) for method in panel.curves.methods}
        _draw_axes(axes, panel, looks, entries, told, ticks)
        room = 88 // columns
        names = (elided(panel.curves.model, room), elided(panel.curves.dataset, room))
        axes.set_title("\n".join(names), fontsize=7)
        if i % columns == 0 or panels[i - 1].curves.metric != panel.curves.metric:
            axes.set_ylabel(_axis_label(panel.curves.metric, 26), fontsize=7)
        if i + columns >= len(panels):
            axes.set_xlabel("Rate (bpp)", fontsize=7)
    _place_shared_legend(figure)
    return figure


def panels_on_page(columns: int) -> int:
    return columns * max(1, int(7.5 / _panel_height(columns)))


def _panel_height(columns: int) -> float:
    return {2: 2.2, 3: 1.8}.get(columns, 1.5)


def _axis_label(metric: str, room: int) -> str:
    return elided(metric_label(metric), room)


# --- axes -----------------------------------------------------------------------------------------


def _draw_axes(
    axes: Axes,
    panel: Panel,
    looks: dict[str, Style],
    entries: dict[str, str],
    told: set[str],
    ticks: int = 6,
) -> Text | None:
    """Everything but labels of the axes and the legend → the text on the uncompressed score."""
    curves, drawn = panel.curves, []
    others = sum(method not in told for method in curves.methods)
    # Those that are told apart come first in the legend.
    for order, method in enumerate(sorted(curves.methods, key=lambda m: m not in told)):
        points = drawable(curves.methods[method])
        if not points:
            continue
        drawn += points
        if method in told:
            # The anchor on top of the others; many bands at full strength would turn to mud.
            opacity = min(0.13, 0.45 / len(told))
            _draw_method(axes, points, looks[method], entries[method], 3 - order / 100, opacity)
        else:
            label = f"{others} other{'s' if others > 1 else ''}"
            known = axes.get_legend_handles_labels()[1]
            _draw_rest(axes, points, "_" if label in known else label)
    _scale_rates(axes, [p.bpp or 0.0 for p in drawn], ticks)
    axes.yaxis.set_major_locator(MaxNLocator(ticks, steps=[1, 2, 2.5, 5, 10]))
    axes.margins(y=0.06)
    ceiling = _draw_clean(axes, curves, [p.value or 0.0 for p in drawn])
    if panel.shaded and all(map(_near, panel.shaded)):
        limits = axes.get_ylim()
        axes.axhspan(*panel.shaded, color="#f0c000", alpha=0.13, linewidth=0, zorder=0.5)
        axes.set_ylim(limits)
    return ceiling


def drawable(points: list[PointRow]) -> list[PointRow]:
    return [p for p in points if _near(p.bpp) and _near(p.value) and (p.bpp or 0) > 0]


def _near(value: float | None) -> bool:
    return value is not None and abs(value) < _FAR


def has_intervals(curves: Curves) -> bool:
    return any(p.ci_low is not None for points in curves.methods.values() for p in points)


def told_apart(curves: Curves) -> set[str]:
    """All methods; where they are more than `MANY`, the anchor and the best."""
    if len(curves.methods) <= MANY:
        return set(curves.methods)
    best = [m for m, _ in best_at_some_rate(curves).most_common() if m != curves.anchor]
    return {curves.anchor, *best[:TOLD_APART]}


def best_at_some_rate(curves: Curves) -> Counter[str]:
    """Methods on the Pareto front of all operating points, and how many of theirs lie there."""
    points = [
        (p.bpp or 0.0, p.value or 0.0, method)
        for method, own in curves.methods.items()
        for p in drawable(own)
    ]
    by_rate = sorted(points, key=lambda p: p[0])
    rising = len(by_rate) < 2 or by_rate[-1][1] >= by_rate[0][1]
    found: Counter[str] = Counter()
    best = -np.inf
    for _, value, method in sorted(points, key=lambda p: (p[0], -p[1] if rising else p[1])):
        if (value if rising else -value) > best:
            best = value if rising else -value
            found[method] += 1
    return found


def _draw_method(
    axes: Axes, points: list[PointRow], look: Style, label: str, order: float, opacity: float
) -> None:
    line = _line(points)
    kept = [not p.change for p in points]
    axes.plot(
        [x for x, _ in line],
        [y for _, y in line],
        **look.line(),
        markevery=[i for i, at in enumerate(line) if at in _places(points, kept)],
        label=label,
        zorder=order,
    )
    hollow = _places(points, [not k for k in kept])
    if hollow:
        axes.plot(
            [x for x, _ in hollow],
            [y for _, y in hollow],
            linestyle="none",
            marker=look.marker,
            markersize=look.size - 0.6,
            markerfacecolor="white",
            markeredgecolor=look.colour,
            markeredgewidth=0.8,
            zorder=3.5,  # above every line: it belongs to none
        )
    _draw_intervals(axes, points, look, order, opacity)


def _draw_intervals(
    axes: Axes, points: list[PointRow], look: Style, order: float, opacity: float
) -> None:
    """A band, or on a single point an error bar."""
    known = [p for p in points if _near(p.ci_low) and _near(p.ci_high)]
    rates, lows, highs = (
        _array([getattr(p, name) for p in known]) for name in ("bpp", "ci_low", "ci_high")
    )
    if len(known) > 1:
        axes.fill_between(
            rates, lows, highs, color=look.colour, alpha=opacity, linewidth=0, zorder=1.5
        )
    elif known:
        middle, half = (lows + highs) / 2, (highs - lows) / 2
        axes.errorbar(
            rates,
            middle,
            half,
            fmt="none",
            ecolor=look.colour,
            elinewidth=0.8,
            capsize=2,
            zorder=order - 0.001,
        )


def _draw_rest(axes: Axes, points: list[PointRow], label: str) -> None:
    line = _line(points)
    axes.plot(
        [x for x, _ in line],
        [y for _, y in line],
        color=REST.colour,
        linewidth=0.6,
        label=label,
        zorder=1.8,
    )


def _places(points: list[PointRow], chosen: list[bool]) -> list[tuple[float, float]]:
    return [(p.bpp or 0.0, p.value or 0.0) for p, c in zip(points, chosen, strict=True) if c]


def _line(points: list[PointRow]) -> list[tuple[float, float]]:
    """What BD-rates see: the points that are left, and the means of those that were pooled."""
    seen = {(p.bpp, p.value) if not p.change else (p.curve_bpp, p.curve_value) for p in points}
    return sorted((x, y) for x, y in seen if x is not None and y is not None and _near(x + y))


def _array(values: list[float | None]) -> NDArray[np.float64]:
    return np.array(values, dtype=np.float64)


def _scale_rates(axes: Axes, rates: list[float], ticks: int) -> None:
    """Linear from zero, or, where rates span more than tenfold, logarithmic in doublings."""
    low, high = min(rates), max(rates)
    if high <= 10 * low:
        axes.set_xlim(0, high * 1.05)
        axes.xaxis.set_major_locator(MaxNLocator(ticks, steps=[1, 2, 2.5, 5, 10]))
        return
    axes.set_xscale("log", base=2)
    axes.set_xlim(low / 1.15, high * 1.15)
    exponents = np.arange(np.floor(np.log2(low / 1.15 / 0.1)), np.log2(high * 1.15 / 0.1) + 1)
    places = 0.1 * 2.0 ** exponents[:: -(-len(exponents) // (ticks + 3))]
    axes.xaxis.set_major_locator(FixedLocator(places.tolist()))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.4g}"))


def _draw_clean(axes: Axes, curves: Curves, values: list[float]) -> Text | None:
    clean = curves.clean.value if curves.clean else None
    if clean is None or not _near(clean):
        return None
    axes.axhline(clean, color="#555555", linewidth=0.8, linestyle=(0, (4, 2)), zorder=2)
    # On the side away from the curves: an accuracy bounds them from above, a loss from below.
    above = clean >= float(np.median(values))
    low, high = axes.get_ylim()
    room = 0.09 * (high - low)  # of the label
    if above:
        axes.set_ylim(low, max(high, clean + room))
    else:
        axes.set_ylim(min(low, clean - room), high)
    return axes.annotate(
        f"uncompressed {number(clean, 3)}",
        (0.02, clean),
        xycoords=("axes fraction", "data"),
        xytext=(0, 2 if above else -2.5),
        textcoords="offset points",
        va="bottom" if above else "top",
        fontsize=7,
        color="#444444",
        zorder=4,
    )


# --- legends --------------------------------------------------------------------------------------

_PLACES = ("lower right", "upper right", "lower left", "upper left", "center right")
_LEGEND: dict[str, Any] = {
    "facecolor": "white",  # over bands and grid
    "edgecolor": "none",
    "framealpha": 0.7,
    "borderpad": 0.2,
    "handlelength": 2.2,
    "labelspacing": 0.3,
    "columnspacing": 1.2,
    "alignment": "left",
}


def place_legend(
    figure: Figure, axes: Axes, label: Text | None = None, title: str | None = None
) -> None:
    """Inside where it covers no curve and the least of the bands; below the figure if nowhere."""
    style = _LEGEND | {"title": title, "title_fontsize": rcParams["legend.fontsize"]}
    figure.draw_without_rendering()  # the layout decides where the curves are
    lines, bands = _outlines(axes)
    best: tuple[int, str] | None = None
    for place in _PLACES:
        legend = axes.legend(**(style | {"loc": place}))
        box = legend.get_window_extent().padded(2)
        covers = box.count_contains(lines)
        if label is not None and box.overlaps(label.get_window_extent()):
            covers += 1
        if box.x0 < axes.bbox.x0 or box.x1 > axes.bbox.x1:
            covers += 1
        hidden = int(box.count_contains(bands))
        if covers == 0 and (best is None or hidden < best[0]):
            best = (hidden, place)
        legend.remove()
    if best is not None:
        axes.legend(**(style | {"loc": best[1]}))
        return
    _place_outside(figure, *axes.get_legend_handles_labels(), style, (2, 1))


def _place_outside(
    figure: Figure, handles: list[Any], names: list[str], style: dict[str, Any], wide: Iterable[int]
) -> None:
    """Below the axes, in as many columns of those in `wide` as there is room for; for each row of
    the legend the figure grows."""
    width, height = figure.get_size_inches()
    for columns in wide:
        rows = -(-len(names) // columns) + (style.get("title") is not None)
        figure.set_size_inches(width, height + 0.021 * rcParams["legend.fontsize"] * rows + 0.03)
        legend = figure.legend(
            handles, names, **(style | {"loc": "outside lower center", "ncols": columns})
        )
        fits = figure.bbox.width / legend.get_window_extent().width
        if columns > 1 and fits < 1:
            legend.remove()
            continue
        for text in (legend.get_title(), *legend.get_texts()) if fits < 1 else ():
            text.set_fontsize(0.98 * fits * rcParams["legend.fontsize"])
        return


def _place_shared_legend(figure: Figure) -> None:
    handles: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(name, handle)
    wide = range(min(len(handles), 6), 0, -1)
    _place_outside(figure, list(handles.values()), list(handles), _LEGEND, wide)


def _outlines(axes: Axes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points along the curves and the clean score, and along the bands' edges, in pixels."""
    lines = [_along(line.get_transform().transform(line.get_xydata())) for line in axes.lines]
    bands = [
        _along(axes.transData.transform(path.vertices))
        for band in axes.collections
        for path in band.get_paths()
    ]
    return np.concatenate(lines), np.concatenate(bands) if bands else np.empty((0, 2))


def _along(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, 2) → (64 (n − 1) + 1, 2): the polyline, filled up with points."""
    if len(corners) < 2:
        return corners
    position = np.linspace(0, len(corners) - 1, 64 * (len(corners) - 1) + 1)
    whole = np.arange(len(corners))
    return np.stack([np.interp(position, whole, corners[:, i]) for i in range(2)], axis=1)
