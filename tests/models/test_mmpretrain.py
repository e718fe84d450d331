"""mmpretrain's classifiers say here what they say at home; skipped without the extra `mmlab`."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bench.datasets import mini
from bench.errors import ConfigError
from bench.models.base import LIBRARIES, ModelSpec
from bench.models.mmpretrain import Classifier

pytest.importorskip("mmpretrain", reason="the extra mmlab is not installed")
pytest.importorskip("mmcv.ops", reason="the extra mmlab is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")

CPU = torch.device("cpu")
KINDS = (
    "resnet50_8xb32_in1k",
    "resnest50_32xb64_in1k",
    "resnext50-32x4d_8xb32_in1k",
    "mobilenet-v2_8xb32_in1k",
    "vit-base-p32_64xb64_in1k",
)


def load(name: str, weights: Path | str = "random", library: str = "mmpretrain") -> Classifier:
    model = LIBRARIES.get(library).load(ModelSpec(library, name, str(weights)), CPU)
    assert isinstance(model, Classifier)
    return model


def pictures() -> list[NDArray[np.uint8]]:
    scenes = [mini.render_detection("test", i)[0] for i in range(2)]
    return [scenes[0], scenes[1][:150]]


@pytest.mark.parametrize("name", KINDS)
def test_classifier_says_what_mmpretrain_says_and_trains_through(name: str) -> None:
    from mmengine.config import Config
    from mmpretrain import ImageClassificationInferencer

    from bench.models.mmlab import config_file

    model = load(name)
    config = Config.fromfile(config_file("mmpretrain", name))
    scenes = pictures()
    found = model.predict(scenes, viewed=False)

    class Pipeline(ImageClassificationInferencer):
        """Only its preparation of a picture: building it again would draw other weights."""

        def __init__(self) -> None:
            self.pipeline = self._init_pipeline(config)

    for rgb, ours in zip(scenes, found, strict=True):
        batch = next(iter(Pipeline().preprocess([rgb[..., ::-1].copy()])))
        with torch.no_grad():
            theirs = model.network.test_step(batch)[0].pred_score.numpy()
        shifted = np.exp(ours.logits - ours.logits.max())
        np.testing.assert_allclose(shifted / shifted.sum(), theirs, atol=1e-4)

    assert model.view is not None
    seen = [model.view(p) for p in scenes]
    for ours, again in zip(found, model.predict(seen, viewed=True), strict=True):
        np.testing.assert_allclose(again.logits, ours.logits, rtol=1e-4, atol=1e-4)

    buffers = {k: v.clone() for k, v in model.network.named_buffers()}
    x = torch.from_numpy(np.stack(seen)).permute(0, 3, 1, 2).float() / 255
    x.requires_grad_()
    np.testing.assert_allclose(
        model.logits(x).detach().numpy(),
        np.stack([p.logits for p in found]),
        rtol=1e-3,
        atol=1e-3,
    )
    loss = model.loss(x, [{"label": np.array(3)}] * 2)
    (loss.sum() + sum(m.square().mean() for m in model.features(x))).backward()
    assert x.grad is not None
    assert (x.grad.abs().amax(dim=(1, 2, 3)) > 0).all()
    assert all(torch.equal(v, buffers[k]) for k, v in model.network.named_buffers())


def test_the_old_name_is_taken_and_said_so() -> None:
    with pytest.warns(UserWarning, match="mmcls is called mmpretrain now"):
        load("mobilenet-v2_8xb32_in1k", library="mmcls")
    spec = ModelSpec("mmcls", "mobilenet-v2_8xb32_in1k", "random")
    assert LIBRARIES.get("mmcls").fingerprint(spec)["library"] == "mmpretrain"


def test_what_is_no_classifier_is_refused() -> None:
    with pytest.raises(ConfigError, match="no 'test_dataloader', so it cannot be tested"):
        load("mocov2_resnet50_8xb32-coslr-200e_in1k")
    with pytest.raises(ConfigError, match=r"no bundled config 'resnest50'.*resnest50_32xb64_in1k"):
        load("resnest50")
    with pytest.raises(ConfigError, match=r"needs a checkpoint, e\.g\. https://"):
        load("resnet50_8xb32_in1k", "IMAGENET1K_V1")
