"""Crashes and calls that never end cost the picture that they happen on, and nothing else."""

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from broken_plugin import installed
from described import experiment
from test_run import ROOT, manifest, run
from test_workers import members

from bench import codecs, report
from bench import config as configs
from bench.codecs import isolated
from bench.codecs.isolated import Isolated
from bench.datasets import mini
from bench.errors import CodecError, ConfigError
from bench.sweep import execute, workshop
from bench.sweep.cache import Cache
from bench.sweep.limits import Limits
from bench.sweep.unit import UnitResult

IMAGES, BAD = 6, 5
"""Pictures of a run, and the one that the faults are about."""
PICTURE = mini.render_classification("test", BAD)[0]
SHA = hashlib.sha256(PICTURE.tobytes()).hexdigest()


@pytest.fixture(autouse=True)
def _without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take longer than these runs."""
    monkeypatch.setattr(report, "write", lambda folder: [])
    monkeypatch.setattr(report, "write_page_of", lambda folder: folder)


@pytest.fixture
def _broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with installed(tmp_path / "plugin", monkeypatch, SHA):
        yield


def described(tmp_path: Path, fault: str, library: str = "mini", codec: str = "broken") -> Path:
    """A config of two QPs, of which the finer one has no fault."""
    config = experiment()
    config["models"] = [{"library": library, "name": "mini_classifier"}]
    config["anchor"] = "broken"
    options = {"fault": fault, "bad": SHA} if fault else {}
    config["methods"] = {"broken": {"codec": {"name": codec, **options}, "qps": [39, 45]}}
    path = tmp_path / f"config-{fault or 'whole'}.yaml"
    path.write_text(yaml.safe_dump({"experiments": [config]}))
    return path


def coded(out: Path) -> pd.DataFrame:
    """Bits and fidelity of all pictures but the bad one."""
    images = pd.read_parquet(out / "images.parquet")
    return images[images["index"] != BAD].reset_index(drop=True)


def held(tmp_path: Path, pictures: Path, config: Path, *words: str) -> dict[str, Any]:
    """The failure of a run that lost one picture and nothing else: the others have the numbers of
    a run without the fault, and the same command again makes none of them anew."""
    whole, out = tmp_path / "whole" / "run", tmp_path / "faulty" / "run"
    few = ("--limit", str(IMAGES))
    assert run(described(tmp_path, ""), pictures, whole, *few) == 0
    assert manifest(whole)["failures"] == []
    words = ("--max-failures", "20", "--jobs", "2", *few, *words)
    assert run(config, pictures, out, *words) == 0
    failures = manifest(out)["failures"]
    assert {f["image"] for f in failures} == {f"{BAD:02d}.png"}
    pd.testing.assert_frame_equal(coded(out), coded(whole))
    assert set(pd.read_csv(out / "points.csv").n_images) == {IMAGES - 1}
    assert run(config, pictures, out, *words) == 0
    again = manifest(out)
    assert again["failures"] == failures
    assert again["computed"]["coded"] <= 1  # the bad one is tried again
    pd.testing.assert_frame_equal(coded(out), coded(whole))
    return failures[0]


@pytest.mark.usefixtures("_broken")
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("segfault", "the codec's process ended by SIGSEGV, twice (--isolate)"),
        ("killed", "the codec's process ended by SIGKILL (out of memory?), twice (--isolate)"),
        ("sleep", "took longer than 2 s (--timeout)"),
        ("memory", "MemoryError"),
        ("garbage", "what it returned cannot be sent"),
    ],
)
def test_an_isolated_codec(tmp_path: Path, pictures: Path, fault: str, said: str) -> None:
    limited = ("--isolate", "--timeout", "2", "--backend", "threading")
    failure = held(tmp_path, pictures, described(tmp_path, fault), *limited)
    assert (failure["method"], failure["qp"], failure["stage"]) == ("broken", 45, "encode")
    assert said in failure["error"]


@pytest.mark.usefixtures("_broken")
@pytest.mark.parametrize("backend", ["loky", "dask"])
def test_an_isolated_codec_in_worker_processes(
    tmp_path: Path, pictures: Path, backend: str
) -> None:
    if backend == "dask":
        pytest.importorskip("distributed", reason="the extra `dask` is not installed")
    words = ("--isolate", "--backend", backend)
    failure = held(tmp_path, pictures, described(tmp_path, "segfault"), *words)
    assert (failure["method"], failure["qp"], failure["stage"]) == ("broken", 45, "encode")
    assert "SIGSEGV" in failure["error"]


@pytest.mark.usefixtures("_broken")
def test_a_codec_that_never_ends_in_a_worker_process(tmp_path: Path, pictures: Path) -> None:
    words = ("--timeout", "2", "--backend", "loky")
    failure = held(tmp_path, pictures, described(tmp_path, "sleep"), *words)
    assert (failure["stage"], failure["error"]) == ("encode", "took longer than 2 s (--timeout)")


@pytest.mark.usefixtures("_broken")
def test_a_model_that_never_ends(tmp_path: Path, pictures: Path) -> None:
    config = described(tmp_path, "", library="sleepy")
    config = config.rename(tmp_path / "sleepy.yaml")
    words = ("--timeout", "1", "--backend", "loky")
    failure = held(tmp_path, pictures, config, *words)
    assert (failure["stage"], failure["error"]) == ("predict", "took longer than 1 s (--timeout)")


@pytest.mark.usefixtures("_broken")
def test_a_codec_that_cannot_be_sent_is_refused(
    tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = described(tmp_path, "sleep", codec="unsendable")
    out = tmp_path / "out" / "run"
    assert run(config, pictures, out, "--isolate") == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "codec broken cannot run in a process of its own (--isolate): " in error
    assert not out.parent.exists()


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), 10**6])
def test_a_time_out_that_is_none_is_refused(seconds: float) -> None:
    with pytest.raises(ConfigError, match="more than 0 and at most"):
        Limits(True, seconds).require("loky")


def test_a_time_out_that_cannot_be_kept_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"a call in a thread cannot be ended\. Use --isolate"):
        Limits(False, 5).require("threading")
    Limits(True, 5).require("threading")
    assert "for codecs only" in Limits(True, 5).note("threading")
    Limits(False, 5).require("loky")
    assert Limits(False, 5).note("loky") == ""


@pytest.mark.parametrize("name", ["bpg", "jpeg", "webp", "h264"])
def test_the_same_bytes_and_pixels(name: str) -> None:
    plain = codecs.make(name)
    with isolated.processes():
        there = Isolated(plain, 60)
        assert (there.name, there.qps) == (plain.name, plain.qps)
        assert there.fingerprint() == plain.fingerprint()
        data = there.encode(PICTURE, 40)
        assert data == plain.encode(PICTURE, 40)
        assert (there.decode(data) == plain.decode(data)).all()
        with pytest.raises(CodecError) as said:
            there.decode(b"no picture")
        with pytest.raises(CodecError) as expected:
            plain.decode(b"no picture")
        # Pillow's name an object by its address.
        assert str(said.value).split(" at 0x")[0] == str(expected.value).split(" at 0x")[0]


class Slowly:
    """Workers of which nothing comes back until a line has been told."""

    in_flight = 1

    def __init__(self) -> None:
        self.told: list[tuple[int, str]] = []

    def oldest(self) -> float:
        return 7 * 60.0

    def stream(self, function: object, items: Any, lost: object) -> Iterator[UnitResult]:
        while not self.told:
            time.sleep(0.01)
        yield from ()

    def alone(self, function: object, item: object) -> None:
        return None


def test_progress_says_how_long_the_oldest_unit_is_out(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execute, "TELL", 0.01)
    workers, cpu, cache = Slowly(), torch.device("cpu"), Cache(tmp_path / "cache")

    def progress(what: str, total: int) -> Callable[[int, str], None]:
        return lambda steps, note: workers.told.append((steps, note))

    with workshop.opened(configs.load(config), [], cpu, None, cache, 1) as setup:
        assert list(execute.Run(setup, [], workers, progress, 0.0).units([], "points")) == []
    assert workers.told[0] == (0, "oldest unit: 7 min")


SLOW = """
import os
import time

class Slow:
    name, qps = "slow", range(9)

    def encode(self, rgb, qp):
        with open(rgb, "w") as file:
            file.write(str(os.getpid()))
        time.sleep(60)

    def decode(self, data):
        return data

    def fingerprint(self):
        return {}
"""
PARENT = """
import sys
from bench.codecs.isolated import Isolated
from slow_codec import Slow

Isolated(Slow()).encode(sys.argv[1], 1)
"""


def test_a_codec_ends_with_its_parent_in_the_midst_of_a_call(tmp_path: Path) -> None:
    (tmp_path / "slow_codec.py").write_text(SLOW)
    (tmp_path / "parent.py").write_text(PARENT)
    note = tmp_path / "pid"
    parent = subprocess.Popen(
        [sys.executable, tmp_path / "parent.py", note],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not (note.exists() and note.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    child = int(note.read_text())
    assert child in members(parent.pid)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 10
    while members(parent.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not members(parent.pid)


def test_a_child_has_no_torch() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, bench.codecs.isolated; sys.exit('torch' in sys.modules)",
        ],
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0
