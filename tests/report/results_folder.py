"""A small results folder as a run leaves it."""

import csv
from pathlib import Path
from typing import Any

from bench.results.rows import BDRow, EqualAccuracyRow, PointRow, columns

POINTS, BD, EQUAL = map(columns, (PointRow, BDRow, EqualAccuracyRow))
QPS = [31, 37, 40, 44, 48]
RATES = {"bpg": 1.0, "jpeg": 1.6, "webp": 1.2}
ACCURACY = {31: 0.295, 37: 0.296, 40: 0.278, 44: 0.253, 48: 0.201}
BPP = {31: 0.907, 37: 0.452, 40: 0.308, 44: 0.169, 48: 0.085}


def manifest() -> dict[str, Any]:
    return {
        "schema": 1,
        "name": "a run",
        "experiments": [
            {
                "task": "det", "dataset": "coco_dev", "n_images": 155, "anchor": "bpg",
                "images": [f"{i}.jpg" for i in range(155)],
                "dataset_fingerprint": "sha256:5e1f", "limited": True, "notes": ["a note"],
                "models": [
                    {"name": "yolox_nano", "view": "native", "fingerprint": {"weights": "w1"}}
                ],
                "codecs": {"bpg": {"x265": "4.1", "preset": "veryslow"}},
                "methods": {"jpeg": QPS, "bpg": QPS, "webp": QPS},
            }
        ],
        "analysis": {"interpolation": "pchip", "policy": "pareto", "resamples": 200, "seed": 0},
        "failures": [
            {"dataset": "coco_dev", "model": "yolox_nano", "method": "jpeg", "qp": 48,
             "image": "3.jpg", "index": 3, "stage": "encode", "error": "<b>broken</b>"}
        ],
        "versions": {"torch": "2.12.1"},
        "git": {"revision": "0f3c2d1", "dirty": True},
        "device": {"kind": "cpu", "name": "x86_64"},
        "computed": {"coded": 12},
        "cached": {},
        "config": {"experiments": [{"task": "det"}]},
    }  # fmt: skip


def says_nothing() -> dict[str, Any]:
    """A manifest without anything that may be missing."""
    return {"schema": 1, "experiments": []}


def points(model: str = "yolox_nano") -> list[dict[str, Any]]:
    rows = []
    for metric, scale in (("mAP", 1.0), ("AP50", 1.55)):
        where = {"dataset": "coco_dev", "task": "det", "model": model, "metric": metric}
        where |= {"n_images": 153, "n_failed": 2}
        clean = {"method": "uncompressed", "value": 0.301 * scale}
        rows.append({**where, **clean, "ci_low": 0.27 * scale, "ci_high": 0.33 * scale})
        for method, factor in RATES.items():
            for qp in QPS:
                value = ACCURACY[qp] * scale
                rows.append({
                    **where, "method": method, "qp": qp, "bpp": BPP[qp] * factor,
                    "bpp_total": BPP[qp] * factor * 0.97, "value": value,
                    "ci_low": value - 0.03, "ci_high": value + 0.03,
                    "curve_bpp": BPP[qp] * factor, "curve_value": value,
                })  # fmt: skip
    return rows


def bd_rates(model: str = "yolox_nano") -> list[dict[str, Any]]:
    rows = []
    for metric in ("mAP", "AP50"):
        for method in ("jpeg", "webp"):
            for interpolation, value in (("pchip", 61.31), ("akima", 64.28)):
                row = {
                    "dataset": "coco_dev", "task": "det", "model": model, "metric": metric,
                    "anchor": "bpg", "method": method, "interpolation": interpolation,
                    "policy": "pareto", "overlap": 0.9, "bd_metric": -0.0123, "n_points": 5,
                }  # fmt: skip
                if (metric, method) == ("AP50", "webp"):
                    # A number that stands beside `undefined` must not be shown.
                    row |= {"bd_rate": 9876.5, "ci_low": 9876.1, "ci_high": 9876.9}
                    row |= {"status": "undefined", "reason": "12 % of the range_is shared"}
                else:
                    sign = 1 if method == "jpeg" else -1
                    row |= {"bd_rate": sign * value, "status": "ok"}
                    low, high = sorted((sign * 50, sign * 70))
                    row |= {"ci_low": low, "ci_high": high}
                rows.append(row)
    return rows


def equal(model: str = "yolox_nano") -> list[dict[str, Any]]:
    rows = []
    for metric in ("mAP", "AP50"):
        for method, factor in RATES.items():
            for within in (1.0, 10.0):
                row = {
                    "dataset": "coco_dev", "task": "det", "model": model, "metric": metric,
                    "anchor": "bpg", "method": method, "interpolation": "pchip",
                    "policy": "pareto", "within": within, "target": 0.3,
                }  # fmt: skip
                if within == 1 and method == "webp":
                    row["reason"] = "webp does not reach it: 0.295 at 1.088 bpp"
                else:
                    bpp = 0.4 * factor
                    row |= {"bpp": bpp, "ci_low": bpp - 0.1, "ci_high": bpp + 0.1}
                    if method != "bpg":
                        change = 100 * (factor - 1)
                        row |= {"change": change, "change_low": change - 9}
                        row |= {"change_high": change + 9}
                rows.append(row)
    return rows


def write_csv(path: Path, header: list[str], rows: list[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, header)
        writer.writeheader()
        writer.writerows(rows)
