"""Every path of a network on a CUDA device that is not there: no step mixes it with the CPU.

Fake tensors have shapes, types and devices, but no values. So nothing is known of what depends on
values: numbers that leave the device are zeros here, conditions on them are false, and a path ends
at the first array whose size depends on values (detections over a threshold). Autograd's engine
needs a real device: of a training step the forward half is run, which puts every tensor in place.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DynamicOutputShapeException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves
from torchvision.models import get_model

from bench.models.base import LIBRARIES, ModelSpec
from bench.models.torchvision import Detector
from bench.preprocessors.base import Neural, build
from bench.preprocessors.npp import NPP
from bench.training import npp, task_model
from bench.training.coding import Anchor
from bench.training.guided import Guided
from bench.training.proxy import analytic
from bench.training.task_loss import Kind, task_loss, where_it_counts

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
MODE = FakeTensorMode(allow_non_fake_inputs=True)
KNOWN = {"boxes": np.array([[10, 20, 70, 80]], np.float32), "labels": np.array([1])}
FOUND = {"boxes": np.array([[10, 20, 70, 80]], np.float32), "scores": np.array([0.5])}
PICTURE = np.zeros((64, 96, 3), np.uint8)


class OneDevice(TorchDispatchMode):
    """Of all that an operator is given; fake tensors themselves look at some operators only."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor) and t.dim()]
        devices = {t.device.type for t in given}
        # Copies lead from one to the other, and an index may be on the CPU.
        if len(devices) > 1 and not any(word in str(func) for word in ("copy", "aten.index.")):
            raise RuntimeError(f"{func} of tensors on {' and '.join(sorted(devices))}")
        return func(*args, **(kwargs or {}))


@pytest.fixture(autouse=True)
def _without_values(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def numpy(tensor: Tensor) -> Any:
        assert tensor.device.type == "cpu", "NumPy takes no tensor of a GPU"
        return np.zeros(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))

    monkeypatch.setattr(Tensor, "numpy", numpy)
    monkeypatch.setattr(Tensor, "__bool__", lambda tensor: False)
    for name in ("item", "tolist"):
        leave: Any = getattr(np.ndarray, name)
        monkeypatch.setattr(Tensor, name, lambda t, leave=leave: leave(numpy(t.cpu())))
    monkeypatch.setattr(
        torch.autograd, "grad", lambda of, inputs: [torch.zeros_like(i) for i in inputs]
    )
    with MODE, OneDevice():
        yield


def moved(module: nn.Module) -> Any:
    """The module, on the device that is not there."""
    for part in module.modules():
        for name, tensor in part._parameters.items():
            if tensor is not None:
                part._parameters[name] = nn.Parameter(_fake(tensor), tensor.requires_grad)
        for name, tensor in part._buffers.items():
            if tensor is not None:
                part._buffers[name] = _fake(tensor)
    return module


def _fake(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, device=CUDA)


def model(library: str, name: str) -> Any:
    with _disable_current_modes():
        found: Any = LIBRARIES.get(library).load(ModelSpec(library, name, "random"), CPU)
    moved(found.network)
    found.device = CUDA
    if hasattr(found.network, "data_preprocessor"):
        found.network.data_preprocessor._device = CUDA
    return found


def detector(name: str) -> Any:
    with _disable_current_modes():
        sizes = {"min_size": 64, "max_size": 96} if "ssd" not in name else {}
        network = get_model(name, weights=None, weights_backbone=None, num_classes=13, **sizes)
    return Detector(moved(network.eval()), [f"{i}" for i in range(13)], CUDA)


def pictures() -> Tensor:
    return torch.rand(2, 3, 64, 96, device=CUDA, requires_grad=True)


@pytest.mark.parametrize("name", ["npp", "qa-npp"])
@pytest.mark.parametrize("architecture", ["filters", "paper"])
def test_preprocessors(name: str, architecture: str) -> None:
    with _disable_current_modes():
        network = build(name, architecture, 32).eval()
    neural = Neural(name, {None: moved(network)}, "random", CUDA)
    call: Any = Neural.__call__
    assert call.__wrapped__(neural, PICTURE, 37).shape == PICTURE.shape


@pytest.mark.parametrize(
    ("library", "name"),
    [("mini", "mini_classifier"), ("timm", "resnet10t"), ("torchvision", "resnet18")],
)
def test_classifiers(library: str, name: str) -> None:
    classifier = model(library, name)
    x = pictures()
    (answer, _) = classifier._logits.__wrapped__(classifier, [torch.rand(3, 64, 64)] * 2)
    assert answer.logits.ndim == 1
    assert classifier.loss(x, [{"label": np.array(1)}] * 2).device.type == "cuda"
    for maps in (classifier.features(x), *classifier.relevance(x)):
        assert {m.device.type for m in maps} == {"cuda"}


