"""The gate's verdicts as text, as Markdown for a pull request, as JSON and as JUnit."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from typing import Any
from xml.etree import ElementTree

import numpy as np

from bench.analysis.compare import FINE, NOT_COMPARABLE, WORSE, Comparison, Row
from bench.report.markup import md
from bench.report.text import NOTHING, one_line, printable

EXIT_CODES = {FINE: "fine", WORSE: "worse", NOT_COMPARABLE: "not comparable"}


def render(comparison: Comparison, style: str) -> str:
    """`style` is one of `FORMATS`; ends with a newline."""
    return FORMATS[style](comparison)


def _text(c: Comparison) -> str:
    lines = [f"{c.run} against {c.baseline}, threshold {c.threshold:g} % of rate", ""]
    width = max((len(row.verdict) for row in c.rows), default=0)
    for row in c.rows:
        verdict = row.verdict.upper() if row.exit_code else row.verdict
        lines.append(f"{verdict:<{width}}  {_name(row)}{_numbers(row)}")
        lines += [f"{'':<{width}}  {'':2}{remark}" for remark in _remarks(row)]
    lines += ["", *(f"note: {note}" for note in c.notes), _summary(c)]
    return "\n".join(map(printable, lines)) + "\n"


def _markdown(c: Comparison) -> str:
    lines = [
        f"**{md(_summary(c))}**",
        "",
        f"{_code(c.run)} against {_code(c.baseline)}, threshold {c.threshold:g} % of rate.",
        "",
        "| verdict | data set | model | method | rate at equal accuracy | against the anchor "
        "| why |",
        "| --- | --- | --- | --- | ---: | ---: | --- |",
    ]
    for row in c.rows:
        verdict = f"**{row.verdict}**" if row.exit_code else row.verdict
        cells = [verdict, row.dataset, row.model, row.method, _own(row), _against(row)]
        named = [cells[0], *map(md, cells[1:]), md("; ".join(_remarks(row)))]
        lines.append("| " + " | ".join(named) + " |")
    lines += [f"\n{md(note)}" for note in c.notes]
    return "\n".join(lines) + "\n"


def _json(c: Comparison) -> str:
    content = asdict(c) | {"exit_code": c.exit_code, "outcome": EXIT_CODES[c.exit_code]}
    return json.dumps(_without_nan(content), indent=1, ensure_ascii=False) + "\n"


def _junit(c: Comparison) -> str:
    """A test case per method: worse is a failure, not comparable an error."""
    counts = Counter(row.exit_code for row in c.rows)
    suite = ElementTree.Element(
        "testsuite",
        name=f"rabench compare {c.baseline}",
        tests=str(len(c.rows)),
        failures=str(counts[WORSE]),
        errors=str(counts[NOT_COMPARABLE]),
        skipped="0",
    )
    for row in c.rows:
        where = f"{row.dataset}.{row.model}".replace("/", "_")
        case = ElementTree.SubElement(suite, "testcase", classname=where, name=row.method)
        said = "\n".join([f"{row.verdict}: {_name(row)}{_numbers(row)}", *_remarks(row), *c.notes])
        if row.exit_code:
            kind = "failure" if row.exit_code == WORSE else "error"
            ElementTree.SubElement(case, kind, message=said.partition("\n")[0]).text = said
        else:
            ElementTree.SubElement(case, "system-out").text = said
    ElementTree.indent(suite)
    lines = ElementTree.tostring(suite, "unicode", xml_declaration=True).split("\n")
    return "\n".join(map(printable, lines)) + "\n"


FORMATS: dict[str, Callable[[Comparison], str]] = {
    "text": _text,
    "markdown": _markdown,
    "json": _json,
    "junit": _junit,
}


# --- parts of a row -------------------------------------------------------------------------------


def _name(row: Row) -> str:
    return f"{row.dataset}, {row.model}, {row.method}" + (f" ({row.metric})" if row.metric else "")


def _numbers(row: Row) -> str:
    if row.own is None:
        return ""
    against = f"; against {row.anchor} {_against(row)}" if row.anchor else ""
    return f": rate at equal accuracy {_own(row)}{against}"


def _own(row: Row) -> str:
    if row.own is None or not row.own.defined:
        return NOTHING
    if np.isnan(row.own.low):
        return f"{row.own.percent:+.2f} %"
    return f"{row.own.percent:+.2f} % ({row.own.low:+.2f} … {row.own.high:+.2f})"


def _against(row: Row) -> str:
    if not row.anchor:
        return NOTHING
    return " → ".join(
        "undefined" if np.isnan(value) else f"{value:+.1f} %" for value in (row.before, row.after)
    )


def _remarks(row: Row) -> list[str]:
    changed = [f"changed: {difference}" for difference in row.subject]
    return [*row.reasons, *changed]


def _summary(c: Comparison) -> str:
    counts = Counter(row.verdict for row in c.rows)
    listed = ", ".join(f"{n} {verdict}" for verdict, n in sorted(counts.items()))
    return f"{EXIT_CODES[c.exit_code]}: {listed}"


def _code(text: str) -> str:
    return "`" + one_line(text).replace("`", "'") + "`"


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nan(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(v) for v in value]
    return None if isinstance(value, float) and np.isnan(value) else value
