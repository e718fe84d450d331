"""What coding took, per megapixel."""

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.results.costs import speeds
from bench.results.files import ResultsError
from bench.results.names import COSTS, IMAGES

NONE = float("nan")
SIZES = {0: (100, 50), 1: (200, 100), 2: (500, 0)}
"""Width and height of each picture; the last one has no pixels."""


def image(index: int, method: str, qp: int = 30) -> dict[str, Any]:
    width, height = SIZES[index]
    about = {"dataset": "d", "view": "native", "index": index, "method": method, "qp": qp}
    return about | {"width": width, "height": height}


def cost(index: int, method: str, stage: str, seconds: float, qp: int = 30) -> dict[str, Any]:
    about = {"dataset": "d", "of": "native", "index": index, "method": method, "qp": float(qp)}
    return about | {"stage": stage, "seconds": seconds}


def written(folder: Path, costs: list[dict[str, Any]], images: list[dict[str, Any]]) -> Path:
    pd.DataFrame(costs).to_parquet(folder / COSTS)
    pd.DataFrame(images).to_parquet(folder / IMAGES)
    return folder


def test_seconds_of_all_pictures_over_their_megapixels(tmp_path: Path) -> None:
    images = [image(i, m, qp) for i in (0, 1) for m in ("bpg", "npp") for qp in (30, 40)]
    costs = [
        cost(0, "bpg", "encode", 0.01),
        cost(1, "bpg", "encode", 0.03),
        cost(0, "bpg", "encode", 0.02, qp=40),
        cost(1, "bpg", "encode", NONE, qp=40),  # from the cache, without a time
        cost(0, "bpg", "decode", 0.001),
        cost(1, "npp", "preprocess", 0.5),
        cost(1, "npp", "postprocess", 0.25),
        cost(1, "npp", "predict", 9.0),  # not of coding
        cost(1, "webp", "encode", 9.0),  # of no picture that was measured
    ]
    assert speeds(written(tmp_path, costs, images)) == pytest.approx(
        {
            ("d", "native", "bpg", "decode"): 1 / 0.005,
            ("d", "native", "bpg", "encode"): 60 / 0.03,
            ("d", "native", "npp", "postprocess"): 250 / 0.02,
            ("d", "native", "npp", "preprocess"): 500 / 0.02,
        }
    )


def test_pictures_without_pixels_have_no_speed(tmp_path: Path) -> None:
    assert speeds(written(tmp_path, [cost(2, "bpg", "encode", 1.0)], [image(2, "bpg")])) == {}


@pytest.mark.parametrize("lacking", [COSTS, IMAGES])
def test_a_folder_without_its_tables_has_none(tmp_path: Path, lacking: str) -> None:
    written(tmp_path, [cost(0, "bpg", "encode", 1.0)], [image(0, "bpg")])
    (tmp_path / lacking).unlink()
    assert speeds(tmp_path) == {}


@pytest.mark.parametrize(
    ("table", "column"),
    [(COSTS, "stage"), (COSTS, "seconds"), (IMAGES, "width"), (IMAGES, "qp")],
)
def test_a_table_without_a_column_is_refused(tmp_path: Path, table: str, column: str) -> None:
    written(tmp_path, [cost(0, "bpg", "encode", 1.0)], [image(0, "bpg")])
    pd.read_parquet(tmp_path / table).drop(columns=column).to_parquet(tmp_path / table)
    with pytest.raises(ResultsError, match=f"{table}.*{column}"):
        speeds(tmp_path)


@pytest.mark.parametrize("table", [COSTS, IMAGES])
def test_a_damaged_table_is_named(tmp_path: Path, table: str) -> None:
    written(tmp_path, [cost(0, "bpg", "encode", 1.0)], [image(0, "bpg")])
    (tmp_path / table).write_bytes(b"PAR1 and no more")
    with pytest.raises(ResultsError, match=f"{table}: cannot be read as Parquet"):
        speeds(tmp_path)


def test_text_that_is_no_unicode_is_damage(tmp_path: Path) -> None:
    written(tmp_path, [cost(0, "bpg", "encode", 1.0)], [image(0, "bpg")])
    table = pq.read_table(tmp_path / COSTS)
    broken = pa.array([b"enc\xff"], pa.binary()).view(pa.string())
    place = table.column_names.index("stage")
    pq.write_table(table.set_column(place, "stage", broken), tmp_path / COSTS)
    with pytest.raises(ResultsError, match=f"{COSTS}: cannot be read as Parquet: .*UTF8"):
        speeds(tmp_path)
