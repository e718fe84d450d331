"""Deployed files give what the networks give that they were made of, and fit the config."""

import copy
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from bench.config import validate
from bench.datasets import mini
from bench.datasets.base import make
from bench.datasets.views import ModelView
from bench.errors import ConfigError
from bench.models import deployed
from bench.models.base import LIBRARIES, ModelSpec
from bench.models.deployed import Deployed
from bench.models.deployed_input import Frame, Input, Port, geometry
from bench.models.deployed_output import Boxes, File, Scores
from bench.models.mini import MEAN, STD
from bench.sweep.plan import plan
from bench.tasks import TASKS
from bench.tasks.records import Detections, LabelMap, Logits

# Of torch's exporter, on what it traces.
pytestmark = pytest.mark.filterwarnings("ignore")
CPU = torch.device("cpu")
CONFIGS = Path(__file__).parents[2] / "configs"
Pixels = NDArray[np.uint8]


def exported(network: nn.Module, path: Path, shape: tuple[int, ...], **options: Any) -> Path:
    pytest.importorskip("onnx", reason="torch's exporter writes by the package onnx")
    pytest.importorskip("onnxruntime", reason="the extra deploy is not installed")
    torch.onnx.export(
        network.eval(), (torch.rand(shape),), path, opset_version=17, dynamo=False, **options
    )
    return path


def spec(library: str, path: Path | str, **options: Any) -> ModelSpec:
    return ModelSpec(library, "it", str(path), options=options)


def loaded(library: str, path: Path | str, **options: Any) -> Any:
    return LIBRARIES.get(library).load(spec(library, path, **options), CPU)


