"""Whole runs through the command line: resumed, interrupted, with damaged images."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from described import N, experiment
from PIL import Image

from bench.cli import main
from bench.codecs.bpg import BpgCodec
from bench.datasets import mini
from bench.errors import CodecError
from bench.models.torchvision import Classifier
from bench.tasks.records import Logits

ROOT = Path(__file__).parents[2]


def run(config: Path, pictures: Path, out: Path, *more: str) -> int:
    words = ["--config", config, "--data-root", pictures, "--out", out, "--device", "cpu", *more]
    return main(["--set", "analysis.resamples=20", *map(str, words)])


def manifest(out: Path) -> dict[str, Any]:
    return json.loads((out / "manifest.json").read_text())


def tables(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in ("points.csv", "bd.csv")}


def test_second_run_computes_nothing_and_gives_the_same(
    config: Path, pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "results" / "run"
    assert run(config, pictures, out) == 0
    first, done = tables(out), manifest(out)
    assert done["computed"] == {"coded": 6 * N, "predicted": 7 * N}
    points = pd.read_csv(out / "points.csv")
    bpg = points[(points.method == "bpg") & (points.metric == "top1")].sort_values("qp")
    assert bpg.qp.tolist() == [33, 39, 45]
    assert bpg.bpp.is_monotonic_decreasing
    assert (points.n_images == N).all()
    for name in ("report.html", "images.parquet", "tables/bd.md", "tables/bd.tex"):
        assert (out / name).stat().st_size > 0
    assert list((out / "figures").glob("*top1.svg"))

    assert run(config, pictures, out) == 0
    again = manifest(out)
    assert again["computed"] == {"coded": 0, "predicted": 0}
    assert again["cached"] == {"coded": 6 * N, "predicted": 7 * N}
    assert tables(out) == first


def test_processes_and_threads_give_the_same(config: Path, pictures: Path, tmp_path: Path) -> None:
    threads, processes = tmp_path / "a" / "run", tmp_path / "b" / "run"
    assert run(config, pictures, threads, "--jobs", "3") == 0
    assert run(config, pictures, processes, "--jobs", "2", "--backend", "loky") == 0
    assert tables(threads) == tables(processes)


def test_killed_run_resumes_to_the_same_tables(
    config: Path, pictures: Path, tmp_path: Path
) -> None:
    whole, killed = tmp_path / "whole" / "run", tmp_path / "killed" / "run"
    assert run(config, pictures, whole) == 0
    words = ["--config", config, "--data-root", pictures, "--out", killed, "--device", "cpu"]
    process = subprocess.Popen(
        [sys.executable, ROOT / "run_bench.py", *words, "--quiet", "--jobs", "1"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    cache = killed.parent / ".cache"

    def stored() -> int:
        return sum(1 for p in cache.glob("??/*") if not p.name.startswith("."))

    deadline = time.monotonic() + 120
    while stored() < 2 * N + 40 and time.monotonic() < deadline:
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = stored()
    assert 2 * N < kept < 14 * N  # hashes of the pictures and clean predictions, and some more
    assert not (killed / "manifest.json").exists()

    assert run(config, pictures, killed) == 0
    assert sorted(p.name for p in killed.iterdir()) == sorted(p.name for p in whole.iterdir())
    counts = manifest(killed)
    assert counts["computed"]["coded"] + counts["computed"]["predicted"] == 14 * N - kept
    assert tables(killed) == tables(whole)


def test_damaged_image_is_named_and_left_out_everywhere(
    config: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = pictures / "images" / "05.png"
    damaged.write_bytes(damaged.read_bytes()[:2000])
    out = tmp_path / "results" / "run"
    assert run(config, pictures, out, "--max-failures", "10") == 0
    points = pd.read_csv(out / "points.csv")
    assert (points.n_failed == 1).all()
    assert (points.n_images == N - 1).all()
    assert [f["image"] for f in manifest(out)["failures"]] == ["05.png"]
    assert "05.png" in capsys.readouterr().err


def test_too_many_damaged_images_stop_the_run(
    config: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pictures / "images" / "05.png").write_bytes(b"not a picture")
    out = tmp_path / "results" / "run"
    assert run(config, pictures, out) == 2
    error = capsys.readouterr().err
    assert "05.png" in error
    assert "--max-failures" in error
    assert not out.exists()


def test_codec_failure_at_one_point_leaves_the_image_out_of_all(
    config: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = BpgCodec.encode
    calls = 0

    def failing(self: BpgCodec, rgb: np.ndarray, qp: int) -> bytes:
        nonlocal calls
        if qp == 39:
            calls += 1
            if calls == 3:
                raise CodecError("made to fail")
        return plain(self, rgb, qp)

    monkeypatch.setattr(BpgCodec, "encode", failing)
    out = tmp_path / "results" / "run"
    assert run(config, pictures, out, "--max-failures", "10", "--jobs", "1") == 0
    points = pd.read_csv(out / "points.csv")
    assert set(points.n_images) == {N - 1}
    (failure,) = manifest(out)["failures"]
    assert (failure["method"], failure["qp"], failure["stage"]) == ("bpg", 39, "encode")


def test_model_that_returns_nan_is_counted(
    config: Path,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plain, clean = Classifier.predict, mini.render_classification("test", 16)[0]
    seen: list[int] = []

    def failing(self: Classifier, images: list[Any], viewed: bool) -> list[Any]:
        predictions = plain(self, images, viewed)
        if len(images) == 8 and not np.array_equal(images[0], clean):
            seen.append(1)
            if len(seen) == 1:  # the second chunk at the operating point that comes first
                predictions[0] = Logits(np.full_like(predictions[0].logits, np.nan))
        return predictions

    monkeypatch.setattr(Classifier, "predict", failing)
    out = tmp_path / "results" / "run"
    assert run(config, pictures, out, "--max-failures", "10") == 0
    (failure,) = manifest(out)["failures"]
    assert (failure["stage"], failure["image"]) == ("predict", "16.png")
    assert failure["model"] == "mini_classifier"
    method, qp = failure["method"], failure["qp"]
    points = pd.read_csv(out / "points.csv")
    assert set(points.n_images) == {N - 1}
    assert set(points.n_failed) == {1}
    warned = capsys.readouterr().err.replace("\n", " ")
    said = f"16.png is left out everywhere (mini_classifier, {method} at QP {qp}: predict:"
    assert said in warned


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_model_that_returns_nan_on_every_clean_image_stops_before_coding(
    config: Path,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    value: float,
) -> None:
    def broken(self: Classifier, images: list[Any], viewed: bool) -> list[Any]:
        return [Logits(np.full(12, value, np.float32)) for _ in images]

    monkeypatch.setattr(Classifier, "predict", broken)
    out = tmp_path / "results" / "run"
    assert run(config, pictures, out) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert re.search("mini_classifier: all of (16|8) images failed", error)
    kept = list((tmp_path / "results" / ".cache").glob("??/*"))
    assert len(kept) <= N  # the hashes of the pictures: nothing was coded, no prediction kept


def test_expected_score_binds_its_own_data_set_only(
    config: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "results" / "run"
    assert run(config, pictures, out, "--qps", "45", "--methods", "bpg") == 0
    fingerprint = manifest(out)["experiments"][0]["dataset_fingerprint"]

    def expecting(dataset: str, top1: float) -> Path:
        described = experiment() | {"expected": {"dataset": dataset, "top1": [top1, 0.001]}}
        path = tmp_path / "expecting.yaml"
        path.write_text(yaml.safe_dump({"experiments": [described]}))
        return path

    quick = ("--qps", "45", "--methods", "bpg")
    capsys.readouterr()
    assert run(expecting(fingerprint, 0.1), pictures, out, *quick) == 2
    assert "top1" in capsys.readouterr().err
    assert run(expecting("sha256:" + "0" * 64, 0.1), pictures, out, *quick) == 0
    assert "another data set" in capsys.readouterr().err
    assert run(expecting(fingerprint, 0.1), pictures, out, *quick, "--limit", "12") == 0


def test_detectors_own_loss_stands_beside_its_map(pictures: Path, tmp_path: Path) -> None:
    path = tmp_path / "det.yaml"
    described = experiment() | {
        "task": "det",
        "dataset": {"format": "mini"},
        "models": [{"library": "mini", "name": "mini_fcos"}],
    }
    path.write_text(yaml.safe_dump({"experiments": [described]}))
    out = tmp_path / "results" / "run"
    assert run(path, pictures, out, "--limit", "8") == 0
    points = pd.read_csv(out / "points.csv")
    assert points.metric.unique().tolist() == ["mAP", "AP50", "loss"]
    own = points[points.metric == "loss"]
    bpg = own[own.method == "bpg"].sort_values("qp")
    clean = own[own.method == "uncompressed"].value.item()
    assert [clean, *bpg.value] == sorted([clean, *bpg.value])
    assert "loss" in set(pd.read_csv(out / "bd.csv").metric)
    assert list((out / "figures").glob("*loss.svg"))

    assert run(path, pictures, out, "--limit", "8") == 0
    assert manifest(out)["computed"] == {"coded": 0, "predicted": 0}


def scenes(root: Path) -> Path:
    """Eight of mini's pictures with their objects, as COCO has them."""
    (root / "images").mkdir(parents=True)
    images: list[dict[str, Any]] = []
    objects: list[dict[str, Any]] = []
    for i in range(8):
        rgb, truth = mini.render_detection("test", i)
        Image.fromarray(rgb).save(root / "images" / f"{i}.png")
        images.append({"id": i, "file_name": f"{i}.png", "width": 192, "height": 192})
        for (x1, y1, x2, y2), label in zip(
            truth.boxes.tolist(), truth.labels.tolist(), strict=True
        ):
            w, h = x2 - x1, y2 - y1
            found = {"image_id": i, "category_id": label, "bbox": [x1, y1, w, h], "area": w * h}
            objects.append({"id": len(objects) + 1, "iscrowd": 0, **found})
    categories = [{"id": i, "name": name} for i, name in enumerate(mini.CLASSES)]
    document = {"images": images, "annotations": objects, "categories": categories}
    (root / "instances.json").write_text(json.dumps(document))
    return root


