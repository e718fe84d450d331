"""LPIPS against torchmetrics' own class, with random weights of AlexNet in a file."""

import json
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from numpy.typing import NDArray
from safetensors.torch import save_file

import bench
from bench import report
from bench.cli import main
from bench.errors import ConfigError
from bench.sweep.perceptual import LEAST, Lpips

lpip = pytest.importorskip("torchmetrics.image.lpip", reason="the extra `lpips` is not installed")

N = 4
CPU = torch.device("cpu")
Pixels = NDArray[np.uint8]

pytestmark = pytest.mark.filterwarnings("ignore:fidelity.lpips.* is not torchvision's")


@pytest.fixture(scope="module")
def alexnet() -> torch.nn.Module:
    with torch.random.fork_rng([]):
        torch.manual_seed(5)
        return torchvision.models.alexnet(weights=None)


@pytest.fixture(scope="module")
def weights(alexnet: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "alexnet.pth"
    torch.save(alexnet.state_dict(), path)
    return path


def pictures(height: int, width: int) -> tuple[Pixels, Pixels]:
    rng = np.random.default_rng(height)
    a = rng.integers(0, 256, (height, width, 3), np.uint8)
    b = np.clip(a + rng.normal(0, 20, a.shape), 0, 255).astype(np.uint8)
    return a, b


@pytest.fixture
def reference(
    alexnet: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Pixels, Pixels], float]:
    """The class itself, which would fetch AlexNet: it gets this one."""
    monkeypatch.setattr(torchvision.models, "alexnet", lambda weights: alexnet)
    metric = lpip.LearnedPerceptualImagePatchSimilarity(net_type="alex", normalize=True)

    def of(a: Pixels, b: Pixels) -> float:
        x, y = (torch.from_numpy(p).permute(2, 0, 1)[None].float() / 255 for p in (a, b))
        return float(metric(x, y))

    return of


@pytest.mark.parametrize("size", [(LEAST, LEAST), (64, 97), (200, 131)])
def test_it_is_that_of_torchmetrics(
    size: tuple[int, int], weights: Path, reference: Callable[[Pixels, Pixels], float]
) -> None:
    a, b = pictures(*size)
    lpips = Lpips(str(weights), CPU)
    assert lpips(a, b) == pytest.approx(reference(a, b), rel=1e-5)
    assert lpips(a, b) > lpips(a, a) == 0


def test_no_pictures_are_too_small_but_these(weights: Path) -> None:
    a, b = pictures(LEAST, 200)
    lpips = Lpips(str(weights), CPU)
    assert math.isfinite(lpips(a, b))
    assert math.isnan(lpips(a[1:], b[1:]))
    assert math.isnan(lpips(a[:, 1:LEAST], b[:, 1:LEAST]))


def test_what_draws_random_numbers_is_left_as_it_was(weights: Path) -> None:
    before = torch.random.get_rng_state()
    Lpips(str(weights), CPU)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_file_that_is_not_torchvisions_is_told(weights: Path) -> None:
    with pytest.warns(UserWarning, match=r"alexnet\.pth is not torchvision's alexnet-owt-7be5be79"):
        Lpips(str(weights), CPU)


def test_a_safetensors_file_without_the_classifier(
    alexnet: torch.nn.Module, weights: Path, tmp_path: Path
) -> None:
    trunk = {k: v for k, v in alexnet.state_dict().items() if k.startswith("features.")}
    path = tmp_path / "trunk.safetensors"
    save_file(trunk, path)
    a, b = pictures(50, 50)
    assert Lpips(str(path), CPU)(a, b) == Lpips(str(weights), CPU)(a, b)


# --- whole runs -----------------------------------------------------------------------------------


def run(out: Path, weights: Path | None, **options: Any) -> dict[str, Any]:
    """Its manifest; two methods on mini, one of them with a filter before and after the codec."""
    blur = {"name": "blur", "sigma": 1.0}
    experiment = {
        "task": "cls",
        "dataset": {"format": "mini"},
        "models": [{"library": "mini", "name": "mini_classifier"}],
        "anchor": "jpeg",
        "methods": {
            "jpeg": {"codec": "jpeg", "qps": [33, 45]},
            "filtered": {"codec": "jpeg", "preprocessor": blur, "postprocessor": blur},
        },
    }
    config: dict[str, Any] = {"experiments": [experiment], "analysis": {"resamples": 20}}
    if weights:
        config["fidelity"] = {"lpips": str(weights)}
    bench.run(config, out=out, limit=N, device="cpu", quiet=True, **options)
    manifest: dict[str, Any] = json.loads((out / "manifest.json").read_text())
    return manifest


