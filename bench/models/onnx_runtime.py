"""ONNX files in onnxruntime."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.models import deployed
from bench.models.base import LIBRARIES, Library, ModelSpec, TaskModel
from bench.models.deployed_input import Port
from bench.onnx_session import opened

LIBRARY = "onnx"
TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
}
"""Of an input."""
CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


class Session:
    def __init__(self, content: bytes, device: torch.device) -> None:
        runtime: Any = deployed.required(LIBRARY, "onnxruntime")
        providers = _providers(runtime, device)
        self._session = opened(runtime, content, deployed.THREADS, providers)
        self.inputs = [_port(i) for i in self._session.get_inputs()]
        self.outputs = [Port(o.name, (), np.dtype(np.float32)) for o in self._session.get_outputs()]

    def run(self, x: NDArray[Any]) -> list[NDArray[Any]]:
        found: list[NDArray[Any]] = self._session.run(None, {self.inputs[0].name: x})
        return found


def _port(given: Any) -> Port:
    if given.type not in TYPES:
        raise ValueError(
            f"its input {given.name!r} is a {given.type}; one of these is expected: "
            f"{', '.join(TYPES)}"
        )
    shape = tuple(n if isinstance(n, int) else None for n in given.shape or ())
    return Port(given.name, shape, np.dtype(TYPES[given.type]))


def _providers(runtime: Any, device: torch.device) -> list[str]:
    on_gpu = device.type == "cuda" and CUDA in runtime.get_available_providers()
    return [CUDA, CPU] if on_gpu else [CPU]


def _load(spec: ModelSpec, device: torch.device) -> TaskModel:
    return deployed.load(spec, lambda path: Session(path.read_bytes(), device))


def _fingerprint(spec: ModelSpec) -> dict[str, str]:
    runtime: Any = deployed.required(LIBRARY, "onnxruntime")
    gpu = str(CUDA in runtime.get_available_providers())
    return deployed.fingerprint(spec, {"onnxruntime": runtime.__version__, "gpu": gpu})


LIBRARIES.register(LIBRARY)(
    Library(
        _load,
        lambda: ["NAME, with weights: FILE.onnx"],
        _fingerprint,
        options=tuple(deployed.Options.model_fields),
    )
)
