"""What coding took, by method and step."""

import pandas as pd

from bench.analysis.results import Results
from bench.results.baseline import Speed
from bench.results.files import check_columns, parse_table, read_bytes
from bench.results.names import COSTS

STAGES = ("preprocess", "encode", "decode", "postprocess")
_PICTURE = ["dataset", "view", "index", "method", "qp"]
_KINDS = {
    "dataset": "text",
    "index": "integer",
    "of": "text",
    "method": "text",
    "qp": "number",
    "stage": "text",
    "seconds": "number",
}


def speeds(results: Results) -> tuple[Speed, ...]:
    """Milliseconds per megapixel of the pictures that were timed; none where the folder has no such
    table. Raises ResultsError where one is damaged."""
    path = results.root / COSTS
    if not path.is_file():
        return ()
    table = parse_table(path, read_bytes(path))
    check_columns(path, table, _KINDS)
    spent: pd.DataFrame = table.select(list(_KINDS)).to_pandas(ignore_metadata=True)
    spent = spent[spent["stage"].isin(STAGES)].dropna(subset="seconds")
    timed = spent.rename(columns={"of": "view"}).merge(results.images, on=_PICTURE)
    timed["megapixels"] = timed["width"] * timed["height"] / 1e6
    by = timed.groupby(["dataset", "view", "method", "stage"], sort=True)
    total = by[["seconds", "megapixels"]].sum()
    total = total[total["megapixels"] > 0]
    per = 1000 * total["seconds"] / total["megapixels"]
    return tuple(
        Speed(dataset=d, view=v, method=m, stage=s, ms_per_megapixel=float(f"{ms:.3g}"))
        for (d, v, m, s), ms in per.items()
    )
