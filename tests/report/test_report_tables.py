"""BD-rate and point tables in Markdown, LaTeX and CSV."""

import csv
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import results_folder

from bench.errors import ConfigError
from bench.report.figures import write_figures, write_overviews
from bench.report.latex import latex
from bench.report.markup import markdown
from bench.report.names import elided, shown
from bench.report.results import Results, read
from bench.report.table import Cell, Table
from bench.report.tables import (
    bd_tables,
    equal_accuracy_tables,
    means_tables,
    pairs_tables,
    points_tables,
    write_tables,
)
from bench.report.text import letters, number, percent
from bench.results.rows import MeanRow, PairRow

Write = Callable[..., Path]


def test_files(make_run: Write) -> None:
    paths = write_tables(read(make_run()))
    assert [path.name for path in paths] == [
        f"{name}.{suffix}"
        for name in ("bd", "equal_accuracy", "points")
        for suffix in ("md", "tex", "csv")
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


# --- LaTeX for a paper ----------------------------------------------------------------------------


def wide(methods: int, rows: int = 2) -> Table:
    cells = [Cell("+1.0 [+0.5, +1.5]", "a")] * methods
    named = [[Cell("coco"), Cell(f"model-{i}"), Cell("mAP"), *cells] for i in range(rows)]
    header = ["Data set", "Model", "Metric", *(f"method-{i}" for i in range(methods))]
    return Table("k", "A caption. More.", header, named, 3, [("a", "why")], by_method=True)


@pytest.mark.parametrize(
    ("methods", "kind"), [(1, "table"), (2, "table"), (3, "table"), (6, "table*"), (7, "table")]
)
def test_latex_takes_one_column_or_two(methods: int, kind: str) -> None:
    text = latex(wide(methods))
    assert text.count(rf"\begin{{{kind}}}") == text.count(rf"\end{{{kind}}}") == 1
    assert text.count("{tabular}") % 2 == 0


def test_latex_puts_more_than_six_methods_below_each_other() -> None:
    text = latex(wide(7))
    assert r"Data set & \multicolumn{2}{c}{coco} \\" in text
    assert "Model & \\multicolumn{1}{r}{model-0} & \\multicolumn{1}{r}{model-1}" in text
    assert re.findall(r"^method-\d", text, re.M) == [f"method-{i}" for i in range(7)]


def test_latex_goes_on_in_another_float_where_a_page_is_full() -> None:
    parts = latex(wide(2, rows=120)).split(r"\end{table}")
    assert len(parts) > 3
    assert "A caption (continued)." in parts[1]
    labels = re.findall(r"\\label{(.*?)}", "".join(parts))
    assert len(set(labels)) == len(labels) == len(parts) - 1
    assert sum(part.count("mAP &") for part in parts) == 120


def test_latex_marks_the_best_and_undefined(make_run: Write) -> None:
    text = latex(bd_tables(read(make_run()))[0])
    assert r"\textbf{\boldmath $-$61.3} [" in text
    assert text.count("textbf") == 1  # what costs bits is not the best
    assert r"& --\rlap{\textsuperscript{a}} \\" in text
    assert r"{\scriptsize\raggedright" in text
    assert "A dash: undefined. Bold: the fewest bits." in text


def pair(method: str, against: str, rate: float | None) -> PairRow:
    return PairRow(
        "coco_dev", "det", "yolox_nano", "mAP", method, against, "pchip", "pareto", rate,
        None, None, 0.9, "ok" if rate else "undefined", "" if rate else "jpeg is out of reach",
        "", None, None, None, "",
    )  # fmt: skip


def mean(method: str, rate: float) -> MeanRow:
    return MeanRow(
        "det", "mAP", method, "bpg", "models of coco_dev", 2, 0, "pchip", "pareto", rate,
        rate - 1, rate + 1, "", None, None, None, 0, "",
    )  # fmt: skip


def with_means(folder: Path) -> Results:
    results = read(folder)
    pairs = [
        pair(m, a, None if {m, a} == {"jpeg", "webp"} else 20.0)
        for m in results.methods()
        for a in results.methods()
        if m != a
    ]
    return replace(results, pairs=pairs, means=[mean("jpeg", 5.0), mean("webp", -8.0)])


def test_pairs_and_means(make_run: Write) -> None:
    results = with_means(make_run())
    (matrix,) = pairs_tables(results)
    assert matrix.header == ["Method", "bpg", "jpeg", "webp"]
    assert [cell.text for cell in matrix.rows[1]] == ["jpeg", "+20.0", "–", "undefined"]
    assert matrix.notes == [("a", "jpeg is out of reach")]
    (means,) = means_tables(results)
    assert [cell.text for cell in means.rows[0]] == [
        "models of coco_dev", "mAP", "+5.0 [+4.0, +6.0]", "−8.0 [−9.0, −7.0]",
    ]  # fmt: skip
    assert [cell.best for cell in means.rows[0]] == [False, False, False, True]
    names = [path.name for path in write_tables(results)]
    assert {"pairs.tex", "pairs.csv", "means.tex", "means.csv"} <= set(names)


def test_chosen_methods_under_other_names(make_run: Write) -> None:
    results = read(make_run())
    chosen = shown(results, ("webp",), {"webp": "Ours", "bpg": "BPG"})
    assert chosen.methods() == ["BPG", "Ours"]
    rate = equal_accuracy_tables(chosen)[0]
    assert rate.header[3:] == ["BPG", "Ours"]
    assert rate.notes == [("a", "Ours does not reach it: 0.295 at 1.088 bpp")]
    with pytest.raises(ConfigError, match=r"--methods: .* no method 'avif'; it has bpg, jpeg"):
        shown(results, ("avif",), {})
    with pytest.raises(ConfigError, match="two methods would be called 'webp'"):
        shown(results, (), {"jpeg": "webp"})


@pytest.mark.parametrize(
    ("name", "width", "short"),
    [
        ("abc", 3, "abc"),
        ("abcdefgh", 5, "ab…gh"),
        ("漢字漢字漢字", 7, "漢字…字"),
        ("a\nb", 9, "a b"),
    ],
)
def test_elided(name: str, width: int, short: str) -> None:
    assert elided(name, width) == short


PAPER = r"""\documentclass[journal]{IEEEtran}
\usepackage{graphicx,booktabs}
%s
\begin{document}
%s
\end{document}
"""


@pytest.mark.parametrize(
    ("engine", "packages", "name"),
    [
        ("pdflatex", r"\usepackage[T1]{fontenc}", "a_b & c% #$^~\\{}é"),
        ("pdflatex", r"\usepackage[T1]{fontenc}", "long_name+" * 30),
        ("xelatex", r"\usepackage{fontspec}", "漢字 עברית 😀"),
    ],
)
def test_a_paper_compiles_without_overfull_boxes(
    make_run: Write, tmp_path: Path, engine: str, packages: str, name: str
) -> None:
    if shutil.which(engine) is None:
        pytest.skip(f"{engine} is not installed")
    folder = make_run()
    results = shown(with_means(folder), (), {"jpeg": name})
    write_figures(results)
    write_overviews(results)
    write_tables(results)
    if engine == "xelatex":
        assert "% Needs xelatex or lualatex" in (folder / "tables/bd.tex").read_text()
    floats = [
        rf"\begin{{figure}}\includegraphics[width=\linewidth]{{{path}}}"
        rf"\input{{{path.with_suffix('.caption.tex')}}}\end{{figure}}\clearpage"
        for path in sorted((folder / "figures").glob("*.pdf"))
    ]
    floats += [rf"\input{{{p}}}\clearpage" for p in sorted((folder / "tables").glob("*.tex"))]
    (tmp_path / "paper.tex").write_text(PAPER % (packages, "\n".join(floats)), encoding="utf-8")
    run = [engine, "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, check=False)
    log = (tmp_path / "paper.log").read_text(encoding="utf-8", errors="replace")
    if "IEEEtran.cls' not found" in log:
        pytest.skip("IEEEtran is not installed")
    assert done.returncode == 0, log[-2000:]
    assert not re.findall(r"^Overfull.*|.*multiply.*|.*too large.*", log, re.M)