PIXELS = {"resize": "stretch", "mean": 0, "std": 255}
MINI = {
    "resize": "crop",
    "short_side": 64,
    "size": 64,
    "mean": [255 * m for m in MEAN],
    "std": [255 * s for s in STD],
}


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped one; it takes any size."""
    path = tmp_path_factory.mktemp("onnx") / "mini.onnx"
    any_size = {"input": {2: "height", 3: "width"}}
    return exported(
        shipped().network, path, (1, 3, 64, 64), input_names=["input"], dynamic_axes=any_size
    )


def shipped() -> Any:
    library = LIBRARIES.get("mini")
    return library.load(
        ModelSpec("mini", "mini_classifier", str(library.default_weights("mini_classifier"))), CPU
    )


@pytest.fixture(scope="module")
def scenes() -> list[Pixels]:
    return [mini.render_classification("test", i)[0] for i in range(4)]


def test_exported_classifier_gives_the_logits_of_torch(
    classifier: Path, scenes: list[Pixels]
) -> None:
    reference = shipped()
    side = scenes[0].shape[0]
    given = MINI | {"short_side": side, "size": side}
    model = loaded("onnx", classifier, input=given, outputs={"logits": 0}, classes=12)
    expected = np.stack([p.logits for p in reference.predict(scenes, viewed=False)])
    found = np.stack([p.logits for p in model.predict(scenes, viewed=False)])
    np.testing.assert_allclose(found, expected, atol=1e-4)
    view = ModelView(side, side, "bilinear")(scenes[0])
    np.testing.assert_array_equal(model.view(scenes[0]), view)
    assert np.array_equal(model.predict([view], viewed=True)[0].logits, found[0])


class Softmax(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """BGR in, channels last, and a class before the others."""
        answer = self.network(x.permute(0, 3, 1, 2).flip(1))
        return functional.softmax(functional.pad(answer, (1, 0), value=-5.0), dim=1)


def test_probabilities_become_logarithms_and_the_background_goes(
    tmp_path: Path, scenes: list[Pixels]
) -> None:
    reference = shipped()
    side = scenes[0].shape[0]
    path = exported(Softmax(reference.network), tmp_path / "soft.onnx", (1, side, side, 3))
    given = MINI | {"resize": "stretch", "channels": "bgr"}
    del given["short_side"], given["size"]
    model = loaded(
        "onnx", path, input=given, outputs={"probabilities": 0}, classes=12, first_class=1
    )
    for picture in scenes:
        (wanted,) = reference.predict([picture], viewed=False)
        (found,) = model.predict([picture], viewed=False)
        shift = found.logits - wanted.logits
        np.testing.assert_allclose(shift, shift.mean(), atol=1e-3)


class OfOne(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (found,) = self.network([x[0]])
        return found["boxes"], found["scores"], found["labels"]


def test_exported_detector_gives_the_boxes_of_torchvision(tmp_path: Path) -> None:
    library = LIBRARIES.get("mini")
    weights = str(library.default_weights("mini_fcos"))
    reference: Any = library.load(ModelSpec("mini", "mini_fcos", weights), CPU)
    side = mini.SIZES["det"]
    names = ["boxes", "scores", "labels"]
    path = exported(
        OfOne(reference.network), tmp_path / "fcos.onnx", (1, 3, side, side), output_names=names
    )
    outputs = {name: name for name in names}
    model = loaded("onnx", path, input=PIXELS, outputs=outputs, classes=[*reference.classes])
    pictures = [mini.render_detection("test", i)[0] for i in range(3)]
    pairs = zip(reference.predict(pictures, False), model.predict(pictures, False), strict=True)
    for wanted, found in pairs:
        assert len(wanted.boxes) > 1
        for name in names:
            np.testing.assert_allclose(found[name], wanted[name], rtol=1e-4, atol=1e-4)
    assert (model.task, model.view, model.classes) == ("det", None, reference.classes)


class Planes(nn.Module):
    """(1, 3, H, W) → (1, 2, H/4, W/4): how bright, and how dark."""

    def forward(self, x: Tensor) -> Tensor:
        bright = functional.avg_pool2d(x.mean(1, keepdim=True), 4)
        return torch.cat([bright, 1 - bright], 1) * 4


@pytest.mark.parametrize("resize", ["stretch", "letterbox", "none"])
def test_exported_segmentation_at_the_size_of_the_picture(tmp_path: Path, resize: str) -> None:
    axes = {"x": {2: "height", 3: "width"}}
    path = exported(
        Planes(), tmp_path / "seg.onnx", (1, 3, 64, 64), input_names=["x"], dynamic_axes=axes
    )
    given = PIXELS | {"resize": resize} | ({} if resize == "none" else {"size": 64})
    model = loaded(
        "onnx", path, input=given, outputs={"pixel_logits": 0}, classes=["light", "dark"]
    )
    picture = np.zeros((40, 80, 3), np.uint8)
    picture[:, 40:] = 255
    (found,) = model.predict([picture], viewed=False)
    assert isinstance(found, LabelMap)
    truth = (picture[..., 0] == 0).astype(np.uint8)
    assert found.labels.shape == truth.shape
    assert (found.labels == truth).mean() > 0.95  # the edge is blurred
    sizes = {"stretch": (16, 16), "letterbox": (8, 16), "none": (10, 20)}
    planes = found.log_probabilities
    assert planes is not None
    assert planes.dtype == np.float16
    assert planes.shape == (2, *sizes[resize])
    np.testing.assert_allclose(np.exp(planes.astype(float)).sum(axis=0), 1, atol=2e-3)
    assert TASKS.get("seg").fault(found) == ""


# --- geometry and numbers -------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["centre", "corner"])
@pytest.mark.parametrize(("form", "unit"), [("xyxy", "pixels"), ("yxyx", "relative")])
def test_boxes_come_back_from_a_letterbox(place: str, form: str, unit: str) -> None:
    given = Input(resize="letterbox", mean=0, std=1, place=place)  # type: ignore[arg-type]
    picture = np.zeros((50, 200, 3), np.uint8)
    picture[10:30, 40:120] = 255
    shown, frame = geometry((100, 100), given)(picture)
    rows, columns = np.nonzero(shown[..., 0] > 200)
    box = np.float32([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    if form == "yxyx":
        box = box[[1, 0, 3, 2]]
    if unit == "relative":
        box = box / 100
    ports = [Port(n, (), np.dtype(np.float32)) for n in ("boxes", "scores", "labels", "count")]
    at = {port.name: i for i, port in enumerate(ports)}
    read = Boxes(File(Path("x"), ports, 2, 0, True), at, form == "yxyx", unit == "relative")
    boxes = np.stack([box, np.zeros_like(box)])[None]
    found = read([boxes, np.float32([[0.5, 0]]), np.float32([[1, 0]]), np.float32([1])], frame)
    np.testing.assert_allclose(found.boxes, [[40, 10, 120, 30]], atol=1e-4)
    assert found.labels.tolist() == [1]
    outside = read(
        [boxes - 9, np.float32([[0.5, 0]]), np.float32([[1, 0]]), np.float32([2])], frame
    )
    assert outside.boxes.min() == 0


@pytest.mark.parametrize(("dtype", "zero"), [(np.uint8, 128), (np.int8, 0)])
def test_quantised_values_go_by_their_own_scale(dtype: Any, zero: int) -> None:
    port = Port("x", (1, 2, 2, 3), np.dtype(dtype), 1 / 128, zero)
    stored = port.stored(np.float32([-2, -1, 0, 0.5, 2]))
    limits = np.iinfo(dtype)
    assert stored.tolist() == [limits.min, zero - 128, zero, zero + 64, limits.max]
    np.testing.assert_array_equal(port.values(stored[1:4]), np.float32([-1, 0, 0.5]))


def test_a_quantised_zero_is_finite_and_adds_little_to_one() -> None:
    port = Port("x", (), np.dtype(np.uint8), 1 / 256)
    stored = np.zeros((1, 4, 4, 21), np.uint8)
    stored[..., 3] = 255
    read = Scores(File(Path("x"), [port], 21, 0, False), "pixel_probabilities", 0)
    found = read([stored], Frame((4, 4), (8, 8), 0, 0, 4, 4))
    assert found.log_probabilities is not None
    assert np.isfinite(found.log_probabilities).all()
    assert (found.labels == 3).all()
    np.testing.assert_allclose(np.exp(found.log_probabilities[3].astype(float)), 1, atol=5e-3)


# --- what is refused ------------------------------------------------------------------------------


FLAT = PIXELS | {"size": 64}
BOXES = {"boxes": 0, "scores": 0, "labels": 0}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"outputs": {"logits": "scores"}}, r"mini\.onnx.*'scores' is none.*are: 0 \("),
        ({"outputs": {"logits": 3}}, r"3 is none of its outputs"),
        ({"classes": 1000}, "has 12 values, but there are 1000 classes"),
        ({"classes": 12, "first_class": 1}, "12 values.*12 classes from first_class 1"),
        ({"input": FLAT, "outputs": {"pixel_logits": 0}}, r"is of shape \(1, 12\): 3 dimensions"),
        ({"input": FLAT, "outputs": BOXES}, "4 numbers, a score and a label"),
        ({"outputs": {"boxes": 0}}, "outputs: one of these is expected: logits; probabilities;"),
        ({"outputs": {"logits": -1}}, "outputs.logits"),
        ({"input": PIXELS}, "any size: say input.size"),
        ({"input": MINI | {"layout": "nhwc"}}, "another size than input.size: 64"),
        ({"input": MINI | {"std": 0}}, "std has to be above 0"),
        ({"input": {"resize": "stretch", "size": 64}}, "input.mean: Field required"),
        ({"input": PIXELS | {"short_side": 64}}, "short_side belongs to resize: crop"),
        ({"input": PIXELS | {"resize": "none", "size": 64}}, "not to resize: none"),
        ({"input": MINI | {"size": 80}}, "crop no larger than the short side"),
        ({"input": MINI | {"interpolation": "area"}}, r"interpolation.*\(given: 'area'\)"),
        ({"input": MINI, "classes": "nowhere.txt"}, "classes nowhere.txt: cannot be read"),
        ({"mean": 0}, "mean: Extra inputs"),
    ],
)
def test_what_does_not_fit_is_refused(classifier: Path, change: dict[str, Any], said: str) -> None:
    options = {"input": MINI, "outputs": {"logits": 0}} | change
    with pytest.raises(ConfigError, match=said):
        loaded("onnx", classifier, **options)


def test_a_file_of_one_size_is_shown_no_other(tmp_path: Path) -> None:
    path = exported(Planes(), tmp_path / "seg.onnx", (1, 3, 64, 32))
    outputs = {"pixel_logits": 0}
    for given, said in (
        (PIXELS | {"resize": "none"}, r"\(1, 3, 64, 32\) is of one size"),
        (PIXELS | {"size": 64}, "of another size than input.size: 64"),
        (PIXELS | {"resize": "crop", "short_side": 64}, "crop leaves a square"),
    ):
        with pytest.raises(ConfigError, match=said):
            loaded("onnx", path, input=given, outputs=outputs)
    with pytest.raises(ConfigError, match="has 2 classes, 21 are expected"):
        loaded("onnx", path, input=PIXELS, outputs=outputs, classes=21)
    square = exported(Planes(), tmp_path / "square.onnx", (1, 3, 64, 64))
    with pytest.raises(ConfigError, match="crop is for classifiers"):
        loaded("onnx", square, input=MINI, outputs=outputs)
    assert loaded("onnx", path, input=PIXELS | {"size": [64, 32]}, outputs=outputs).view is None


GOOD = {"input": MINI, "outputs": {"logits": 0}}


@pytest.mark.parametrize(
    ("library", "module"), [("onnx", "onnxruntime"), ("litert", "ai_edge_litert")]
)
@pytest.mark.parametrize("content", [b"", b"no such thing" * 20])
def test_a_file_of_another_kind(tmp_path: Path, library: str, module: str, content: bytes) -> None:
    pytest.importorskip(module, reason="the extra deploy is not installed")
    (tmp_path / "it").write_bytes(content)
    with pytest.raises(ConfigError, match=f"{tmp_path / 'it'}.*{library} cannot read this file"):
        loaded(library, tmp_path / "it", **GOOD)
    for weights in ("nowhere", "random", f"{tmp_path / 'it'}#ema"):
        with pytest.raises(ConfigError, match=f"weights {weights}"):
            LIBRARIES.get(library).fingerprint(spec(library, weights, **GOOD))


def test_weights_in_a_second_file_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where they lie in the working folder: no hash would tell of them."""
    onnx: Any = pytest.importorskip("onnx", reason="it writes such files")
    path = exported(nn.Conv2d(3, 64, 5), tmp_path / "one.onnx", (1, 3, 8, 8))
    apart = tmp_path / "two.onnx"
    onnx.save(
        onnx.load(path), apart, save_as_external_data=True, location="w.data", size_threshold=0
    )
    assert (tmp_path / "w.data").exists()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="with all weights inside"):
        loaded("onnx", apart, **GOOD)


