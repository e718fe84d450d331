"""report.html: one file with everything in it, readable anywhere and for years."""

import base64
from html import escape
from pathlib import Path
from typing import Any

import yaml

from bench.atomic import write_text
from bench.report.figures import FigureFiles
from bench.report.page_style import CSS
from bench.report.results import Results
from bench.report.table import Cell, Table
from bench.report.tables import bd_tables, equal_accuracy_tables, points_tables
from bench.report.text import NOTHING, interpolation_label, metric_label

SHOWN_FAILURES = 200
TOLD_ABOVE = {"task", "dataset", "images", "models", "methods"}
SECTIONS = (
    "BD-rate",
    "Equal accuracy",
    "Curves",
    "Operating points",
    "Failures",
    "How it was made",
)


def write_page(results: Results, figures: list[FigureFiles]) -> Path:
    """Write report.html: no script, no file beside it, nothing from the network."""
    path = results.folder / "report.html"
    write_text(path, page(results, figures))
    return path


def page(results: Results, figures: list[FigureFiles]) -> str:
    """The page as text. Everything that comes from the results is escaped."""
    title = str(results.manifest.get("name") or results.folder.resolve().name)
    bodies = (
        _bd(results),
        "".join(_table(table) for table in equal_accuracy_tables(results))
        or "<p>No method stands beside an anchor.</p>",
        _figures(results, figures),
        "".join(_table(table) for table in points_tables(results)),
        _failures(results),
        _provenance(results),
    )
    links = "".join(f'<a href="#{_anchor(name)}">{escape(name)}</a>' for name in SECTIONS)
    sections = "".join(
        f'<section id="{_anchor(name)}"><h2>{escape(name)}</h2>{body}</section>\n'
        for name, body in zip(SECTIONS, bodies, strict=True)
    ).replace(" %", "&nbsp;%")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light">
