"""mAP of resampled real detections (mmdetection's YOLOX-nano on COCO) against pycocotools."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from bench.datasets import coco
from bench.models.base import LIBRARIES, ModelSpec
from bench.tasks.detection import Detection
from bench.tasks.records import Detections

MODEL = "yolox_nano_8xb8-300e_coco"


def evaluated(root: Path, image_ids: list[int], predictions: list[Detections]) -> COCOeval:
    """COCOeval of the detections, matched but not accumulated."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(root / "instances.json"))
        results = [
            {
                "image_id": image,
                "category_id": int(label),
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "score": float(score),
            }
            for image, p in zip(image_ids, predictions, strict=True)
            for (x1, y1, x2, y2), score, label in zip(
                p.boxes.astype(float).tolist(), p.scores, p.labels, strict=True
            )
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


def test_fifty_resamples(shared: Path) -> None:
    pytest.importorskip("mmcv", reason="the extra mmlab is not installed")
    root = shared / "data" / "coco_dev"
    dataset = coco.load(root)
    annotations = json.loads((root / "instances.json").read_text())
    names = {image["file_name"]: image["id"] for image in annotations["images"]}
    ids = [names[Path(sample.name).name] for sample in dataset.samples]

    weights_file = shared / "weights" / "yolox_nano_mmdet.pth"
    spec = ModelSpec("mmdet", MODEL, str(weights_file))
    model = LIBRARIES.get("mmdet").load(spec, torch.device("cpu"))
    task = Detection()
    match = task.match(model, dataset, MODEL)
    predictions = [
        match(p) for sample in dataset.samples for p in model.predict([sample.load()], False)
    ]

    n = len(ids)
    statistics = task.statistics(predictions, [sample.target for sample in dataset.samples])
    draws = np.random.default_rng(0).integers(0, n, (50, n))
    weights = np.vstack([np.ones((1, n), int), *(np.bincount(d, minlength=n)[None] for d in draws)])
    ours = task.score(statistics, weights)[:, :2]
    evaluation = evaluated(root, ids, predictions)
    theirs = [accumulated(evaluation, np.repeat(np.arange(n), w)) for w in weights]
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9)
    assert ours[0, 0] == pytest.approx(0.301, abs=0.001)
    assert ours[1:, 0].std() > 0.005
