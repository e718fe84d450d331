"""Tables as LaTeX for a two-column paper, which needs `\\usepackage{booktabs}` and nothing else."""

import hashlib
import math
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate, groupby, pairwise

from bench.report.names import columns, elided
from bench.report.table import Cell, Table
from bench.report.text import one_line

COLUMN, PAGE = 252.0, 516.0
"""Points of an IEEE paper's column, and of both with the gap between them."""
_SIZE, _SMALL, _GAP = 8.0, 7.0, 8.0
"""Points: \\footnotesize, \\scriptsize, and between the columns of a table."""
_LINES = 50
"""Of a table on one page, its notes included."""
_NAME, _HEAD = 40, 22
"""Most columns of a terminal that a row's and a column's name take."""
_WORD = 24
"""Characters of a word that fits on any line."""
MOST_METHODS = 6
"""Side by side; more of them go below each other."""


def latex(table: Table) -> str:
    """One float, or several where the rows or columns are more than a page takes."""
    grid = _turned(table) if _many_methods(table) else _upright(table)
    parts = list(_parts(grid))
    floats = []
    for i, (part, layout) in enumerate(parts):
        label = re.sub("[^A-Za-z0-9-]+", "-", table.key)
        if not table.key.isascii():
            label += hashlib.sha256(table.key.encode("utf-8", "replace")).hexdigest()[:6]
        caption = table.caption
        if i:
            caption = f"{caption.partition('. ')[0].rstrip('.')} (continued)."
            label = f"{label}-{i}"
        if any(cell.text == "undefined" for row in part.rows for cell in row):
            caption += " A dash: undefined."
        if any(cell.best for row in part.rows for cell in row):
            caption += " Bold: the fewest bits."
        floats.append(_float(part, layout, caption, label))
    return "\n".join(floats)


@dataclass(frozen=True)
class _Grid:
    """Lines of the header, rows below them and what heads each row, and all footnotes."""

    heads: list[list[str]]
    rows: list[list[Cell]]
    groups: list[str]
    notes: list[tuple[str, str]]

    def select(self, chosen: list[int]) -> "_Grid":
        """The first column and these."""
        return replace(
            self,
            heads=[[head[0], *(head[i] for i in chosen)] for head in self.heads],
            rows=[[row[0], *(row[i] for i in chosen)] for row in self.rows],
        )


@dataclass(frozen=True)
class _Layout:
    wide: bool
    """Whether over both columns of the paper."""
    stacked: bool
    """Whether intervals stand below their values."""


def _many_methods(table: Table) -> bool:
    return table.by_method and len(table.header) - table.names > MOST_METHODS


def _upright(table: Table) -> _Grid:
    first = table.names - 1
    head = [elided(text, _HEAD) for text in table.header[first:]]
    rows = [
        [replace(row[first], text=elided(row[first].text, _NAME)), *row[table.names :]]
        for row in table.rows
    ]
    groups = [
        " · ".join(elided(part, _NAME) for part in table.group(row).split(" · "))
        for row in table.rows
    ]
    return _Grid([head], rows, groups, table.notes)


def _turned(table: Table) -> _Grid:
    """A row per method; what named the rows heads the columns."""
    heads = [
        [name, *(elided(row[i].text, _HEAD) for row in table.rows)]
        for i, name in enumerate(table.header[: table.names])
    ]
    rows = [
        [Cell(elided(method, _NAME)), *(row[table.names + i] for row in table.rows)]
        for i, method in enumerate(table.header[table.names :])
    ]
    return _Grid(heads, rows, [""] * len(rows), table.notes)


# --- what fits ------------------------------------------------------------------------------------


def _parts(grid: _Grid) -> Iterator[tuple[_Grid, _Layout]]:
    for layout in (
        _Layout(False, False),
        _Layout(False, True),
        _Layout(True, False),
        _Layout(True, True),
    ):
        if _width(grid, layout.stacked) <= (PAGE if layout.wide else COLUMN):
            break
    for chosen in _columns_that_fit(grid, layout):
        part = grid.select(chosen)
        for rows in _rows_that_fit(part, layout):
            yield _with_rows(part, rows), layout


def _columns_that_fit(grid: _Grid, layout: _Layout) -> Iterator[list[int]]:
    room = PAGE if layout.wide else COLUMN
    chosen: list[int] = []
    for i in range(1, len(grid.heads[0])):
        if chosen and _width(grid.select([*chosen, i]), layout.stacked) > room:
            yield chosen
            chosen = []
        chosen.append(i)
    yield chosen


