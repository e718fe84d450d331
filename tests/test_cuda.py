"""On a GPU: what the CPU gives, but for rounding, and the same each time."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from rich.console import Console

import bench
from bench import devices
from bench.datasets import mini
from bench.datasets.base import DATASETS
from bench.models.base import LIBRARIES, ModelSpec, giver_of_losses, in_batches
from bench.preprocessors import make
from bench.tasks import TASKS
from bench.training import loop, npp, task_model

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="torch finds no CUDA device here"
)
CPU = torch.device("cpu")
Pixels = NDArray[np.uint8]


@pytest.fixture
def cuda() -> torch.device:
    return devices.chosen("cuda")


def scenes(n: int) -> list[Pixels]:
    return [mini.render_detection("test", i)[0] for i in range(n)]


NETWORKS = [
    ("npp", {37: "npp_mini_det_37"}),
    ("qa-npp", "qa_npp_mini_det"),
    ("qa-npp", "qa_npp_coco_yolox_nano"),
    ("qa-npp", "qa_npp_imagenet_lite0"),
]


@pytest.mark.parametrize(("name", "weights"), NETWORKS)
def test_preprocessors_round_a_few_pixels_the_other_way(
    cuda: torch.device, name: str, weights: Any
) -> None:
    options = {"name": name, "weights": weights}
    ours, theirs = make(options, [37], cuda), make(options, [37], CPU)
    for rgb in scenes(4):
        filtered = ours(rgb, 37)
        off = np.abs(filtered.astype(int) - theirs(rgb, 37))
        assert off.max() <= 1
        assert (off > 0).mean() < 1e-3
        np.testing.assert_array_equal(ours(rgb, 37), filtered)


MODELS = [
    ("mini", "mini_classifier"),
    ("mini", "mini_fcos"),
    ("mini", "mini_fcn"),
    ("timm", "resnet10t"),
    ("torchvision", "resnet18"),
]


@pytest.mark.parametrize(("library", "name"), MODELS)
def test_predictions(cuda: torch.device, library: str, name: str) -> None:
    spec = ModelSpec(library, name, str(LIBRARIES.get(library).default_weights(name) or "random"))
    ours, theirs = (LIBRARIES.get(library).load(spec, on) for on in (cuda, CPU))
    seen = scenes(4)
    found = ours.predict(seen, viewed=False)
    for one, other in zip(found, theirs.predict(seen, viewed=False), strict=True):
        for key, values in vars(one).items():
            expected = getattr(other, key)
            assert values.shape == expected.shape
            if key in {"boxes", "scores", "logits"}:
                np.testing.assert_allclose(values, expected, rtol=1e-3, atol=1e-3)
            else:
                assert (values != expected).mean() < 1e-2
    for one, other in zip(found, ours.predict(seen, viewed=False), strict=True):
        for key, values in vars(one).items():
            np.testing.assert_array_equal(values, getattr(other, key))


def test_own_losses(cuda: torch.device) -> None:
    dataset = DATASETS.get("mini")("det").first(4)
    spec = ModelSpec("mini", "mini_fcos", str(LIBRARIES.get("mini").default_weights("mini_fcos")))
    losses = []
    for device in (cuda, CPU):
        detector = LIBRARIES.get("mini").load(spec, device)
        giver = giver_of_losses(detector)
        assert giver is not None
        targets = TASKS.get("det").training_targets(detector, dataset)
        losses.append(giver.losses([s.load() for s in dataset.samples], targets))
    np.testing.assert_allclose(*losses, rtol=1e-3)


def run(out: Path, device: str, **options: Any) -> bench.Results:
    return bench.run(
        tasks=["det", "cls"], limit=12, out=out, cache=options.pop("cache", out.parent / "cache"),
        device=device, settings=["analysis.resamples=20"], quiet=True, **options,
    )  # fmt: skip


def tables(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in ("points.csv", "bd.csv")}


def test_a_run(cuda: torch.device, tmp_path: Path) -> None:
    run(tmp_path / "gpu", "cuda")
    run(tmp_path / "cpu", "cpu")
    ours, theirs = (pd.read_csv(tmp_path / on / "points.csv") for on in ("gpu", "cpu"))
    keys = ["experiment", "model", "metric", "method", "qp"]
    both = ours.merge(theirs, on=[k for k in keys if k in ours], suffixes=("", "_cpu"))
    assert len(both) == len(ours) == len(theirs)
    plain = both.method == "bpg"
    assert (both.bpp == both.bpp_cpu)[plain].all()
    np.testing.assert_allclose(both.bpp, both.bpp_cpu, rtol=5e-3)
    np.testing.assert_allclose(both.value, both.value_cpu, atol=0.03)


@pytest.mark.parametrize("backend", ["threading", "loky", "dask"])
def test_another_run_gives_the_same(cuda: torch.device, tmp_path: Path, backend: str) -> None:
    if backend == "dask":
        pytest.importorskip("distributed", reason="the extra dask is not installed")
    run(tmp_path / "one", "cuda", cache=tmp_path / "a")
    run(tmp_path / "other", "cuda", cache=tmp_path / "b", backend=backend, jobs=2)
    assert tables(tmp_path / "one") == tables(tmp_path / "other")


@pytest.fixture
def little_memory(cuda: torch.device) -> Iterator[int]:
    """The number of float32 that fit on the GPU, which this process may use a little of."""
    torch.cuda.empty_cache()
    whole = torch.cuda.mem_get_info()[1]
    share = 1 << 30
    torch.cuda.set_per_process_memory_fraction(share / whole)
    yield share // 4
    torch.cuda.set_per_process_memory_fraction(1.0)


def test_batches_that_do_not_fit_are_halved(cuda: torch.device, little_memory: int) -> None:
    sizes = []

    def sums(items: list[int]) -> list[float]:
        x = torch.ones(len(items), 2 * little_memory // 5, device=cuda)
        sizes.append(len(items))
        return [float(row[-1]) * i for row, i in zip(x, items, strict=True)]

    found = in_batches(sums, [1, 2, 3, 4, 5], lambda item: 0)
    assert found == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert max(sizes) == 2
    with pytest.raises(torch.cuda.OutOfMemoryError):
        in_batches(lambda items: [torch.ones(2 * little_memory, device=cuda)], [1], lambda i: 0)


NETWORK: dict[str, Any] = {
    "model": {"library": "mini", "name": "mini_classifier"},
    "dataset": {"format": "mini", "task": "cls", "split": "train"},
    "crop": 96, "codec": {"name": "bpg", "level": 1}, "qps": [35, 43], "width": 8, "steps": 8,
    "batch": 4, "learning_rate": 1e-3, "validation": 8,
}  # fmt: skip
DETECTOR = {"model": {"library": "mini", "name": "mini_fcos"}, "guidance": 1.0}
DETECTOR["dataset"] = {"format": "mini", "task": "det", "split": "train"}
TASK_MODEL: dict[str, Any] = {
    "task": "cls", "network": "mini_classifier", "dataset": {"format": "mini", "split": "train"},
    "epochs": 2, "batch": 8, "learning_rate": 1e-3, "weight_decay": 0.01,
}  # fmt: skip


@pytest.mark.parametrize(
    "config",
    [
        NETWORK | {"precision": "float32"},
        NETWORK | {"precision": "bfloat16"},
        NETWORK | DETECTOR,
        TASK_MODEL,
    ],
    ids=["float32", "bfloat16", "detector", "task"],
)
def test_training_gives_the_same_weights_again_and_resumed(
    cuda: torch.device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: dict[str, Any]
) -> None:
    for task in ("cls", "det"):
        monkeypatch.setitem(mini.COUNTS, (task, "train"), 32)
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)

    def train(out: Path, resume: bool = False) -> bytes:
        if "task" in config:
            path = task_model.train(config, out, cuda, resume)
        else:
            path = npp.train("qa-npp", config, out, cuda, resume, Console(quiet=True))
        return path.read_bytes()

    whole = train(tmp_path / "whole")
    assert train(tmp_path / "again") == whole

    save, saved = loop.save_checkpoint, []

    def dying(path: Path, state: dict[str, Any]) -> None:
        save(path, state)
        saved.append(path)
        if len(saved) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "save_checkpoint", dying)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "killed")
    monkeypatch.setattr(loop, "save_checkpoint", save)
    assert train(tmp_path / "killed", resume=True) == whole
