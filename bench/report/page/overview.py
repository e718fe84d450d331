"""What is seen first: all BD-rates as a matrix, and as a forest of intervals."""

from collections.abc import Callable, Iterable, Sequence
from html import escape

from bench.report.page.elements import (
    Axis,
    Rate,
    bar,
    folded,
    line,
    name,
    picture,
    ratio,
    ratio_label,
    saving_axis,
    scrolled,
    unfolded,
)
from bench.report.results import Results
from bench.report.text import interpolation_label, metric_label
from bench.results.rows import BDRow, MeanRow, PairRow

Group = tuple[str, str, str]
"""Data set, task and model."""


def acceptable(row: BDRow | PairRow | MeanRow) -> Rate:
    """Over the accuracies near the clean score."""
    reason = row.reason if isinstance(row, MeanRow) else row.range_reason
    return Rate(row.range_bd_rate, row.range_low, row.range_high, reason)


def whole(row: BDRow | PairRow | MeanRow) -> Rate:
    """Over all accuracies that both curves reach."""
    return Rate(row.bd_rate, row.ci_low, row.ci_high, row.reason)


def compared(results: Results) -> dict[Group, dict[str, BDRow]]:
    """(data set, task, model) → method → its BD-rates on the headline metric; anchors have none."""
    headlines, interpolation = set(results.headlines()), results.interpolation
    found: dict[Group, dict[str, BDRow]] = {}
    for row in results.bd:
        headline = (row.dataset, row.task, row.model, row.metric) in headlines
        if headline and row.interpolation == interpolation and row.method != row.anchor:
            found.setdefault((row.dataset, row.task, row.model), {})[row.method] = row
    return found


def methods_of(results: Results, groups: dict[Group, dict[str, BDRow]]) -> list[str]:
    return [m for m in results.methods() if any(m in rows for rows in groups.values())]


def range_of(results: Results) -> str:
    """The accuracies that are called acceptable."""
    within = results.manifest.analysis.within
    return f"{within[0]:g}–{within[-1]:g} % below the uncompressed score"


# --- the matrix -----------------------------------------------------------------------------------


def matrix(results: Results) -> str:
    """Methods as rows, models as columns."""
    groups = compared(results)
    if not groups:
        return "<p>No BD-rates: no method stands beside an anchor.</p>"
    heads = []
    for dataset, task, model in groups:
        metric = metric_label(results.metrics(task)[0])
        heads.append(
            f"{name(model)} on {name(dataset)}<br><small>{escape(metric)}, "
            f"against {name(_anchor(groups[dataset, task, model].values()))}</small>"
        )
    rows = [
        (method, [groups[group].get(method) for group in groups])
        for method in methods_of(results, groups)
    ]
    caption = (
        "BD-rate in percent, negative saves bits: in the acceptable range "
        f"({range_of(results)}) and over the whole overlap of the curves, with 95 % intervals. "
        f"{interpolation_label(results.interpolation)} interpolation."
    )
    legend = (
        '<p class="note"><span class="better">Green</span>: the whole interval saves bits. '
        '<span class="worse">Red</span>: the whole interval costs bits. '
        '<span class="mark">*</span> A remark: see the cell’s tooltip, or all BD-rates below.</p>'
    )
    return (
        f'<p class="caption">{caption}</p>{rates_table("BD-rates by method", heads, rows)}{legend}'
    )


def rates_table(
    label: str, heads: list[str], rows: Sequence[tuple[str, Sequence[BDRow | MeanRow | None]]]
) -> str:
    """Two columns of rates under every head, which is HTML; sorted by any of them."""
    first = "".join(f'<th scope="colgroup" colspan="2">{head}</th>' for head in heads)
    second = "".join(
        f'<th scope="col" class="n" data-sort="{2 * i + k + 1}">{title}</th>'
        for i in range(len(heads))
        for k, title in enumerate(("Acceptable range", "Whole overlap"))
    )
    body = "".join(
        f'<tr><th scope="row" data-value="{i}">{name(method)}</th>'
        + "".join(f"{cell(row, acceptable)}{cell(row, whole)}" for row in cells)
        + "</tr>"
        for i, (method, cells) in enumerate(rows)
    )
    inner = (
        f'<table class="rates"><thead><tr>'
        f'<th scope="col" rowspan="2" data-sort="0">Method</th>{first}</tr>'
        f"<tr>{second}</tr></thead><tbody>{body}</tbody></table>"
    )
    return scrolled(inner, label)


def cell(row: BDRow | MeanRow | None, of: Callable[[BDRow | MeanRow], Rate]) -> str:
    rate = Rate() if row is None else of(row)
    value = "" if rate.value is None else f' data-value="{rate.value!r}"'
    return f'<td class="n"{value}>{rate.html()}</td>'


def _anchor(rows: Iterable[BDRow]) -> str:
    return next(iter(rows)).anchor


# --- the forest -----------------------------------------------------------------------------------


def forest(results: Results) -> str:
    """Every method's two BD-rates with their intervals on an axis, by data set and model."""
    groups = compared(results)
    methods = methods_of(results, groups)
    drawn = []
    for i, ((dataset, task, model), rows) in enumerate(groups.items()):
        metric = metric_label(results.metrics(task)[0])
        title = f"<b>{name(model)}</b> on {name(dataset)}, {escape(metric)}"
        body = _group([(m, rows[m]) for m in methods if m in rows])
        drawn.append(folded(title, body, is_open=unfolded(i, len(rows))))
    if not drawn:
        return "<p>Nothing to compare.</p>"
    return (
        '<p class="caption">BD-rate against the anchor with its 95 % interval; left of the line '
        "saves bits. Halving the bits is as far from the line as doubling them.</p>"
        + "".join(drawn)
    )


def _group(rows: list[tuple[str, BDRow]]) -> str:
    rates = [rate for _, row in rows for rate in (acceptable(row), whole(row))]
    axis = saving_axis(v for r in rates for v in (r.value, r.low, r.high) if v is not None)
    ticks = axis.labels(map(ratio_label, axis.ticks))
    body = "".join(
        f'<tr><th scope="row">{name(method)}</th>'
        f"{_strip(acceptable(row), axis)}{_strip(whole(row), axis)}</tr>"
        for method, row in rows
    )
    return (
        '<table class="forest"><thead><tr><th scope="col">Method</th>'
        '<th scope="col">Acceptable range</th><th scope="col">Whole overlap</th></tr></thead>'
        f'<tbody>{body}<tr class="axis"><td>BD-rate, %</td>'
        f'<td><div class="pair">{ticks}<span></span></div></td>'
        f'<td><div class="pair">{ticks}<span></span></div></td></tr></tbody></table>'
    )


def _strip(rate: Rate, axis: Axis) -> str:
    zero = axis.place(1)
    parts = [axis.lines(), line(zero, zero, "0", "100%", "zero")]
    if rate.value is not None:
        at = axis.place(ratio(rate.value))
        if rate.low is not None and rate.high is not None:
            low, high = axis.place(ratio(rate.low)), axis.place(ratio(rate.high))
            parts.append(line(low, high, "50%", "50%", f"whisker {rate.verdict}"))
            parts += [bar(end, end, "32%", "36%", f"cap {rate.verdict}") for end in (low, high)]
        parts.append(f'<circle class="dot {rate.verdict}" cx="{at:.2f}%" cy="50%" r="4.5"/>')
    return f'<td><div class="pair">{picture(*parts)}<span>{rate.html()}</span></div></td>'
