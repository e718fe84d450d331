"""BD-rate and point tables in Markdown, LaTeX and CSV."""

import csv
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import results_folder

from bench.report.markup import latex, markdown
from bench.report.results import read
from bench.report.table import Cell, Table
from bench.report.tables import bd_tables, equal_accuracy_tables, points_tables, write_tables
from bench.report.text import letters, number, percent

Write = Callable[..., Path]


def test_files(make_run: Write) -> None:
    paths = write_tables(read(make_run()))
    assert [path.name for path in paths] == [
        "bd.md", "bd.tex", "bd.csv", "equal_accuracy.md", "equal_accuracy.tex",
        "equal_accuracy.csv", "points.md", "points.tex", "points.csv",
    ]  # fmt: skip
    assert all(path.stat().st_size for path in paths)


def test_cells_have_value_and_interval_and_the_manifests_interpolation_leads(
    make_run: Write,
) -> None:
    first, second = bd_tables(read(make_run()))
    assert first.key == "bd-pchip"
    assert "PCHIP interpolation, policy pareto" in first.caption
    assert "Akima" in second.caption
    assert first.header == ["Data set", "Model", "Metric", "jpeg", "webp"]
    assert [cell.text for cell in first.rows[0]] == [
        "coco_dev", "yolox_nano", "mAP", "+61.3 [+50.0, +70.0]", "−61.3 [−70.0, −50.0]",
    ]  # fmt: skip
    assert [cell.verdict for cell in first.rows[0][3:]] == ["worse", "better"]


def test_undefined_is_said_so_with_its_reason_and_never_a_number(make_run: Write) -> None:
    results = read(make_run())
    table = bd_tables(results)[0]
    assert table.rows[1][4] == Cell("undefined", "a")
    assert table.notes == [
        (
            "a",
            "12 % of the range_is shared. Mean difference at equal rate: −0.012 AP50 "
            "(positive is better)",
        )
    ]
    for path in write_tables(results)[:3]:
        text = path.read_text()
        assert "undefined" in text
        assert "9876" not in text
        assert "range" in text


def test_undefined_without_a_reason_still_has_a_footnote(make_run: Write) -> None:
    compared = [
        {**row, "status": "undefined", "reason": "", "bd_metric": "nan"}
        for row in results_folder.bd_rates()
    ]
    table = bd_tables(read(make_run(compared=compared)))[0]
    assert {cell for row in table.rows for cell in row[3:]} == {Cell("undefined", "a")}
    assert table.notes == [("a", "no reason was recorded")]


def test_different_anchors_get_a_column(make_run: Write) -> None:
    other = [{**row, "dataset": "b", "anchor": "webp"} for row in results_folder.bd_rates()]
    table = bd_tables(read(make_run(compared=results_folder.bd_rates() + other)))[0]
    assert table.header[:4] == ["Data set", "Model", "Anchor", "Metric"]
    assert "against the anchor" in table.caption
    assert [cell.text for cell in table.rows[2][:4]] == ["b", "yolox_nano", "webp", "mAP"]
    assert table.group(table.rows[2]) == "b · yolox_nano · anchor webp"


def test_one_model_compared_with_two_anchors_keeps_them_apart(make_run: Write) -> None:
    other = [{**row, "anchor": "avif", "bd_rate": 5.0} for row in results_folder.bd_rates()]
    table = bd_tables(read(make_run(compared=results_folder.bd_rates() + other)))[0]
    values = [(row[2].text, row[3].text, row[4].text.split()[0]) for row in table.rows]
    assert values[:2] == [("bpg", "mAP", "+61.3"), ("bpg", "AP50", "+61.3")]
    assert values[2:] == [("avif", "mAP", "+5.0"), ("avif", "AP50", "+5.0")]


def test_points_have_every_operating_point_and_the_headline_with_its_interval(
    make_run: Write,
) -> None:
    (table,) = points_tables(read(make_run()))
    assert "153 images, 2 left out" in table.caption
    assert "view native" in table.caption
    assert table.header == ["Method", "QP", "bpp", "total bpp", "mAP", "AP50"]
    rows = [[cell.text for cell in row] for row in table.rows]
    assert rows[0] == ["uncompressed", "–", "–", "–", "0.301 [0.270, 0.330]", "0.467"]
    assert rows[1] == ["bpg", "31", "0.9070", "0.8798", "0.295 [0.265, 0.325]", "0.457"]
    assert [row[0] for row in rows[1:]] == ["bpg"] * 5 + ["jpeg"] * 5 + ["webp"] * 5


def test_no_methods_no_bd_table(make_run: Write) -> None:
    results = read(make_run(compared=[], measured=results_folder.points()[:1]))
    assert bd_tables(results) == []
    assert len(write_tables(results)) == 9


