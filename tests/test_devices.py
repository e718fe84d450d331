"""Where networks run, on machines that have GPUs and on those that do not."""

import multiprocessing
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from bench import devices
from bench.errors import ConfigError

EXACT: list[tuple[Any, str, bool]] = [
    (torch.backends.cudnn, "allow_tf32", False),
    (torch.backends.cuda.matmul, "allow_tf32", False),
    (torch.backends.cudnn, "deterministic", True),
]


@pytest.fixture(autouse=True)
def _settings_of_torch(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Any but those that are wanted, and back to what they were afterwards."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    before = [getattr(holder, name) for holder, name, _ in EXACT]
    for holder, name, wanted in EXACT:
        setattr(holder, name, not wanted)
    yield
    for (holder, name, _), value in zip(EXACT, before, strict=True):
        setattr(holder, name, value)


def gpus(monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: n > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: n)


def test_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, 0)
    assert devices.chosen("auto") == devices.here("cpu") == torch.device("cpu")
    with pytest.raises(ConfigError, match="no CUDA device here; use cpu or auto"):
        devices.chosen("cuda")


def test_a_gpu_computes_as_a_cpu_does(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, 1)
    assert devices.chosen("auto") == torch.device("cuda")
    assert devices.arithmetic(torch.device("cuda")) == "cuda without TF32"
    for holder, name, wanted in EXACT:
        assert getattr(holder, name) is wanted
    with devices.sums_in_order(torch.device("cuda")):
        assert torch.are_deterministic_algorithms_enabled()
    assert not torch.are_deterministic_algorithms_enabled()
    with devices.sums_in_order(torch.device("cpu")):
        assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize(
    ("process", "gpu"), [("LokyProcess-4", 1), ("LokyProcess-3:2", 0), ("MainProcess", 0)]
)
def test_workers_share_gpus(monkeypatch: pytest.MonkeyPatch, process: str, gpu: int) -> None:
    gpus(monkeypatch, 3)
    monkeypatch.setattr(multiprocessing.current_process(), "name", process)
    assert devices.here("cuda") == torch.device("cuda", gpu)
    assert devices.here("cpu") == torch.device("cpu")
