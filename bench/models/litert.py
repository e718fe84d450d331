"""TFLite files in LiteRT, quantised ones as well."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.models import deployed
from bench.models.base import LIBRARIES, Library, ModelSpec, TaskModel
from bench.models.deployed_input import Port

LIBRARY = "litert"


class Interpreter:
    def __init__(self, content: bytes) -> None:
        runtime: Any = deployed.required(LIBRARY, "ai_edge_litert.interpreter")
        self._own = runtime.Interpreter(model_content=content, num_threads=deployed.THREADS)
        self._own.allocate_tensors()
        details = self._own.get_input_details(), self._own.get_output_details()
        self.inputs, self.outputs = ([_port(d) for d in of] for of in details)
        self._input, self._outputs = details[0][0]["index"], [d["index"] for d in details[1]]
        self._shape = tuple(details[0][0]["shape"].tolist())

    def run(self, x: NDArray[Any]) -> list[NDArray[Any]]:
        if x.shape != self._shape:
            self._own.resize_tensor_input(self._input, x.shape)
            self._own.allocate_tensors()
            self._shape = x.shape
        self._own.set_tensor(self._input, x)
        self._own.invoke()
        return [self._own.get_tensor(index) for index in self._outputs]


def _port(detail: dict[str, Any]) -> Port:
    shape = tuple(n if n > 0 else None for n in detail["shape_signature"].tolist())
    scale, zero = detail["quantization"]
    return Port(detail["name"], shape, np.dtype(detail["dtype"]), float(scale), int(zero))


def _load(spec: ModelSpec, device: torch.device) -> TaskModel:
    return deployed.load(spec, lambda path: Interpreter(path.read_bytes()))


def _fingerprint(spec: ModelSpec) -> dict[str, str]:
    runtime: Any = deployed.required(LIBRARY, "ai_edge_litert")
    return deployed.fingerprint(spec, {"ai-edge-litert": runtime.__version__})


LIBRARIES.register(LIBRARY)(
    Library(
        _load,
        lambda: ["NAME, with weights: FILE.tflite"],
        _fingerprint,
        options=tuple(deployed.Options.model_fields),
    )
)
