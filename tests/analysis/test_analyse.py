"""A results folder in, points.csv and bd.csv out."""

import json
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench import analysis
from bench.analysis import pairs
from bench.analysis.curves import measure
from bench.analysis.power import power_table
from bench.analysis.results import load
from bench.results.files import ResultsError
from bench.results.names import statistics_path
from bench.results.rows import BDRow, PointRow, columns, frame
from bench.tasks import TASKS
from bench.tasks.records import Detections, Label, Logits, Objects

N = 40
QPS = (31, 37, 44)
METHODS = ("bpg", "twin", "cheap+bpg")
"""`twin` is bpg under another name, `cheap+bpg` has its pictures at 0.8 of the bits."""
MODELS = [{"name": "net/a", "view": "native"}, {"name": "b", "view": "model"}]
CLEAN = ("uncompressed", None)


def logits(qp: int | None, rng: np.random.Generator) -> list[Logits | None]:
    signal = 6.0 if qp is None else (50 - qp) / 4
    noise = rng.normal(size=(N, 10))
    noise[np.arange(N), np.arange(N) % 10] += signal
    return [Logits(row) for row in noise]


def boxes(qp: int | None, rng: np.random.Generator) -> list[Detections | None]:
    jitter = 0.5 if qp is None else (qp - 20) / 2
    out: list[Detections | None] = []
    for i in range(N):
        box = np.array([[10, 10, 60, 60], [40, 20, 90, 100.0]]) + rng.normal(0, jitter, (2, 4))
        out.append(Detections(boxes=box, scores=rng.random(2), labels=np.array([1, 1 + i % 3])))
    return out


def targets(task: str) -> list[Any]:
    if task == "cls":
        return [Label(np.array(i % 10)) for i in range(N)]
    return [
        Objects(
            boxes=np.array([[10, 10, 60, 60], [40, 20, 90, 100.0]]),
            labels=np.array([1, 1 + i % 3]),
            area=np.array([2500.0, 4000.0]),
            iscrowd=np.zeros(2, bool),
            ignore=np.zeros(2, bool),
        )
        for i in range(N)
    ]


def write_statistics(
    root: Path, task: str, failed: Collection[int] = (), with_loss: Collection[str] = ()
) -> None:
    for model in MODELS:
        for method, qp in [CLEAN, *((m, q) for m in METHODS for q in QPS)]:
            rng = np.random.default_rng(qp or 0)
            predictions: list[Any] = (logits if task == "cls" else boxes)(qp, rng)
            for i in failed:
                predictions[i] = None
            table = TASKS.get(task).statistics(predictions, targets(task))
            if model["name"] in with_loss:
                signal = 1.0 if qp is None else qp / 30
                losses = [(i, signal * rng.uniform(0.9, 1.1)) for i in range(N)]
                table = TASKS.get(task).with_losses(table, losses)
            path = statistics_path(root, task, "data", model["name"], method, qp)
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(table, path)


def write_folder(root: Path, task: str = "cls", failures: tuple[Any, ...] = ()) -> Path:
    root.mkdir(exist_ok=True)
    names = [f"{i:03}.png" for i in range(N)]
    base = np.random.default_rng(0).integers(500, 1500, N)
    rows = [
        {
            "dataset": "data",
            "view": view,
            "index": i,
            "image": names[i],
            "method": method,
            "qp": qp,
            "bits": int(
                base[i] * 2 ** ((44 - qp) / 5) * (0.8 if method == "cheap+bpg" else 1) * 10
            ),
            "width": 100 + i,
            "height": 50,
            "psnr": 30.0,
        }
        for view in ("native", "model:b")
        for method in METHODS
        for qp in QPS
        for i in range(N)
    ]
    pq.write_table(pa.Table.from_pylist(rows[::-1]), root / "images.parquet")
    write_statistics(root, task, {f["index"] for f in failures})
    manifest = {
        "schema": 1,
        "device": {"kind": "cpu", "name": "x86_64"},
        "experiments": [
            {
                "task": task,
                "dataset": "data",
                "n_images": N,
                "images": names,
                "models": MODELS,
                "anchor": "bpg",
                "methods": {method: list(QPS) for method in METHODS},
            }
        ],
        "analysis": {"interpolation": "pchip", "policy": "pareto", "resamples": 60, "seed": 0},
        "failures": list(failures),
    }
    (root / "manifest.json").write_text(json.dumps(manifest))
    return root