<title>{escape(title)} – rate–accuracy report</title>
<style>{CSS}</style>
</head>
<body>
<header>
<p class="kind">Rate–accuracy report</p>
<h1>{escape(title)}</h1>
{_warning(results)}{_summary(results)}
<nav>{links}</nav>
</header>
<main>
{sections}</main>
</body>
</html>
"""


def _anchor(name: str) -> str:
    return name.lower().replace(" ", "-")


def _warning(results: Results) -> str:
    said = results.random_weights
    return f'<p><span class="worse">{escape(said)}</span></p>\n' if said else ""


def _summary(results: Results) -> str:
    """A sentence for each (dataset, model): its images, methods and anchor."""
    items = []
    for dataset, task, model in results.groups():
        own = [p for p in results.points if (p.dataset, p.model) == (dataset, model)]
        measured = {p.method for p in own}
        methods = [method for method in results.methods() if method in measured]
        parts = [f"<b>{escape(model)}</b> on <b>{escape(dataset)}</b>"]
        if own[0].n_images is not None:
            limited = " (the first of the data set)" if results.limited(dataset) else ""
            parts.append(f"{own[0].n_images} images{limited}")
        if task.endswith("-agreement"):
            parts.append("no labels: agreement with the uncompressed images, not accuracy")
        if view := results.view(dataset, model):
            parts.append(f"view {escape(view)}")
        parts.append(", ".join(map(escape, methods)) or "no coded methods")
        items.append(f"<li>{' · '.join(parts)}</li>")
    return f'<ul class="summary">{"".join(items)}</ul>'


def _bd(results: Results) -> str:
    tables = bd_tables(results)
    if not tables:
        return "<p>No BD-rates: no method stands beside an anchor.</p>"
    legend = (
        '<p class="note"><span class="better">Green</span>: the whole interval saves bits. '
        '<span class="worse">Red</span>: the whole interval costs bits.</p>'
    )
    others = "".join(
        f"<details><summary>With {escape(_interpolation(table))} interpolation</summary>"
        f"{_table(table)}</details>"
        for table in tables[1:]
    )
    return _table(tables[0]) + legend + others


def _interpolation(table: Table) -> str:
    return interpolation_label(table.key.removeprefix("bd-"))


def _figures(results: Results, figures: list[FigureFiles]) -> str:
    if not figures:
        return "<p>No operating points to draw.</p>"
    return f'<div class="figures">{"".join(_figure(results, f) for f in figures)}</div>'


def _figure(results: Results, figure: FigureFiles) -> str:
    curves = figure.curves
    metric = metric_label(curves.metric)
    view = results.view(curves.dataset, curves.model)
    caption = f"{curves.model} on {curves.dataset}" + (f", view {view}" if view else "")
    bands = "; bands are 95 % intervals" if _has_bands(figure) else ""
    if any(p.change for points in curves.methods.values() for p in points):
        bands += "; hollow points were left out of BD-rates or averaged into the line"
    # As an image, not inline: the identifiers of several SVGs would clash in one document.
    data = base64.b64encode(figure.file("svg").read_bytes()).decode("ascii")
    description = f"{metric} against rate, {caption}: {', '.join(curves.methods)}"
    return (
        f'<figure><img alt="{escape(description)}" src="data:image/svg+xml;base64,{data}">'
        f"<figcaption><b>{escape(metric)}</b>, {escape(caption)}{bands}.</figcaption></figure>"
    )


def _has_bands(figure: FigureFiles) -> bool:
    return any(p.ci_low is not None for points in figure.curves.methods.values() for p in points)


def _table(table: Table) -> str:
    """The table under its caption. All names of a row but the last head a group of rows."""
    grouping = table.names - 1
    head = "".join(
        f'<th scope="col"{_class(i, table)}>{escape(text)}</th>'
        for i, text in enumerate(table.header)
        if i >= grouping
    )
    width = len(table.header) - grouping
    rows, group = [], ""
    for row in table.rows:
        if table.group(row) != group:
            group = table.group(row)
            rows.append(
                f'<tr><th class="group" scope="rowgroup" colspan="{width}">'
                f"<span>{escape(group)}</span></th></tr>"
            )
        cells = (
            _cell(row[i], _class(i, table), i < table.names) for i in range(grouping, len(row))
        )
        rows.append(f"<tr>{''.join(cells)}</tr>")
    notes = "".join(
        f"<li><sup>{escape(mark)}</sup> {escape(note)}</li>" for mark, note in table.notes
    )
    return (
        f'<p class="caption">{escape(table.caption)}</p>'
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
        + (f'<ul class="footnotes">{notes}</ul>' if notes else "")
    )


def _class(column: int, table: Table) -> str:
    return "" if column < table.names else ' class="n"'


def _cell(cell: Cell, attributes: str, name: bool) -> str:
    mark = f"<sup>{escape(cell.marks)}</sup>" if cell.marks else ""
    text = escape(cell.text) + mark
    if name:
        return f'<th scope="row"{attributes}>{text}</th>'
    verdict = f'<span class="{cell.verdict}">{text}</span>' if cell.verdict else text
    return f"<td{attributes}>{verdict}</td>"


def _failures(results: Results) -> str:
    listed = results.manifest.get("failures")
    failures = [f for f in listed if isinstance(f, dict)] if isinstance(listed, list) else []
    left_out = {(p.dataset, p.model): p.n_failed for p in results.points if p.n_failed}
    counts = "".join(
        f"<p>{escape(model)} on {escape(dataset)}: {count} images failed at an operating point "
        "and were left out of every point, ground truth included.</p>"
        for (dataset, model), count in left_out.items()
    )
    if not failures:
        return counts or "<p>No image failed.</p>"
    columns = ("dataset", "model", "method", "qp", "image", "stage", "error")
    header = ("Data set", "Model", "Method", "QP", "Image", "Stage", "Error")
    head = "".join(f'<th scope="col">{name}</th>' for name in header)
    # A picture that could not be coded fails for every model.
    shown = [{**f, "model": f.get("model") or "all"} for f in failures[:SHOWN_FAILURES]]
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(_text(f.get(column)))}</td>" for column in columns) + "</tr>"
        for f in shown
    )
    more = len(failures) - SHOWN_FAILURES
    return (
        f'{counts}<div class="scroll"><table class="failures"><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
        + (f"<p>… and {more} more, in manifest.json.</p>" if more > 0 else "")
    )


def _provenance(results: Results) -> str:
    blocks = []
    for key, title in (
        ("analysis", "Analysis"),
        ("versions", "Versions"),
        ("git", "Revision"),
        ("device", "Device"),
        ("computed", "Computed"),
        ("cached", "From the cache"),
        ("timings", "Time (seconds)"),
    ):
        value = results.manifest.get(key)
        if value not in (None, {}, [], ""):
            blocks.append(f"<div><h3>{title}</h3>{_facts(value)}</div>")
    for experiment in results.experiments:
        told = {k: v for k, v in experiment.items() if k not in TOLD_ABOVE and v not in (None, [])}
        models = [m for m in experiment.get("models") or [] if isinstance(m, dict)]
        told |= {f"model {m.get('name')}": m["fingerprint"] for m in models if "fingerprint" in m}
        title = f"Data set {_text(experiment.get('dataset'))}"
        blocks.append(f"<div><h3>{escape(title)}</h3>{_facts(told)}</div>")
    made = f'<div class="facts">{"".join(blocks)}</div>' if blocks else ""
    config = results.manifest.get("config")
    if config:
        text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
        made += f"<details><summary>Configuration</summary><pre>{escape(text)}</pre></details>"
    return made or "<p>The manifest says nothing about it.</p>"


def _facts(value: Any) -> str:
    if not isinstance(value, dict):
        return f"<p>{escape(_text(value))}</p>"
    rows = "".join(
        f"<dt>{escape(str(key))}</dt><dd>{escape(_text(item))}</dd>" for key, item in value.items()
    )
    return f"<dl>{rows}</dl>"


def _text(value: Any) -> str:
    if value is None or value == "":
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return str(value)
