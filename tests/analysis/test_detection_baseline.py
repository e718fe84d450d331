"""A detector's baseline gives what the run gives, to the last digit, and is smaller."""

from pathlib import Path
from typing import Any

import gated_results as gated
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.analysis import baseline
from bench.analysis.baseline import open_side
from bench.results.names import UNCOMPRESSED, statistics_path
from bench.tasks import TASKS
from bench.tasks.matching import match_detections
from bench.tasks.records import Detections, Objects

IMAGES, CATEGORIES = 40, 5


def scenes(rng: np.random.Generator) -> list[Objects]:
    """Objects that do not overlap, one in eight of them a crowd."""
    found = []
    for _ in range(IMAGES):
        n = int(rng.integers(1, 8))
        corner = np.column_stack([30.0 * np.arange(n), np.zeros(n)])
        labels, crowd = rng.integers(1, CATEGORIES + 1, n), rng.random(n) < 1 / 8
        boxes = np.hstack([corner, corner + 20])
        found.append(Objects(boxes, labels, np.full(n, 400.0), crowd, np.zeros(n, bool)))
    return found


def detected(rng: np.random.Generator, truth: Objects, blur: float) -> Detections:
    """Boxes that are off by `blur` pixels, and as many that are false; scores repeat."""
    n = len(truth.boxes)
    true = truth.boxes + rng.normal(0, blur, (n, 4))
    boxes = np.vstack([true, true + rng.uniform(15, 40, (n, 1))]).astype(np.float32)
    scores = np.round(np.concatenate([rng.uniform(0.2, 1, n), rng.uniform(0, 0.8, n)]), 2)
    other = rng.integers(1, CATEGORIES + 1, n)
    return Detections(boxes, scores.astype(np.float32), np.concatenate([truth.labels, other]))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    truth = scenes(rng)

    def edit(manifest: dict[str, Any]) -> None:
        metrics = [m for m in TASKS.get("det").metrics if not m.optional]
        about = {"task": "det", "metrics": {m.name: m.describe() for m in metrics}}
        manifest["experiments"][0] |= about

    gated.write(tmp_path / "run", edit=edit, n=IMAGES)
    points = [(m, qp) for m in gated.methods() for qp in gated.QPS]
    for method, qp in [(UNCOMPRESSED, None), *points]:
        blur = 0.5 if qp is None else (qp - 25) / 6
        table = match_detections([detected(rng, t, blur) for t in truth], truth)
        losses = pa.nulls(len(table), pa.float64())
        path = statistics_path(tmp_path / "run", "det", "data", "net", method, qp)
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table.append_column("loss", losses), path)
    return tmp_path / "run"


def test_scores_of_all_resamples_are_the_same(run: Path, tmp_path: Path) -> None:
    baseline.write(run, tmp_path / "base.json")
    before, after = open_side(run), open_side(tmp_path / "base.json")
    (experiment, model), *_ = before.models()
    analysis = before.manifest.analysis.model_copy(update={"resamples": 200})
    a, b = (s.scores(experiment, model, ["bpg", "npp+bpg"], (), analysis) for s in (before, after))
    np.testing.assert_array_equal(a.clean, b.clean)
    for method, by_qp in a.points.items():
        for qp, numbers in by_qp.items():
            for mine, theirs in zip(numbers, b.points[method][qp], strict=True):
                np.testing.assert_array_equal(mine, theirs)
    headline = a.points["bpg"][31][1][:, 0]
    assert 0 < headline.min() < headline.max() < 1
    results = after.measured()
    kept, whole = (
        sum(len(r.statistics(experiment, model, "bpg", qp)) for qp in gated.QPS)
        for r in (results, before.measured())
    )
    assert kept < whole


def test_a_baseline_of_what_was_merged_is_the_same(run: Path, tmp_path: Path) -> None:
    from bench.analysis import merged

    base = tmp_path / "base.json"
    baseline.write(run, base)
    made = merged.merge(merged.opened([base, base]))
    (tmp_path / "both").mkdir()
    merged.write(made, tmp_path / "both", "both")
    baseline.write(tmp_path / "both", tmp_path / "again.json")
    tables = [p.with_suffix(".det.parquet").read_bytes() for p in (base, tmp_path / "again.json")]
    assert tables[0] == tables[1]
