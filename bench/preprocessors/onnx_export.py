"""A preprocessor network as an ONNX file, which other programs run without this package.

    rgb (height, width, 3) uint8 ─┐
                                  ├─▶ network ─▶ filtered (height, width, 3) uint8
    qp () int64 ──────────────────┘

Any height and width; sRGB, rounded as `bench.preprocessors.base.Neural` rounds. The QP is that of
the codec behind it; an NPP does not look at it.
"""

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.atomic import atomic
from bench.errors import ConfigError
from bench.preprocessors.base import load_network, weights_path
from bench.preprocessors.chosen import network_of

OPSET = 17
"""Of ONNX: old enough for the runtimes of 2022."""


def _exp2(graph: Any, x: Any) -> Any:
    """Of the paper's networks; the exporter does not know it."""
    return graph.op("Pow", graph.op("Constant", value_t=torch.tensor(2.0)), x)


class EightBit(nn.Module):
    """Pixels as a codec takes them, and the network between."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, rgb: Tensor, qp: Tensor) -> Tensor:
        x = rgb.permute(2, 0, 1)[None].float() / 255
        y: Tensor = self.network(x, qp[None].float())[0]
        return (255 * y).round().to(torch.uint8).permute(1, 2, 0)


def export(weights: str, target: Path) -> tuple[str, range]:
    """Writes a network that ships or is in a file → its preprocessor's name, and the QPs that it
    was trained for; the file's metadata have both, too. Raises ConfigError."""
    path = weights_path(weights)
    name = network_of(path)
    network, qps = load_network(name, path, torch.device("cpu"))
    about = {"preprocessor": name, "weights": path.stem, "qps": f"{qps[0]}-{qps[-1]}"}
    try:
        with atomic(target) as part:
            _write(EightBit(network), qps[0], about, part)
    except ImportError:
        raise ConfigError(
            "ONNX files are written with onnx, which is not installed: "
            "pip install -c constraints.txt -e '.[deploy]'"
        ) from None
    except OSError as error:
        raise ConfigError(f"{target}: cannot be written ({error.strerror or error})") from None
    return name, qps


def _write(network: EightBit, qp: int, about: dict[str, str], path: Path) -> None:
    """Raises ImportError, OSError."""
    import onnx

    sides = {0: "height", 1: "width"}
    example = torch.zeros(40, 56, 3, dtype=torch.uint8), torch.tensor(qp)
    register = torch.onnx.register_custom_op_symbolic  # type: ignore[attr-defined]
    register("aten::exp2", _exp2, OPSET)
    with warnings.catch_warnings(), torch.no_grad():
        # This way of torch's is the older one and warns of it; the newer one takes ten times as
        # long and needs another package, for a network that is as close.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            example,
            path,
            dynamo=False,
            opset_version=OPSET,
            input_names=["rgb", "qp"],
            output_names=["filtered"],
            dynamic_axes={"rgb": sides, "filtered": sides},
        )
    model = onnx.load(path)
    onnx.helper.set_model_props(model, about)
    onnx.save(model, path)
