"""One image that anything fails on costs that image; a fault in all of them stops the run."""

import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from described import N, experiment
from test_run import manifest, run, tables

from bench.codecs.bpg import BpgCodec
from bench.datasets import imagenet, mini
from bench.models.torchvision import Classifier
from bench.preprocessors.controls import Control
from bench.sweep import cache as caches

BAD = 5
"""The picture that things fail on."""
QUICK = ("--qps", "39,45", "--methods", "bpg")


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
    plain = imagenet.read_rgb

    def reading(path: Path) -> Any:
        return result(path) if path.stem == f"{BAD:02d}" else plain(path)

    monkeypatch.setattr(imagenet, "read_rgb", reading)
    out = tmp_path / "results" / "run"
    assert run(config, pictures, out, "--max-failures", "10", *QUICK) == 0
    assert left_out(out)["stage"] == "load"


def logits(value: Any) -> list[Any]:
    return [{"logits": value}]


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (raising(RuntimeError("cannot do this picture")), "cannot do this picture"),
        (raising(MemoryError()), "MemoryError"),
        (lambda: [], "0 predictions of 1 images"),
        (lambda: [{}], "a dict without arrays"),
        (lambda: [None], "a NoneType without arrays"),
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
    assert "bpg at QP 33: every one of the first 8 images failed" in error
    assert "00.png: encode: RuntimeError: no such library" in error
    assert len(calls) < 3 * N
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
    whole, out = tmp_path / "a" / "run", tmp_path / "b" / "run"
    assert run(config, pictures, whole, *QUICK) == 0
    plain, cache = Classifier.predict, out.parent / ".cache"
    damaged: list[Path] = []

    def predicting(self: Classifier, images: list[Any], viewed: bool) -> list[Any]:
        coded = [p for p in cache.glob("*/*") if b'"decoded"' in p.read_bytes()]
        if len(coded) == 2 * N and not damaged:
            damaged.extend(coded)
            for path in coded:
                path.write_bytes(path.read_bytes()[:-1])
        return plain(self, images, viewed)

    monkeypatch.setattr(Classifier, "predict", predicting)
    with pytest.warns(UserWarning, match="is damaged"):
        assert run(config, pictures, out, *QUICK) == 0
    assert damaged
    assert tables(out) == tables(whole)


@pytest.mark.skipif(sys.platform != "linux", reason="needs processes that can be killed")
def test_a_picture_that_kills_its_worker_is_left_out(
    config: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The worker process imports this package anew: the fault has to come with the picture.
    name = f"{BAD:02d}.png"
    plain = imagenet.load

    def loading(root: Path, **options: Any) -> Any:
        from dataclasses import replace

        def fatal() -> np.ndarray:
            import os
            import signal

            os.kill(os.getpid(), signal.SIGKILL)
            raise AssertionError

        data = plain(root, **options)
        samples = [replace(s, load=fatal) if s.name == name else s for s in data.samples]
        return replace(data, samples=samples)

    monkeypatch.setitem(imagenet.DATASETS._items, "imagenet", loading)
    out = tmp_path / "results" / "run"
    words = ("--max-failures", "10", "--backend", "loky", "--jobs", "2", *QUICK)
    # `options` of a data set are read off its loader's parameters.
    assert run(config, pictures, out, *words) == 0
    failure = left_out(out)
    assert failure["stage"] == "worker"
    assert "the worker process that had it ended" in failure["error"]
