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
from safetensors import safe_open
from torch import Tensor

from bench import assets, devices
from bench.errors import ConfigError
from bench.preprocessors import onnx_file
from bench.preprocessors.controls import CONTROLS, control, is_qp, nearest, shown
from bench.preprocessors.npp import NPP, QANPP, QANPPByLambda
from bench.preprocessors.paper import PaperNPP, PaperQANPP
from bench.registry import Registry, existing_file

CODE_VERSION = "2"
"""Raised when a change of this package changes what a preprocessor puts out."""

NETWORKS = ("npp", "qa-npp")


class Preprocessor(Protocol):
    def __call__(self, rgb: NDArray[np.uint8], qp: int) -> NDArray[np.uint8]:
        """(H, W, 3) → (H, W, 3), to be coded with that QP or, after the codec, decoded from it. The
        same gives the same again. On a CPU several threads call it at once.

        One that does the same at several QPs may have a method `alike(qp)`, which gives an int that
        they share, and None for a QP that is like no other: a sweep then filters once for them."""
        ...

    def fingerprint(self) -> dict[str, str]: ...


@dataclass
class Neural:
    """Networks by the QP that they are used from; one under the key None serves every QP."""

    name: str
    networks: dict[int | None, torch.nn.Module]
    sha256: str
    device: torch.device
    trained: range | None = None
    """From the first to the last QP that they were trained for; None where nobody knows."""

    def alike(self, qp: int) -> int | None:
        """The QP of the network that is used, if that does not look at the QP itself."""
        return None if self.name == "qa-npp" else self._at(qp) or 0

    def _at(self, qp: int) -> int | None:
        qps = [at for at in self.networks if at is not None]
        return nearest(qps, qp) if qps else None

    @torch.inference_mode()
    def __call__(self, rgb: NDArray[np.uint8], qp: int) -> NDArray[np.uint8]:
        x = torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1))).to(self.device)
        level = torch.tensor([float(qp)], device=self.device)
        y = self.networks[self._at(qp)](x[None].float() / 255, level)[0]
        return (255 * y).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()

    def fingerprint(self) -> dict[str, str]:
        return {
            "preprocessor": self.name,
            "weights": self.sha256,
            "code": CODE_VERSION,
            "torch": torch.__version__,
            "device": devices.arithmetic(self.device),
        }


def weights_path(weights: str) -> Path:
    """A file, or the name of a network that ships. Raises ConfigError."""
    shipped = {p.stem: p for p in Path(assets.__file__).parent.glob("*npp*.safetensors")}
    found = existing_file(weights) or shipped.get(weights)
    if found is None:
        raise ConfigError(
            f"preprocessor weights {weights[:200]!r}: neither a file nor one of the networks "
            f"that ship: {', '.join(sorted(shipped))}. `run_bench.py train` makes such a file"
        )
    return found


def build(
    name: str,
    architecture: str,
    width: int,
    residual: bool = True,
    position: bool = False,
    context: bool = False,
    by_lambda: bool = False,
) -> torch.nn.Module:
    """An untrained `npp` or `qa-npp`: of the architecture `filters`, which all after the width
    belong to, or `paper`. An `npp` is told nothing, `by_lambda` or not."""
    adaptive = name == "qa-npp"
    if architecture == "paper":
        return (PaperQANPP if adaptive else PaperNPP)(width)
    kind = (QANPPByLambda if by_lambda else QANPP) if adaptive else NPP
    return kind(width, residual, position, context)


def load_network(name: str, path: Path, device: torch.device) -> tuple[torch.nn.Module, range]:
    """A network and the QPs that it was trained for. Raises ConfigError naming both sides."""
    try:
        with safe_open(path, framework="pt") as file:
            about: dict[str, str] = file.metadata() or {}
            stored = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
        lacking = [key for key in ("preprocessor", "width", "residual", "qps") if key not in about]
        if lacking:
            raise ValueError(f"its metadata have no {', '.join(lacking)}")
        if about["preprocessor"] != name:
            raise ConfigError(
                f"weights {path} are of preprocessor {about['preprocessor']!r}, not of {name!r}"
            )
        low, high = (int(qp) for qp in about["qps"].split("-"))
        if low > high:
            raise ValueError(f"there is no QP from {low} to {high}")
        with torch.device("meta"):  # whatever width the file states, this takes no memory
            _require_fit(stored, _stated(name, about))
        network = _stated(name, about)
        network.load_state_dict({k: v.float() for k, v in stored.items()})
    except ConfigError:
        raise
    except Exception as error:  # of any kind: the file decides what is tried
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise ConfigError(f"weights {path} do not fit preprocessor {name}: {why}") from error
    return network.eval().to(device), range(low, high + 1)


