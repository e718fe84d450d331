"""What coding takes: time by stage, and how the bits are spread over images."""

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
import pandas as pd

from bench.report.page.elements import Axis, bar, folded, line, name, picture, scrolled
from bench.report.results import Results
from bench.report.text import NOTHING, number
from bench.results.costs import STAGES
from bench.results.files import check_columns, parse_table, read_bytes
from bench.results.names import COSTS, IMAGES, point_name

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
SIZE = ["dataset", "view", "index"]
_SIZES = {"dataset": "text", "view": "text", "index": "integer", "width": "number",
          "height": "number"}  # fmt: skip
_IMAGES = _SIZES | {"method": "text", "qp": "integer", "bits": "number"}
_COSTS = {"dataset": "text", "of": "text", "index": "integer", "method": "text", "stage": "text",
          "seconds": "number"}  # fmt: skip


def sections(results: Results) -> tuple[str, str]:
    """Cost, and the distribution of bits; each empty if the folder lacks what it is made from.

    Raises ResultsError for a damaged table.
    """
    images = _read(results, IMAGES, _IMAGES)
    if images is None or images.empty:
        return "", ""
    images["megapixels"] = images["width"] * images["height"] / 1e6
    costs = _read(results, COSTS, _COSTS)
    return ("" if costs is None else _cost(results, costs, images)), _bits(results, images)


def _read(results: Results, file: str, kinds: dict[str, str]) -> pd.DataFrame | None:
    """Columns of a table, text as categories; None if there is no such file."""
    path = results.folder / file
    if not path.is_file():
        return None
    table = parse_table(path, read_bytes(path))
    check_columns(path, table, kinds)
    frame: pd.DataFrame = table.select(list(kinds)).to_pandas(
        strings_to_categorical=True, ignore_metadata=True
    )
    return frame


# --- cost -----------------------------------------------------------------------------------------


def _cost(results: Results, costs: pd.DataFrame, images: pd.DataFrame) -> str:
    speeds = _speeds(results, costs, images)
    if speeds.empty:
        return ""
    blocks = []
    for dataset in dict.fromkeys(speeds["dataset"]):
        own = speeds[speeds["dataset"] == dataset]
        coding = own[own["stage"].isin(STAGES)]
        order = {m: i for i, m in enumerate(results.methods())}
        rows = sorted(dict.fromkeys(coding["method"]), key=lambda m: order.get(m, len(order)))
        stages = [s for s in STAGES if s in set(coding["stage"])]
        table = _speed_table("Method", rows, stages, _by(coding, "method"))
        predicted = own[own["stage"] == "predict"]
        seen = list(dict.fromkeys(predicted["of"]))
        models = _speed_table("Model", seen, ["predict"], _by(predicted, "of")) if seen else ""
        blocks.append(f"<h3>{name(dataset)}</h3>{table}{models}")
    caption = (
        "Milliseconds per megapixel, all operating points together: wall time while other "
        "units of the run had the cores, too; of use to compare, not to promise."
    )
    return f'<p class="caption">{caption}</p>{"".join(blocks)}'


def _speeds(results: Results, costs: pd.DataFrame, images: pd.DataFrame) -> pd.DataFrame:
    """Milliseconds per megapixel by data set, stage, method and view or model."""
    sizes = images.groupby(SIZE, observed=True)["megapixels"].first()
    views = {m.name: m.coded_view for e in results.manifest.experiments for m in e.models}
    known = costs[costs["seconds"].notna()]
    predicting = known["stage"].astype(str) == "predict"
    view = known["of"].astype(str)
    view = view.mask(predicting, view.map(views))
    key = pd.MultiIndex.from_arrays([known["dataset"].astype(str), view, known["index"]])
    sizes.index = sizes.index.set_levels(
        [level.astype(str) if i < 2 else level for i, level in enumerate(sizes.index.levels)]
    )
    known = known.assign(megapixels=sizes.reindex(key).to_numpy())
    known = known[known["megapixels"] > 0]
    by = known.groupby(["dataset", "stage", "method", "of"], observed=True, sort=False)
    total = by[["seconds", "megapixels"]].sum().reset_index()
    return total.astype(dict.fromkeys(("dataset", "stage", "method", "of"), str))


def _by(speeds: pd.DataFrame, column: str) -> dict[tuple[str, str], float]:
    """(method or model, stage) → milliseconds per megapixel."""
    total = speeds.groupby([column, "stage"])[["seconds", "megapixels"]].sum()
    per = 1000 * total["seconds"] / total["megapixels"]
    return {key: float(value) for key, value in per.items()}