@pytest.mark.parametrize(
    ("library", "module"), [("onnx", "onnxruntime"), ("litert", "ai_edge_litert")]
)
def test_without_the_extra(
    library: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / "it").write_bytes(b"x")
    with pytest.raises(ConfigError, match=re.escape(deployed.INSTALL)):
        LIBRARIES.get(library).fingerprint(spec(library, tmp_path / "it", **GOOD))


def test_every_option_is_in_the_fingerprint(classifier: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    options = {"input": MINI, "outputs": {"logits": 0}, "classes": str(names), "first_class": 0}
    ask = LIBRARIES.get("onnx").fingerprint

    def said(**change: Any) -> str:
        return repr(ask(spec("onnx", classifier, **(options | change))))

    names.write_text("a\nb\n\nnot a name\n")
    first = said()
    assert first == said(classes=["a", "b"])
    names.write_text("a\nc\n")
    assert len({first, said(), said(first_class=1), said(input=MINI | {"channels": "bgr"})}) == 4


def test_keys_of_another_library_are_refused() -> None:
    config = {
        "experiments": [
            {
                "task": "cls",
                "dataset": {"format": "mini"},
                "models": [{"library": "mini", "name": "mini_classifier", "first_class": 1}],
                "anchor": "bpg",
                "methods": {"bpg": {"codec": "bpg", "qps": [40]}},
            }
        ]
    }
    with pytest.raises(ConfigError, match=r"models\.first_class: there is no.*library mini"):
        plan(validate(config, "here"), CPU, None)


# --- the files that the configs are for -----------------------------------------------------------


def configured(name: str, weights: Path) -> Deployed:
    pytest.importorskip("ai_edge_litert", reason="the extra deploy is not installed")
    if not weights.exists():
        pytest.skip(f"no {weights.name} in shared/weights")
    (model,) = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())["experiments"][0]["models"]
    options = {k: v for k, v in model.items() if k not in ("library", "name")}
    found: Deployed = loaded("litert", weights, **options)
    return found


