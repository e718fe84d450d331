"""One image that anything fails on costs that image; a fault in all of them stops the run."""

import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from described import N, experiment
from joblib.externals.loky import get_reusable_executor
from test_run import manifest, run, tables

from bench import report
from bench.codecs.bpg import BpgCodec
from bench.datasets import contents, mini
from bench.models.torchvision import Classifier
from bench.preprocessors.controls import Control
from bench.sweep import cache as caches
from bench.sweep.cache import Cache
from bench.tasks.records import Logits

BAD = 5
"""The picture that things fail on."""
QUICK = ("--qps", "39,45", "--methods", "bpg")


@pytest.fixture(autouse=True)
def _without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take longer than these runs."""
    monkeypatch.setattr(report, "write", lambda folder: [])
    monkeypatch.setattr(report, "write_page_of", lambda folder: folder)


def is_bad(rgb: np.ndarray) -> bool:
    return np.array_equal(rgb, mini.render_classification("test", BAD)[0])


def raising(error: BaseException) -> Callable[..., Any]:
    def function(*_: Any) -> Any:
        raise error

    return function


def left_out(out: Path) -> dict[str, Any]:
    """The one failure of a run that left one image out of everything."""
    points = pd.read_csv(out / "points.csv")
    assert set(points.n_images) == {N - 1}
    failures = manifest(out)["failures"]
    assert {f["image"] for f in failures} == {f"{BAD:02d}.png"}
    return failures[0]


@pytest.mark.parametrize(
    ("method", "result", "stage", "said"),
    [
        ("encode", raising(RuntimeError("a bug")), "encode", "RuntimeError: a bug"),
        ("encode", raising(AssertionError()), "encode", "AssertionError"),
        ("encode", raising(MemoryError()), "encode", "MemoryError"),
        ("encode", raising(SystemExit(3)), "encode", "SystemExit: 3"),
        ("encode", lambda *_: "text", "encode", "returned a str, not bytes"),
        ("encode", lambda *_: b"", "encode", "returned nothing, not bytes"),
        ("encode", lambda *_: None, "encode", "returned a NoneType"),
        ("decode", raising(KeyError("x")), "decode", "KeyError: 'x'"),
        ("decode", lambda rgb: rgb[::2], "decode", "an array (48, 96, 3) of uint8"),
        ("decode", lambda rgb: rgb / 255, "decode", "of float64"),
        ("decode", lambda rgb: rgb[:, :, 0], "decode", "an array (96, 96) of uint8"),
        ("decode", lambda rgb: [1, 2], "decode", "a list"),
    ],
)
def test_codec(
    config: Path,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    result: Callable[..., Any],
    stage: str,
    said: str,
) -> None:
    encode, decode = BpgCodec.encode, BpgCodec.decode
    bad_data: set[bytes] = set()

    def encoding(self: BpgCodec, rgb: np.ndarray, qp: int) -> Any:
        if method == "encode" and is_bad(rgb) and qp == 45:
            return result(rgb)
        data = encode(self, rgb, qp)
        if is_bad(rgb) and qp == 45:
            bad_data.add(data)
        return data

    def decoding(self: BpgCodec, data: bytes) -> Any:
        decoded = decode(self, data)
        return result(decoded) if method == "decode" and data in bad_data else decoded

    monkeypatch.setattr(BpgCodec, "encode", encoding)
    monkeypatch.setattr(BpgCodec, "decode", decoding)
    out = tmp_path / "results" / "run"
    assert run(config, pictures, out, "--max-failures", "10", *QUICK) == 0
    failure = left_out(out)
    assert (failure["method"], failure["qp"], failure["stage"]) == ("bpg", 45, stage)
    assert said in failure["error"]


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (raising(RuntimeError("a bug")), "RuntimeError: a bug"),
        (lambda rgb: rgb[:50], "an array (50, 96, 3) of uint8"),
        (lambda rgb: rgb.astype(float), "of float64"),
        (lambda rgb: None, "a NoneType"),
    ],
)
def test_preprocessor(
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    result: Callable[..., Any],
    said: str,
) -> None:
    described = experiment()
    described["methods"] = {
        "bpg": {"codec": "bpg", "qps": [39, 45]},
        "blur+bpg": {"preprocessor": {"name": "blur", "sigma": 1}, "codec": "bpg"},
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"experiments": [described]}))
    plain = Control.__call__
    monkeypatch.setattr(
        Control,
        "__call__",
        lambda self, rgb, qp: result(rgb) if is_bad(rgb) else plain(self, rgb, qp),
    )
    out = tmp_path / "results" / "run"
    assert run(path, pictures, out, "--max-failures", "10") == 0
    failure = left_out(out)
    assert (failure["method"], failure["stage"]) == ("blur+bpg", "preprocess")
    assert said in failure["error"]


@pytest.mark.parametrize(
    "result", [raising(RuntimeError("a bug")), lambda path: np.zeros((0, 3), np.uint8)]
)
def test_loader(
    config: Path,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    result: Callable[..., Any],
) -> None:
    plain = contents.read_sized

    def reading(path: Path, size: object) -> Any:
        return result(path) if path.stem == f"{BAD:02d}" else plain(path, None)

    monkeypatch.setattr(contents, "read_sized", reading)
    out = tmp_path / "results" / "run"
    assert run(config, pictures, out, "--max-failures", "10", *QUICK) == 0
    assert left_out(out)["stage"] == "load"


def logits(value: Any) -> list[Any]:
    return [Logits(value)]


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (raising(RuntimeError("cannot do this picture")), "cannot do this picture"),
        (raising(MemoryError()), "MemoryError"),
        (lambda: [], "0 predictions of 1 images"),
        (lambda: [{}], "a dict instead of Logits"),
        (lambda: [None], "a NoneType instead of Logits"),
        (lambda: logits([1, 2, 3]), "no array of numbers 'logits'"),
        (lambda: logits(np.zeros((12, 1))), "'logits' of shape (12, 1)"),
        (lambda: logits(np.full(12, np.nan)), "'logits' that is not finite"),
        (lambda: logits(np.array(["a"] * 12)), "no array of numbers 'logits'"),
    ],
)
def test_model(
    config: Path,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    result: Callable[[], Any],
    said: str,
) -> None:
    plain = Classifier.predict

    def predicting(self: Classifier, images: list[Any], viewed: bool) -> list[Any]:
        if not any(map(is_bad, images)):
            return plain(self, images, viewed)
        if len(images) == 1:
            return result()
        raise RuntimeError("cannot do these pictures together")

    monkeypatch.setattr(Classifier, "predict", predicting)
    out = tmp_path / "results" / "run"
    assert run(config, pictures, out, "--max-failures", "10", *QUICK) == 0
    failure = left_out(out)
    assert (failure["method"], failure["stage"]) == (None, "predict")
    assert said in failure["error"]


def test_a_fault_in_every_image_stops_at_once_whatever_may_fail(
    config: Path,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    calls = []

    def failing(self: BpgCodec, rgb: np.ndarray, qp: int) -> bytes:
        calls.append(qp)
        raise RuntimeError("no such library")

    monkeypatch.setattr(BpgCodec, "encode", failing)
    out = tmp_path / "results" / "run"
    assert run(config, pictures, out, "--max-failures", "100", "--jobs", "1") == 2
    error = " ".join(capsys.readouterr().err.split())
    assert re.search(r"bpg at QP \d+: all of (16|8) images failed, so the fault is not in", error)
    assert ".png: encode: RuntimeError: no such library" in error
    assert len(calls) < 6 * N
    assert not out.exists()


def test_damaged_cache_entries_are_measured_again(
    config: Path, pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "results" / "run"
    assert run(config, pictures, out, *QUICK) == 0
    whole = tables(out)
    cache = tmp_path / "results" / ".cache"
    entries = sorted(p for p in cache.glob("*/*") if len(p.name) == 62)
    draw = random.Random(1)
    for path in entries[::2]:
        data = bytearray(path.read_bytes())
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        path.write_bytes(data)
    with pytest.warns(UserWarning, match="is damaged"):
        assert run(config, pictures, out, *QUICK) == 0
    assert tables(out) == whole
    assert not caches.examine(cache, read=True).damaged


def test_an_entry_damaged_while_the_run_uses_it_is_coded_again(
    config: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at its size and the models' look at its pixels."""
    whole = tmp_path / "run"
    assert run(config, pictures, whole, *QUICK) == 0
    before = tables(whole)
    cache = tmp_path / ".cache"
    for path in cache.glob("??/*"):
        if "logits" in (Cache(cache).get(path.parent.name + path.name) or {}):
            path.unlink()
    plain, damaged = Cache.get, []

    def getting(self: Cache, key: str) -> caches.Entry | None:
        entry = plain(self, key)
        if entry and "decoded" in entry and key not in damaged:
            damaged.append(key)
            path = self.folder / key[:2] / key[2:]
            path.write_bytes(path.read_bytes()[:-1])
        return entry

    monkeypatch.setattr(Cache, "get", getting)
    with pytest.warns(UserWarning, match="is damaged"):
        assert run(config, pictures, whole, *QUICK) == 0
    assert len(damaged) == 2 * N
    assert tables(whole) == before


