"""What stands folded below: operating points, failures, how it was made, and the files."""

import os
from html import escape
from typing import Any
from urllib.parse import quote

import yaml

from bench.report.page.elements import folded, name, scrolled, table
from bench.report.results import Results
from bench.report.table import Table
from bench.report.tables import bd_tables, equal_accuracy_tables, points_tables
from bench.report.text import NOTHING, interpolation_label
from bench.results.names import point_name

SHOWN_FAILURES = 200
PROVENANCE = {
    "analysis": "Analysis",
    "versions": "Versions",
    "git": "Revision",
    "device": "Device",
    "lpips": "LPIPS",
    "computed": "Computed",
    "cached": "From the cache",
    "timings": "Time (seconds)",
}
TOLD_ABOVE = {"task", "dataset", "images", "models", "methods", "categories"}
FILES = {
    "Tables": ("*.csv", "tables/*.csv"),
    "For a paper": ("tables/*.tex", "tables/*.md", "figures/*.pdf", "*.bib", "tables/*.bib"),
    "Measurements": ("manifest.json", "*.parquet"),
}


def bd_rates(results: Results) -> str:
    """Every BD-rate: all metrics, all interpolations, every reason."""
    return "".join(
        folded(f"All metrics, {escape(_interpolation(content))} interpolation", table(content))
        for content in bd_tables(results)
    )


def _interpolation(content: Table) -> str:
    return interpolation_label(content.key.removeprefix("bd-"))


def equal_accuracy(results: Results) -> str:
    tables = equal_accuracy_tables(results)
    if not tables:
        return "<p>No rates at equal accuracy.</p>"
    return folded("Rates at equal accuracy", "".join(map(table, tables)))


def points(results: Results) -> str:
    tables = points_tables(results)
    if not tables:
        return "<p>No operating points.</p>"
    return folded("Every operating point", "".join(map(table, tables)))


def failures(results: Results) -> str:
    failed = results.manifest.failures
    left_out = {(p.dataset, p.model): p.n_failed for p in results.points if p.n_failed}
    counts = "".join(
        f"<p>{name(model)} on {name(dataset)}: {count} images failed at an operating point "
        "and were left out of every point, ground truth included.</p>"
        for (dataset, model), count in left_out.items()
    )
    if not failed:
        return counts or "<p>No image failed.</p>"
    columns = ("dataset", "model", "method", "qp", "image", "stage", "error")
    header = ("Data set", "Model", "Method", "QP", "Image", "Stage", "Error")
    head = "".join(f'<th scope="col">{title}</th>' for title in header)
    # A picture that could not be coded fails for every model.
    shown = [
        f.model_dump() | {"model": f.model or "all", "qp": _setting(f.qp)}
        for f in failed[:SHOWN_FAILURES]
    ]
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(_text(f[column]))}</td>" for column in columns) + "</tr>"
        for f in shown
    )
    inner = f'<table class="failures"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    more = len(failed) - SHOWN_FAILURES
    rest = f"<p>… and {more} more, in manifest.json.</p>" if more > 0 else ""
    listed = f"{len(failed)} failure{'s' if len(failed) > 1 else ''}"
    return counts + folded(listed, scrolled(inner, "Failures") + rest)


def _setting(qp: int | None) -> str:
    """A QP alone, a target rate with its unit."""
    return "" if qp is None else point_name(qp).removeprefix("QP ")


# --- how it was made ------------------------------------------------------------------------------


def provenance(results: Results) -> str:
    """What the manifest says, and no defaults of what it does not."""
    said = results.manifest.model_dump(mode="json", exclude_unset=True)
    facts = "".join(
        f"<div><h3>{escape(title)}</h3>{_facts(said[key])}</div>"
        for key, title in PROVENANCE.items()
        if said.get(key) not in (None, {}, [], "")
    )
    facts += "".join(
        f'<div class="wide"><h3>{title}</h3>{_facts(value)}</div>'
        for title, value in _experiments(said["experiments"])
    )
    made = f'<div class="facts">{facts}</div>' if facts else ""
    if results.manifest.config:
        text = yaml.safe_dump(results.manifest.config, sort_keys=False, allow_unicode=True)
        made += folded(
            "Configuration",
            f'<pre tabindex="0" role="region" aria-label="Configuration">{escape(text)}</pre>',
        )
    if not made:
        return "<p>The manifest says nothing about it.</p>"
    return folded("Versions, settings and fingerprints", made)


def _experiments(experiments: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """A block per experiment; what is the same in all of several stands in front, once."""
    told = []
    for experiment in experiments:
        own = {k: v for k, v in experiment.items() if k not in TOLD_ABOVE and v not in (None, [])}
        for key in ("codecs", "preprocessors", "postprocessors"):
            if isinstance(own.get(key), dict):
                own |= _by_setting(key, own.pop(key))
        models = [m for m in experiment["models"] if "fingerprint" in m]
        own |= {f"model {m['name']}": m["fingerprint"] for m in models}
        told.append((f"Data set {name(experiment['dataset'])}", own))
    if len(told) < 2:
        return told
    first, *others = (own for _, own in told)
    same = {k: v for k, v in first.items() if all(k in o and o[k] == v for o in others)}
    rest = [(title, {k: v for k, v in own.items() if k not in same}) for title, own in told]
    return [("Every data set", same), *rest] if same else rest


def _by_setting(kind: str, fingerprints: dict[str, Any]) -> dict[str, Any]:
    """Methods with the same settings under one title, which are stated once."""
    titles: list[tuple[list[str], Any]] = []
    for method, settings in fingerprints.items():
        group = next((methods for methods, known in titles if known == settings), None)
        if group is None:
            titles.append(([method], settings))
        else:
            group.append(method)
    return {f"{kind} of {', '.join(methods)}": settings for methods, settings in titles}


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


def files(results: Results) -> str:
    """Links to what lies beside the page."""
    blocks = []
    for title, patterns in FILES.items():
        found = [path for pattern in patterns for path in sorted(results.folder.glob(pattern))]
        links = "".join(
            f'<li><a href="{quote(os.fsencode(path))}">{escape(path)}</a></li>'
            for path in (f.relative_to(results.folder).as_posix() for f in found)
        )
        if links:
            blocks.append(f"<div><h3>{title}</h3><ul>{links}</ul></div>")
    return f'<div class="facts files">{"".join(blocks)}</div>'
