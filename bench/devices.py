"""Where networks run: the CPU, or a GPU through CUDA."""

import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from bench.errors import ConfigError


def chosen(name: str) -> torch.device:
    """Of `auto`, `cpu` or `cuda`; `auto` takes a GPU where there is one. Raises ConfigError."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: torch finds no CUDA device here; use cpu or auto")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return _exact(torch.device(name))


def here(kind: str) -> torch.device:
    """Of this process: with several GPUs each worker takes the one of its number."""
    n = count(kind)
    return _exact(torch.device(kind, _number() % n) if n > 1 else torch.device(kind))


def count(kind: str) -> int:
    """GPUs of this machine that a run uses."""
    return torch.cuda.device_count() if kind == "cuda" else 0


def arithmetic(device: torch.device) -> str:
    """What numbers depend on, of fingerprints and keys of the cache."""
    return "cuda without TF32" if device.type == "cuda" else device.type


@contextmanager
def sums_in_order(device: torch.device) -> Iterator[None]:
    """Gradients, too, are the same each time on a GPU, where torch warns of any that cannot be."""
    if device.type == "cpu":
        yield
        return
    how: Any = torch.utils.deterministic
    how.fill_uninitialized_memory = False  # which is to find faults, and slow
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def _exact(device: torch.device) -> torch.device:
    """Numbers of a GPU should be those of a CPU but for rounding, and the same each time: without
    TF32, which drops 13 of a float's 23 bits, and without sums in any order."""
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # its sums, by NVIDIA's manual
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.deterministic = True
    return device


def _number() -> int:
    """Of a worker process among its kind: its name ends in it, or Dask knows it."""
    try:
        from distributed import get_worker

        name = str(get_worker().name)
    except (ImportError, ValueError):
        name = multiprocessing.current_process().name
    digits = name.rpartition("-")[2]
    return int(digits) if digits.isdigit() else 0
