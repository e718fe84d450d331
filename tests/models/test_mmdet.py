"""mmdetection's models say here what they say at home; skipped without the extra `mmlab`."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_mask

from bench import codecs
from bench.datasets import mini
from bench.datasets.base import DATASETS
from bench.errors import ConfigError
from bench.models.base import LIBRARIES, ModelSpec, TaskModel, giver_of_losses
from bench.models.mmdet import Detector
from bench.tasks import TASKS
from bench.tasks.masks import codes_of
from bench.tasks.records import Detections, Instances

pytest.importorskip("mmdet", reason="the extra mmlab is not installed")
pytest.importorskip("mmcv.ops", reason="the extra mmlab is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")

NAME = "yolox_nano_8xb8-300e_coco"
CPU = torch.device("cpu")


def load(name: str, weights: Path | str) -> Detector:
    model = LIBRARIES.get("mmdet").load(ModelSpec("mmdet", name, str(weights)), CPU)
    assert isinstance(model, Detector)
    return model


def scenes(n: int) -> list[NDArray[np.uint8]]:
    return [mini.render_detection("test", i)[0] for i in range(n)]


def pixels(rgb: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(rgb.transpose(2, 0, 1).copy()).float() / 255


def small(tmp_path: Path, name: str, **changes: Any) -> Path:
    """A config that shrinks pictures to 128 pixels, as a user would write it over a bundled one."""
    from mmengine.config import Config

    from bench.models.mmlab import config_file

    config = Config.fromfile(config_file("mmdet", name))
    for step in config.test_dataloader.dataset.pipeline:
        if step.type == "Resize":
            step.scale = (128, 96)
        if step.type == "Pad" and step.get("size"):
            step.size = (128, 128)
    config.merge_from_dict(changes)
    path = tmp_path / f"small_{name}.py"
    config.dump(path)
    return path


@pytest.fixture
def reference(shared: Path) -> Any:
    """mmdet's own detector with real weights."""
    from mmdet.apis import init_detector

    from bench.models.mmlab import config_file

    weights = shared / "weights" / "yolox_nano_mmdet.pth"
    return init_detector(str(config_file("mmdet", NAME)), str(weights), device="cpu")


def test_yolox_gives_the_boxes_of_mmdet(shared: Path, reference: Any) -> None:
    from mmdet.apis import inference_detector

    model = load(NAME, shared / "weights" / "yolox_nano_mmdet.pth")
    files = sorted((shared / "data" / "coco_dev" / "images").iterdir())[:20]
    pictures = [np.asarray(Image.open(f).convert("RGB")) for f in files]
    for picture, ours in zip(pictures, model.predict(pictures, viewed=False), strict=True):
        theirs = inference_detector(reference, picture[..., ::-1].copy()).pred_instances
        np.testing.assert_allclose(ours.scores, theirs.scores.numpy(), atol=1e-4)
        # Boxes of hundreds of pixels in single precision.
        np.testing.assert_allclose(ours.boxes, theirs.bboxes.numpy(), rtol=1e-4, atol=1e-3)
        assert (ours.labels == theirs.labels.numpy()).all()


def test_map_is_that_of_mmdets_own_metric(shared: Path, reference: Any) -> None:
    """Read, predicted and scored by mmcv and mmdet alone."""
    from mmcv import imread
    from mmdet.apis import inference_detector
    from mmdet.datasets import CocoDataset
    from mmdet.evaluation import CocoMetric

    root = shared / "data" / "coco_dev"
    dataset = DATASETS.get("coco")(root)
    content = json.loads((root / "instances.json").read_text())
    metric = CocoMetric(ann_file=str(root / "instances.json"), metric="bbox")
    metric.dataset_meta = CocoDataset.METAINFO  # init_detector's default has other names
    for image in content["images"]:
        found = inference_detector(reference, imread(str(root / "images" / image["file_name"])))
        found.set_metainfo({"img_id": image["id"]})
        metric.process({}, [found.to_dict()])
    theirs = metric.evaluate(size=len(dataset.samples))

    model = load(NAME, shared / "weights" / "yolox_nano_mmdet.pth")
    task = TASKS.get("det")
    match = task.match(model, dataset, NAME)
    found = [match(p) for p in model.predict([s.load() for s in dataset.samples], viewed=False)]
    table = task.statistics(found, [s.target for s in dataset.samples])
    ours = task.score(table, np.ones((1, len(dataset.samples)), np.int64))[0]
    # CocoMetric rounds to three digits.
    assert ours[0] == pytest.approx(theirs["coco/bbox_mAP"], abs=1e-3)
    assert ours[1] == pytest.approx(theirs["coco/bbox_mAP_50"], abs=1e-3)


