"""Files of a baseline, each by itself; whole ones are in tests/analysis."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.results.baseline import (
    Baseline,
    Speed,
    _write_table,
    labelled,
    of_point,
    read_costs,
    read_tables,
    write_costs,
)
from bench.results.files import ResultsError
from bench.results.folder import link

SPEEDS = (
    Speed(dataset="d", view="native", method="bpg", stage="encode", ms_per_megapixel=812.5),
    Speed(dataset="d", view="model:m", method="npp", stage="preprocess", ms_per_megapixel=3e3),
)


def test_costs_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    assert read_costs(path) == ()
    assert write_costs(path, SPEEDS) == tmp_path / "mine.costs.json"
    assert read_costs(path) == SPEEDS
    assert (tmp_path / "mine.costs.json").read_text().endswith("}\n")


@pytest.mark.parametrize("text", ["{", '{"format": "rabench costs", "version": 1}', "[]"])
def test_damaged_costs_are_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "mine.costs.json").write_text(text)
    with pytest.raises(ResultsError, match=r"mine\.costs\.json"):
        read_costs(tmp_path / "mine.json")


def test_a_point_is_what_was_labelled_with_it() -> None:
    rows = pa.table({"value": [1.0, 2.0]})
    points = [("d", "m", "bpg", 30), ("d", "m", "bpg", 40), ("d", "m", "clean", None)]
    points += [("d", "m", "bpg", None), ("e", "m", "bpg", 30), ("d", "n", "bpg", 30)]
    labels = [labelled(rows.append_column("of", pa.array([str(p)] * 2)), *p) for p in points]
    table = pa.concat_tables(labels)
    assert table.column_names == ["dataset", "model", "method", "qp", "value", "of"]
    for point in points:
        found = of_point(table, *point)
        assert found.to_pydict() == {"value": [1.0, 2.0], "of": [str(point)] * 2}
    assert of_point(table, "e", "m", "bpg", 40).num_rows == 0


def test_positions_that_count_up_are_written_as_differences(tmp_path: Path) -> None:
    for steps, encoding in ((1, "DELTA_BINARY_PACKED"), (3, "BYTE_STREAM_SPLIT")):
        table = pa.table({"index": range(0, 20 * steps, steps), "task": ["a"] * 20})
        path = _write_table(tmp_path / "t.parquet", table)
        assert pq.read_table(path).to_pydict() == table.to_pydict()
        (index, task) = (pq.ParquetFile(path).metadata.row_group(0).column(i) for i in (0, 1))
        assert encoding in index.encodings
        assert "RLE_DICTIONARY" in task.encodings
        assert index.compression == task.compression == "ZSTD"


def test_a_table_of_another_baseline_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.cls.parquet").write_bytes(b"another")
    listed = {"mine.cls.parquet": "sha256:0"}
    baseline = Baseline.model_construct(experiments=(None,), statistics=listed)
    with pytest.raises(ResultsError, match=r"mine\.cls\.parquet is not the file that this"):
        read_tables(tmp_path / "mine.json", baseline)


def test_a_link_is_a_copy_where_the_file_system_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source"
    source.write_text("content")
    link(source, tmp_path / "same")
    assert (tmp_path / "same").samefile(source)

    def refused(self: Path, target: Path) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(Path, "hardlink_to", refused)
    link(source, tmp_path / "copy")
    assert (tmp_path / "copy").read_text() == "content"
    assert not (tmp_path / "copy").samefile(source)