def test_quantised_mobilenet_knows_imagenet(shared: Path) -> None:
    model = configured(
        "imagenet_mobilenet_v2_litert", shared / "weights/mobilenet_v2_1.0_224_quant.tflite"
    )
    samples = make("imagenet", "cls", shared / "data/imagenet_dev", {}).samples[::5]
    assert model.view is not None
    found = model.predict([model.view(s.load()) for s in samples], viewed=True)
    assert all(isinstance(p, Logits) and p.logits.shape == (1000,) for p in found)
    task = TASKS.get("cls")
    table = task.statistics(found, [s.target for s in samples])
    assert task.score(table, np.ones((1, len(samples)), np.int64))[0, 0] > 0.8
    again = model.predict([samples[0].load()], viewed=False)[0]
    assert np.array_equal(again["logits"], found[0]["logits"])


def test_quantised_deeplab_knows_voc(shared: Path) -> None:
    model = configured("coco_deeplab_litert", shared / "weights/deeplabv3_mnv2_pascal_quant.tflite")
    dataset = make("coco", "seg", shared / "data/coco_dev", {"classes": "voc"}).first(8)
    task = TASKS.get("seg")
    match = task.match(model, dataset, "deeplab")
    found = [match(p) for p in model.predict([s.load() for s in dataset.samples], viewed=False)]
    table = task.statistics(found, [s.target for s in dataset.samples])
    assert task.score(table, np.ones((1, 8), np.int64))[0, 1] > 0.8


