"""The proxies: one interface, and what a learned one is trained, saved and refused for."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from bench import codecs
from bench.codecs.mapped import MappedCodec
from bench.datasets import mini
from bench.errors import ConfigError
from bench.preprocessors.npp import blur
from bench.training import learned_proxy, loop, npp
from bench.training.coding import Coder
from bench.training.proxy import Proxy, analytic, analytic_bits

CPU = torch.device("cpu")
CODEC = "jpeg"  # the fastest
QPS = range(35, 44)
PROXY: dict[str, Any] = {
    "dataset": {"format": "mini", "task": "cls", "split": "train"},
    "crop": 32,
    "codec": CODEC,
    "qps": [QPS[0], QPS[-1]],
    "width": 8,
    "steps": 30,
    "fit_steps": 40,
    "batch": 4,
    "learning_rate": 3e-3,
    "validation": 4,
}


@pytest.fixture(autouse=True)
def few_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(mini.COUNTS, ("cls", "train"), 16)


def train(out: Path, resume: bool = False) -> Path:
    return learned_proxy.train(PROXY, out, CPU, resume, Console(quiet=True))


def load(path: Path, codec: Any = CODEC, qps: range = QPS) -> Proxy:
    return learned_proxy.load(path, codecs.make(codec), qps, CPU)


def check_interface(proxy: Proxy) -> None:
    x = torch.rand(2, 3, 40, 56, requires_grad=True)
    pixels, bits = proxy(x, torch.tensor([36.0, 42.0]))
    assert pixels.shape == x.shape
    assert bits.shape == (2,)
    assert (bits > 0).all()
    for part in (pixels.square().sum(), bits.sum()):
        (gradient,) = torch.autograd.grad(part, x, retain_graph=True)
        assert gradient.isfinite().all()
        assert (gradient.abs().sum(dim=(1, 2, 3)) > 0).all()


def test_the_analytic_proxy_counts_its_bits() -> None:
    check_interface(analytic)
    x, qp = torch.rand(2, 3, 24, 40), torch.tensor([30.0, 40.0])
    torch.testing.assert_close(analytic(x, qp)[1], analytic_bits(x, qp), rtol=0, atol=0)


@pytest.mark.parametrize("softened", [False, True])
@pytest.mark.parametrize("qp", [33, 39, 45])
def test_the_analytic_proxys_bits_change_as_the_codecs(qp: int, softened: bool) -> None:
    scenes = np.stack([mini.render_detection("train", i)[0] for i in range(12)])
    x = 0.05 + 0.9 * torch.from_numpy(scenes).permute(0, 3, 1, 2).float() / 255
    x = blur(x, 1.0) if softened else x
    qps, coder = torch.full((len(x),), float(qp)), Coder(codecs.make({"name": "bpg", "level": 1}))

    def bpp(pictures: torch.Tensor) -> torch.Tensor:
        return coder.finish(coder.start(pictures, qps), pictures)[1]

    varied = x.clone().requires_grad_(True)
    bits = analytic_bits(varied, qps)
    (gradient,) = torch.autograd.grad((bpp(x) * bits / bits.detach()).sum(), varied)
    for direction in (
        blur(x, 0.8) - x,
        blur(x, 3.0) - x,
        blur(x, 3.0) - blur(x, 1.5),
        blur(x, 6.0) - blur(x, 3.0),
        x - x.mean(dim=(1, 2, 3), keepdim=True),
    ):
        levels = 2 * direction / (255 * direction.square().mean().sqrt())
        real = (bpp(x + levels) - bpp(x - levels)).mean() / 2
        assert (gradient * levels).sum() / len(x) == pytest.approx(real.item(), rel=0.25)


def test_the_analytic_proxys_pixels_are_like_the_codecs() -> None:
    scene = mini.render_detection("train", 0)[0]
    x = torch.from_numpy(scene.transpose(2, 0, 1).copy())[None].float() / 255
    codec = codecs.make({"name": "bpg", "level": 1})

    def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
        return -10 * ((a - b) ** 2).mean().log10().item()

    for qp in (31, 37, 43):
        decoded = codec.decode(codec.encode(scene, qp))
        real = torch.from_numpy(decoded.transpose(2, 0, 1).copy())[None].float() / 255
        pixels, _ = analytic(x, torch.tensor([float(qp)]))
        assert psnr(pixels, real) > psnr(x, real)


def test_what_the_codec_drops_has_no_gradient() -> None:
    """At a coarse QP a fine pattern of one level is quantised away, a smooth change is not."""
    x = torch.full((1, 3, 32, 32), 0.5, requires_grad=True)
    pattern = torch.ones(32, 32)
    pattern[::2] = -1
    ramp = torch.linspace(-1, 1, 32).round(decimals=0).expand(32, 32)
    pixels, _ = analytic(x, torch.tensor([45.0]))
    for direction, share in ((pattern, 0.15), (ramp, None)):
        (gradient,) = torch.autograd.grad((pixels * direction).sum(), x, retain_graph=True)
        kept = (gradient * direction).sum() / (direction**2).sum() / 3
        assert (kept < share) if share else (kept > 0.5)


def test_a_file_that_is_no_proxy_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    with pytest.raises(ConfigError, match=r"weights\.safetensors"):
        load(path)
    save_file({"a": torch.zeros(1)}, path, metadata={"preprocessor": "npp"})
    with pytest.raises(ConfigError, match=r"minnen2018.*preprocessor npp"):
        load(path)


@pytest.mark.parametrize(
    ("change", "named"), [({"qps": [43, 35]}, "qps"), ({"width": 0}, "width"), ({"x": 1}, "x")]
)
def test_wrong_config(change: dict[str, Any], named: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=named):
        learned_proxy.train(PROXY | change, tmp_path, CPU, False, Console(quiet=True))


def test_another_codec_and_other_qps_are_refused_naming_both_sides(tmp_path: Path) -> None:
    about = {
        "proxy": learned_proxy.KIND,
        "codec": json.dumps(learned_proxy._identity(codecs.make({"name": "bpg", "level": 1}))),
        "width": "8",
        "qps": "35-43",
    }
    path = tmp_path / "weights.safetensors"
    save_file({"a": torch.zeros(1)}, path, metadata=about)
    with pytest.raises(ConfigError, match=r"codec bpg.*codec webp"):
        load(path, "webp")
    with pytest.raises(ConfigError, match=r"level 1.*level 8"):
        load(path, "bpg")
    with pytest.raises(ConfigError, match=r"35…43.*27…43"):
        load(path, {"name": "bpg", "level": 1}, range(27, 44))


@pytest.mark.parametrize(
    "name", ["jpeg", "webp", "avif", "heic", "jpeg2000", "jpegxl", "h264", "av1"]
)
def test_a_proxy_is_of_what_the_codecs_qps_stand_for(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        codec = codecs.make(name)
    except ConfigError as error:
        pytest.skip(str(error))
    assert isinstance(codec, MappedCodec)
    about = {"proxy": learned_proxy.KIND, "width": "8", "qps": "35-43"}
    about["codec"] = json.dumps(learned_proxy._identity(codec))
    path = tmp_path / "weights.safetensors"
    save_file({"a": torch.zeros(1)}, path, metadata=about)
    first, *others = codec.values
    monkeypatch.setattr(type(codec), "values", (first + 1, *others))
    with pytest.raises(
        ConfigError, match=rf"another codec: {codec.knob} {first:g},.*{first + 1:g},"
    ):
        load(path, name)


class TestLearned:
    @pytest.fixture(autouse=True)
    def _compressai(self) -> None:
        pytest.importorskip("compressai", reason="the extra `learned` is not installed")

    def test_training_lowers_both_losses_and_is_read_back(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(loop, "LOG_EVERY", 10)
        path = train(tmp_path)
        for log in (tmp_path / "rate_distortion" / "log.csv", tmp_path / "log.csv"):
            with log.open() as file:
                losses = [float(row["loss"]) for row in csv.DictReader(file)]
            assert losses[-1] < losses[0]
        with safe_open(path, framework="pt") as file:
            about = file.metadata()
        assert about["proxy"] == "minnen2018"
        assert (about["width"], about["qps"]) == ("8", "35-43")
        read = load(path)
        assert isinstance(read, learned_proxy.LearnedProxy)
        saved = load_file(path)
        assert saved.keys() == dict(read.named_parameters()).keys()
        for name, parameter in read.named_parameters():
            torch.testing.assert_close(parameter, saved[name].float(), rtol=0, atol=0)
        check_interface(read)

    def test_killed_training_goes_on_to_the_same_weights(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = load_file(train(tmp_path / "whole"))
        monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
        plain, calls = loop.save_checkpoint, 0

        def dying(path: Path, state: dict[str, Any]) -> None:
            nonlocal calls
            plain(path, state)
            calls += 1
            if calls == 36:  # in the second stage
                raise KeyboardInterrupt

        monkeypatch.setattr(loop, "save_checkpoint", dying)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "killed")
        assert (tmp_path / "killed" / "checkpoint.pt").exists()
        monkeypatch.setattr(loop, "save_checkpoint", plain)
        resumed = load_file(train(tmp_path / "killed", resume=True))
        for key, tensor in whole.items():
            torch.testing.assert_close(resumed[key], tensor, atol=1e-5, rtol=1e-3)

    def test_a_preprocessor_is_trained_with_it(self, tmp_path: Path) -> None:
        weights = train(tmp_path / "proxy")
        config = {
            "model": {"library": "mini", "name": "mini_classifier"},
            "dataset": PROXY["dataset"],
            "crop": 96,
            "codec": CODEC,
            "proxy": str(weights),
            "qps": [35, 43],
            "width": 8,
            "steps": 2,
            "batch": 2,
            "learning_rate": 1e-3,
            "validation": 4,
        }
        console = Console(quiet=True)
        assert npp.train("qa-npp", config, tmp_path / "npp", CPU, False, console).exists()
        with pytest.raises(ConfigError, match=r"codec jpeg.*codec webp"):
            npp.train("qa-npp", config | {"codec": "webp"}, tmp_path / "other", CPU, False, console)
