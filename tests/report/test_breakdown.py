"""By category and size: at which point, which numbers, in which order, and how they are shown."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import page_folder
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_report_html import Page

from bench.report import html, names
from bench.report.breakdown import Breakdown, breakdowns, read_off
from bench.report.page import by_category
from bench.report.results import Results, read

Write = Callable[..., Path]
RATES = st.lists(st.floats(0.01, 10), min_size=1, max_size=6, unique=True)


def results(place: Path, methods: list[str], categories: int = 20) -> Results:
    return read(page_folder.write(place / "run", methods, categories=categories))


def only(of: Results) -> Breakdown:
    (about,) = breakdowns(of)
    return about


# --- numbers --------------------------------------------------------------------------------------


@given(RATES, st.floats(0.01, 10), st.data())
def test_read_off_is_a_straight_line_over_log_rate(
    rates: list[float], rate: float, data: st.DataObject
) -> None:
    values = data.draw(st.lists(st.floats(0, 1), min_size=len(rates), max_size=len(rates)))
    found = read_off(zip(rates, values, strict=True), rate)
    order = np.argsort(rates)
    expected = np.interp(
        math.log(rate), np.log(rates)[order], np.array(values)[order], left=np.nan, right=np.nan
    )
    if not min(rates) <= rate <= max(rates):
        assert found is None
    else:
        assert found == pytest.approx(expected, abs=1e-6)


def test_nothing_is_read_off_beside_an_undefined_point() -> None:
    curve = [(0.5, 0.2), (1.0, None), (2.0, 0.4)]
    assert [read_off(curve, rate) for rate in (0.5, 0.7, 1.0, 1.5, 2.0)] == [
        0.2, None, None, None, 0.4,
    ]  # fmt: skip


def test_the_change_of_the_anchor_and_what_a_method_keeps(tmp_path: Path) -> None:
    about = only(results(tmp_path, ["npp+bpg"]))
    # 5.5 % under 0.301 is 0.284, and QP 40 has 0.278.
    assert about.at is not None
    assert about.at.qp == 40
    first = about.categories[0]
    assert (first.name, first.n) == ("category 20", 20)
    assert first.clean == pytest.approx(0.9)
    assert first.lost == pytest.approx(0.278 - 0.301)
    # At 0.8 times the anchor's rates its own 0.308 bits per pixel lie between QPs 37 and 40.
    share = math.log(0.308 / (0.8 * 0.308)) / math.log(0.452 / 0.308)
    assert first.gained("npp+bpg") == pytest.approx(share * (0.296 - 0.278))
    half = next(part for part in about.categories if part.n == 10)
    assert half.lost == pytest.approx(first.lost / 2)
    assert [part.name for part in about.sizes] == ["mAP", "AP, small", "AP, medium", "AP, large"]
    assert about.sizes[1].gained("npp+bpg") == pytest.approx(first.gained("npp+bpg"))


def test_largest_loss_first_then_those_of_few_objects_and_undefined_ones(tmp_path: Path) -> None:
    about = only(results(tmp_path, ["jpeg"]))
    assert [part.n for part in about.categories] == [*range(20, 9, -1), *range(9, 0, -1)]
    assert about.categories[-1].lost is None


def test_the_point_is_one_that_half_of_the_methods_reach(tmp_path: Path) -> None:
    whole = results(tmp_path, ["npp+bpg", "jpeg"])

    def without_fine(*methods: str) -> Results:
        kept = [p for p in whole.points if p.method not in methods or (p.qp or 0) >= 44]
        return replace(whole, points=kept)

    found = [
        only(without_fine(*methods)).at
        for methods in ([], ["jpeg"], ["jpeg", "npp+bpg"], ["jpeg", "npp+bpg", "bpg"])
    ]
    assert [at and at.qp for at in found] == [40, 40, 44, 44]
    coarse = only(without_fine("jpeg"))
    assert coarse.categories[0].gained("jpeg") is None
    assert coarse.categories[0].gained("npp+bpg") is not None


def test_no_anchor_no_change(tmp_path: Path) -> None:
    whole = results(tmp_path, ["jpeg"])
    bare = replace(whole, points=[p for p in whole.points if p.method != "bpg"])
    about = only(bare)
    assert about.at is None
    assert {part.lost for part in about.categories} == {None}
    assert about.categories[-1].clean == pytest.approx(0.9)
    assert "no operating point" in by_category.section(bare)


def test_a_method_without_categories_is_left_out(tmp_path: Path) -> None:
    whole = results(tmp_path, ["npp+bpg", "jpeg"])
    rows = [row for row in whole.categories if row.method != "jpeg"]
    assert only(replace(whole, categories=rows)).methods == ["npp+bpg"]


def test_a_method_under_another_name_keeps_its_categories(tmp_path: Path) -> None:
    renamed = names.shown(results(tmp_path, ["npp+bpg", "jpeg"]), ("npp+bpg",), {"npp+bpg": "Ours"})
    about = only(renamed)
    assert about.methods == ["Ours"]
    assert about.categories[0].gained("Ours") is not None


# --- the page -------------------------------------------------------------------------------------


def test_the_section_is_there_only_where_there_is_something(
    make_run: Write, tmp_path: Path
) -> None:
    assert "By category and size" not in html.page(read(make_run()), [])
    whole = read(page_folder.write(tmp_path / "wider", ["jpeg"], categories=20))
    sized = [p for p in whole.points if not p.metric.startswith("AP-")]
    for text, shown in (
        (html.page(whole, []), ["By size of objects", "<h3>By category</h3>"]),
        (html.page(replace(whole, categories=[]), []), ["By size of objects"]),
        (html.page(replace(whole, points=sized), []), ["<h3>By category</h3>"]),
    ):
        heads = ("By size of objects", "<h3>By category</h3>")
        assert [head for head in heads if head in text] == shown


def test_it_states_the_point_and_the_rule(tmp_path: Path) -> None:
    text = Page(by_category.section(results(tmp_path, ["npp+bpg"]))).text
    assert "bpg at QP 40: 0.308 bits per pixel, mAP 0.278 of 0.301 uncompressed −7.6 %." in text
    assert "1–10 % below the uncompressed score" in text
    assert "npp+bpg: better in 11 of 11 (most: category 20 +0.010" in text
    assert "worse in 0." in text


@pytest.mark.parametrize("methods", [0, 1, 8, 9, 20])
def test_any_number_of_methods_in_tables_of_a_readable_width(tmp_path: Path, methods: int) -> None:
    section = by_category.section(results(tmp_path, [f"m{i}" for i in range(methods)], 80))
    Page(section)  # its elements nest
    tables = section.split("<table")[1:]
    assert len(tables) == 2 * max(1, math.ceil(methods / 8))
    for table in tables:
        rows = table[table.index("<tbody>") : table.index("</tbody>")].split("<tr")[1:]
        widths = {row.count("<td") + row.count("<th") for row in rows}
        assert len(widths) == 1
        assert table.count("data-sort=") == widths.pop() <= 4 + 8
        assert len(rows) in (4, 80)


def test_what_is_undefined_is_a_dash_that_sorts_last(tmp_path: Path) -> None:
    section = by_category.section(results(tmp_path, ["jpeg"]))
    last = section[section.rindex("category 1<") :]
    cells = last[: last.index("</tr>")].split("<td")[1:]
    assert [cell.startswith(' class="n" data-value') for cell in cells] == [True] + 3 * [False]
    assert all("–" in cell for cell in cells[1:])


def test_of_very_many_categories_those_that_lose_most(tmp_path: Path) -> None:
    section = by_category.section(results(tmp_path, ["jpeg"], 1000))
    assert "200 of 1,000 categories, all of them in categories.csv" in section
    assert section.count("category 1000<") == 2  # in its row and in what is said of jpeg
    assert "category 800<" not in section


def test_names_are_text(tmp_path: Path) -> None:
    evil = '"><script>alert(1)</script>'
    whole = results(tmp_path, [evil])
    rows = [replace(row, name=evil) for row in whole.categories]
    found = Page(by_category.section(replace(whole, categories=rows)))
    assert "script" not in found.tags
    assert evil in found.text


def test_same_results_same_section(tmp_path: Path) -> None:
    folder = page_folder.write(tmp_path / "run", ["npp+bpg", "jpeg"], categories=20)
    assert by_category.section(read(folder)) == by_category.section(read(folder))
    first = page_folder.report(folder).read_bytes()
    assert page_folder.report(folder).read_bytes() == first