def analyse(root: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """points.csv and bd.csv."""
    tables = analysis.analyse(root)
    return frame(PointRow, tables.points), frame(BDRow, tables.bd)


def edit(root: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    manifest = json.loads((root / "manifest.json").read_text())
    change(manifest)
    (root / "manifest.json").write_text(json.dumps(manifest))


def failure(index: int, model: str | None = None) -> dict[str, Any]:
    return {
        "dataset": "data",
        "model": model,
        "method": "bpg",
        "qp": 37,
        "image": f"{index:03}.png",
        "index": index,
        "stage": "code",
        "error": "broken",
    }


@pytest.mark.parametrize("task", ["cls", "det"])
def test_tables(tmp_path: Path, task: str) -> None:
    points, bd = analyse(write_folder(tmp_path, task))
    n_metrics = sum(not metric.optional for metric in TASKS.get(task).metrics)
    assert list(points.columns) == columns(PointRow)
    assert list(bd.columns) == columns(BDRow)
    assert len(points) == 2 * (1 + 3 * 3) * n_metrics
    assert len(bd) == 2 * 2 * 2 * n_metrics
    clean = points[points.method == "uncompressed"]
    assert clean[["qp", "bpp", "bpp_total"]].isna().all(axis=None)
    assert (points.n_images == N).all()
    assert (points.n_failed == 0).all()
    assert (points.ci_low <= points.value).all()
    assert (points.value <= points.ci_high).all()

    twin = bd[bd.method == "twin"]
    assert (twin[["bd_rate", "ci_low", "ci_high", "bd_metric"]] == 0).all(axis=None)
    cheap = bd[bd.method == "cheap+bpg"]
    np.testing.assert_allclose(cheap[["bd_rate", "ci_low", "ci_high"]], -20, atol=0.05)
    assert (cheap.bd_metric > 0).all()  # better, also where lower is better
    assert (bd.status == "ok").all()


def test_a_detectors_own_loss_stands_only_for_models_that_give_it(tmp_path: Path) -> None:
    root = write_folder(tmp_path, "det")
    write_statistics(root, "det", with_loss=["b"])
    points, bd = analyse(root)
    assert set(points[points.metric == "loss"].model) == {"b"}
    assert points[points.metric == "loss"][["value", "ci_low", "ci_high"]].notna().all(axis=None)
    own = bd[(bd.metric == "loss") & (bd.method == "cheap+bpg")]
    assert set(own.model) == {"b"}
    np.testing.assert_allclose(own[["bd_rate", "ci_low", "ci_high"]], -20, atol=0.05)
    assert (own.bd_metric > 0).all()


def test_rates(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    points, _ = analyse(root)
    images = pd.read_parquet(root / "images.parquet").query(
        "view == 'native' and method == 'bpg' and qp == 37"
    )
    row = points.query("model == 'net/a' and method == 'bpg' and qp == 37").iloc[0]
    pixels = images.width * images.height
    assert row.bpp == pytest.approx((images.bits / pixels).mean(), rel=1e-14)
    assert row.bpp_total == pytest.approx(images.bits.sum() / pixels.sum(), rel=1e-14)


def test_files_round_trip_and_repeat(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    points, bd = analyse(root)
    first = (root / "points.csv").read_bytes(), (root / "bd.csv").read_bytes()
    read = pd.read_csv(root / "points.csv", dtype={"qp": "Int64"}, float_precision="round_trip")
    read = read.fillna({"change": "", "reason": ""})
    pd.testing.assert_frame_equal(read, points, check_exact=True, check_dtype=False)
    read = pd.read_csv(root / "bd.csv", float_precision="round_trip")
    read = read.fillna({"reason": "", "range_reason": ""})
    pd.testing.assert_frame_equal(read, bd, check_exact=True, check_dtype=False)
    assert b"data,cls,net/a,bpg,31," in first[0]
    assert b"data,cls,net/a,uncompressed,,,,top1," in first[0]
    analyse(root)
    assert first == ((root / "points.csv").read_bytes(), (root / "bd.csv").read_bytes())
    assert sorted(p.name for p in root.iterdir()) == [
        "bd.csv",
        "equal_accuracy.csv",
        "fidelity.csv",
        "images.parquet",
        "manifest.json",
        "means.csv",
        "pairs.csv",
        "points.csv",
        "statistics",
    ]


def test_models_share_the_draws(tmp_path: Path) -> None:
    """Both models were given the same predictions, so all that depends on draws is the same."""
    points, _ = analyse(write_folder(tmp_path))
    a, b = (points[points.model == name].reset_index(drop=True) for name in ("net/a", "b"))
    pd.testing.assert_frame_equal(a.drop(columns="model"), b.drop(columns="model"))


@pytest.mark.parametrize("model", ["b", None])
def test_a_failed_image_is_left_out_everywhere(tmp_path: Path, model: str | None) -> None:
    whole, _ = analyse(write_folder(tmp_path / "whole"))
    root = write_folder(tmp_path / "part", failures=(failure(3, model), failure(3, model)))
    points, bd = analyse(root)
    failed = points[points.model == "b"]
    assert (failed.n_images == N - 1).all()
    assert (failed.n_failed == 1).all()
    keep = np.arange(N) != 3
    images = load(root).images.query("view == 'model:b' and method == 'twin' and qp == 44")
    images = images.sort_values("index")[keep]
    row = failed.query("method == 'twin' and qp == 44").iloc[0]
    assert row.bpp == pytest.approx((images.bits / images.width / images.height).mean())
    assert (bd[(bd.method == "twin")].bd_rate == 0).all()
    assert (points[points.model == "net/a"].n_failed == (model is None)).all()
    assert (whole.n_failed == 0).all()


def test_failed_ground_truth_does_not_count(tmp_path: Path) -> None:
    """Even where other points have rows of the image: its weight is 0."""
    root = write_folder(tmp_path, "det", (failure(3),))
    write_statistics(root, "det")
    rows = analyse(root)[0].query("model == 'b' and metric == 'mAP'")
    weights = (np.arange(N) != 3).astype(np.int64)[None]
    task = TASKS.get("det")
    for row in rows.itertuples():
        qp = None if row.method == "uncompressed" else int(row.qp)
        rng = np.random.default_rng(qp or 0)
        expected = task.score(task.statistics(boxes(qp, rng), targets("det")), weights)
        assert row.value == expected[0, 0]


def test_every_image_failed(tmp_path: Path) -> None:
    root = write_folder(tmp_path, failures=tuple(failure(i) for i in range(N)))
    points, bd = analyse(root)
    assert points[["bpp", "value", "ci_low"]].isna().all(axis=None)
    assert (points.n_images == 0).all()
    assert (bd.status == "undefined").all()
    assert bd.reason.str.contains("no value: QP 31, QP 37, QP 44").all()


def test_no_resamples(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    edit(root, lambda m: m["analysis"].update(resamples=0))
    points, bd = analyse(root)
    assert points[["ci_low", "ci_high"]].isna().all(axis=None)
    assert bd.reason.str.contains("no interval").all()
    assert bd.bd_rate.notna().all()


def test_what_the_policy_dropped_and_a_withheld_interval_are_said(tmp_path: Path) -> None:
    """top5 saturates: the middle QPs tie, and many resamples leave a single point."""
    root = write_folder(tmp_path)
    for qp in QPS:
        table = pq.read_table(statistics_path(root, "cls", "data", "b", "twin", 31))
        rank = np.zeros(N, np.int32)
        rank[: 1 if qp == 44 else 0] = 9
        table = table.set_column(2, table.schema.field("rank"), pa.array(rank))
        for method in METHODS:
            pq.write_table(table, statistics_path(root, "cls", "data", "b", method, qp))
    _, bd = analyse(root)
    row = bd.query("model == 'b' and method == 'twin' and metric == 'top5'").iloc[0]
    assert row.status == "ok"
    assert row.n_points == 2
    assert np.isnan(row.ci_low)
    assert "bpg tied: QP 31; " in row.reason
    assert "twin tied: QP 31; " in row.reason
    assert "no interval: undefined in" in row.reason


def test_wins_undefined_and_further_intervals(tmp_path: Path) -> None:
    points, bd = analyse(write_folder(tmp_path))
    cheap, twin = (bd[bd.method == name] for name in ("cheap+bpg", "twin"))
    assert (cheap.wins == 1).all()
    assert (twin.wins == 0).all()
    assert (bd.undefined == 0).all()
    assert (points.bca_low <= points.value).all()
    assert (points.value <= points.bca_high).all()
    np.testing.assert_allclose(cheap[["bca_low", "bca_high"]], -20, atol=0.05)
    for low, high in (("bd_metric_low", "bd_metric_high"), ("bd_metric_bca_low",) * 2):
        assert (cheap[low] > 0).all()
        assert (cheap[high] > 0).all()
    assert (twin[["bd_metric_low", "bd_metric_high"]] == 0).all(axis=None)


def test_bits_at_equal_accuracy(tmp_path: Path) -> None:
    """cheap+bpg has bpg's accuracy at 0.8 of its bits, wherever the curve has a rate at all."""
    root = write_folder(tmp_path)
    edit(root, lambda m: m["analysis"].update(within=[5, 20, 40]))
    points, bd = analyse(root)
    equal = pd.read_csv(root / "equal_accuracy.csv").query("model == 'b' and metric == 'top1'")
    clean = points.query("model == 'b' and metric == 'top1' and method == 'uncompressed'").value
    np.testing.assert_allclose(equal.target, clean.iloc[0] * (1 - equal.within / 100))
    reached = equal[equal.bpp.notna()]
    assert set(reached.within) >= {20, 40}
    cheap = reached[reached.method == "cheap+bpg"]
    np.testing.assert_allclose(cheap.change, -20, atol=0.05)
    known = cheap[cheap.change_low.notna()]
    assert len(known)
    np.testing.assert_allclose(known[["change_low", "change_high"]], -20, atol=0.05)
    assert reached[reached.method == "bpg"].change.isna().all()
    anchor = reached[(reached.method == "bpg") & reached.ci_low.notna()]
    assert len(anchor)
    assert ((anchor.ci_low <= anchor.bpp) & (anchor.bpp <= anchor.ci_high)).all()
    missed = equal[equal.bpp.isna()]
    assert missed.reason.str.contains("does not reach it").all()
    assert (bd.range == "5–40 % below clean").all()
    ranged = bd[(bd.method == "cheap+bpg") & bd.range_bd_rate.notna()]
    assert len(ranged)
    np.testing.assert_allclose(ranged.range_bd_rate, -20, atol=0.05)


def test_what_the_policy_did_stands_with_the_point(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    better = statistics_path(root, "cls", "data", "b", "bpg", 37)
    worse = statistics_path(root, "cls", "data", "b", "bpg", 31)
    swapped = pq.read_table(better), pq.read_table(worse)
    pq.write_table(swapped[0], worse)
    pq.write_table(swapped[1], better)
    where = "model == 'b' and method == 'bpg' and metric == 'top1'"
    points, bd = analyse(root)
    rows = points.query(where).set_index("qp")
    assert rows.change.to_dict() == {31: "dominated", 37: "", 44: ""}
    assert np.isnan(rows.curve_bpp[31])
    assert rows.curve_bpp[37] == rows.bpp[37]
    reason = bd.query("model == 'b' and metric == 'top1'").iloc[0].reason
    assert "bpg dominated: QP 31" in reason
    assert "accuracy of bpg falls from QP 37 to QP 31" in reason

    edit(root, lambda m: m["analysis"].update(policy="isotonic"))
    rows = analyse(root)[0].query(where).set_index("qp")
    assert rows.change.to_dict() == {31: "pooled", 37: "pooled", 44: ""}
    assert rows.curve_bpp[31] == rows.curve_bpp[37]
    assert rows.curve_bpp[31] == pytest.approx(np.sqrt(rows.bpp[31] * rows.bpp[37]))
    assert rows.curve_value[31] == rows.curve_value[37]
    assert rows.curve_value[31] == pytest.approx(rows["value"][[31, 37]].mean())


def test_power_is_read_from_the_resamples(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    results = load(root)
    experiment = results.manifest.experiments[0]
    measurement = measure(results, experiment, experiment.models[0])
    rows = power_table([measurement], "pareto", "pchip", 5.0, 0.8)
    found = {(row.method, row.metric): row for row in rows}
    assert set(found) == {(m, k) for m in METHODS[1:] for k in ("top1", "top5", "cross-entropy")}
    assert found["twin", "top1"].images_needed == 2  # bpg under another name: no spread at all
    rates = pairs.resampled_bd_rates(measurement, 0, "cheap+bpg", "pareto", "pchip")
    spread = np.log1p(rates[1:] / 100).std(ddof=1)
    assert found["cheap+bpg", "top1"].detectable == pytest.approx(
        100 * np.expm1((1.959964 + 0.841621) * spread), rel=1e-5
    )


def test_statistics_path() -> None:
    root = Path("r")
    assert statistics_path(root, "det", "d", "a/b", "npp+bpg", 37) == Path(
        "r/statistics/det/d/a%2Fb/npp+bpg/37.parquet"
    )
    assert statistics_path(root, "det", "d", "m", "uncompressed", None) == Path(
        "r/statistics/det/d/m/uncompressed.parquet"
    )


def drop_image_row(root: Path) -> None:
    table = pq.read_table(root / "images.parquet")
    pq.write_table(table.slice(1), root / "images.parquet")


def double_image_row(root: Path) -> None:
    table = pq.read_table(root / "images.parquet")
    pq.write_table(pa.concat_tables([table, table.slice(0, 1)]), root / "images.parquet")


def rename_images(root: Path) -> None:
    edit(root, lambda m: m["experiments"][0]["images"].reverse())


def drop_column(root: Path) -> None:
    table = pq.read_table(root / "images.parquet")
    pq.write_table(table.drop_columns("bits"), root / "images.parquet")


def spoil_column(root: Path, column: str, value: float) -> None:
    path = statistics_path(root, "cls", "data", "b", "twin", 37)
    table = pq.read_table(path)
    field = table.schema.get_field_index(column)
    values = table[column].to_pylist()
    values[5] = value
    column_type = table.schema.field(column).type
    pq.write_table(
        table.set_column(field, table.schema.field(field), pa.array(values, column_type)), path
    )


BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no manifest": (lambda r: (r / "manifest.json").unlink(), r"manifest\.json: missing"),
    "half a manifest": (lambda r: (r / "manifest.json").write_text('{"sch'), "cannot be read"),
    "a list": (lambda r: (r / "manifest.json").write_text("[]"), "JSON object"),
    "another schema": (lambda r: edit(r, lambda m: m.update(schema=2)), "schema is 2"),
    "no anchor": (
        lambda r: edit(r, lambda m: m["experiments"][0].pop("anchor")),
        r"experiments\.0\.anchor: Field required",
    ),
    "unknown anchor": (
        lambda r: edit(r, lambda m: m["experiments"][0].update(anchor="vvc")),
        "'vvc' is none of the methods",
    ),
    "wrong count": (
        lambda r: edit(r, lambda m: m["experiments"][0].update(n_images=3)),
        r"n_images: 3, but images lists 40",
    ),
    "no QPs": (
        lambda r: edit(r, lambda m: m["experiments"][0]["methods"].update(twin=[])),
        "different QPs",
    ),
    "unknown view": (
        lambda r: edit(r, lambda m: m["experiments"][0]["models"][0].update(view="half")),
        r"models\.0\.view: 'half'",
    ),
    "unknown policy": (
        lambda r: edit(r, lambda m: m["analysis"].update(policy="cubic")),
        r"analysis\.policy",
    ),
    "unknown task": (
        lambda r: edit(r, lambda m: m["experiments"][0].update(task="pose")),
        "task 'pose'; there are: cls, det",
    ),
    "two lists of images": (
        lambda r: edit(
            r,
            lambda m: m["experiments"].append(
                {**m["experiments"][0], "images": m["experiments"][0]["images"][::-1]}
            ),
        ),
        "lists other images",
    ),
    "failure of no image": (
        lambda r: edit(r, lambda m: m["failures"].append(failure(99))),
        r"failures\.0: image '099\.png'",
    ),
    "no images table": (lambda r: (r / "images.parquet").unlink(), r"images\.parquet: missing"),
    "half an images table": (
        lambda r: (r / "images.parquet").write_bytes(b"PAR1"),
        "cannot be read as Parquet",
    ),
    "no column": (drop_column, r"images\.parquet: no column bits"),
    "no row": (drop_image_row, "no bits or no size for 1 images"),
    "two rows": (double_image_row, "two rows"),
    "other names": (rename_images, "the manifest says otherwise"),
    "NaN in the statistics": (
        lambda r: spoil_column(r, "cross_entropy", np.nan),
        r"twin/37\.parquet: column cross_entropy is NaN or infinite in 1 rows, "
        r"first for image 005\.png",
    ),
    "statistics of an image that is none": (
        lambda r: spoil_column(r, "image", -1),
        r"twin/37\.parquet: column image runs from -1 to 39, data has images 0 to 39",
    ),
    "levels that do not rise": (
        lambda r: edit(r, lambda m: m["analysis"].update(within=[5, 1])),
        r"analysis\.within: .*rising percentages",
    ),
    "no statistics": (
        lambda r: statistics_path(r, "cls", "data", "b", "twin", 37).unlink(),
        r"twin/37\.parquet: missing",
    ),
    "statistics of another task": (
        lambda r: write_statistics_as(r, "det", "cls"),
        "do not fit task cls",
    ),
}


def write_statistics_as(root: Path, task: str, other: str) -> None:
    write_statistics(root, task)
    path = statistics_path(root, task, "data", "b", "twin", 37)
    path.replace(statistics_path(root, other, "data", "b", "twin", 37))


@pytest.mark.parametrize(("damage", "message"), BROKEN.values(), ids=BROKEN)
def test_errors_name_file_and_field(
    tmp_path: Path, damage: Callable[[Path], Any], message: str
) -> None:
    root = write_folder(tmp_path)
    damage(root)
    with pytest.raises(ResultsError, match=message) as caught:
        analyse(root)
    assert str(tmp_path) in str(caught.value)
    assert not (root / "points.csv").exists()


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="no such folder"):
        analyse(tmp_path / "none")