def test_litert_refuses_what_does_not_fit(shared: Path) -> None:
    path = shared / "weights/mobilenet_v2_1.0_224_quant.tflite"
    configured("imagenet_mobilenet_v2_litert", path)  # skips
    good = {"input": PIXELS, "outputs": {"probabilities": 0}}
    for change, said in (
        ({"classes": 1000}, "has 1001 values"),
        ({"outputs": {"probabilities": "softmax"}}, "0 .MobilenetV2/Predictions/Softmax"),
        ({"input": PIXELS | {"layout": "nchw"}}, "as nchw has no RGB channels"),
        ({"input": PIXELS | {"size": 256}}, "another size than input.size: 256"),
    ):
        with pytest.raises(ConfigError, match=said):
            loaded("litert", path, **(copy.deepcopy(good) | change))


def test_detections_are_records() -> None:
    """A class below the first one is left out."""
    ports = [Port(n, (), np.dtype(np.float32)) for n in ("boxes", "scores", "labels")]
    read = Boxes(File(Path("x"), ports, None, 1, True), {p.name: i for i, p in enumerate(ports)},
                 False, False)  # fmt: skip
    arrays = [np.ones((1, 2, 4), np.float32), np.ones((1, 2), np.float32), np.array([[0, 3]])]
    found = read(arrays, Frame((8, 8), (8, 8), 0, 0, 8, 8))
    assert isinstance(found, Detections)
    assert found.labels.tolist() == [2]
    assert TASKS.get("det").fault(found) == ""
