"""mmdetection's own inference and ours, where the extra and real weights are here."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench import codecs
from bench.datasets.base import DATASETS
from bench.models.base import LIBRARIES, ModelSpec, giver_of_losses, own_targets

pytest.importorskip("mmdet", reason="the extra mmlab is not installed")
pytest.importorskip("mmcv", reason="the extra mmlab is not installed")

NAME = "yolox_nano_8xb8-300e_coco"


@pytest.mark.filterwarnings("ignore")
def test_yolox_gives_the_boxes_of_mmdet(shared: Path) -> None:
    from mmdet.apis import inference_detector, init_detector

    from bench.models.mmlab import config_file

    weights = shared / "weights" / "yolox_nano_mmdet.pth"
    reference = init_detector(str(config_file("mmdet", NAME)), str(weights), device="cpu")
    model = LIBRARIES.get("mmdet").load(ModelSpec("mmdet", NAME, str(weights)), torch.device("cpu"))
    files = sorted((shared / "data" / "coco_dev" / "images").iterdir())[:6]
    pictures = [np.asarray(Image.open(f).convert("RGB")) for f in files]
    for picture, ours in zip(pictures, model.predict(pictures, viewed=False), strict=True):
        theirs = inference_detector(reference, picture[..., ::-1].copy()).pred_instances
        np.testing.assert_allclose(ours["scores"], theirs.scores.numpy(), atol=1e-4)
        np.testing.assert_allclose(ours["boxes"], theirs.bboxes.numpy(), atol=1e-2)
        assert (ours["labels"] == theirs.labels.numpy()).all()


@pytest.mark.filterwarnings("ignore")
def test_own_loss_of_yolox_is_taken_on_the_input_of_its_pipeline(shared: Path) -> None:
    weights = shared / "weights" / "yolox_nano_mmdet.pth"
    model = LIBRARIES.get("mmdet").load(ModelSpec("mmdet", NAME, str(weights)), torch.device("cpu"))
    dataset = DATASETS.get("coco")(shared / "data" / "coco_dev").first(6)
    giver = giver_of_losses(model)
    assert giver is not None
    targets = own_targets(model, dataset)
    pictures = [s.load() for s in dataset.samples]
    clean = giver.losses(pictures, targets)
    bpg = codecs.make({"name": "bpg", "level": 1})
    coarse = giver.losses([bpg.decode(bpg.encode(p, 51)) for p in pictures], targets)
    assert np.isfinite(clean).all()
    assert np.mean(clean) < 0.9 * np.mean(coarse)
    # Boxes that are not where the objects are cost more.
    moved = [t | {"boxes": t["boxes"] * np.float32(0.65)} for t in targets]
    assert np.mean(clean) < np.mean(giver.losses(pictures, moved))
    empty = {k: v[:0] for k, v in targets[0].items()}
    assert np.isfinite(giver.losses(pictures[:1], [empty])).all()
