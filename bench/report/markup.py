"""A table as Markdown."""

import re

from bench.report.table import Table
from bench.report.text import one_line


def markdown(table: Table) -> str:
    """A pipe table under its caption, footnotes below."""
    lines = [
        md(table.caption),
        "",
        "| " + " | ".join(map(md, table.header)) + " |",
        "|" + " --- |" * table.names + " ---: |" * (len(table.header) - table.names),
    ]
    for row in table.rows:
        cells = [md(c.text) + (f"<sup>{c.marks}</sup>" if c.marks else "") for c in row]
        lines.append("| " + " | ".join(cells) + " |")
    for mark, note in table.notes:
        lines += ["", f"<sup>{mark}</sup> {md(note)}"]
    return "\n".join(lines) + "\n"


def md(text: str) -> str:
    """Text in a cell or a paragraph of Markdown."""
    text = one_line(text).replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;")
    # Intervals and names stay legible in the source: brackets alone and inner _ do nothing.
    return re.sub(r"[|*`]|(?<=\])\(|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", text)