def _rows_that_fit(grid: _Grid, layout: _Layout) -> Iterator[list[int]]:
    room = PAGE if layout.wide else COLUMN
    used, chosen = 0, list[int]()
    noted: set[str] = set()
    notes = dict(grid.notes)
    for i, row in enumerate(grid.rows):
        marks = {cell.marks for cell in row if cell.marks} - noted
        lines = 2 if layout.stacked and any(" [" in cell.text for cell in row) else 1
        lines += grid.groups[i] != (grid.groups[i - 1] if i else "")
        lines += sum(math.ceil(_points(notes.get(m, ""), _SMALL) / room) for m in marks)
        if chosen and used + lines > _LINES:
            yield chosen
            chosen, used, noted = [], 0, set()
        chosen.append(i)
        used, noted = used + lines, noted | marks
    if chosen:
        yield chosen


def _with_rows(grid: _Grid, chosen: list[int]) -> _Grid:
    rows = [grid.rows[i] for i in chosen]
    marks = {cell.marks for row in rows for cell in row}
    return replace(
        grid,
        rows=rows,
        groups=[grid.groups[i] for i in chosen],
        notes=[(mark, note) for mark, note in grid.notes if mark in marks],
    )


def _width(grid: _Grid, stacked: bool) -> float:
    """Points that a table takes at least, on the safe side."""
    texts = [[cell.text for cell in row] for row in grid.rows]
    widths = [
        max([_points(grid.heads[-1][i], _SIZE), *(_cell_width(row[i], stacked) for row in texts)])
        for i in range(len(grid.heads[0]))
    ]
    for head in grid.heads[:-1]:
        widths = [max(w, _points(text, _SIZE)) for w, text in zip(widths, head, strict=True)]
    return max(
        sum(widths) + _GAP * (len(widths) - 1),
        *(_points(group, _SIZE) for group in grid.groups),
        0,
    )


def _cell_width(text: str, stacked: bool) -> float:
    value, bracket, interval = text.partition(" [")
    if not (bracket and stacked):
        return _points(text, _SIZE)
    return max(_points(value, _SIZE), _points(f"[{interval}", _SMALL))


def _points(text: str, size: float) -> float:
    """Of a line of Times or Computer Modern."""
    return size * sum(
        0.3 if c in " ,.:;|!il[]()'" else 0.8 if c in "−+mwMW%@" or c.isupper() else 0.52
        for c in text
    ) + size * 0.5 * (columns(text) - len(text))


# --- what is written ------------------------------------------------------------------------------


def _float(grid: _Grid, layout: _Layout, caption: str, label: str) -> str:
    kind = "table*" if layout.wide else "table"
    width = len(grid.heads[0])
    texts = [caption, *grid.groups, *(note for _, note in grid.notes)]
    texts += [text for head in grid.heads for text in head]
    texts += [cell.text for row in grid.rows for cell in row]
    lines = [
        *engine_remark(texts),
        rf"\begin{{{kind}}}",
        r"\centering",
        r"\footnotesize",
        rf"\setlength{{\tabcolsep}}{{{_GAP / 2:g}pt}}",
        rf"\caption{{{paragraph(caption)}}}",
        rf"\label{{tab:{label}}}",
        rf"\begin{{tabular}}{{@{{}}l{'r' * (width - 1)}@{{}}}}",
        r"\toprule",
        *_header(grid.heads),
        r"\midrule",
        *_body(grid, layout, width),
        r"\bottomrule",
        r"\end{tabular}",
        *_notes(grid.notes),
        rf"\end{{{kind}}}",
        "",
    ]
    return "\n".join(lines)


def _header(heads: list[list[str]]) -> Iterator[str]:
    """Neighbours of one name share it, but on the last line."""
    for level, head in enumerate(heads[:-1]):
        above = list(zip(*(line[1:] for line in heads[: level + 1]), strict=True))
        spans = [len(list(same)) for _, same in groupby(above)]
        starts = [1, *accumulate(spans, initial=1)][1:-1]
        cells = [
            rf"\multicolumn{{{span}}}{{{'c' if span > 1 else 'r'}}}{{{tex(head[start])}}}"
            for start, span in zip(starts, spans, strict=True)
        ]
        yield " & ".join([tex(head[0]), *cells]) + r" \\"
        rules = [
            rf"\cmidrule(lr){{{start + 1}-{start + span}}}"
            for start, span in zip(starts, spans, strict=True)
            if span > 1
        ]
        if rules:
            yield "".join(rules)
    yield " & ".join(map(tex, heads[-1])) + r" \\"