def test_a_box_moved_by_a_pixel_is_another_loss_of_its_image_alone(tmp_path: Path) -> None:
    root, path, out = scenes(tmp_path / "scenes"), tmp_path / "det.yaml", tmp_path / "out" / "run"
    described = experiment() | {
        "task": "det",
        "dataset": {"format": "coco"},
        "models": [{"library": "mini", "name": "mini_fcos"}],
    }
    path.write_text(yaml.safe_dump({"experiments": [described]}))

    def losses() -> list[float]:
        points = pd.read_csv(out / "points.csv")
        return points[points.metric == "loss"].value.tolist()

    assert run(path, root, out) == 0
    assert manifest(out)["computed"] == {"coded": 6 * 8, "predicted": 7 * 8}
    before = losses()
    document = json.loads((root / "instances.json").read_text())
    document["annotations"][0]["bbox"][0] += 1
    (root / "instances.json").write_text(json.dumps(document))
    assert run(path, root, out) == 0
    assert manifest(out)["computed"] == {"coded": 0, "predicted": 7}
    assert manifest(out)["cached"] == {"coded": 6 * 8, "predicted": 7 * 7}
    assert all(a != b for a, b in zip(before, losses(), strict=True))


def test_the_manifest_says_running_until_all_is_there(
    config: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, said = tmp_path / "results" / "run", set()
    plain = BpgCodec.encode

    def looking(self: BpgCodec, rgb: np.ndarray, qp: int) -> bytes:
        begun = json.loads((out / ".rabench.unfinished" / "manifest.json").read_text())
        said.add((begun["status"], begun["experiments"][0]["n_images"], (out / "bd.csv").exists()))
        return plain(self, rgb, qp)

    monkeypatch.setattr(BpgCodec, "encode", looking)
    assert run(config, pictures, out, "--qps", "45", "--methods", "bpg") == 0
    assert said == {("running", N, False)}
    assert manifest(out)["status"] == "complete"


def test_preprocessed_method_is_cached_like_any_other(pictures: Path, tmp_path: Path) -> None:
    described = experiment()
    described["methods"] = {
        "bpg": {"codec": "bpg", "qps": [39, 45]},
        "blur+bpg": {"preprocessor": {"name": "blur", "sigma": {39: 0, 45: 1.0}}, "codec": "bpg"},
    }
    path = tmp_path / "blurred.yaml"
    path.write_text(yaml.safe_dump({"experiments": [described]}))
    out = tmp_path / "results" / "run"
    assert run(path, pictures, out) == 0
    done = manifest(out)
    # At QP 39 nothing is blurred, so that the plain method's pictures are found in the cache.
    assert done["computed"] == {"coded": 3 * N, "predicted": 4 * N, "preprocessed": 2 * N}
    points = pd.read_csv(out / "points.csv").query("metric == 'top1'").set_index(["method", "qp"])
    assert points.bpp["blur+bpg", 39] == points.bpp["bpg", 39]
    assert points.bpp["blur+bpg", 45] < points.bpp["bpg", 45]
    assert run(path, pictures, out) == 0
    assert set(manifest(out)["computed"].values()) == {0}


@pytest.mark.parametrize(
    ("task", "model", "metrics", "clean"),
    [
        ("cls", "mini_classifier", ["agreement", "divergence"], [1, 0]),
        ("det", "mini_fcos", ["agreement-mAP", "agreement-AP50"], [1, 1]),
    ],
)
def test_images_without_labels_give_a_curve(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    task: str,
    model: str,
    metrics: list[str],
    clean: list[float],
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(10):
        rgb, _ = mini._RENDER[task]("test", i)
        Image.fromarray(rgb).save(photos / f"{i}.png")
    path = tmp_path / "folder.yaml"
    described = experiment() | {
        "task": task,
        "dataset": {"format": "folder", "name": "holiday"},
        "models": [{"library": "mini", "name": model}],
    }
    path.write_text(yaml.safe_dump({"experiments": [described]}))
    out = tmp_path / "results" / "run"
    assert run(path, photos, out) == 0
    points = pd.read_csv(out / "points.csv")
    assert points.metric.unique().tolist() == metrics
    assert set(points.task) == {f"{task}-agreement"}
    values = points.set_index(["metric", "method", "qp"]).value
    own = points[points.method == "uncompressed"].set_index("metric").value
    assert [own[m] for m in metrics] == pytest.approx(clean)
    bpg = [values[metrics[0], "bpg", qp] for qp in (33, 39, 45)]
    assert 0 < bpg[2] < bpg[0] < 1 or (task == "cls" and bpg[2] < bpg[0] <= 1)
    assert metrics[0] in set(pd.read_csv(out / "bd.csv").metric)
    (told,) = manifest(out)["experiments"]
    assert told["task"] == f"{task}-agreement"
    assert "agree" in told["notes"][0]
    assert "agreement" in capsys.readouterr().err
    page = (out / "report.html").read_text()
    assert "agreement with the uncompressed images, not accuracy" in page
    assert "Rate and agreement of" in page
    assert ("of at least 0.3" in told["notes"][0]) == (task == "det")
