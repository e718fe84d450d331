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

from bench.analysis import analyse
from bench.analysis.bdrate import BD_COLUMNS
from bench.analysis.curves import POINT_COLUMNS
from bench.analysis.results import ResultsError, load, statistics_path
from bench.tasks import TASKS

N = 40
QPS = (31, 37, 44)
METHODS = ("bpg", "twin", "cheap+bpg")
"""`twin` is bpg under another name, `cheap+bpg` has its pictures at 0.8 of the bits."""
MODELS = [{"name": "net/a", "view": "native"}, {"name": "b", "view": "model"}]
CLEAN = ("uncompressed", None)


def logits(qp: int | None, rng: np.random.Generator) -> list[dict[str, np.ndarray]]:
    signal = 6.0 if qp is None else (50 - qp) / 4
    noise = rng.normal(size=(N, 10))
    noise[np.arange(N), np.arange(N) % 10] += signal
    return [{"logits": row} for row in noise]


def boxes(qp: int | None, rng: np.random.Generator) -> list[dict[str, np.ndarray]]:
    jitter = 0.5 if qp is None else (qp - 20) / 2
    out = []
    for i in range(N):
        box = np.array([[10, 10, 60, 60], [40, 20, 90, 100.0]]) + rng.normal(0, jitter, (2, 4))
        out.append({"boxes": box, "scores": rng.random(2), "labels": np.array([1, 1 + i % 3])})
    return out


def targets(task: str) -> list[dict[str, np.ndarray]]:
    if task == "cls":
        return [{"label": np.array(i % 10)} for i in range(N)]
    return [
        {
            "boxes": np.array([[10, 10, 60, 60], [40, 20, 90, 100.0]]),
            "labels": np.array([1, 1 + i % 3]),
            "area": np.array([2500.0, 4000.0]),
            "iscrowd": np.zeros(2, bool),
            "ignore": np.zeros(2, bool),
        }
        for i in range(N)
    ]


def write_statistics(
    root: Path, task: str, failed: Collection[int] = (), with_loss: Collection[str] = ()
) -> None:
    for model in MODELS:
        for method, qp in [CLEAN, *((m, q) for m in METHODS for q in QPS)]:
            rng = np.random.default_rng(qp or 0)
            predictions: list[Any] = (logits if task == "cls" else boxes)(qp, rng)
            if model["name"] in with_loss:
                signal = 1.0 if qp is None else qp / 30
                predictions = [p | {"loss": signal * rng.uniform(0.9, 1.1)} for p in predictions]
            for i in failed:
                predictions[i] = None
            path = statistics_path(root, task, "data", model["name"], method, qp)
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(TASKS[task].statistics(predictions, targets(task)), path)


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
        "device": "cpu",
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
    n_metrics = sum(not metric.optional for metric in TASKS[task].metrics)
    assert list(points.columns) == POINT_COLUMNS
    assert list(bd.columns) == BD_COLUMNS
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
    pd.testing.assert_frame_equal(read, points, check_exact=True, check_dtype=False)
    read = pd.read_csv(root / "bd.csv", float_precision="round_trip", keep_default_na=False)
    pd.testing.assert_frame_equal(read, bd, check_exact=True, check_dtype=False)
    assert b"data,cls,net/a,bpg,31," in first[0]
    assert b"data,cls,net/a,uncompressed,,,,top1," in first[0]
    analyse(root)
    assert first == ((root / "points.csv").read_bytes(), (root / "bd.csv").read_bytes())
    assert sorted(p.name for p in root.iterdir()) == [
        "bd.csv",
        "images.parquet",
        "manifest.json",
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
    task = TASKS["det"]
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
    assert "bpg tied: QP 31; twin tied: QP 31" in row.reason
    assert "no interval: undefined in" in row.reason


def test_statistics_path() -> None:
    root = Path("r")
    assert statistics_path(root, "det", "d", "a/b", "npp+bpg", 37) == Path(
        "r/statistics/det/d/a_b/npp+bpg/37.parquet"
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
        lambda r: edit(r, lambda m: m["experiments"][0].update(task="seg")),
        "task 'seg'; there are: det, cls",
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
