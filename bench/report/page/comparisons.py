"""Any method against any other, and means over models and data sets."""

from html import escape

from bench.report.page.elements import Rate, folded, name, scrolled, unfolded
from bench.report.page.overview import Group, acceptable, rates_table, whole
from bench.report.results import Results
from bench.report.text import interpolation_label, metric_label, percent
from bench.results.rows import MeanRow, PairRow

MANY = 10
"""With more methods a cell is a number alone."""


def pairs(results: Results) -> str:
    """A matrix per data set and model; empty if the folder has no pairs.csv."""
    groups: dict[Group, dict[tuple[str, str], PairRow]] = {}
    headlines, interpolation = set(results.headlines()), results.interpolation
    for row in results.pairs:
        headline = (row.dataset, row.task, row.model, row.metric) in headlines
        if headline and row.interpolation == interpolation:
            group = groups.setdefault((row.dataset, row.task, row.model), {})
            group[row.method, row.against] = row
    drawn = []
    for i, ((dataset, task, model), rows) in enumerate(groups.items()):
        title = (
            f"<b>{name(model)}</b> on {name(dataset)}, "
            f"{escape(metric_label(results.metrics(task)[0]))}"
        )
        present = {method for pair in rows for method in pair}
        methods = [m for m in results.methods() if m in present]
        drawn.append(folded(title, _pairs(rows, methods), is_open=unfolded(i, len(methods))))
    if not drawn:
        return ""
    caption = (
        "BD-rate in percent of the method of the row against that of the column, "
        "negative: the row saves bits. Above in the acceptable range, below it over the whole "
        f"overlap. {interpolation_label(interpolation)} interpolation."
    )
    return f'<h3>Every pair of methods</h3><p class="caption">{caption}</p>{"".join(drawn)}'


def _pairs(rows: dict[tuple[str, str], PairRow], methods: list[str]) -> str:
    head = "".join(f'<th scope="col" class="n">{name(m)}</th>' for m in methods)
    short = len(methods) > MANY
    body = "".join(
        f'<tr><th scope="row">{name(m)}</th>'
        + "".join(_pair(rows.get((m, against)), short) for against in methods)
        + "</tr>"
        for m in methods
    )
    inner = (
        f'<table class="pairs"><thead><tr><th scope="col">Row against column</th>{head}</tr>'
        f"</thead><tbody>{body}</tbody></table>"
    )
    return scrolled(inner, "BD-rates of every pair of methods")


def _pair(row: PairRow | None, short: bool) -> str:
    if row is None:
        return '<td class="n same"></td>'
    near, all_of_it = acceptable(row), whole(row)
    if short:
        return f'<td class="n {near.verdict}">{_number(near)}<br>{_number(all_of_it)}</td>'
    return f'<td class="n"><div>{near.html()}</div><div>{all_of_it.html()}</div></td>'


def _number(rate: Rate) -> str:
    return '<span class="none">–</span>' if rate.value is None else percent(rate.value)


def means(results: Results) -> str:
    """Methods as rows, what was averaged over as columns; empty if the folder has no means.csv."""
    found: dict[tuple[str, str, str, str], dict[str, MeanRow]] = {}
    headlines = {(task, metric) for _, task, _, metric in results.headlines()}
    interpolation = results.interpolation
    for row in results.means:
        if (row.task, row.metric) in headlines and row.interpolation == interpolation:
            column = found.setdefault((row.over, row.task, row.metric, row.anchor), {})
            column[row.method] = row
    if not found:
        return ""
    heads = [
        f"Over {_count(column)} {name(over)}<br><small>{escape(metric_label(metric))}, "
        f"against {name(anchor)}</small>"
        for (over, _, metric, anchor), column in found.items()
    ]
    rows = [
        (method, [column.get(method) for column in found.values()])
        for method in results.methods()
        if any(method in column for column in found.values())
    ]
    return (
        '<h3>Means</h3><p class="caption">Arithmetic means of BD-rates in percent, with 95 % '
        "intervals over other images; every data set counts the same.</p>"
        + rates_table("Means of BD-rates", heads, rows)
    )


def _count(column: dict[str, MeanRow]) -> int:
    return max(row.n + row.n_undefined for row in column.values())
