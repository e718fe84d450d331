"""Figures of more than one curve: what is drawn in each, and what they are called."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

from matplotlib.figure import Figure

from bench.analysis.bdrate import GOOD_OVERLAP
from bench.errors import ConfigError
from bench.report import captions
from bench.report.curve_figures import (
    LONGEST,
    MANY,
    Panel,
    best_at_some_rate,
    draw_panels,
    drawable,
    panels_on_page,
    told_apart,
)
from bench.report.difference_figures import (
    LINES,
    Bars,
    Course,
    Line,
    Saving,
    draw_bars,
    draw_forest,
    draw_savings,
)
from bench.report.names import elided, shown
from bench.report.results import Curves, Results, read
from bench.report.style import Options, Style, styles
from bench.report.text import metric_label
from bench.results.rows import BDRow

BARS = 4
"""Groups of bars side by side."""
T = TypeVar("T")
WARNING = "random weights: these numbers mean nothing"


@dataclass(frozen=True)
class Drawing:
    """A figure before it is written, and the sentences of its caption."""

    stem: str
    figure: Figure
    caption: list[str]


def warning(results: Results) -> str:
    return WARNING if results.random_weights else ""


def looks_of(results: Results, anchor: str) -> dict[str, Style]:
    """Of many methods the best have the looks that are easiest to tell apart."""
    methods = results.methods()
    if len(methods) > MANY:
        best: Counter[str] = Counter()
        for curves in headline_curves(results):
            best += best_at_some_rate(curves)
        methods.sort(key=lambda method: -best[method])
    return styles(methods, anchor)


def headline_curves(results: Results) -> list[Curves]:
    """Those on a task's first metric that have anything to draw."""
    headlines = {task: metric for _, task, _, metric in results.headlines()}
    return [c for c in results.curves() if headlines[c.task] == c.metric and has_points(c)]


def has_points(curves: Curves) -> bool:
    return any(drawable(points) for points in curves.methods.values())


def saving_of(row: BDRow) -> Saving:
    return Saving(row.bd_rate, row.ci_low, row.ci_high, row.overlap < GOOD_OVERLAP)


def compared(results: Results, curves: Curves) -> list[BDRow]:
    """The BD-rates of these methods against their anchor, by the interpolation that counts."""
    wanted = (curves.dataset, curves.model, curves.metric, results.interpolation, curves.anchor)
    return [
        row
        for row in results.bd
        if (row.dataset, row.model, row.metric, row.interpolation, row.anchor) == wanted
        and row.method != row.anchor
    ]


# --- panels ---------------------------------------------------------------------------------------


def panels(results: Results) -> Iterator[Drawing]:
    """All models on all data sets by their first metric: a row per data set where each has as many
    models, else as they come."""
    found = [Panel(curves, results.accepted(curves)) for curves in headline_curves(results)]
    if len(found) < 2:
        return
    counts = Counter(panel.curves.dataset for panel in found)
    same = len(counts) > 1 and len(set(counts.values())) == 1
    columns = next(iter(counts.values())) if same else len(found)
    if not 2 <= columns <= 4:
        columns = 2 if len(found) in (2, 4) else 3 if len(found) in (3, 5, 6, 9) else 4
    room = panels_on_page(columns)
    for stem, part in _pages("panel", found, room):
        looks = looks_of(results, part[0].curves.anchor)
        figure = draw_panels(part, columns, looks, warning(results))
        yield Drawing(stem, figure, captions.of_panels(results, part))


def _pages(stem: str, found: list[T], room: int) -> Iterator[tuple[str, list[T]]]:
    for i in range(0, len(found), room):
        yield (f"{stem}-{i // room + 1}" if i else stem), found[i : i + room]


# --- forests --------------------------------------------------------------------------------------


def forests(results: Results) -> Iterator[Drawing]:
    """Every BD-rate over all accuracies beside the one over accuracies near the clean score."""
    within = results.manifest.analysis.within
    titles = ("all accuracies", f"{within[0]:g}–{within[-1]:g} % below uncompressed")
    groups = [lines for curves in headline_curves(results) if (lines := _lines(results, curves))]
    for stem, lines in _pages("forest", _filled(groups), LINES):
        figure = draw_forest(lines, titles, "Change of rate (%)", warning(results))
        texts = [saving.text for line in lines for saving in line.savings]
        yield Drawing(stem, figure, captions.of_forest(results, texts))


def _lines(results: Results, curves: Curves) -> list[Line]:
    looks = looks_of(results, curves.anchor)
    rows = compared(results, curves)
    where = f"{elided(curves.model, 24)}, {elided(curves.dataset, 18)}"
    heading = Line(f"{where}: {elided(metric_label(curves.metric), 18)}")
    lines = [
        Line(
            elided(row.method, LONGEST),
            looks[row.method],
            (
                saving_of(row),
                Saving(row.range_bd_rate, row.range_low, row.range_high),
            ),
        )
        for row in rows
    ]
    return [heading, *lines] if lines else []