def measured(out: Path) -> dict[str, bytes]:
    found = [*out.rglob("*.parquet"), *out.glob("*.csv")]
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in found if p.stem != "costs"}


@pytest.fixture
def _without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "write", lambda folder: [])


@pytest.mark.usefixtures("_without_figures")
def test_turned_on_later_it_codes_nothing_and_changes_nothing_else(
    weights: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    off = run(tmp_path / "off", None, cache=cache)
    assert "lpips" not in json.dumps(off)
    assert not any(b"lpips" in content.lower() for content in measured(tmp_path / "off").values())
    on = run(tmp_path / "on", weights, cache=cache)
    assert {k: n for k, n in on["computed"].items() if n} == {"lpips": 2 * 2 * N}
    assert on["lpips"]["network"] == "AlexNet"
    images = [pd.read_parquet(tmp_path / name / "images.parquet") for name in ("off", "on")]
    assert images[1].drop(columns="lpips").equals(images[0])
    again = run(tmp_path / "again", weights, cache=cache)
    assert set(again["computed"].values()) == {0}
    assert measured(tmp_path / "again") == measured(tmp_path / "on")


@pytest.mark.usefixtures("_without_figures")
def test_it_is_of_the_picture_as_delivered(weights: Path, tmp_path: Path) -> None:
    from bench import codecs
    from bench.datasets import mini
    from bench.preprocessors.controls import control

    run(tmp_path / "run", weights)
    images = pd.read_parquet(tmp_path / "run" / "images.parquet")
    images = images.set_index(["method", "index", "qp"])["lpips"]
    jpeg, blur, lpips = (
        codecs.make("jpeg"),
        control("blur", {"sigma": 1.0}),
        Lpips(str(weights), CPU),
    )
    for i, sample in enumerate(mini.load("cls").samples[:N]):
        rgb = sample.load()
        seen = jpeg.decode(jpeg.encode(rgb, 45))
        assert images["jpeg", i, 45] == pytest.approx(lpips(rgb, seen), rel=1e-5)
        seen = blur(jpeg.decode(jpeg.encode(blur(rgb, 45), 45)), 45)
        assert images["filtered", i, 45] == pytest.approx(lpips(rgb, seen), rel=1e-5)


@pytest.mark.usefixtures("_without_figures")
@pytest.mark.parametrize("backend", ["loky", "dask"])
def test_every_backend_gives_the_same_bytes(backend: str, weights: Path, tmp_path: Path) -> None:
    if backend == "dask":
        pytest.importorskip("distributed", reason="the extra `dask` is not installed")
    for name in ("threading", backend):
        run(tmp_path / name, weights, backend=name, jobs=2, cache=tmp_path / f"{name}-cache")
    assert measured(tmp_path / "threading") == measured(tmp_path / backend)


def test_the_report_says_it(weights: Path, tmp_path: Path) -> None:
    run(tmp_path / "run", weights)
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "<h3>LPIPS</h3>" in page
    assert (tmp_path / "run" / "figures" / "mini-cls_mini_classifier_LPIPS.pdf").is_file()
    assert "LPIPS" in (tmp_path / "run" / "tables" / "points.md").read_text()
    assert "LPIPS" in set(bench.load(tmp_path / "run").bd["metric"])


# --- what is refused ------------------------------------------------------------------------------


def refusal(path: object) -> str:
    with pytest.raises(ConfigError, match=r"^fidelity\.lpips: ") as refused:
        Lpips(str(path), CPU)
    return str(refused.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert f"{tmp_path / 'gone.pth'}: there is no such file" in refusal(tmp_path / "gone.pth")


def test_weights_of_another_network(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save(torchvision.models.squeezenet1_1(weights=None).state_dict(), path)
    said = refusal(path)
    assert f"weights {path} do not fit LPIPS's AlexNet" in said
    assert "torchvision's AlexNet, alexnet-owt-7be5be79.pth" in said


def test_nothing_in_the_file_is_run(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "harm",)

    path = tmp_path / "harmful.pth"
    torch.save({"features.0.weight": Harmful()}, path)
    refusal(path)
    assert not (tmp_path / "harm").exists()


def test_the_extra_is_not_installed(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torchmetrics.functional.image.lpips", None)
    assert "pip install -c constraints.txt -e '.[lpips]'" in refusal(weights)


def test_a_run_is_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    words = ["--out", str(out), "--set", f"fidelity.lpips={tmp_path / 'gone.pth'}", "--limit", "4"]
    with warnings.catch_warnings(action="error"):
        assert main(words) == 2
    assert "fidelity.lpips" in capsys.readouterr().err
    assert not out.exists()