def _stated(name: str, about: Mapping[str, str]) -> torch.nn.Module:
    """The untrained network that a file of weights says it is of."""
    return build(
        name,
        about.get("architecture", "filters"),
        int(about["width"]),
        about["residual"] == "True",
        about.get("position") == "True",
        about.get("context") == "True",
        about.get("by_lambda") == "True",
    )


def _require_fit(stored: Mapping[str, Tensor], network: torch.nn.Module) -> None:
    """Raises ValueError for tensors that are missing, unknown, of another shape or not finite."""
    own = network.state_dict()
    here, there = ({k: tuple(v.shape) for k, v in state.items()} for state in (own, stored))
    for key in sorted(own.keys() | stored.keys()):
        if here.get(key) != there.get(key):
            raise ValueError(
                f"tensor {key} is {there.get(key, 'missing')} in the file, "
                f"{here.get(key, 'unknown')} in the network that it states"
            )
        if own[key].is_floating_point() and not stored[key].is_floating_point():
            raise ValueError(f"tensor {key} is {stored[key].dtype}, not floating point")
        if not torch.isfinite(stored[key]).all():
            raise ValueError(f"tensor {key} holds NaN or infinity")


Maker = Callable[[dict[str, Any], list[int], torch.device], Preprocessor]
"""The options of a config, the QPs that it will be used with, and where networks run."""

PREPROCESSORS: Registry[Maker] = Registry("preprocessor", "bench.preprocessors")


def make(config: Mapping[str, Any], qps: list[int], device: torch.device) -> Preprocessor:
    """What a method's `preprocessor:` describes. Raises ConfigError; warns of untrained QPs."""
    options = dict(config)
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise ConfigError(
            f"preprocessor: its `name` is {'missing' if name is None else shown(name)}; "
            f"there are: {', '.join(PREPROCESSORS.names())}"
        )
    return PREPROCESSORS.get(name)(options, qps, device)


def _neural(name: str, options: dict[str, Any], qps: list[int], device: torch.device) -> Neural:
    if options == {"weights": "random"}:
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            network = build(name, "filters", 32).eval().to(device)
        return Neural(name, {None: network}, "random", device)
    digest, networks, ends = hashlib.sha256(), {}, set[int]()
    for at, file in _files(name, options).items():
        path = weights_path(file)
        networks[at], trained = load_network(name, path, device)
        ends |= {trained[0], trained[-1]}
        digest.update(f"{at}:".encode() + path.read_bytes())
        outside = [qp for qp in qps if qp not in trained]
        if outside and at is None:
            warnings.warn(
                f"preprocessor {name} ({path.name}) was trained for QP {trained[0]}…{trained[-1]}; "
                f"QP {', '.join(map(str, outside))} is outside",
                stacklevel=2,
            )
    return Neural(name, networks, digest.hexdigest(), device, range(min(ends), max(ends) + 1))


def _files(name: str, options: Mapping[Any, Any]) -> Mapping[int | None, str]:
    """By the QP that they are used from; one under the key None serves every QP."""
    weights = options.get("weights")
    per_qp: Mapping[Any, Any] = weights if isinstance(weights, Mapping) else {None: weights}
    wrong = [option for option in options if option != "weights"]
    wrong += [at for at in per_qp if not is_qp(at) and per_qp is weights]
    wrong += [file for file in per_qp.values() if not isinstance(file, str)]
    if wrong or not per_qp:
        raise ConfigError(
            f"preprocessor {name}: takes `weights`, a file or a shipped name, or a map from QP to "
            "one, or `random` (untrained); given: "
            f"{', '.join(map(shown, wrong)) or 'an empty map'}"
        )
    return per_qp


def _control(
    name: str, options: dict[str, Any], qps: list[int], device: torch.device
) -> Preprocessor:
    return control(name, options)


def _onnx(options: dict[str, Any], qps: list[int], device: torch.device) -> Preprocessor:
    return onnx_file.load(options, qps)


PREPROCESSORS.register(onnx_file.NAME)(_onnx)
for _name in NETWORKS:
    PREPROCESSORS.register(_name)(partial(_neural, _name))
for _name in CONTROLS:
    PREPROCESSORS.register(_name)(partial(_control, _name))