FATAL = """
import os
import signal
from dataclasses import replace

from bench.datasets import imagenet


def end():
    os.kill(os.getpid(), signal.SIGKILL)


def load(root, name=None):
    data = imagenet.load(root, name)
    samples = [replace(s, load=end) if s.name == "05.png" else s for s in data.samples]
    return replace(data, samples=samples)
"""


@pytest.fixture
def new_workers() -> Iterator[None]:
    """Worker processes that see what this test alone installs, and none left over that do."""
    get_reusable_executor().shutdown()
    yield
    get_reusable_executor().shutdown()


@pytest.mark.usefixtures("new_workers")
def test_a_picture_that_kills_its_worker_is_left_out(
    config: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = tmp_path / "plugin" / "rabench_fatal-0.1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: rabench-fatal\nVersion: 0.1\n")
    (about / "entry_points.txt").write_text("[bench.datasets]\nfatal = rabench_fatal:load\n")
    (about.parent / "rabench_fatal.py").write_text(FATAL)
    monkeypatch.setenv("PYTHONPATH", str(about.parent))
    monkeypatch.syspath_prepend(about.parent)
    out = tmp_path / "results" / "run"
    words = ("--set", "experiments.0.dataset.format=fatal", "--backend", "loky", "--jobs", "2")
    assert run(config, pictures, out, "--max-failures", "10", *words, *QUICK) == 0
    failure = left_out(out)
    assert failure["stage"] == "worker"
    assert "the worker process that had it ended" in failure["error"]
