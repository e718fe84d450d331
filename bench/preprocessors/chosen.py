"""A preprocessor by hand: named by itself or by its weights, and called as a sweep calls it."""

import threading
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from bench.errors import ConfigError
from bench.preprocessors.base import NETWORKS, PREPROCESSORS, Preprocessor, make, weights_path

Pixels = NDArray[np.uint8]


def described(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """What `make` takes, for the name of a preprocessor, of a network that ships, or of a file of
    weights. Raises ConfigError."""
    if name in PREPROCESSORS.names():
        return {"name": name, **options}
    try:
        path = weights_path(name)
    except ConfigError as error:
        names = ", ".join(PREPROCESSORS.names())
        raise ConfigError(f"{error}. Nor is it a preprocessor; there are: {names}") from None
    return {"name": network_of(path), "weights": str(path), **options}


def network_of(path: Path) -> str:
    """`npp` or `qa-npp`, as a file of weights says itself. Raises ConfigError."""
    try:
        with safe_open(path, framework="pt") as file:
            name = (file.metadata() or {}).get("preprocessor")
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"weights {path}: not a safetensors file ({error})") from None
    if name not in NETWORKS:
        raise ConfigError(
            f"weights {path} are of no preprocessor: their metadata should name one of "
            f"{', '.join(NETWORKS)}, as those that `run_bench.py train` writes do"
        )
    return str(name)


class Chosen:
    """A preprocessor at one QP, for any number of threads: on a CPU one core for each, since sums
    depend on how many share them, and on a GPU one picture at a time.

    `warnings` are what `make` had to say. Raises ConfigError.
    """

    def __init__(
        self, name: str, options: Mapping[str, Any], qp: int, device: torch.device
    ) -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self._made: Preprocessor = make(described(name, options), [qp], device)
        self.warnings = [str(warning.message) for warning in caught]
        self._on_gpu = device.type != "cpu"
        self._turn = threading.Lock()

    def __call__(self, rgb: Pixels, qp: int) -> Pixels:
        if self._on_gpu:
            with self._turn:
                return self._made(rgb, qp)
        torch.set_num_threads(1)  # of this thread
        return self._made(rgb, qp)
