"""Controls at their best: for each plain filter and QP, the strength that trades best.

It is chosen on pictures of the train set, at the plain codec's own price of bits and by the same
distance as a network's validation.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from rich.console import Console
from torch import Tensor, nn

from bench.atomic import write_text
from bench.errors import ConfigError
from bench.preprocessors.controls import CONTROLS
from bench.training import loop
from bench.training.npp import PreprocessorTraining, prepare

STRENGTHS: dict[str, tuple[str, tuple[float, ...]]] = {
    "blur": ("sigma", (0.0, 0.4, 0.5, 0.6, 0.8, 1.0, 1.3)),
    "denoise": ("h", (0.0, 2.0, 4.0, 7.0, 10.0)),
    "rescale": ("scale", (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)),
}
"""Of each control the parameter's name and the values tried; the first leaves pictures alone."""


class _Filtering(nn.Module):
    """A control in the place of a network."""

    def __init__(self, name: str, strength: float) -> None:
        super().__init__()
        self.control = CONTROLS[name](**{STRENGTHS[name][0]: strength})

    def forward(self, x: Tensor, qp: Tensor) -> Tensor:
        pixels = (255 * x).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        filtered = np.stack([self.control(p, int(q)) for p, q in zip(pixels, qp, strict=True)])
        return torch.from_numpy(filtered).permute(0, 3, 1, 2).to(x) / 255


def choose(raw: dict[str, Any], out: Path, device: torch.device, console: Console) -> Path:
    """Write OUT/controls.yaml, methods with the best strength per QP, for the model, pictures,
    codec and QPs of a preprocessor's training config. Raises ConfigError for a wrong config."""
    config = loop.validated(PreprocessorTraining, raw)
    if config.others:
        raise ConfigError(
            "others: filters are chosen for one task model; leave `others` out, and choose for "
            "each task model in a run of its own"
        )
    setting, judge = prepare(config, device), config.judge
    anchor = setting.by_judge
    prices = anchor.slope(torch.tensor(anchor.qps, dtype=torch.float64)).numpy()
    methods = {}
    for name, (parameter, strengths) in STRENGTHS.items():
        curves = [setting.curve(_Filtering(name, s)) for s in strengths]
        bpp, nats = (np.stack([c[i] for c in curves]) for i in (0, 1))
        best = (bpp + prices * nats).argmin(axis=0)
        points = np.arange(len(anchor.qps))
        value = anchor.bd_rate((bpp[best, points], nats[best, points]))
        chosen = {qp: strengths[int(i)] for qp, i in zip(anchor.qps, best, strict=True)}
        console.print(f"{name}: {parameter} {chosen}, BD-rate {value:+.1f} % at equal {judge}")
        preprocessor = {"name": name, parameter: chosen}
        methods[f"{name}+{setting.coder.codec.name}"] = {
            "preprocessor": preprocessor,
            "codec": config.codec,
        }
    out.mkdir(parents=True, exist_ok=True)
    path = out / "controls.yaml"
    write_text(path, yaml.safe_dump({"methods": methods}, sort_keys=False))
    return path
