"""A preprocessor in a sweep: 8-bit pixels and a QP in, 8-bit pixels out."""

import hashlib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from bench import assets
from bench.errors import ConfigError
from bench.preprocessors.controls import CONTROLS
from bench.preprocessors.npp import NPP, QANPP
from bench.preprocessors.paper import PaperNPP, PaperQANPP
from bench.registry import Registry

CODE_VERSION = "2"
"""Raised when a change of this package changes what a preprocessor puts out."""

NETWORKS = ("npp", "qa-npp")


class Preprocessor(Protocol):
    def __call__(self, rgb: NDArray[np.uint8], qp: int) -> NDArray[np.uint8]:
        """(H, W, 3) → (H, W, 3), to be coded with that QP."""
        ...

    def fingerprint(self) -> dict[str, str]: ...


@dataclass
class Neural:
    """Networks by the QP that they are used from; one under the key None serves every QP."""

    name: str
    networks: dict[int | None, torch.nn.Module]
    sha256: str
    device: torch.device

    def _network(self, qp: int) -> torch.nn.Module:
        if None in self.networks:
            return self.networks[None]
        return self.networks[min(self.networks, key=lambda at: abs((at or 0) - qp))]

    @torch.inference_mode()
    def __call__(self, rgb: NDArray[np.uint8], qp: int) -> NDArray[np.uint8]:
        x = torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1))).to(self.device)
        level = torch.tensor([float(qp)], device=self.device)
        y = self._network(qp)(x[None].float() / 255, level)[0]
        return (255 * y).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()

    def fingerprint(self) -> dict[str, str]:
        return {
            "preprocessor": self.name,
            "weights": self.sha256,
            "code": CODE_VERSION,
            "torch": torch.__version__,
            "device": self.device.type,
        }


def weights_path(weights: str) -> Path:
    """A file, or the name of a network that ships. Raises ConfigError."""
    shipped = Path(assets.__file__).parent / f"{weights}.safetensors"
    if Path(weights).is_file():
        return Path(weights)
    if shipped.is_file():
        return shipped
    names = sorted(p.stem for p in shipped.parent.glob("*npp*.safetensors"))
    raise ConfigError(
        f"preprocessor weights {weights}: neither a file nor one of the networks that ship: "
        f"{', '.join(names)}. `run_bench.py train` makes such a file"
    )


def build(
    name: str,
    architecture: str,
    width: int,
    residual: bool = True,
    position: bool = False,
    context: bool = False,
) -> torch.nn.Module:
    """An untrained `npp` or `qa-npp`: of the architecture `filters`, which all after the width
    belong to, or `paper`."""
    adaptive = name == "qa-npp"
    if architecture == "paper":
        return (PaperQANPP if adaptive else PaperNPP)(width)
    return (QANPP if adaptive else NPP)(width, residual, position, context)


def load_network(name: str, path: Path, device: torch.device) -> tuple[torch.nn.Module, range]:
    """A network and the QPs that it was trained for. Raises ConfigError naming both sides."""
    try:
        with safe_open(path, framework="pt") as file:
            about: dict[str, str] = file.metadata() or {}
            state = {k: file.get_tensor(k).float() for k in file.keys()}  # noqa: SIM118
        if about.get("preprocessor") != name:
            raise ConfigError(
                f"weights {path} are of preprocessor {about.get('preprocessor')!r}, not of {name!r}"
            )
        network = build(
            name,
            about.get("architecture", "filters"),
            int(about["width"]),
            about["residual"] == "True",
            about.get("position") == "True",
            about.get("context") == "True",
        )
        network.load_state_dict(state)
        low, high = (int(qp) for qp in about["qps"].split("-"))
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        raise ConfigError(f"weights {path} do not fit preprocessor {name}: {error}") from error
    return network.eval().to(device), range(low, high + 1)


Maker = Callable[[dict[str, Any], list[int], torch.device], Preprocessor]
"""The options of a config, the QPs that it will be used with, and where networks run."""

PREPROCESSORS: Registry[Maker] = Registry("preprocessor", "bench.preprocessors")


def make(config: Mapping[str, Any], qps: list[int], device: torch.device) -> Preprocessor:
    """What a method's `preprocessor:` describes. Raises ConfigError; warns of untrained QPs."""
    options = dict(config)
    name = options.pop("name", None)
    return PREPROCESSORS.get(str(name))(options, qps, device)


def _neural(name: str, options: dict[str, Any], qps: list[int], device: torch.device) -> Neural:
    weights = options.get("weights")
    unknown = [option for option in options if option != "weights"]
    if unknown or weights is None:
        raise ConfigError(
            f"preprocessor {name}: takes `weights`, a file or a shipped name, or a map from QP to "
            "one, or `random` (untrained)" + (f"; unknown: {', '.join(unknown)}" if unknown else "")
        )
    if weights == "random":
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            network = build(name, "filters", 32).eval().to(device)
        return Neural(name, {None: network}, "random", device)
    per_qp = weights if isinstance(weights, Mapping) else {None: weights}
    digest, networks = hashlib.sha256(), {}
    for at, file in per_qp.items():
        path = weights_path(str(file))
        digest.update(f"{at}:".encode() + path.read_bytes())
        networks[at], trained = load_network(name, path, device)
        outside = [qp for qp in qps if qp not in trained]
        if outside and at is None:
            warnings.warn(
                f"preprocessor {name} ({path.name}) was trained for QP {trained[0]}…{trained[-1]}; "
                f"QP {', '.join(map(str, outside))} is outside",
                stacklevel=2,
            )
    return Neural(name, networks, digest.hexdigest(), device)


def _control(
    name: str, options: dict[str, Any], qps: list[int], device: torch.device
) -> Preprocessor:
    return CONTROLS[name](**options)


for _name in NETWORKS:
    PREPROCESSORS.register(_name)(partial(_neural, _name))
for _name in CONTROLS:
    PREPROCESSORS.register(_name)(partial(_control, _name))
