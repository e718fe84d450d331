"""A results folder with everything that the page shows, for any methods and models."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import results_folder
from PIL import Image
from results_folder import BD, EQUAL, POINTS, QPS, write_csv

import bench.report
from bench.results import pictures
from bench.results.names import PICTURES, UNCOMPRESSED
from bench.results.pictures import KeptPicture, Look, Mark
from bench.results.rows import CategoryRow, MeanRow, PairRow, columns

ANCHOR = "bpg"
VALUES = {31: 0.299, 37: 0.296, 40: 0.278, 44: 0.253, 48: 0.201}
BPP = {31: 0.907, 37: 0.452, 40: 0.308, 44: 0.169, 48: 0.085}
SIZES = ("AP-small", "AP-medium", "AP-large")
RANGE = "1–10 % below clean"
Row = dict[str, Any]


def write(
    folder: Path,
    methods: Sequence[str],
    models: Sequence[str] = ("yolox_nano",),
    categories: int = 0,
) -> Path:
    """`methods` without the anchor; the k-th costs k % more bits than it, the first 20 % fewer.

    With `categories`, as with `analysis.metrics: all`.
    """
    folder.mkdir()
    factors = {ANCHOR: 1.0} | {m: 0.8 if k == 0 else 1 + k / 100 for k, m in enumerate(methods)}
    about = results_folder.manifest()
    experiment = about["experiments"][0]
    experiment |= {"methods": dict.fromkeys(factors, QPS), "anchor": ANCHOR}
    experiment["models"] = [{"name": model, "view": "native"} for model in models]
    (folder / "manifest.json").write_text(json.dumps(about))
    where = [
        {"dataset": "coco_dev", "task": "det", "model": model, "metric": metric}
        for model in models
        for metric in ("mAP", "AP50", *(SIZES if categories else ()))
    ]
    write_csv(folder / "points.csv", POINTS, [r for w in where for r in _points(w, factors)])
    write_csv(folder / "bd.csv", BD, [r for w in where for r in _bd(w, factors)])
    write_csv(folder / "equal_accuracy.csv", EQUAL, [r for w in where for r in _equal(w, factors)])
    pairs = [r for w in where for r in _pairs(w, factors)]
    write_csv(folder / "pairs.csv", columns(PairRow), pairs)
    write_csv(folder / "means.csv", columns(MeanRow), _means(factors))
    if categories:
        rows = [r for model in models for r in _categories(model, factors, categories)]
        write_csv(folder / "categories.csv", columns(CategoryRow), rows)
    _measured(folder, factors, models)
    if methods:
        _kept(folder, models, methods[0])
    return folder


def report(folder: Path) -> Path:
    bench.report.write(folder)
    return folder / "report.html"


def _points(where: Row, factors: dict[str, float]) -> list[Row]:
    shared = where | {"n_images": 153, "n_failed": 0}
    clean = {"method": "uncompressed", "value": 0.301, "ci_low": 0.27, "ci_high": 0.33}
    coded = [
        {
            "method": method, "qp": qp, "bpp": BPP[qp] * factor, "bpp_total": BPP[qp] * factor,
            "value": VALUES[qp], "ci_low": VALUES[qp] - 0.03, "ci_high": VALUES[qp] + 0.03,
            "curve_bpp": BPP[qp] * factor, "curve_value": VALUES[qp],
        }
        for method, factor in factors.items()
        for qp in QPS
    ]  # fmt: skip
    return [shared | row for row in (clean, *coded)]


def _categories(model: str, factors: dict[str, float], count: int) -> list[Row]:
    """The k-th has k objects and loses k times as much as the first would, which is undefined."""
    where = {"dataset": "coco_dev", "task": "det", "model": model, "metric": "mAP"}
    coded = [(method, qp, VALUES[qp]) for method in factors for qp in QPS]
    return [
        where
        | {"method": method, "qp": qp, "category": k, "name": f"category {k}", "n": k}
        | {"value": 0.9 - k * (0.301 - value) / count if k > 1 else ""}
        for method, qp, value in [(UNCOMPRESSED, "", 0.301), *coded]
        for k in range(1, count + 1)
    ]


def _rates(percent: float) -> Row:
    near = {"range": RANGE, "range_bd_rate": percent + 1, "range_low": percent - 4}
    whole = {"bd_rate": percent, "ci_low": percent - 5, "ci_high": percent + 5, "overlap": 0.9}
    how = {"interpolation": "pchip", "policy": "pareto", "status": "ok"}
    return near | {"range_high": percent + 6} | whole | how


def _bd(where: Row, factors: dict[str, float]) -> list[Row]:
    return [
        where | {"anchor": ANCHOR, "method": m, "n_points": 5} | _rates(100 * (factor - 1))
        for m, factor in factors.items()
        if m != ANCHOR
    ]


def _equal(where: Row, factors: dict[str, float]) -> list[Row]:
    rows = []
    for method, factor in factors.items():
        for within in (1.0, 2.0, 5.0, 10.0):
            row = where | {"anchor": ANCHOR, "method": method, "interpolation": "pchip"}
            row |= {"policy": "pareto", "within": within, "target": 0.301 * (1 - within / 100)}
            row |= {"bpp": 0.4 * factor, "ci_low": 0.3 * factor, "ci_high": 0.5 * factor}
            if method != ANCHOR:
                change = 100 * (factor - 1)
                row |= {"change": change, "change_low": change - 9, "change_high": change + 9}
            rows.append(row)
    return rows


def _pairs(where: Row, factors: dict[str, float]) -> list[Row]:
    return [
        where | {"method": m, "against": n} | _rates(100 * (factors[m] / factors[n] - 1))
        for m in factors
        for n in factors
        if m != n
    ]


def _means(factors: dict[str, float]) -> list[Row]:
    return [
        {"task": "det", "metric": "mAP", "method": m, "anchor": ANCHOR, "n": 1, "n_range": 1}
        | {"over": "models of coco_dev", "n_undefined": 0}
        | {k: v for k, v in _rates(100 * (f - 1)).items() if k not in ("status", "overlap")}
        for m, f in factors.items()
        if m != ANCHOR
    ]


def _measured(folder: Path, factors: dict[str, float], models: Sequence[str]) -> None:
    images = pd.DataFrame(
        {
            "dataset": "coco_dev", "view": "native", "index": i, "image": f"{i}.jpg",
            "method": method, "qp": qp, "bits": int(BPP[qp] * factor * 320_000 * (1 + i / 9)),
            "width": 640, "height": 500, "psnr": 30.0, "ms_ssim": 0.9,
        }
        for method, factor in factors.items()
        for qp in QPS
        for i in range(5)
    )  # fmt: skip
    images.to_parquet(folder / "images.parquet")
    rows = images[["dataset", "index", "method", "qp"]]
    encoded = rows.assign(of="native", stage="encode", seconds=0.32)
    seen = [rows.assign(of=model, stage="predict", seconds=0.064) for model in models]
    pd.concat([encoded, *seen], ignore_index=True).to_parquet(folder / "costs.parquet")


def _kept(folder: Path, models: Sequence[str], method: str) -> None:
    """One picture of each model, a flat one."""
    marks = [
        Mark(state="true", text="cat 0.90", box=(4, 4, 20, 20)),
        Mark(state="false", text="dog 0.40", box=(20, 8, 40, 30)),
        Mark(state="missed", text="cat", box=(30, 30, 60, 44)),
        Mark(state="false", text="<b>owl</b> 0.50"),
    ]
    (folder / PICTURES).mkdir()
    for name in ("original", "anchor", "method", "removed"):
        Image.new("RGB", (64, 48), "gray").save(folder / PICTURES / f"{name}.webp")
    looks = {
        name: Look(method=of, qp=qp, bits=bits, value=0.5, file=f"{name}.webp", marks=tuple(marks))
        for name, of, qp, bits in (
            ("original", UNCOMPRESSED, None, None),
            ("anchor", "bpg", 37, 1500),
            ("method", method, 35, 1490),
        )
    }
    pictures.write(
        folder,
        [
            KeptPicture(
                dataset="coco",
                model=model,
                image="000042",
                index=3,
                rule="worst",
                metric="mAP",
                width=64,
                height=48,
                removed="removed.webp",
                **looks,
            )
            for model in models
        ],
    )
