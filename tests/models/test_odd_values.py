"""Whatever a config writes where a model is named, the answer is a model or a ConfigError."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.datasets import mini
from bench.errors import ConfigError
from bench.models.base import LIBRARIES, ModelSpec

CPU = torch.device("cpu")
MODELS = {
    "mini": "mini_classifier",
    "timm": "resnet10t",
    "torchvision": "squeezenet1_1",
    "mmdet": "yolox_nano_8xb8-300e_coco",
    "mmpretrain": "mobilenet-v2_8xb32_in1k",
}
NAMES = [
    "", " ", ".", "..", "../", "/", "~", "x" * 300, "a\0b", "\ud800", "new\nline", "[", "*", "#",
    "{0}%s", "naïve", "resnet18.", "resnet18.no_such_tag", "RESNET18", "hf-hub:a/b", "/dev/null",
]  # fmt: skip

libraries = pytest.mark.parametrize("library", MODELS)


def need(library: str) -> None:
    if library.startswith("mm"):
        pytest.importorskip("mmcv.ops", reason="the extra mmlab is not installed")


@libraries
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore")
def test_a_name_that_no_model_has(library: str, name: str) -> None:
    need(library)
    spec = ModelSpec(library, name, "random")
    for use in (LIBRARIES.get(library).fingerprint, lambda s: LIBRARIES.get(library).load(s, CPU)):
        with pytest.raises(ConfigError, match=r"no model|no bundled|no classifier or detector"):
            use(spec)


@libraries
@pytest.mark.parametrize("weights", [*NAMES, None, "gone.pth", "gone.pth#ema", "."])
@pytest.mark.filterwarnings("ignore")
def test_weights_that_are_none(library: str, weights: str | None) -> None:
    """Above all they are not taken for `random`."""
    need(library)
    spec = ModelSpec(library, MODELS[library], weights)
    with pytest.raises(ConfigError, match=r"weights|there is no file"):
        LIBRARIES.get(library).load(spec, CPU)


@given(name=st.text(max_size=20))
@settings(max_examples=50, deadline=None)
def test_any_text(name: str) -> None:
    with pytest.raises(ConfigError, match="unknown model library"):
        LIBRARIES.get(name)
    for library in ("mini", "timm", "torchvision"):
        with pytest.raises(ConfigError, match=r"no model|no classifier or detector"):
            LIBRARIES.get(library).fingerprint(ModelSpec(library, name, None))
        spec = ModelSpec(library, MODELS[library], name)
        assert not spec.random
        assert spec.weights_file is None


CONFIGS = {
    "nothing.py": "",
    "syntax.py": "model = dict(",
    "raises.py": "model = 1 / 0",
    "exits.py": "import sys\nsys.exit(3)",
    "list.json": "[1, 2]",
    "numbers.json": '{"model": 5, "test_dataloader": 6}',
    "text.txt": "model",
    "bare.py": "model = dict(a=1)\ntest_dataloader = dict(a=1)",
    "number.py": "model = dict(type=5)\ntest_dataloader = dict(dataset=dict(pipeline=[]))",
    "unknown.py": "model = dict(type='Eye')\ntest_dataloader = dict(dataset=dict(pipeline=[]))",
}


@pytest.mark.parametrize("library", ["mmdet", "mmpretrain"])
@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.filterwarnings("ignore")
def test_a_config_file_that_describes_no_model(library: str, name: str, tmp_path: Path) -> None:
    need(library)
    path = tmp_path / name
    path.write_text(CONFIGS[name])
    with pytest.raises(ConfigError, match=name):
        LIBRARIES.get(library).load(ModelSpec(library, str(path), "random"), CPU)


@pytest.mark.parametrize(
    "meta",
    [
        None, 5, "text", [1], {"CLASSES": 5}, {"CLASSES": [1, 2]}, {"CLASSES": None}, {1: 2},
        {"dataset_meta": "text"}, {"dataset_meta": {"classes": {"a": 1}}},
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore")
def test_a_checkpoint_that_names_its_classes_oddly(meta: object, tmp_path: Path) -> None:
    """Those of the config hold then."""
    need("mmdet")
    library, name = LIBRARIES.get("mmdet"), MODELS["mmdet"]
    network = library.load(ModelSpec("mmdet", name, "random"), CPU).network  # type: ignore[attr-defined]
    torch.save({"state_dict": network.state_dict(), "meta": meta}, tmp_path / "w.pth")
    model = library.load(ModelSpec("mmdet", name, str(tmp_path / "w.pth")), CPU)
    assert model.classes is not None
    assert list(model.classes[:2]) == ["person", "bicycle"]


def same(one: list[Any], other: list[Any]) -> bool:
    pairs = [(a.to_arrays(), b.to_arrays()) for a, b in zip(one, other, strict=True)]
    return all(np.array_equal(a[key], b[key]) for a, b in pairs for key in a)


@pytest.mark.parametrize(
    ("library", "name"),
    [
        ("mini", "mini_fcos"),
        ("torchvision", "fasterrcnn_mobilenet_v3_large_320_fpn"),
        ("mmdet", "yolox_nano_8xb8-300e_coco"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_a_picture_that_a_detector_cannot_see_spoils_no_other(library: str, name: str) -> None:
    need(library)
    model = LIBRARIES.get(library).load(ModelSpec(library, name, "random"), CPU)
    scenes: list[NDArray[np.uint8]] = [mini.render_detection("test", i)[0] for i in range(2)]
    before = model.predict(scenes, viewed=False)
    with pytest.raises(Exception):  # noqa: B017, PT011 - each library has its own
        model.predict([scenes[0], np.full((5000, 1, 3), 128, np.uint8), scenes[1]], viewed=False)
    assert same(model.predict(scenes, viewed=False), before)