FAMILIES = ["fcos_resnet50_fpn", "retinanet_resnet50_fpn", "ssdlite320_mobilenet_v3_large"]


@pytest.mark.parametrize("name", FAMILIES)
def test_detectors(name: str) -> None:
    found, x = detector(name), pictures()
    with pytest.raises(DynamicOutputShapeException):  # scores over the threshold
        found._detect.__wrapped__(found, [PICTURE, PICTURE])
    assert {m.device.type for m in found.features(x)} == {"cuda"}


@pytest.mark.parametrize("name", [*FAMILIES, "fasterrcnn_mobilenet_v3_large_fpn"])
def test_own_losses(name: str) -> None:
    found = detector(name)
    with pytest.raises(DynamicOutputShapeException):
        found.loss(pictures(), [KNOWN, KNOWN])


@pytest.mark.filterwarnings("ignore")
def test_yolox() -> None:
    pytest.importorskip("mmcv.ops", reason="the extra mmlab is not installed")
    found = model("mmdet", "yolox_nano_8xb8-300e_coco")
    assert {m.device.type for m in found.features(pictures(), 640)} == {"cuda"}
    loss = task_loss("answer", found, 640)(pictures(), [{}, {}])(pictures())
    assert loss.device.type == "cuda"
    prepared = found._prepared([PICTURE])
    with pytest.raises(DynamicOutputShapeException):  # scores over the threshold
        found._detect.__wrapped__(found, prepared)
    with pytest.raises(DynamicOutputShapeException):  # locations inside of boxes
        found._loss(prepared[0], KNOWN)


class Coder:
    """In place of the codec, whose pictures come back from the CPU."""

    codec = None

    def start(self, x: Tensor, qp: Tensor) -> None:
        assert x.device.type == qp.device.type == "cuda"

    def finish(self, jobs: None, like: Tensor) -> tuple[Tensor, Tensor]:
        return torch.rand(like.shape).to(like), torch.rand(len(like)).to(like)


def test_learned_proxy() -> None:
    pytest.importorskip("compressai", reason="the extra learned is not installed")
    from bench.training.learned_proxy import LearnedProxy

    with _disable_current_modes():
        network = LearnedProxy(16)
    pixels, bits = moved(network)(pictures(), torch.tensor([30.0, 40.0], device=CUDA))
    assert pixels.device.type == bits.device.type == "cuda"


STEPS: list[tuple[str, str, Kind, list[dict[str, Any]]]] = [
    ("mini", "mini_classifier", "answer", [{}, {}]),
    ("mini", "mini_classifier", "labels", [{"label": np.array(1)}] * 2),
    ("mini", "mini_classifier", "features", [{}, {}]),
    ("mini", "mini_classifier", "relevance", [{}, {}]),
    ("mini", "mini_fcos", "answer", [FOUND, FOUND]),
    ("mini", "mini_fcos", "features", [FOUND, FOUND]),
]


@pytest.mark.filterwarnings("ignore:CUDA is not available")
@pytest.mark.parametrize(("library", "name", "kind", "targets"), STEPS)
def test_training_step(library: str, name: str, kind: Kind, targets: list[dict[str, Any]]) -> None:
    seen = model(library, name)
    config = npp.PreprocessorTraining(
        model={"library": library, "name": name}, dataset={},
        crop=64, codec="bpg", qps=(30, 40), steps=1, batch=2,
        learning_rate=1e-3, loss=kind, guidance=1.0, precision="bfloat16", fidelity=1.0,
    )  # fmt: skip
    with _disable_current_modes():
        plain = build("qa-npp", "filters", 32)
        assert isinstance(plain, NPP)
        network = Guided(plain) if targets[0] is FOUND else plain
    anchor = Anchor([30, 35, 40], np.array([3.0, 2, 1]), np.array([1.0, 2, 3]))
    loss: Any = task_loss(kind, seen)
    known = seen, Coder(), [], None, loss, loss, anchor, anchor, where_it_counts(seen)
    setting: Any = npp.Setting(*known)  # type: ignore[arg-type]
    batch = torch.rand(2, 3, 64, 64), torch.tensor([30.0, 40.0]), targets
    costs = list(npp.costs(moved(network), batch, setting, analytic, config))
    assert [cost.device.type for cost in costs] == ["cuda", "cuda"]


def test_training_step_of_a_task_model() -> None:
    network = model("mini", "mini_classifier").network
    batch = [(torch.rand(3, 96, 96), {"label": np.array(1)})] * 2
    assert task_model._loss(network, batch, CUDA).device.type == "cuda"


def test_a_mixture_is_seen() -> None:
    network = moved(nn.Conv2d(3, 4, 3))
    network.bias = nn.Parameter(torch.zeros(4))
    with pytest.raises(RuntimeError, match="cpu and cuda"):
        network(pictures())
