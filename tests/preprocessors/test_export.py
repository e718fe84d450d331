"""A network in an ONNX file gives what it gives here, but for the order of its sums."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file

from bench import codecs
from bench.cli import main
from bench.datasets import mini
from bench.errors import ConfigError
from bench.preprocessors import make
from bench.preprocessors.base import Neural, build
from bench.preprocessors.onnx_export import export

pytest.importorskip("onnx", reason="ONNX files need onnx: pip install '.[deploy]'")
runtime: Any = pytest.importorskip("onnxruntime", reason="pip install '.[deploy]'")

DOCS = Path(__file__).parents[2] / "docs"
CPU = torch.device("cpu")
SHIPPED = {
    "qa_npp_mini_det": (23, 47),
    "qa_npp_mini_cls": (27, 47),
    "qa_npp_mini_seg": (27, 47),
    "qa_npp_mini_universal": (27, 47),
    "qa_npp_imagenet_lite0": (19, 45),
    "qa_npp_coco_yolox_nano": (35, 51),
    "npp_coco_yolox_nano_44": (41, 47),
}
SIZES = ((1, 1), (3, 70), (64, 64), (97, 131))
CLOSE = 1e-4
"""Of what is put out, in [0, 1]."""

Pixels = NDArray[np.uint8]
Both = tuple[Callable[[Pixels, int], Pixels], Neural]


@pytest.fixture(scope="module", params=SHIPPED)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Both:
    """A network that ships: in an ONNX file, and here."""
    name, file = request.param, tmp_path_factory.mktemp("onnx") / "network.onnx"
    kind, qps = export(name, file)
    assert (qps[0], qps[-1]) == SHIPPED[name]
    here = make({"name": kind, "weights": name}, list(SHIPPED[name]), CPU)
    assert isinstance(here, Neural)
    return exported(file), here


def exported(file: Path) -> Callable[[Pixels, int], Pixels]:
    session = runtime.InferenceSession(file)
    adaptive = any(given.name == "qp" for given in session.get_inputs())

    def run(rgb: Pixels, qp: int) -> Pixels:
        given = {"rgb": rgb} | ({"qp": np.array(qp, np.int64)} if adaptive else {})
        (filtered,) = session.run(None, given)
        return np.asarray(filtered)

    return run


def picture(height: int, width: int) -> Pixels:
    noise = np.random.default_rng(height).normal(128, 300, (height, width, 3))
    return cv2.GaussianBlur(noise, (0, 0), 2).clip(0, 255).astype(np.uint8)


def require_same(filtered: Pixels, here: Neural, rgb: Pixels, qp: int) -> None:
    """Rounded from values that differ by no more than CLOSE, which few round otherwise."""
    (network,) = here.networks.values()
    x = torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        exact = 255 * network(x, torch.tensor([float(qp)]))[0].permute(1, 2, 0).numpy()
    assert filtered.dtype == np.uint8
    assert filtered.shape == rgb.shape
    assert np.abs(filtered - exact).max() <= 0.5 + 255 * CLOSE
    assert (filtered != here(rgb, qp)).sum() <= 1 + 1e-4 * rgb.size


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_any_size_at_any_qp(both: Both, size: tuple[int, int]) -> None:
    there, here = both
    for qp in (27, 40, 51):
        require_same(there(picture(*size), qp), here, picture(*size), qp)


def test_files_are_as_large(both: Both) -> None:
    """A codec may make more of the few values that round otherwise, but not much."""
    there, here = both
    bpg, qp = codecs.make("bpg"), 43
    pictures = [sample.load() for sample in mini.load("det").samples[:3]]
    sizes = [sum(len(bpg.encode(p(rgb, qp), qp)) for rgb in pictures) for p in both]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.005)
    for rgb in pictures:
        require_same(there(rgb, qp), here, rgb, qp)


@pytest.mark.parametrize("name", ["npp", "qa-npp"])
def test_the_papers_networks(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build(name, "paper", 4)
    about = {"preprocessor": name, "architecture": "paper", "width": "4", "residual": "True"}
    save_file(network.state_dict(), tmp_path / "w.safetensors", about | {"qps": "30-44"})
    weights = str(tmp_path / "w.safetensors")
    assert export(weights, tmp_path / "n.onnx") == (name, range(30, 45))
    here = make({"name": name, "weights": weights}, [30], CPU)
    assert isinstance(here, Neural)
    there = exported(tmp_path / "n.onnx")
    for size in ((5, 5), (33, 50)):
        require_same(there(picture(*size), 44), here, picture(*size), 44)


def test_the_guides_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", (DOCS / "deploy.md").read_text(), re.S)
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    Image.fromarray(picture(40, 56)).save("photos/a.png")
    assert main(["export", "qa_npp_coco_yolox_nano", "network.onnx"]) == 0
    exec(program, {})
    filtered = exported(Path("network.onnx"))(picture(40, 56), 43)
    assert Path("photos/a.bpg").read_bytes() == codecs.make("bpg").encode(filtered, 43)


def test_what_the_file_says(tmp_path: Path) -> None:
    export("qa_npp_mini_cls", tmp_path / "n.onnx")
    said = runtime.InferenceSession(tmp_path / "n.onnx").get_modelmeta().custom_metadata_map
    assert said == {"preprocessor": "qa-npp", "weights": "qa_npp_mini_cls", "qps": "27-47"}


@pytest.mark.parametrize(
    ("weights", "target", "said"),
    [
        ("blur", "n.onnx", "'blur': neither a file nor one of the networks that ship"),
        ("qa_npp_mini_cls", "no/n.onnx", "cannot be written"),
    ],
)
def test_what_is_refused(weights: str, target: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        export(weights, tmp_path / target)
    assert not list(tmp_path.iterdir())
