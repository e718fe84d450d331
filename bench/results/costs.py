"""What coding took, from the tables of a results folder."""

from pathlib import Path

import pandas as pd

from bench.results.files import check_columns, parse_table, read_bytes
from bench.results.names import COSTS, IMAGES

STAGES = ("preprocess", "encode", "decode", "postprocess")

_PICTURE = ["dataset", "view", "index", "method", "qp"]
_SIZES = dict.fromkeys(_PICTURE, "text") | {
    "index": "integer",
    "qp": "integer",
    "width": "number",
    "height": "number",
}
_COSTS = {
    "dataset": "text",
    "index": "integer",
    "of": "text",
    "method": "text",
    "qp": "number",
    "stage": "text",
    "seconds": "number",
}


def speeds(folder: Path) -> dict[tuple[str, str, str, str], float]:
    """(data set, view, method, stage) → milliseconds per megapixel of the pictures that were timed,
    in that order; nothing where the folder has no such tables.

    Raises ResultsError where one is damaged.
    """
    spent, sizes = _read(folder / COSTS, _COSTS), _read(folder / IMAGES, _SIZES)
    if spent is None or sizes is None:
        return {}
    spent = spent[spent["stage"].isin(STAGES)].rename(columns={"of": "view"})
    timed = spent.dropna(subset="seconds").merge(sizes, on=_PICTURE)
    timed["megapixels"] = timed["width"] * timed["height"] / 1e6
    total = timed.groupby(["dataset", "view", "method", "stage"])[["seconds", "megapixels"]].sum()
    total = total[total["megapixels"] > 0]
    found: dict[tuple[str, str, str, str], float] = (
        1000 * total["seconds"] / total["megapixels"]
    ).to_dict()
    return found


def _read(path: Path, kinds: dict[str, str]) -> pd.DataFrame | None:
    if not path.is_file():
        return None
    table = parse_table(path, read_bytes(path))
    check_columns(path, table, kinds)
    frame: pd.DataFrame = table.select(list(kinds)).to_pandas(ignore_metadata=True)
    return frame
