"""mmdetection's own inference and ours, where the extra and real weights are here."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench.models.base import LIBRARIES, ModelSpec

pytest.importorskip("mmdet", reason="the extra mmlab is not installed")
pytest.importorskip("mmcv", reason="the extra mmlab is not installed")

NAME = "yolox_nano_8xb8-300e_coco"


@pytest.mark.filterwarnings("ignore")
def test_yolox_gives_the_boxes_of_mmdet(shared: Path) -> None:
    from mmdet.apis import inference_detector, init_detector

    from bench.models.mmdet import _config_file

    weights = shared / "weights" / "yolox_nano_mmdet.pth"
    reference = init_detector(str(_config_file(NAME)), str(weights), device="cpu")
    model = LIBRARIES.get("mmdet").load(ModelSpec("mmdet", NAME, str(weights)), torch.device("cpu"))
    files = sorted((shared / "data" / "coco_dev" / "images").iterdir())[:6]
    pictures = [np.asarray(Image.open(f).convert("RGB")) for f in files]
    for picture, ours in zip(pictures, model.predict(pictures, viewed=False), strict=True):
        theirs = inference_detector(reference, picture[..., ::-1].copy()).pred_instances
        np.testing.assert_allclose(ours["scores"], theirs.scores.numpy(), atol=1e-4)
        np.testing.assert_allclose(ours["boxes"], theirs.bboxes.numpy(), atol=1e-2)
        assert (ours["labels"] == theirs.labels.numpy()).all()
