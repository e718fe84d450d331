"""Rate–accuracy curves, sized for one column of a two-column paper."""

import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import NDArray

from bench.atomic import atomic
from bench.report.results import Curves, Point, Results
from bench.report.text import metric_label, number, percent, printable
from bench.results.names import file_name

WIDTH = 3.5  # inches: a column of an IEEE paper
HEIGHT = 2.5
FORMATS = ("pdf", "svg", "png")

RC: Any = {
    "font.family": "sans-serif",
    # Measured in the font that comes with matplotlib, so a layout is the same on every machine.
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "Helvetica"],
    "font.size": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 7,
    "axes.linewidth": 0.6,
    "axes.unicode_minus": True,
    "text.parse_math": False,  # a $ in a name is a $
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "grid.linewidth": 0.4,
    "grid.color": "#dddddd",
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "rate-accuracy",
    "savefig.facecolor": "white",
}
# All of them, so that a figure does not depend on what a user's matplotlibrc says.
SETTINGS: Any = {k: v for k, v in matplotlib.rcParamsDefault.items() if k != "backend"} | RC
# rc_context changes matplotlib's global settings, and some are only read when a file is written.
_RC_LOCK = threading.Lock()

# Okabe & Ito's colours without yellow, which is too pale for a line; black is kept for the anchor.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = ("s", "^", "D", "v", "P", "X", "<", ">")
_MARKER_SIZES = {"o": 3.8, "s": 3.6, "D": 3.5}  # points; the others look smaller at the same size
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)))


@dataclass(frozen=True)
class Style:
    colour: str
    marker: str
    dashes: Any = "-"


ANCHOR = Style("#000000", "o")


@dataclass(frozen=True)
class FigureFiles:
    """One figure, written in each of FORMATS."""

    curves: Curves
    files: list[Path]

    def file(self, suffix: str) -> Path:
        return next(path for path in self.files if path.suffix == f".{suffix}")


def write_figures(results: Results) -> list[FigureFiles]:
    """Write figures/<dataset>_<model>_<metric>.{pdf,svg,png} for all curves with coded points."""
    folder = results.folder / "figures"
    folder.mkdir(exist_ok=True)
    written: list[FigureFiles] = []
    stems: set[str] = set()
    for curves in results.curves():
        if not any(_drawable(points) for points in curves.methods.values()):
            continue
        stem = _stem(curves, stems)
        stems.add(stem)
        files = [folder / f"{stem}.{suffix}" for suffix in FORMATS]
        with _RC_LOCK, matplotlib.rc_context(SETTINGS):
            figure = draw(
                curves,
                styles(results.methods(), curves.anchor),
                labels(results, curves),
                "random weights: these numbers mean nothing" if results.random_weights else "",
            )
            for suffix, file in zip(FORMATS, files, strict=True):
                with atomic(file) as part:
                    figure.savefig(part, format=suffix, dpi=300, metadata=_METADATA[suffix])
        written.append(FigureFiles(curves, files))
    return written


# No dates and no versions: the same results give the same bytes.
_METADATA: dict[str, dict[str, None]] = {
    "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
}


def _stem(curves: Curves, taken: set[str]) -> str:
    name = f"{curves.dataset}_{curves.model}_{curves.metric}"
    stem = file_name(re.sub(r"[^A-Za-z0-9._+-]+", "-", name).lstrip(".-"))
    unique, n = stem, 2
    while unique in taken:
        unique, n = f"{stem}-{n}", n + 1
    return unique


