"""BD-rates and operating points as tables, and the files made of them."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from bench.analysis.bootstrap import obstacle
from bench.atomic import write_text
from bench.report.latex import latex
from bench.report.markup import markdown
from bench.report.results import Results
from bench.report.table import Cell, Table
from bench.report.text import (
    NOTHING,
    interpolation_label,
    letters,
    metric_label,
    number,
    one_line,
    percent,
    with_interval,
)
from bench.results.names import PUBLISHED, UNCOMPRESSED, point_name
from bench.results.rows import BDRow, EqualAccuracyRow, MeanRow, PairRow, PointRow
from bench.results.spreadsheet import guarded


def write_tables(results: Results) -> list[Path]:
    """Write {bd,equal_accuracy,points}.{md,tex,csv} into tables/ → the files; {pairs,means}, too,
    where there are any."""
    folder = results.folder / "tables"
    folder.mkdir(exist_ok=True)
    written = []
    for name, tables, plain in (
        ("bd", bd_tables(results), _bd_csv(results)),
        ("equal_accuracy", equal_accuracy_tables(results), _equal_accuracy_csv(results)),
        ("points", points_tables(results), _points_csv(results)),
        ("pairs", pairs_tables(results), _pairs_csv(results)),
        ("means", means_tables(results), _means_csv(results)),
    ):
        if name in ("pairs", "means") and not tables:
            continue
        for suffix, text in (
            ("md", "\n".join(markdown(table) for table in tables)),
            ("tex", "\n".join(latex(table) for table in tables)),
            ("csv", plain),
        ):
            path = folder / f"{name}.{suffix}"
            write_text(path, text)
            written.append(path)
    return written


def bd_tables(results: Results) -> list[Table]:
    """A table of BD-rates per interpolation, the one that counts first; none without methods."""
    present = list(dict.fromkeys(row.interpolation for row in results.bd))
    present.sort(key=lambda interpolation: interpolation != results.interpolation)
    return [_bd_table(results, interpolation) for interpolation in present]


def _bd_table(results: Results, interpolation: str) -> Table:
    entries = [row for row in results.bd if row.interpolation == interpolation]
    found = {(row.dataset, row.model, row.metric, row.anchor, row.method): row for row in entries}
    anchors = list(dict.fromkeys(row.anchor for row in entries))
    compared = {row.method for row in entries if row.method != row.anchor}
    methods = [method for method in results.methods() if method in compared]
    marks: dict[str, str] = {}
    rows = []
    for key in dict.fromkeys((row.dataset, row.model, row.metric, row.anchor) for row in entries):
        dataset, model, metric, anchor = key
        names = [dataset, model, *([anchor] if len(anchors) > 1 else []), metric_label(metric)]
        given = [found.get((*key, m)) for m in methods]
        cells = [_bd_cell(row, marks) for row in given]
        rows.append([*map(Cell, names), *_best(cells, list(map(_below_zero, given)))])
    named = ["Data set", "Model", *(["Anchor"] if len(anchors) > 1 else []), "Metric"]
    against = anchors[0] if len(anchors) == 1 else "the anchor"
    policies = ", ".join(dict.fromkeys(row.policy for row in entries))
    caption = (
        f"BD-rate in percent against {against}{_intervals(entries)}; negative saves bits. "
        f"{interpolation_label(interpolation)} interpolation, policy {policies}."
        f"{_untrained(results)}"
    )
    notes = [(mark, reason) for reason, mark in marks.items()]
    header = [*named, *methods]
    return Table(f"bd-{interpolation}", caption, header, rows, len(named), notes, by_method=True)


def _best(cells: list[Cell], values: list[float | None]) -> list[Cell]:
    """Marks the lowest of the values, of which None is none."""
    least = min((value for value in values if value is not None), default=None)
    return [
        replace(cell, best=value is not None and value == least)
        for cell, value in zip(cells, values, strict=True)
    ]


def _below_zero(row: BDRow | MeanRow | None) -> float | None:
    """What saves bits; what does not is no better than the anchor."""
    rate = row.bd_rate if row else None
    return rate if rate is not None and rate < 0 else None


def _untrained(results: Results) -> str:
    return f" {results.random_weights}" if results.random_weights else ""


def _intervals(
    entries: Sequence[BDRow | EqualAccuracyRow | PointRow | PairRow | MeanRow],
) -> str:
    known = any(entry.ci_low is not None for entry in entries)
    return ", with 95 % intervals in brackets" if known else ""


def _bd_cell(row: BDRow | None, marks: dict[str, str]) -> Cell:
    if row is None:
        return Cell(NOTHING)
    reason = row.reason if row.bd_rate is not None else _undefined(row)
    return _saving_cell(replace(row, reason=reason), marks)


def _saving_cell(row: BDRow | PairRow | MeanRow | None, marks: dict[str, str]) -> Cell:
    if row is None:
        return Cell(NOTHING)
    mark = marks.setdefault(row.reason, letters(len(marks))) if row.reason else ""
    if row.bd_rate is None:
        return Cell("undefined", mark)
    low, high = (NOTHING if v is None else percent(v) for v in (row.ci_low, row.ci_high))
    return Cell(
        with_interval(percent(row.bd_rate), low, high), mark, _side(row.ci_low, row.ci_high)
    )


def _undefined(row: BDRow) -> str:
    """Why there is no BD-rate, and what can be said instead."""
    reason = row.reason or "no reason was recorded"
    if row.bd_metric is None:
        return reason
    sign = "+" if row.bd_metric > 0 else ""
    difference = f"{sign}{number(row.bd_metric, 3)} {row.metric}"
    return f"{reason}. Mean difference at equal rate: {difference} (positive is better)"


def _side(low: float | None, high: float | None) -> str:
    if high is not None and high < 0:
        return "better"
    return "worse" if low is not None and low > 0 else ""


def pairs_tables(results: Results) -> list[Table]:
    """By headline metric a matrix per (dataset, model) with more than two methods: each method
    against each other."""
    tables = []
    for dataset, _, model, metric in results.headlines():
        wanted = (dataset, model, metric, results.interpolation)
        entries = [
            row
            for row in results.pairs
            if (row.dataset, row.model, row.metric, row.interpolation) == wanted
        ]
        measured = {row.method for row in entries}
        methods = [method for method in results.methods() if method in measured]
        if len(methods) > 2:
            tables.append(_pairs_table(results, dataset, model, metric, methods, entries))
    return tables


def _pairs_table(
    results: Results,
    dataset: str,
    model: str,
    metric: str,
    methods: list[str],
    entries: list[PairRow],
) -> Table:
    found = {(row.method, row.against): row for row in entries}
    marks: dict[str, str] = {}
    rows = [
        [Cell(method), *(_saving_cell(found.get((method, other)), marks) for other in methods)]
        for method in methods
    ]
    caption = (
        f"BD-rate in percent of each method (row) against each other (column){_intervals(entries)}"
        f"; negative: the row saves bits. {metric_label(metric)} of {model} on {dataset}, "
        f"{interpolation_label(results.interpolation)} interpolation.{_untrained(results)}"
    )
    notes = [(mark, reason) for reason, mark in marks.items()]
    return Table(f"pairs-{dataset}-{model}", caption, ["Method", *methods], rows, 1, notes)


def means_tables(results: Results) -> list[Table]:
    """Mean BD-rates over models and over data sets, all metrics."""
    entries = [row for row in results.means if row.interpolation == results.interpolation]
    if not entries:
        return []
    measured = {row.method for row in entries}
    methods = [method for method in results.methods() if method in measured]
    found = {(r.over, r.task, r.metric, r.anchor, r.method): r for r in entries}
    marks: dict[str, str] = {}
    rows = []
    for key in dict.fromkeys(key[:4] for key in found):
        given = [found.get((*key, method)) for method in methods]
        cells = [_saving_cell(row, marks) for row in given]
        names = [Cell(key[0]), Cell(metric_label(key[2]))]
        rows.append([*names, *_best(cells, list(map(_below_zero, given)))])
    against = ", ".join(dict.fromkeys(row.anchor for row in entries))
    caption = (
        f"Mean BD-rate in percent against {against}{_intervals(entries)} over other images; "
        f"negative saves bits. {interpolation_label(results.interpolation)} interpolation."
        f"{_untrained(results)}"
    )
    notes = [(mark, reason) for reason, mark in marks.items()]
    header = ["Mean over", "Metric", *methods]
    return [Table("means", caption, header, rows, 2, notes, by_method=True)]


def equal_accuracy_tables(results: Results) -> list[Table]:
    """Bits per pixel to stay close to the clean score, and what that saves; by headline metric."""
    headlines = {task: results.metrics(task)[0] for _, task, _ in results.groups()}
    tasks = {(dataset, model): task for dataset, task, model in results.groups()}
    entries = [
        row
        for row in results.equal
        if row.interpolation == results.interpolation
        and row.metric == headlines.get(tasks.get((row.dataset, row.model), ""))
    ]
    if not entries:
        return []
    anchors = ", ".join(dict.fromkeys(row.anchor for row in entries))
    how = f"{interpolation_label(results.interpolation)} interpolation."
    rate = Table(
        "equal-accuracy",
        "Bits per pixel to stay within some percent of the uncompressed score"
        f"{_intervals(entries)}. {how}{_untrained(results)}",
        *_equal_accuracy_cells(results, entries, _rate_cell, lambda row: row.bpp),
        by_method=True,
    )
    others = [row for row in entries if row.method != row.anchor]
    saving = Table(
        "equal-accuracy-change",
        f"Bits at equal accuracy in percent against {anchors}, at some percent under the "
        f"uncompressed score{_intervals(entries)}; negative saves bits. {how}{_untrained(results)}",
        *_equal_accuracy_cells(results, others, _change_cell, _saved),
        by_method=True,
    )
    return [rate, saving] if saving.rows else [rate]


def _equal_accuracy_cells(
    results: Results,
    entries: list[EqualAccuracyRow],
    cell: Callable[[EqualAccuracyRow, dict[str, str]], Cell],
    value: Callable[[EqualAccuracyRow], float | None],
) -> tuple[list[str], list[list[Cell]], int, list[tuple[str, str]]]:
    """Header, rows, leading names and footnotes of a table of these entries; the lowest `value` of
    a row is its best."""
    found = {(r.dataset, r.model, r.metric, r.within, r.method): r for r in entries}
    measured = {row.method for row in entries}
    methods = [method for method in results.methods() if method in measured]
    marks: dict[str, str] = {}
    rows = []
    for key in dict.fromkeys(key[:4] for key in found):
        names = [key[0], key[1], f"{metric_label(key[2])} within {key[3]:g} %"]
        given = [found.get((*key, m)) for m in methods]
        cells = [Cell(NOTHING) if r is None else cell(r, marks) for r in given]
        rows.append(
            [*map(Cell, names), *_best(cells, [None if r is None else value(r) for r in given])]
        )
    notes = [(mark, reason) for reason, mark in marks.items()]
    return ["Data set", "Model", "Accuracy", *methods], rows, 3, notes


def _saved(row: EqualAccuracyRow) -> float | None:
    return row.change if row.change is not None and row.change < 0 else None


def _rate_cell(row: EqualAccuracyRow, marks: dict[str, str]) -> Cell:
    mark = marks.setdefault(row.reason, letters(len(marks))) if row.reason else ""
    ends = number(row.ci_low, 3), number(row.ci_high, 3)
    return Cell(with_interval(number(row.bpp, 3), *ends), mark)


def _change_cell(row: EqualAccuracyRow, marks: dict[str, str]) -> Cell:
    mark = marks.setdefault(row.reason, letters(len(marks))) if row.reason else ""
    if row.change is None:
        return Cell(NOTHING, mark)
    low, high = (NOTHING if v is None else percent(v) for v in (row.change_low, row.change_high))
    verdict = _side(row.change_low, row.change_high)
    return Cell(with_interval(percent(row.change), low, high), mark, verdict)


def points_tables(results: Results) -> list[Table]:
    """A table per (dataset, model): a row per operating point, the headline with its interval."""
    return [_points_table(results, *group) for group in results.groups()]


def _points_table(results: Results, dataset: str, task: str, model: str) -> Table:
    metrics = results.metrics(task)
    rows = []
    points = _operating_points(results, dataset, model)
    marks: dict[str, str] = {}
    resamples = results.manifest.analysis.resamples
    for method, qp in points:
        by_metric = points[method, qp]
        first = next(iter(by_metric.values()))
        values = [_value(by_metric.get(m), i == 0, resamples, marks) for i, m in enumerate(metrics)]
        setting = NOTHING if qp is None else point_name(qp).removeprefix("QP ")
        rates = [number(first.bpp, 4), number(first.bpp_total, 4)]
        rows.append([Cell(method), *map(Cell, [setting, *rates]), *values])
    view = results.view(dataset, model)
    measured = "agreement" if task.endswith("-agreement") else "accuracy"
    caption = (
        f"Rate and {measured} of {model} on {dataset}"
        + (f" (view {view})" if view else "")
        + f": {_images(points)}bpp is the mean over images, total bpp all bits over all pixels"
        + _intervals([p for by_metric in points.values() for p in by_metric.values()])
        + "."
        + _untrained(results)
    )
    header = ["Method", "QP", "bpp", "total bpp", *map(metric_label, metrics)]
    notes = [(mark, note) for note, mark in marks.items()]
    return Table(f"points-{dataset}-{model}", caption, header, rows, 1, notes)


Points = dict[tuple[str, int | None], dict[str, PointRow]]


def _operating_points(results: Results, dataset: str, model: str) -> Points:
    """(method, QP) → its point per metric: uncompressed first, anchor next, finest QP first."""
    order = [UNCOMPRESSED, results.anchor(dataset, model), *results.methods()]
    own = [p for p in results.points if (p.dataset, p.model) == (dataset, model)]
    own.sort(key=lambda p: (order.index(p.method), -1 if p.qp is None else p.qp))
    points: Points = {}
    for p in own:
        points.setdefault((p.method, p.qp), {})[p.metric] = p
    return points


def _images(points: Points) -> str:
    first = next(p for by_metric in points.values() for p in by_metric.values())
    failed = f", {first.n_failed} left out because they failed" if first.n_failed else ""
    return f"{first.n_images} images{failed}; "


_CHANGES = {
    "tied": "as good as a cheaper point, or as cheap as a better one: left out of BD-rates",
    "dominated": "a cheaper point is better: left out of BD-rates",
    "pooled": "averaged with its neighbours for BD-rates, because accuracy falls there",
    "no value": "no value: left out of BD-rates",
    PUBLISHED: "published, not measured here: no interval",
}


def _value(point: PointRow | None, interval: bool, resamples: int, marks: dict[str, str]) -> Cell:
    if point is None:
        return Cell(NOTHING)
    value = number(point.value, 3)
    notes = [_CHANGES.get(point.change, point.change)]
    if interval:
        value = with_interval(value, number(point.ci_low, 3), number(point.ci_high, 3))
        notes.append(_withheld(point, resamples))
    note = "; ".join(filter(None, notes))
    return Cell(value, marks.setdefault(note, letters(len(marks))) if note else "")


def _withheld(point: PointRow, resamples: int) -> str:
    """Why there is a value and no interval, as far as the counts tell; empty if there is one."""
    if point.value is None or point.published or None not in (point.ci_low, point.ci_high):
        return ""
    if point.reason:
        return point.reason
    why = obstacle(point.n_images, resamples)  # folders of older versions
    return f"no interval: {why or 'the resamples have no value, or are all the same'}"


def _bd_csv(results: Results) -> str:
    """Rows (dataset, model, metric, interpolation); per method its BD-rate and interval."""
    rows = sorted(results.bd, key=lambda row: row.interpolation != results.interpolation)
    compared = {row.method for row in rows if row.method != row.anchor}
    methods = [method for method in results.methods() if method in compared]
    header = ["dataset", "model", "metric", "anchor", "interpolation", "policy"]
    lines: dict[tuple[str, ...], dict[str, list[str]]] = {}
    for row in rows:
        key = (row.dataset, row.model, row.metric, row.anchor, row.interpolation, row.policy)
        lines.setdefault(key, {})[row.method] = (
            ["undefined", "", "", row.reason]
            if row.bd_rate is None
            else [_plain(row.bd_rate), _plain(row.ci_low), _plain(row.ci_high), row.reason]
        )
    parts = ("", " ci_low", " ci_high", " reason")
    return _csv(
        [*header, *(method + part for method in methods for part in parts)],
        [
            [*key, *(text for m in methods for text in cells.get(m, [""] * len(parts)))]
            for key, cells in lines.items()
        ],
        results.random_weights,
    )


def _pairs_csv(results: Results) -> str:
    """Rows (dataset, model, metric, interpolation, method, against)."""
    names = ["dataset", "model", "metric", "interpolation", "method", "against"]
    return _savings_csv(results, names, results.pairs)


def _means_csv(results: Results) -> str:
    """Rows (over, task, metric, interpolation, method, anchor)."""
    names = ["over", "task", "metric", "interpolation", "method", "anchor"]
    return _savings_csv(results, names, results.means)


def _savings_csv(results: Results, names: list[str], entries: Sequence[PairRow | MeanRow]) -> str:
    numbers = ["bd_rate", "ci_low", "ci_high"]
    rows = [
        [
            *(getattr(row, name) for name in names),
            *(_plain(getattr(row, name)) for name in numbers),
            row.reason,
        ]
        for row in sorted(entries, key=lambda row: row.interpolation != results.interpolation)
    ]
    return _csv([*names, *numbers, "reason"], rows, results.random_weights)


def _equal_accuracy_csv(results: Results) -> str:
    """Rows (dataset, model, metric, interpolation, level, method), all metrics."""
    rows = sorted(results.equal, key=lambda row: row.interpolation != results.interpolation)
    header = ["dataset", "model", "metric", "anchor", "interpolation", "within", "method"]
    numbers = ["bpp", "ci_low", "ci_high", "change", "change_low", "change_high"]
    return _csv(
        [*header, *numbers, "reason"],
        [
            [
                *(str(getattr(row, name)) for name in header),
                *(_plain(getattr(row, name)) for name in numbers),
                row.reason,
            ]
            for row in rows
        ],
        results.random_weights,
    )


def _points_csv(results: Results) -> str:
    """Rows (dataset, model, method, QP); per metric its value and interval."""
    metrics = list(
        dict.fromkeys(m for _, task, _ in results.groups() for m in results.metrics(task))
    )
    rows = []
    for dataset, _, model in results.groups():
        for (method, qp), by_metric in _operating_points(results, dataset, model).items():
            first = next(iter(by_metric.values()))
            row = [dataset, model, method, "" if qp is None else str(qp)]
            row += [_plain(first.bpp), _plain(first.bpp_total)]
            for metric in metrics:
                point = by_metric.get(metric)
                values = (point.value, point.ci_low, point.ci_high) if point else (None,) * 3
                row += map(_plain, values)
            rows.append(row)
    header = ["dataset", "model", "method", "qp", "bpp", "bpp_total"]
    parts = ("", " ci_low", " ci_high")
    columns = [*header, *(metric + part for metric in metrics for part in parts)]
    return _csv(columns, rows, results.random_weights)


def _plain(value: float | None) -> str:
    return "" if value is None else repr(round(value, 6))


def _csv(header: list[str], rows: list[list[str]], remark: str) -> str:
    """A remark on the whole table has a column of its own. Names are no formulas."""
    if remark:
        header, rows = [*header, "remark"], [[*row, remark] for row in rows]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    for row in (header, *rows):
        writer.writerow([guarded(one_line(cell)) for cell in row])
    return stream.getvalue()