def _filled(groups: list[list[Line]]) -> list[Line]:
    """All lines, with the heading again where a page begins."""
    lines: list[Line] = []
    for heading, *rest in groups:
        for i, line in enumerate(rest):
            left = LINES - len(lines) % LINES
            if i == 0 and left == 1:
                lines.append(Line(""))  # no heading at the end of a page
            if i == 0 or len(lines) % LINES == 0:
                lines.append(heading)
            lines.append(line)
    return lines


# --- savings over accuracies ----------------------------------------------------------------------


def savings(results: Results, curves: Curves, stem: str) -> Drawing | None:
    """What each method saves at the accuracies of equal_accuracy.csv; None where nothing does."""
    wanted = (curves.dataset, curves.model, curves.metric, results.interpolation)
    rows = [
        row
        for row in results.equal
        if (row.dataset, row.model, row.metric, row.interpolation) == wanted
    ]
    targets = {row.within: row.target for row in rows if row.target is not None}
    looks = looks_of(results, curves.anchor)
    told = told_apart(curves)
    courses = []
    for method in curves.methods:
        own = [r for r in rows if r.method == method != r.anchor and r.within in targets]
        own.sort(key=lambda r: r.within)
        found = [Saving(r.change, r.change_low, r.change_high) for r in own]
        if method in told and any(saving.place is not None for saving in found):
            within = [r.within for r in own]
            courses.append(Course(elided(method, LONGEST), looks[method], within, found))
    if not courses:
        return None
    metric = elided(metric_label(curves.metric), 26)
    label = elided(f"Rate vs. {curves.anchor} (%)", 30)
    figure = draw_savings(courses, targets, metric, label, warning(results))
    return Drawing(f"{stem}_saving", figure, captions.of_savings(results, curves))


# --- several runs ---------------------------------------------------------------------------------


def ablations(results: Results, options: Options) -> Iterator[Drawing]:
    """BD-rates of this run and of those beside it as bars, by a task's first metric.

    Raises ConfigError for a folder that measured nothing that this one did, or on other images.
    """
    if not options.beside:
        return
    runs = {results.manifest.name or results.folder.resolve().name: results}
    for folder in options.beside:
        name = folder.resolve().name
        run = read(folder)
        _require_comparable(results, run)
        own = {
            method: called for method, called in options.names.items() if method in run.methods()
        }
        kept = tuple(method for method in options.methods if method in run.methods())
        runs[name if name not in runs else str(folder)] = shown(run, kept, own)
    measured = {name: _compared_methods(run, results) for name, run in runs.items()}
    methods = dict.fromkeys(method for own in measured.values() for method in own)
    bars = [(name, method) for method in methods for name in runs if method in measured[name]]
    labels = _bar_labels(bars)
    colours = styles(list(runs), "")
    groups = [
        Bars(
            "\n".join(
                (elided(curves.model, 30), elided(curves.dataset, 30), metric_label(curves.metric))
            ),
            [_bar(runs[name], curves, method) for name, method in bars],
        )
        for curves in headline_curves(results)
    ]
    drawn = [(label, colours[name].colour) for label, (name, _) in zip(labels, bars, strict=True)]
    for stem, part in _pages("ablation", groups, BARS):
        figure = draw_bars(part, drawn, "BD-rate (%)", warning(results))
        texts = [saving.text for group in part for saving in group.savings if saving]
        yield Drawing(stem, figure, captions.of_bars(results, texts))


def _require_comparable(results: Results, other: Results) -> None:
    own = {e.dataset: e for e in results.manifest.experiments}
    shared = [e for e in other.manifest.experiments if e.dataset in own]
    if not shared:
        raise ConfigError(
            f"--with {other.folder}: it measured {_datasets(other)}, and this run measured "
            f"{_datasets(results)}; name runs of the same data sets"
        )
    for experiment in shared:
        if experiment.images != own[experiment.dataset].images:
            raise ConfigError(
                f"--with {other.folder}: other images of {experiment.dataset} were measured than "
                "in this run, so that the BD-rates are not comparable; run both on the "
                "same (--limit)"
            )


def _datasets(results: Results) -> str:
    return ", ".join(e.dataset for e in results.manifest.experiments) or "nothing"


def _compared_methods(run: Results, first: Results) -> list[str]:
    """Those with a BD-rate on anything that is drawn."""
    drawn = {(c.dataset, c.model, c.metric) for c in headline_curves(first)}
    found = {
        row.method
        for row in run.bd
        if row.method != row.anchor and (row.dataset, row.model, row.metric) in drawn
    }
    return [method for method in run.methods() if method in found]


def _bar_labels(bars: list[tuple[str, str]]) -> list[str]:
    """The run where all have one method, the method where it is of one run, else both."""
    times = Counter(method for _, method in bars)
    alone = len(times) == 1
    return [
        elided(name, 36)
        if alone
        else elided(method, 36)
        if times[method] == 1
        else f"{elided(method, 22)}, {elided(name, 16)}"
        for name, method in bars
    ]


def _bar(run: Results, curves: Curves, method: str) -> Saving | None:
    wanted = (curves.dataset, curves.model, curves.metric, run.interpolation, method)
    for row in run.bd:
        if (row.dataset, row.model, row.metric, row.interpolation, row.method) == wanted:
            return saving_of(row)
    return None