def test_bits_at_equal_accuracy(make_run: Write) -> None:
    rate, saving = equal_accuracy_tables(read(make_run()))
    assert rate.header == ["Data set", "Model", "Accuracy", "bpg", "jpeg", "webp"]
    assert [cell.text for cell in rate.rows[0][2:]] == [
        "mAP within 1 %", "0.400 [0.300, 0.500]", "0.640 [0.540, 0.740]", "–",
    ]  # fmt: skip
    assert rate.rows[0][5].marks == "a"
    assert rate.notes == [("a", "webp does not reach it: 0.295 at 1.088 bpp")]
    assert len(rate.rows) == 2  # the headline metric alone
    assert saving.header[3:] == ["jpeg", "webp"]
    assert saving.rows[1][3:] == [
        Cell("+60.0 [+51.0, +69.0]", "", "worse"), Cell("+20.0 [+11.0, +29.0]", "", "worse"),
    ]  # fmt: skip
    assert equal_accuracy_tables(read(make_run("none", equally=[]))) == []


def test_points_that_bd_rates_do_not_see_are_marked(make_run: Write) -> None:
    measured = results_folder.points()
    row = next(
        r for r in measured if (r["method"], r.get("qp"), r["metric"]) == ("jpeg", 37, "AP50")
    )
    row |= {"change": "dominated", "curve_bpp": "", "curve_value": ""}
    (table,) = points_tables(read(make_run(measured=measured)))
    marked = [(r[0].text, r[1].text) for r in table.rows if any(cell.marks for cell in r)]
    assert marked == [("jpeg", "37")]
    assert table.notes == [("a", "a cheaper point is better: left out of BD-rates")]


ODD = Table(
    "points-a_b", "50 % of {a_b} & #1, $x^2$~\\", ["A", "B"],
    [[Cell("a_b|c"), Cell("−1.5 [−2.0, 1.0]", "a")], [Cell("a_b|c"), Cell("*<i>*")]],
    1, [("a", "100 % off")],
)  # fmt: skip


def test_latex_is_escaped_and_balanced() -> None:
    text = latex(ODD)
    caption = r"50\,\% of \{a\_b\} \& \#1, \$x\textasciicircum{}2\$\textasciitilde{}"
    assert rf"\caption{{{caption}\textbackslash{{}}}}" in text
    assert r"a\_b\textbar{}c & $-$1.5 [$-$2.0, 1.0]\rlap{\textsuperscript{a}} \\" in text
    assert r"*\textless{}i\textgreater{}*" in text
    assert r"\label{tab:points-a-b}" in text
    assert r"\toprule" in text
    assert text.count(r"\begin{") == text.count(r"\end{")
    assert not re.search(r"(?<!\\)[%_#]", text)
    plain = re.sub(r"\\[{}]", "", text)
    assert plain.count("{") == plain.count("}")


def test_latex_names_are_written_once_per_group(make_run: Write) -> None:
    results = read(make_run())
    text = latex(bd_tables(results)[0])
    assert text.count(r"\multicolumn{3}{@{}l}{\emph{coco\_dev $\cdot$ yolox\_nano}} \\") == 1
    assert "\nAP50 & +61.3 [" in text
    assert text.count(r"\addlinespace") == 0
    text = latex(points_tables(results)[0])
    assert text.count("jpeg") == 1
    assert text.count(r"\addlinespace") == 3
    assert "\n & 37 & 0.4520 &" in text


def test_latex_puts_many_intervals_below_their_values() -> None:
    row = [Cell("m"), *[Cell("+1.0 [+0.5, +1.5]")] * 5]
    text = latex(Table("k", "c", list("abcdef"), [row], 1))
    assert text.count(r"+1.0\\\scriptsize [+0.5, +1.5]\end{tabular}") == 5


def test_markdown_keeps_its_columns() -> None:
    lines = markdown(ODD).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {3}
    assert rows[1] == "| --- | ---: |"
    assert r"a_b\|c" in rows[2]
    assert "−1.5 [−2.0, 1.0]<sup>a</sup>" in rows[2]
    assert r"\*&lt;i>\*" in rows[3]
    assert "<sup>a</sup> 100 % off" in lines


def test_csv_is_plain_numbers(make_run: Write) -> None:
    paths = {path.name: path for path in write_tables(read(make_run()))}
    with paths["bd.csv"].open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["interpolation"] for row in rows] == ["pchip"] * 2 + ["akima"] * 2
    assert float(rows[0]["webp"]) == -61.31
    assert float(rows[0]["webp ci_low"]) == -70
    assert (rows[1]["webp"], rows[1]["webp ci_low"]) == ("undefined", "")
    with paths["points.csv"].open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 16
    assert (rows[0]["method"], rows[0]["qp"], rows[0]["bpp"]) == ("uncompressed", "", "")
    assert float(rows[1]["AP50 ci_high"]) == pytest.approx(0.295 * 1.55 + 0.03)


def test_numbers() -> None:
    assert percent(-12.34) == "−12.3"
    assert percent(85) == "+85.0"
    assert percent(-0.04) == percent(0.04) == "0.0"
    assert number(None, 3) == "–"
    assert number(-0.0001, 3) == "0.000"
    assert [letters(i) for i in (0, 25, 26, 27, 52)] == ["a", "z", "aa", "ab", "ba"]
