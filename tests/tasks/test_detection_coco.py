"""mAP of resampled real detections against pycocotools.

coco_dev_predictions.parquet: what mmdetection's YOLOX-nano says of the 155 images of coco_dev.
"""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from bench.datasets.base import DATASETS
from bench.tasks.detection import Detection

PREDICTIONS = Path(__file__).with_name("coco_dev_predictions.parquet")


def evaluated(root: Path, image_ids: list[int]) -> COCOeval:
    """COCOeval of the stored detections, matched but not accumulated."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(root / "instances.json"))
        results = [
            {
                "image_id": image_ids[row["image"]],
                "category_id": row["category"],
                "bbox": [row["x1"], row["y1"], row["x2"] - row["x1"], row["y2"] - row["y1"]],
                "score": row["score"],
            }
            for row in pq.read_table(PREDICTIONS).to_pylist()
        ]
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        p = evaluation.params
        p.imgIds, p.maxDets = image_ids, [100]
        p.areaRng, p.areaRngLbl = p.areaRng[:1], p.areaRngLbl[:1]
        evaluation.evaluate()
    return evaluation


def accumulated(evaluation: COCOeval, order: np.ndarray) -> tuple[float, float]:
    """mAP and AP50 of COCOeval on the list of images `order`, copies under ids of their own."""
    p, n = evaluation.params, len(evaluation.params.imgIds)
    matched = evaluation.evalImgs
    resampled: Any = COCOeval(iouType="bbox")
    resampled.params = evaluation._paramsEval.__class__(iouType="bbox")
    for name in ("catIds", "maxDets", "areaRng", "areaRngLbl"):
        setattr(resampled.params, name, getattr(p, name))
    resampled.params.imgIds = list(range(len(order)))
    resampled._paramsEval = resampled.params
    # evalImgs runs over categories, then area ranges (one here), then images.
    resampled.evalImgs = [matched[c * n + i] for c in range(len(p.catIds)) for i in order.tolist()]
    with contextlib.redirect_stdout(io.StringIO()):
        resampled.accumulate()
    precision = resampled.eval["precision"]
    first = precision[0]
    return float(precision[precision > -1].mean()), float(first[first > -1].mean())


@pytest.fixture
def coco_dev(shared: Path) -> Path:
    return shared / "data" / "coco_dev"


def test_fifty_resamples_of_coco_dev(coco_dev: Path) -> None:
    dataset = DATASETS.get("coco")(coco_dev)
    annotations = json.loads((coco_dev / "instances.json").read_text())
    names = {image["file_name"]: image["id"] for image in annotations["images"]}
    ids = [names[Path(sample.name).name] for sample in dataset.samples]
    table = pq.read_table(PREDICTIONS).to_pandas()
    grouped = dict(list(table.groupby("image")))
    predictions = []
    for i in range(len(ids)):
        rows = grouped.get(i, table.iloc[:0])
        predictions.append(
            {
                "boxes": rows[["x1", "y1", "x2", "y2"]].to_numpy(np.float32),
                "scores": rows["score"].to_numpy(np.float32),
                "labels": rows["category"].to_numpy(np.int64),
            }
        )
    task, n = Detection(), len(ids)
    statistics = task.statistics(predictions, [sample.target for sample in dataset.samples])
    draws = np.random.default_rng(0).integers(0, n, (50, n))
    weights = np.vstack([np.ones((1, n), int), *(np.bincount(d, minlength=n)[None] for d in draws)])
    ours = task.score(statistics, weights)[:, :2]
    evaluation = evaluated(coco_dev, ids)
    theirs = [accumulated(evaluation, np.repeat(np.arange(n), w)) for w in weights]
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9)
    assert ours[0, 0] == pytest.approx(0.301, abs=0.001)
    assert ours[1:, 0].std() > 0.005