def _speed_table(
    what: str, rows: Sequence[str], stages: Sequence[str], speeds: dict[tuple[str, str], float]
) -> str:
    longest = max(speeds.values(), default=0.0) or 1.0
    head = "".join(
        f'<th scope="col" data-sort="{k + 1}">{escape(stage.capitalize())}</th>'
        for k, stage in enumerate(stages)
    )
    body = "".join(
        f'<tr><th scope="row" data-value="{i}">{name(row)}</th>'
        + "".join(_speed(speeds.get((row, stage)), longest) for stage in stages)
        + "</tr>"
        for i, row in enumerate(rows)
    )
    inner = (
        f'<table class="costs"><thead><tr><th scope="col" data-sort="0">{what}</th>{head}</tr>'
        f"</thead><tbody>{body}</tbody></table>"
    )
    return scrolled(inner, f"Milliseconds per megapixel by {what.lower()}")


def _speed(value: float | None, longest: float) -> str:
    if value is None:
        return f"<td>{NOTHING}</td>"
    drawn = picture(bar(0, 100 * value / longest, "25%", "50%", "bar"))
    return (
        f'<td data-value="{value!r}"><div class="pair">{drawn}'
        f"<span>{number(value, 0 if value >= 10 else 1)} ms</span></div></td>"
    )


# --- bits -----------------------------------------------------------------------------------------


def _bits(results: Results, images: pd.DataFrame) -> str:
    usable = images[(images["bits"] > 0) & (images["megapixels"] > 0)]
    if usable.empty:
        return ""
    spread = _spread(usable)
    blocks = []
    for i, (dataset, view) in enumerate(dict.fromkeys(key[:2] for key in spread)):
        own = {key[2:]: value for key, value in spread.items() if key[:2] == (dataset, view)}
        order = {m: k for k, m in enumerate(results.methods())}
        points = sorted(own, key=lambda p: (order.get(p[0], len(order)), p[1]))
        title = f"<b>{name(dataset)}</b>, view {name(view)}"
        blocks.append(folded(title, _spread_table(points, own), is_open=i == 0))
    caption = (
        "Bits per pixel of single images: the middle half as a box, from the 5th to the 95th "
        "percentile as a line, the median as a mark; the rate is logarithmic."
    )
    return f'<p class="caption">{caption}</p>{"".join(blocks)}'


def _spread(images: pd.DataFrame) -> dict[tuple[str, str, str, int], list[float]]:
    """(data set, view, method, QP) → the QUANTILES of bits per pixel, and the mean."""
    rate = (images["bits"] / (1e6 * images["megapixels"])).to_numpy(float)
    by = ["dataset", "view", "method", "qp"]
    found = {}
    for key, rows in images.groupby(by, observed=True, sort=False).indices.items():
        own = rate[rows]
        found[(*map(str, key[:3]), int(key[3]))] = [*np.quantile(own, QUANTILES), own.mean()]
    return found  # type: ignore[return-value]


def _spread_table(points: list[tuple[str, int]], spread: dict[Any, list[float]]) -> str:
    low = min(v[0] for v in spread.values())
    high = max(v[4] for v in spread.values())
    low, high = low / 1.05, high * 1.05
    first, last = np.floor(np.log2(low / 0.1)), np.ceil(np.log2(high / 0.1))
    step = max(1, int((last - first) // 7))
    ticks = [t for t in 0.1 * 2.0 ** np.arange(first, last + 1, step) if low <= t <= high]
    axis = Axis(low, high, ticks, logarithmic=True)
    body, before = [], ""
    for method, qp in points:
        rows = sum(m == method for m, _ in points)
        starts = method != before
        head = f'<th scope="rowgroup" rowspan="{rows}">{name(method)}</th>' if starts else ""
        rule = ' class="first"' if starts else ""
        q = spread[method, qp]
        at = [axis.place(v) for v in q]
        drawn = picture(
            axis.lines(),
            line(at[0], at[4], "50%", "50%", "whisker"),
            bar(at[1], at[3], "20%", "60%", "box"),
            bar(at[2] - 0.2, at[2] + 0.2, "10%", "80%", "median"),
        )
        setting = point_name(qp).removeprefix("QP ")
        body.append(
            f'<tr{rule}>{head}<td class="n">{setting}</td><td>{drawn}</td>'
            f'<td class="n">{number(q[2], 3)}</td><td class="n">{number(q[5], 3)}</td></tr>'
        )
        before = method
    inner = (
        '<table class="spread"><thead><tr><th scope="col">Method</th><th scope="col" class="n">QP'
        '</th><th scope="col">Bits per pixel</th><th scope="col" class="n">Median</th>'
        f'<th scope="col" class="n">Mean</th></tr></thead><tbody>{"".join(body)}'
        f'<tr class="axis"><td></td><td></td><td>{axis.labels(f"{t:.3g}" for t in ticks)}</td>'
        "<td></td><td></td></tr></tbody></table>"
    )
    return scrolled(inner, "Bits per pixel of single images")