def _body(grid: _Grid, layout: _Layout, width: int) -> Iterator[str]:
    group = name = ""
    grouped = any(grid.groups)
    for i, (row, own) in enumerate(zip(grid.rows, grid.groups, strict=True)):
        # Without groups, rows that share a name belong together.
        repeated = not grouped and row[0].text == name
        alone = not grouped and not _shared(grid.rows)
        if i and not alone and (own != group if grouped else not repeated):
            yield r"\addlinespace"
        if own != group:
            group = own
            yield rf"\multicolumn{{{width}}}{{@{{}}l}}{{\emph{{{tex(group)}}}}} \\"
        cells = ["" if repeated else tex(row[0].text)]
        name = row[0].text
        yield " & ".join([*cells, *(_cell(cell, layout.stacked) for cell in row[1:])]) + r" \\"


def _shared(rows: list[list[Cell]]) -> bool:
    return any(a[0].text == b[0].text for a, b in pairwise(rows))


def _cell(cell: Cell, stacked: bool) -> str:
    # Beside the column, so that the numbers still line up.
    mark = rf"\rlap{{\textsuperscript{{{cell.marks}}}}}" if cell.marks else ""
    if cell.text == "undefined":
        return "--" + mark
    value, bracket, interval = cell.text.partition(" [")
    written = tex(value)
    if cell.best:
        written = rf"\textbf{{\boldmath {written}}}"
    if not bracket:
        return written + mark
    if stacked:
        lower = rf"\scriptsize [{tex(interval)}"
        return rf"\begin{{tabular}}[t]{{@{{}}r@{{}}}}{written}{mark}\\{lower}\end{{tabular}}"
    return f"{written} [{tex(interval)}{mark}"


def _notes(notes: list[tuple[str, str]]) -> list[str]:
    if not notes:
        return []
    written = [rf"\textsuperscript{{{mark}}}\,{paragraph(note)}\par" for mark, note in notes]
    return [r"\par\smallskip", r"{\scriptsize\raggedright", *written, "}"]


# --- text -----------------------------------------------------------------------------------------

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
    "`": r"\textasciigrave{}",
    "−": "$-$",
    "×": r"$\times$",
    "–": "--",
    "…": r"\ldots{}",
    "·": r"$\cdot$",
    "†": r"\textdagger{}",
}
_KNOWN = "−×–…·†‘’“”\N{NO-BREAK SPACE}"
"""Of the characters that pdflatex would not know, those that are written another way."""


def tex(text: str) -> str:
    """Text in a cell or a paragraph of LaTeX, without characters that nobody sees."""
    text = _visible(text).replace(" %", "\N{NO-BREAK SPACE}%")
    escaped = "".join(_TEX.get(character, character) for character in text)
    # After the \\ of the row above, a bracket or a star would be taken for its argument.
    start = "{}" if escaped.startswith(("[", "*")) else ""
    return start + escaped.replace("\N{NO-BREAK SPACE}", r"\,")


def _visible(text: str) -> str:
    hidden = ("Cf", "Cn", "Co")
    return "".join(c for c in one_line(text) if unicodedata.category(c) not in hidden)


def paragraph(text: str) -> str:
    """Running text: long words may break after their signs, and lose their middle where they are
    longer than a line."""
    words = tex(" ".join(elided(word, 2 * _WORD) for word in text.split(" "))).split(" ")
    return " ".join(
        word if len(word) <= _WORD else re.sub(r"([/+.:=]|\\_)", r"\1\\allowbreak{}", word)
        for word in words
    )


def engine_remark(texts: list[str]) -> list[str]:
    """A comment where pdflatex has no letters for what is written; else nothing."""
    unknown = {c for text in texts for c in _visible(text) if ord(c) > 255 and c not in _KNOWN}
    if not unknown:
        return []
    shown = " ".join(sorted(unknown)[:20])
    return [f"% Needs xelatex or lualatex, and a font that has {shown}"]
