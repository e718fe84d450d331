"""torchvision's Mask R-CNN gives the masks that torchvision gives, where it is asked for them."""

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from torchvision.models import get_model

from bench.datasets import mini
from bench.models.base import LIBRARIES, ModelSpec, fixed_draws, giver_of_losses
from bench.models.torchvision import Detector, pixels
from bench.tasks import TASKS
from bench.tasks.masks import codes_of
from bench.tasks.records import Detections, Instances

CPU = torch.device("cpu")


def test_masks_of_torchvision() -> None:
    with fixed_draws():
        network = get_model(
            "maskrcnn_resnet50_fpn", weights=None, weights_backbone=None, num_classes=3,
            min_size=64, max_size=96, box_detections_per_img=4, box_score_thresh=0,
        ).eval()  # fmt: skip
    pictures = [mini.render_detection("test", i)[0][:100, :140] for i in range(2)]
    model = Detector(network, ["a", "b", "c"], CPU, masks=True)
    found = model.predict([*pictures, pictures[0][:70]], viewed=False)
    plain = Detector(network, ["a", "b", "c"], CPU).predict(pictures, viewed=False)
    for picture, ours, boxes in zip(pictures, found, plain, strict=False):
        with torch.inference_mode():
            (theirs,) = network([pixels(picture)])
        assert isinstance(ours, Instances)
        assert TASKS.get("ins").fault(ours) == ""
        assert isinstance(boxes, Detections)
        np.testing.assert_array_equal(ours.boxes, boxes.boxes)
        masks = coco_mask.decode([dict(code) for code in codes_of(ours)]).transpose(2, 0, 1)
        assert masks.shape == (4, 100, 140)
        wanted = theirs["masks"][:, 0].numpy() > 0.5
        assert wanted.any()
        assert (masks != wanted).mean() < 1e-3  # alone or in a batch, up to rounding
    assert found[2]["size"].tolist() == [70, 140]
    assert model.task == "ins"
    assert giver_of_losses(model) is None


def test_a_network_without_masks_has_none_to_give() -> None:
    network = get_model(
        "fasterrcnn_mobilenet_v3_large_320_fpn",
        weights=None, weights_backbone=None, num_classes=3, min_size=64, max_size=96,
    ).eval()  # fmt: skip
    picture = mini.render_detection("test", 0)[0]
    (found,) = Detector(network, ["a", "b", "c"], CPU, masks=True).predict([picture], viewed=False)
    assert isinstance(found, Detections)  # which the task refuses


def test_what_is_asked_is_part_of_the_fingerprint_and_of_what_is_stated() -> None:
    library = LIBRARIES.get("torchvision")
    name, weights = "maskrcnn_resnet50_fpn", "COCO_V1"
    plain, boxes, masks = (
        ModelSpec("torchvision", name, weights, kind) for kind in (None, Detections, Instances)
    )
    assert library.fingerprint(plain) == library.fingerprint(boxes)
    assert library.fingerprint(masks) == library.fingerprint(boxes) | {"prediction": "masks"}
    scores = [library.stated(spec).scores for spec in (plain, boxes, masks)]  # type: ignore[union-attr]
    wanted = [{"mAP": 0.379}, {"mAP": 0.379}, {"mask-mAP": 0.346}]
    assert scores == [pytest.approx(values) for values in wanted]