def styles(methods: list[str], anchor: str) -> dict[str, Style]:
    """The anchor always looks the same; the others keep their look in all figures of a run."""
    others = [method for method in methods if method != anchor]
    looks = {
        method: Style(
            _COLOURS[i % len(_COLOURS)],
            _MARKERS[i % len(_MARKERS)],
            _DASHES[i // len(_COLOURS) % len(_DASHES)],
        )
        for i, method in enumerate(others)
    }
    return {anchor: ANCHOR, **looks}


def labels(results: Results, curves: Curves) -> dict[str, str]:
    """The legend's entries: each method with its BD-rate against the anchor."""
    wanted = (curves.dataset, curves.model, curves.metric, results.interpolation)
    text = {method: method for method in curves.methods}
    for row in results.bd:
        if (row.dataset, row.model, row.metric, row.interpolation) != wanted:
            continue
        if row.method in text and row.anchor == curves.anchor != row.method:
            rate = "undefined" if row.bd_rate is None else f"{percent(row.bd_rate)} %"
            text[row.method] = f"{row.method}  {rate}"
    return text


def draw(
    curves: Curves, looks: dict[str, Style], entries: dict[str, str], title: str = ""
) -> Figure:
    """One figure: bpp against the metric, 95 % bands, the uncompressed score as a dashed line."""
    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    drawn: list[list[Point]] = []
    for order, (method, points) in enumerate(curves.methods.items()):
        points = _drawable(points)
        if points:
            # The anchor on top of the others; many bands at full strength would turn to mud.
            opacity = min(0.13, 0.45 / len(curves.methods))
            _draw_method(axes, points, looks[method], entries[method], 3 - order / 100, opacity)
            drawn.append(points)
    _scale_rates(axes, [p.bpp or 0.0 for points in drawn for p in points])
    axes.set_xlabel("Rate (bpp)")
    axes.set_ylabel(printable(metric_label(curves.metric)))
    if title:
        axes.set_title(title, fontsize=7)
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axes.grid(True)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(y=0.06)
    ceiling = _draw_clean(axes, curves, [p.value or 0.0 for points in drawn for p in points])
    compared = any(entries[m] != m for m in curves.methods)
    against = printable(f"BD-rate vs. {curves.anchor}") if compared else None
    _place_legend(figure, axes, ceiling, against)
    return figure


_FAR = 1e100
"""No measurement, and too near the largest number for axes around it."""


def _drawable(points: list[Point]) -> list[Point]:
    return [p for p in points if _near(p.bpp) and _near(p.value) and (p.bpp or 0) > 0]


def _near(value: float | None) -> bool:
    return value is not None and abs(value) < _FAR


def _draw_method(
    axes: Axes, points: list[Point], look: Style, label: str, order: float, opacity: float
) -> None:
    size = _MARKER_SIZES.get(look.marker, 4.6)
    line = _line(points)
    kept = [not p.change for p in points]
    axes.plot(
        [x for x, _ in line],
        [y for _, y in line],
        color=look.colour,
        linestyle=look.dashes,
        linewidth=1.1,
        marker=look.marker,
        markersize=size,
        markeredgecolor="white",
        markeredgewidth=0.4,
        markevery=[i for i, at in enumerate(line) if at in _places(points, kept)],
        label=printable(label),
        zorder=order,
    )
    hollow = _places(points, [not k for k in kept])
    if hollow:
        axes.plot(
            [x for x, _ in hollow],
            [y for _, y in hollow],
            linestyle="none",
            marker=look.marker,
            markersize=size - 0.6,
            markerfacecolor="white",
            markeredgecolor=look.colour,
            markeredgewidth=0.8,
            zorder=3.5,  # above every line: it belongs to none
        )
    known = [p for p in points if _near(p.ci_low) and _near(p.ci_high)]
    if len(known) > 1:
        axes.fill_between(
            _array([p.bpp for p in known]),
            _array([p.ci_low for p in known]),
            _array([p.ci_high for p in known]),
            color=look.colour,
            alpha=opacity,
            linewidth=0,
            zorder=1.5,
        )


def _places(points: list[Point], chosen: list[bool]) -> list[tuple[float, float]]:
    return [(p.bpp or 0.0, p.value or 0.0) for p, c in zip(points, chosen, strict=True) if c]


def _line(points: list[Point]) -> list[tuple[float, float]]:
    """What BD-rates see: the points that are left, and the means of those that were pooled."""
    seen = {(p.bpp, p.value) if not p.change else (p.curve_bpp, p.curve_value) for p in points}
    return sorted((x, y) for x, y in seen if x is not None and y is not None and _near(x + y))


def _array(values: list[float | None]) -> NDArray[np.float64]:
    return np.array(values, dtype=np.float64)


def _scale_rates(axes: Axes, rates: list[float]) -> None:
    """Linear from zero, or, where rates span more than tenfold, logarithmic in doublings."""
    low, high = min(rates), max(rates)
    if high <= 10 * low:
        axes.set_xlim(0, high * 1.05)
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
        return
    axes.set_xscale("log", base=2)
    axes.set_xlim(low / 1.15, high * 1.15)
    exponents = np.arange(np.floor(np.log2(low / 1.15 / 0.1)), np.log2(high * 1.15 / 0.1) + 1)
    ticks = 0.1 * 2.0 ** exponents[:: -(-len(exponents) // 9)]
    axes.xaxis.set_major_locator(FixedLocator(ticks.tolist()))
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
        (0.015, clean),
        xycoords=("axes fraction", "data"),
        xytext=(0, 2 if above else -2.5),
        textcoords="offset points",
        va="bottom" if above else "top",
        fontsize=7,
        color="#444444",
        zorder=4,
    )


_PLACES = ("lower right", "upper right", "lower left", "upper left", "center right")


def _place_legend(figure: Figure, axes: Axes, label: Text | None, title: str | None) -> None:
    """Inside where it covers no curve and the least of the bands; below the figure if nowhere."""
    style: dict[str, Any] = {
        "title": title,
        "title_fontsize": 7,
        "facecolor": "white",  # over bands and grid
        "edgecolor": "none",
        "framealpha": 0.7,
        "borderpad": 0.2,
        "handlelength": 2.2,
        "labelspacing": 0.3,
        "alignment": "left",
    }
    figure.draw_without_rendering()  # the layout decides where the curves are
    lines, bands = _outlines(axes)
    best: tuple[int, str] | None = None
    for place in _PLACES:
        legend = axes.legend(**(style | {"loc": place}))
        box = legend.get_window_extent().padded(2)
        covers = box.count_contains(lines)
        if label is not None and box.overlaps(label.get_window_extent()):
            covers += 1
        hidden = int(box.count_contains(bands))
        if covers == 0 and (best is None or hidden < best[0]):
            best = (hidden, place)
        legend.remove()
    if best is not None:
        axes.legend(**(style | {"loc": best[1]}))
        return
    count = len(axes.get_legend_handles_labels()[0])
    for columns in (2, 1):  # one if names are too long for two
        rows = -(-count // columns) + (title is not None)
        figure.set_size_inches(WIDTH, HEIGHT + 0.16 * rows)
        legend = figure.legend(**(style | {"loc": "outside lower center", "ncols": columns}))
        if columns == 1 or legend.get_window_extent().width <= figure.bbox.width:
            return
        legend.remove()


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
