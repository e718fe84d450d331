"""Rows of the tables: what is written reads back the same, and what cannot be is named."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.results.files import ResultsError, parse_table
from bench.results.rows import (
    IMAGE_KINDS,
    BDRow,
    CategoryRow,
    EqualAccuracyRow,
    FidelityRow,
    ImageRow,
    MeanRow,
    PairRow,
    PointRow,
    Status,
    Tables,
    by_option,
    columns,
    distinct,
    frame,
    from_csv,
    known,
    to_csv,
    write_images,
)

KINDS = (PointRow, BDRow, EqualAccuracyRow, PairRow, MeanRow, FidelityRow, CategoryRow)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
VALUES: dict[Any, st.SearchStrategy[Any]] = {
    str: st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=8)
    | st.sampled_from(["=1+1", "'=1", "-5", "nan", 'say "x"', "a,b"]),
    int: st.integers(0, 10**6),
    int | None: st.none() | st.integers(-(10**6), 10**6),
    float: NUMBERS,
    float | None: st.none() | NUMBERS,
    Status: st.sampled_from(["ok", "undefined"]),
}


def some(kind: type[Any]) -> st.SearchStrategy[Any]:
    return st.builds(kind, **{name: VALUES[hint] for name, hint in get_type_hints(kind).items()})


@pytest.mark.parametrize("kind", KINDS)
def test_rows_read_back_exactly(kind: type[Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("rows") / "rows.csv"

    @given(st.lists(some(kind), max_size=3))
    def check(rows: list[Any]) -> None:
        to_csv(kind, rows, path)
        assert from_csv(kind, path) == rows

    check()


def equal_row(**values: Any) -> EqualAccuracyRow:
    given: dict[str, Any] = dict.fromkeys(columns(EqualAccuracyRow), "a") | {"within": 1.0}
    numbers = dict.fromkeys(("target", "bpp", "ci_low", "ci_high"), 0.1)
    changes = dict.fromkeys(("change", "change_low", "change_high"))
    return EqualAccuracyRow(**(given | numbers | changes | values))


def test_what_stands_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    to_csv(EqualAccuracyRow, [equal_row(method="=x", bpp=1e-7, reason="")], path)
    assert path.read_bytes().splitlines() == [
        b"dataset,task,model,metric,anchor,method,interpolation,policy,within,target,bpp,ci_low,"
        b"ci_high,change,change_low,change_high,reason",
        b"a,a,a,a,a,'=x,a,a,1.0,0.1,1e-07,0.1,0.1,,,,",
    ]


def test_an_infinity_is_no_value_to_a_reader(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    to_csv(EqualAccuracyRow, [equal_row(ci_high=float("inf"))], path)
    assert from_csv(EqualAccuracyRow, path) == [equal_row(ci_high=None)]


def swap(old: str, new: str) -> Callable[[str], str]:
    return lambda text: text.replace(old, new)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (swap("1.0,0.1", "much,0.1"), r"rows\.csv, line 2: .*'much'"),
        (swap("1.0,0.1", ",0.1"), r"rows\.csv, line 2: '': a number is expected"),
        (swap(",within,", ",percent,"), r"rows\.csv: no column 'within'"),
        (swap(",0.1", ""), r"rows\.csv, line 2: as many fields"),
        (lambda _: "", r"rows\.csv: no column 'dataset', 'task'"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, change: Callable[[str], str], said: str) -> None:
    path = tmp_path / "rows.csv"
    to_csv(EqualAccuracyRow, [equal_row()], path)
    path.write_text(change(path.read_text()))
    with pytest.raises(ResultsError, match=said):
        from_csv(EqualAccuracyRow, path)
    with pytest.raises(ResultsError, match=r"other\.csv: cannot be read"):
        from_csv(EqualAccuracyRow, tmp_path / "other.csv")


@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_has_the_types_of_the_fields(kind: type[Any]) -> None:
    table = frame(kind, [])
    hints = {n: h for n, h in get_type_hints(kind).items() if n not in by_option(kind)}
    assert list(table.columns) == list(hints)
    for name, hint in hints.items():
        wanted = {int: "int64", int | None: "Int64", str: "str", Status: "str"}
        assert table[name].dtype == wanted.get(hint, "float64")


def fidelity_row(**values: Any) -> FidelityRow:
    numbers = dict.fromkeys(("bpp", "psnr", "psnr_change", "ms_ssim", "ms_ssim_change"), 0.1)
    given: dict[str, Any] = dict.fromkeys(columns(FidelityRow), "a") | {"within": 1.0}
    return FidelityRow(**(given | numbers | {"lpips": None, "lpips_change": None} | values))


def test_what_was_measured_by_an_option_is_a_column_where_a_row_has_it(tmp_path: Path) -> None:
    path, plain, with_it = tmp_path / "rows.csv", fidelity_row(), fidelity_row(lpips=0.25)
    for rows, there in (([], set()), ([plain], set()), ([plain, with_it], {"lpips"})):
        to_csv(FidelityRow, rows, path)
        header = path.read_text().splitlines()[0].split(",")
        assert set(header) == {*columns(FidelityRow)} - {"lpips", "lpips_change"} | there
        assert list(frame(FidelityRow, rows).columns) == header
        assert from_csv(FidelityRow, path) == rows


def test_a_frame_has_nan_for_no_value() -> None:
    table = frame(EqualAccuracyRow, [equal_row(bpp=None), equal_row()])
    assert table["bpp"].isna().tolist() == [True, False]
    assert table["within"].tolist() == [1, 1]


def test_the_first_of_equal_rows_stays() -> None:
    rows = [equal_row(bpp=1.0), equal_row(method="b"), equal_row(bpp=2.0)]
    assert distinct(rows, lambda row: row.method) == rows[:2]


def test_tables_that_an_older_version_did_not_write_are_empty(tmp_path: Path) -> None:
    tables = Tables([], [], [equal_row()])
    tables.write(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {
        "points.csv", "bd.csv", "equal_accuracy.csv", "pairs.csv", "means.csv", "fidelity.csv",
    }  # fmt: skip
    for name in ("pairs.csv", "means.csv", "fidelity.csv"):
        (tmp_path / name).unlink()
    assert Tables.read(tmp_path) == tables


@given(rows=st.lists(some(CategoryRow), min_size=1, max_size=2))
def test_categories_are_a_file_where_there_are_any(
    rows: list[CategoryRow], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("tables")
    Tables([], [], [], categories=rows).write(folder)
    assert Tables.read(folder).categories == rows


def test_a_status_is_one_of_two(tmp_path: Path) -> None:
    path = tmp_path / "bd.csv"
    simple = {str: "a", Status: "ok"}
    row = BDRow(**{name: simple.get(hint, 1) for name, hint in get_type_hints(BDRow).items()})
    to_csv(BDRow, [row], path)
    path.write_text(path.read_text().replace(",ok,", ",fine,"))
    with pytest.raises(ResultsError, match=r"bd\.csv, line 2: 'fine': ok or undefined is expected"):
        from_csv(BDRow, path)


def test_images_without_what_was_not_measured(tmp_path: Path) -> None:
    images = pd.DataFrame({name: [1.0, 2.0] for name in reversed(columns(ImageRow))})
    without = [name for name in columns(ImageRow) if name != "lpips"]
    for table, kept in (
        (images, columns(ImageRow)),
        (images.assign(lpips=np.nan), without),
        (images.drop(columns="lpips"), without),
    ):
        write_images(table, tmp_path / "images.parquet")
        found = parse_table(tmp_path, (tmp_path / "images.parquet").read_bytes())
        assert found.column_names == kept
        pd.testing.assert_frame_equal(found.to_pandas(), images[kept])


def test_no_value() -> None:
    assert known(np.nan) is None
    assert (known(np.float64(0.1)), type(known(np.float64(0.1)))) == (0.1, float)


def test_columns_of_images() -> None:
    assert IMAGE_KINDS == {
        "dataset": "text", "view": "text", "index": "integer", "image": "text", "method": "text",
        "qp": "integer", "bits": "number", "width": "number", "height": "number", "psnr": "number",
        "ms_ssim": "number", "lpips": "number",
    }  # fmt: skip
