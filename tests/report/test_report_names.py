"""Names that mean something to a page, a table, a terminal or a spreadsheet are text everywhere."""

import csv
import io
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import results_folder

import bench.report
from bench.analysis.compare import Comparison, Row
from bench.analysis.fingerprints import Difference
from bench.report import figures
from bench.report.verdicts import FORMATS, render

Write = Callable[..., Path]

NAMES = [
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "=cmd|'/c calc'!A1", "@SUM(1)",
    "-2+3", "\\input{/etc/passwd}", "$x^2_{a}$ & # % ~ \\", "a|b`c*d_e", "a\\|b", "\\", "|", "||",
    "[x](javascript:alert(1))", "![x](http://x)", "[bold red]x[/bold red]", "*", "[2pt]", "]]>",
    "new\nline", "\r\nx", "a\tb", "\u2028x\u2029y", "\x1b[31mred", "\u202eRTL", "naïve 漢字 😀",
    "{{7*7}}", "\ufffe\uffff",
]  # fmt: skip


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.scripts: list[str] = []
        self.feed(text)

    @property
    def found(self) -> set[str]:
        return set(self.tags)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.scripts += [name for name, _ in attrs if name.startswith("on")]


def renamed(rows: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """The data set and the method jpeg get the name, and the reasons say it."""
    return [
        row
        | {"dataset": name, "method": row["method"].replace("jpeg", name)}
        | ({"reason": f"{name} dominated: QP 31"} if "reason" in row else {})
        for row in rows
        if row["metric"] == "mAP"
    ]


@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_report(make_run: Write, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(figures, "FORMATS", ("svg",))
    folder = make_run(
        measured=renamed(results_folder.points(), name),
        compared=renamed(results_folder.bd_rates(), name),
        equally=renamed(results_folder.equal(), name),
    )
    bench.report.write(folder)
    check_page_and_figures(folder)
    check_tables(folder)


def check_page_and_figures(folder: Path) -> None:
    page = Tags((folder / "report.html").read_text(encoding="utf-8"))
    assert not page.found & {"iframe", "object", "link"}
    assert page.tags.count("script") == 2  # the page's own, and its data
    assert page.scripts == []
    for path in (folder / "figures").glob("*.svg"):
        tags = [e.tag.rpartition("}")[2] for e in ET.parse(path).iter()]
        assert "script" not in tags
        assert "image" not in tags


def check_tables(folder: Path) -> None:
    for path in (folder / "tables").glob("*.md"):
        tables = re.split(r"\n(?=\n)", path.read_text(encoding="utf-8"))
        rows = [[r for r in table.splitlines() if r.startswith("|")] for table in tables]
        for table in filter(None, rows):
            assert len({columns(row) for row in table}) == 1
        assert not Tags(path.read_text(encoding="utf-8")).found - {"sup"}
        assert not re.search(r"(?<!\\)\]\(", path.read_text(encoding="utf-8"))
    for path in folder.glob("*/*.tex"):
        text = re.sub("(?m)^% Needs xelatex .*\n", "", path.read_text(encoding="utf-8"))
        assert not re.search(r"\\input|(?<!\\)[#%]|\\\\\n[\[*]|\\addlinespace\n[\[*]", text)
        assert text.count(r"\begin{") == text.count(r"\end{")
        plain = re.sub(r"\\[{}]", "", text)
        assert plain.count("{") == plain.count("}")
    for path in (folder / "tables").glob("*.csv"):
        text = path.read_text(encoding="utf-8")
        table = list(csv.reader(io.StringIO(text)))
        assert len({len(row) for row in table}) == 1
        for cell in (cell for row in table for cell in row):
            assert cell[:1] not in ("=", "@", "+", "\t", "\r")
            assert cell[:1] != "-" or re.fullmatch(r"-[\d.e+-]+", cell)
            assert cell.isprintable() or "\u202e" in cell


def columns(row: str) -> int:
    """Of a Markdown row: a backslash takes the meaning of what follows it."""
    return re.sub(r"\\.", "", row).count("|")


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
@pytest.mark.parametrize("style", FORMATS)
def test_verdicts(name: str, style: str) -> None:
    rows = [
        Row(
            name, "cls", name, name, "top1", "worse", 1, anchor=name,
            subject=(Difference(f"codec's {name}", name, None),),
            reasons=(f"newly fails on {name}",),
        )
    ]  # fmt: skip
    text = render(Comparison(f"b{name}`", f"r{name}`", 1.0, tuple(rows), (name,)), style)
    if style == "json":
        assert json.loads(text)["rows"][0]["method"] == name
    elif style == "junit":
        (case,) = ET.fromstring(text)
        assert len(case) == 1
    elif style == "markdown":
        table = [line for line in text.splitlines() if line.startswith("|")]
        assert [columns(row) for row in table] == [8, 8, 8]
        assert not Tags(re.sub("`[^`]*`", "", text)).found
    if style != "json":
        assert all(line.isprintable() or "\u202e" in line for line in text.splitlines())


def test_text_that_utf8_cannot_write_is_spelt_out(make_run: Write) -> None:
    """It cannot be in a manifest that is read, but in a path it can."""
    folder = make_run("caf\udce9")
    about = {k: v for k, v in results_folder.manifest().items() if k != "name"}
    (folder / "manifest.json").write_text(json.dumps(about))
    bench.report.write(folder)
    assert "<h1>caf\\udce9</h1>" in (folder / "report.html").read_text(encoding="utf-8")