def test_own_loss_of_yolox_is_taken_on_the_input_of_its_pipeline(shared: Path) -> None:
    model = load(NAME, shared / "weights" / "yolox_nano_mmdet.pth")
    dataset = DATASETS.get("coco")(shared / "data" / "coco_dev").first(6)
    giver = giver_of_losses(model)
    assert giver is not None
    targets = TASKS.get("det").training_targets(model, dataset)
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


KINDS = (
    "yolox_nano_8xb8-300e_coco",
    "fcos_r18-caffe_fpn_gn-head_1x_coco",
    "retinanet_r18_fpn_1x_coco",
    "faster-rcnn_r18_fpn_8xb8-amp-lsj-200e_coco",
    "detr_r18_8xb2-500e_coco",
)
"""One-stage, two-stage and transformer; of FCOS mmdet has no config as small."""


def kind(tmp_path: Path, name: str) -> Path:
    if not name.startswith("fcos"):
        return small(tmp_path, name)
    changes = {"model.backbone.depth": 18, "model.neck.in_channels": [64, 128, 256, 512]}
    return small(tmp_path, "fcos_r50-caffe_fpn_gn-head_1x_coco", **changes)


def test_a_detector_whose_layers_refuse_channels_last(tmp_path: Path) -> None:
    model = load(str(small(tmp_path, "centernet_r18_8xb16-crop512-140e_coco")), "random")
    assert model.predict(scenes(1), viewed=False)[0].boxes.shape[1] == 4


