"""A table as Markdown and as LaTeX."""

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


def latex(table: Table) -> str:
    """A table over both columns of a paper; needs `\\usepackage{booktabs}`."""
    first = table.names - 1
    width = len(table.header) - first
    lines = [
        r"\begin{table*}",
        r"\centering",
        r"\footnotesize",
        rf"\caption{{{_tex(table.caption)}}}",
        rf"\label{{tab:{re.sub('[^A-Za-z0-9-]+', '-', table.key)}}}",
        rf"\begin{{tabular}}{{@{{}}l{'r' * (width - 1)}@{{}}}}",
        r"\toprule",
        " & ".join(map(_tex, table.header[first:])) + r" \\",
        r"\midrule",
    ]
    group = name = ""
    # More than four intervals side by side are wider than the page: then below their values.
    stacked = any(sum(" [" in cell.text for cell in row) > 4 for row in table.rows)
    for i, row in enumerate(table.rows):
        # With one name there are no groups, but rows that share it.
        starts = table.group(row) != group if first else row[0].text != name
        if i and starts:
            lines.append(r"\addlinespace")
        if table.group(row) != group:
            group = table.group(row)
            lines.append(rf"\multicolumn{{{width}}}{{@{{}}l}}{{\emph{{{_tex(group)}}}}} \\")
        cells = ["" if first == 0 and row[0].text == name else _tex(row[first].text)]
        name = row[first].text
        for cell in row[table.names :]:
            # Beside the column, so that the numbers still line up.
            mark = rf"\rlap{{\textsuperscript{{{cell.marks}}}}}" if cell.marks else ""
            value, bracket, interval = cell.text.partition(" [")
            if bracket and stacked:
                lower = rf"\scriptsize [{_tex(interval)}"
                cells.append(
                    rf"\begin{{tabular}}[t]{{@{{}}r@{{}}}}{_tex(value)}{mark}\\{lower}\end{{tabular}}"
                )
            else:
                cells.append(_tex(cell.text) + mark)
        lines.append(" & ".join(cells) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    for i, (mark, note) in enumerate(table.notes):
        start = r"\par\smallskip" if i == 0 else r"\par"
        lines.append(rf"{start}\textsuperscript{{{mark}}}\,{_tex(note)}")
    return "\n".join([*lines, r"\end{table*}", ""])


def md(text: str) -> str:
    """Text in a cell or a paragraph of Markdown."""
    text = one_line(text).replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;")
    # Intervals and names stay legible in the source: brackets alone and inner _ do nothing.
    return re.sub(r"[|*`]|(?<=\])\(|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", text)


_TEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "−": "$-$",
    "×": r"$\times$",
    "–": "--",
    "…": r"\ldots{}",
    "·": r"$\cdot$",
}


def _tex(text: str) -> str:
    text = one_line(text).replace(" %", "\N{NO-BREAK SPACE}%")
    escaped = "".join(_TEX.get(character, character) for character in text)
    # After the \\ of the row above, a bracket or a star would be taken for its argument.
    start = "{}" if escaped.startswith(("[", "*")) else ""
    return start + escaped.replace("\N{NO-BREAK SPACE}", r"\,")