@pytest.mark.parametrize("name", KINDS)
def test_detector_runs_and_trains_through(name: str, tmp_path: Path) -> None:
    """Built from its config file; loss and features have the values of the model's own pipeline and
    a gradient in every picture; batches change nothing, and nothing changes the network."""
    model = load(str(kind(tmp_path, name)), "random")
    pictures = scenes(2)
    single = [model.predict([p], viewed=False)[0] for p in pictures]
    for alone, together in zip(single, model.predict(pictures, viewed=False), strict=True):
        assert len(alone.boxes) == len(together.boxes)
        np.testing.assert_allclose(together.scores, alone.scores, atol=1e-4)

    buffers = {k: v.clone() for k, v in model.network.named_buffers()}
    target = {"boxes": np.array([[20, 30, 120, 150]], np.float32), "labels": np.array([2])}
    x = torch.stack([pixels(p) for p in pictures]).requires_grad_()
    values = model.loss(x, [target, target])
    exact = model.losses(pictures, [target, target])
    np.testing.assert_allclose(values.detach().numpy(), exact, rtol=1e-4)
    shared = model.predict_with_losses(pictures, [target, target], False)
    np.testing.assert_allclose([loss for _, loss in shared], exact, rtol=1e-5)
    for (found, _), together in zip(shared, model.predict(pictures, False), strict=True):
        for key, array in together.to_arrays().items():
            np.testing.assert_array_equal(found.to_arrays()[key], array)
    values.sum().backward()
    assert x.grad is not None
    assert (x.grad.abs().amax(dim=(1, 2, 3)) > 0).all()

    x.grad = None
    maps = model.features(x)
    sum(m.square().mean() for m in maps).backward()
    assert (x.grad.abs().amax(dim=(1, 2, 3)) > 0).all()
    prepared = torch.stack([p["inputs"] for p in model._prepared(pictures)])
    seen = model.network.data_preprocessor(
        {"inputs": list(prepared), "data_samples": None}, training=False
    )["inputs"]
    from bench.models.gradients import DEEP_STRIDES, at_strides, maps_inside

    backbone = model.network.backbone
    own = at_strides(seen, model.network.extract_feat(seen), DEEP_STRIDES)
    own = own or maps_inside(backbone, backbone, seen)
    for a, b in zip(maps, own, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    assert all(torch.equal(v, buffers[k]) for k, v in model.network.named_buffers())
    assert not any(m.training for m in model.network.modules())


def test_random_weights_are_the_same_every_time() -> None:
    first, second = (load(NAME, "random").network.state_dict() for _ in range(2))
    assert all(torch.equal(v, second[k]) for k, v in first.items())


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """As mmengine leaves one: the log of the training is in it too, no tensor, and unread here."""
    from mmengine.logging import HistoryBuffer

    model: TaskModel = load(NAME, "random")
    path = tmp_path / "epoch_1.pth"
    meta = {"dataset_meta": {"classes": tuple(f"c{i}" for i in range(80))}}
    log = {"loss": HistoryBuffer([0.5, 0.4], [1, 1])}
    state = model.network.state_dict()  # type: ignore[attr-defined]
    torch.save({"state_dict": state, "meta": meta, "message_hub": log}, path)
    return path


def test_a_checkpoint_with_the_log_of_its_training(checkpoint: Path) -> None:
    model = load(NAME, checkpoint)
    assert model.classes[:2] == ["c0", "c1"]


def test_wrong_weights_are_refused_naming_both_sides(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"epoch_1\.pth do not fit mmdet retinanet_r18.*missing"):
        load("retinanet_r18_fpn_1x_coco", checkpoint)
    changed = small(tmp_path, NAME, **{"model.bbox_head.num_classes": 20})
    with pytest.raises(ConfigError, match=r"\(80,.*in the file, \(20,.*number of classes"):
        load(str(changed), checkpoint)
    with pytest.raises(ConfigError, match=r"head tells 20 classes apart, .* names 80"):
        load(str(changed), "random")
    torn = tmp_path / "torn.pth"
    torn.write_bytes(checkpoint.read_bytes()[:100_000])
    with pytest.raises(ConfigError, match=r"torn\.pth: cannot be read .*100000 bytes"):
        load(NAME, torn)
    with pytest.raises(ConfigError, match=r"no bundled config 'yolox_pico'.*yolox_"):
        load("yolox_pico", checkpoint)


def test_stated_scores_are_those_of_the_published_file_alone(checkpoint: Path) -> None:
    from bench.models.mmlab import documented

    stated = LIBRARIES.get("mmdet").stated
    about = documented("mmdet", "retinanet_r50_fpn_1x_coco")
    assert about["Results"][0]["Metrics"]["box AP"] == 36.5
    assert stated(ModelSpec("mmdet", "retinanet_r50_fpn_1x_coco", str(checkpoint))) is None


def test_masks_of_rtmdet_ins(tmp_path: Path) -> None:
    """As its own head gives them; where rounding leaves a row of the picture out, it is added."""
    changes = {"model.test_cfg.score_thr": 0.0, "model.test_cfg.max_per_img": 5}
    path = small(tmp_path, "rtmdet-ins_tiny_8xb32-300e_coco", **changes)
    spec = ModelSpec("mmdet", str(path), "random", Instances)
    model = LIBRARIES.get("mmdet").load(spec, CPU)
    assert isinstance(model, Detector)
    assert model.task == "ins"
    assert giver_of_losses(model) is None
    picture = scenes(1)[0]
    for shape in ((192, 192), (150, 100), (192, 7)):
        seen = picture[: shape[0], : shape[1]]
        (found,) = model.predict([seen], viewed=False)
        assert isinstance(found, Instances)
        assert TASKS.get("ins").fault(found) == ""
        assert found.size.tolist() == [*shape]
        prepared = model._prepared([seen])
        batch = {k: [p[k] for p in prepared] for k in ("inputs", "data_samples")}
        with torch.inference_mode():
            theirs = model.network.test_step(batch)[0].pred_instances.masks.numpy()
        ours = coco_mask.decode([dict(code) for code in codes_of(found)]).transpose(2, 0, 1)
        assert len(ours) == len(theirs) == 5
        h, w = theirs.shape[1:]
        assert (ours[:, :h, :w] == theirs).all()
        assert not ours[:, h:].any()
        assert not ours[:, :, w:].any()
    boxes = load(str(path), "random")
    assert boxes.predict([picture], viewed=False)[0].to_arrays().keys() == set(Detections.names())
    fingerprint = LIBRARIES.get("mmdet").fingerprint
    plain = fingerprint(ModelSpec("mmdet", str(path), "random"))
    assert fingerprint(spec) == plain | {"prediction": "masks"}
