"""A preprocessor in an ONNX file in a sweep: the bits that another program gets from the file."""

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import bench
from bench import codecs
from bench.datasets import mini
from bench.errors import ConfigError
from bench.preprocessors import make
from bench.preprocessors.onnx_export import export
from bench.preprocessors.onnx_file import INSTALL

onnx: Any = pytest.importorskip("onnx", reason="ONNX files need onnx: pip install '.[deploy]'")
runtime: Any = pytest.importorskip("onnxruntime", reason="pip install '.[deploy]'")

CPU = torch.device("cpu")
GREY = np.full((30, 50, 3), 90, np.uint8)


def written(path: Path, inputs: dict[str, Any], output: str = "filtered", factor: int = 1) -> Path:
    """A network that puts out its first input, or `factor` as many rows of it."""
    h = onnx.helper
    types = {np.uint8: onnx.TensorProto.UINT8, np.int64: onnx.TensorProto.INT64}
    types |= {np.float32: onnx.TensorProto.FLOAT}
    first = next(iter(inputs))
    graph = h.make_graph(
        [h.make_node("Concat", [first] * factor, [output], axis=0)],
        "same",
        [
            h.make_tensor_value_info(name, types[kind], [] if name == "qp" else [None, None, 3])
            for name, kind in inputs.items()
        ],
        [h.make_tensor_value_info(output, types[inputs[first]], [None, None, 3])],
    )
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_a_sweep_has_the_bits_of_a_program_that_runs_the_file(tmp_path: Path) -> None:
    file = tmp_path / "network.onnx"
    export("qa_npp_mini_det", file)
    method = {"preprocessor": {"name": "onnx", "file": str(file)}, "codec": "bpg", "qps": [37, 43]}
    experiment = {
        "task": "det",
        "dataset": {"format": "mini"},
        "models": [{"library": "mini", "name": "mini_fcos"}],
        "anchor": "bpg",
        "methods": {"bpg": {"codec": "bpg", "qps": [37, 43]}, "onnx+bpg": method},
    }
    config = {"experiments": [experiment], "analysis": {"resamples": 20}}
    results = bench.run(config, out=tmp_path / "r", limit=3, device="cpu", quiet=True)
    images = pd.read_parquet(results.folder / "images.parquet")
    swept = images[images["method"] == "onnx+bpg"].set_index(["image", "qp"])["bits"]

    session, bpg = runtime.InferenceSession(file), codecs.make("bpg")
    samples = mini.load("det").samples[:3]
    assert len(swept) == 2 * len(samples)
    for sample in samples:
        for qp in method["qps"]:
            given = {"rgb": sample.load(), "qp": np.array(qp, np.int64)}
            (filtered,) = session.run(None, given)
            assert swept[sample.name, qp] == 8 * len(bpg.encode(filtered, qp))


def test_a_network_without_a_qp_filters_once_for_all(tmp_path: Path) -> None:
    file = written(tmp_path / "n.onnx", {"rgb": np.uint8})
    made = make({"name": "onnx", "file": str(file)}, [20, 50], CPU)
    np.testing.assert_array_equal(made(GREY, 37), GREY)
    assert made.alike(20) == made.alike(50)  # type: ignore[attr-defined]
    adaptive = written(tmp_path / "qp.onnx", {"rgb": np.uint8, "qp": np.int64})
    told = make({"name": "onnx", "file": str(adaptive)}, [20, 50], CPU)
    assert told.alike(20) is None  # type: ignore[attr-defined]
    assert told.fingerprint()["file"] != made.fingerprint()["file"]


def test_qps_that_it_was_not_trained_for(tmp_path: Path) -> None:
    export("qa_npp_mini_cls", tmp_path / "n.onnx")
    options = {"name": "onnx", "file": str(tmp_path / "n.onnx")}
    make(options, [27, 47], CPU)
    with pytest.warns(
        UserWarning, match=r"n.onnx\) was trained for QP 27…47; QP 26, 48 is outside"
    ):
        make(options, [26, 30, 48], CPU)


@pytest.mark.parametrize(
    ("inputs", "output", "factor", "said"),
    [
        ({"x": np.uint8}, "filtered", 1, r"its input 'x' is a tensor\(uint8\)"),
        ({"rgb": np.float32}, "filtered", 1, r"its input 'rgb' is a tensor\(float\)"),
        ({"rgb": np.uint8}, "y", 1, "filtered"),
        ({"rgb": np.uint8}, "filtered", 2, r"it makes uint8 of \(80, 56, 3\)"),
    ],
)
def test_files_of_another_form(
    inputs: dict[str, Any], output: str, factor: int, said: str, tmp_path: Path
) -> None:
    file = written(tmp_path / "n.onnx", inputs, output, factor)
    with pytest.raises(ConfigError, match=rf"n.onnx: .*{said}(.|\n)*It should have an input `rgb`"):
        make({"name": "onnx", "file": str(file)}, [37], CPU)


def test_weights_in_a_second_file_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where they lie in the working folder: no hash would tell of them."""
    export("qa_npp_mini_det", tmp_path / "one.onnx")
    onnx.save(
        onnx.load(tmp_path / "one.onnx"), tmp_path / "two.onnx",
        save_as_external_data=True, location="w.data", size_threshold=0,
    )  # fmt: skip
    assert (tmp_path / "w.data").exists()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"two\.onnx: "):
        make({"name": "onnx", "file": "two.onnx"}, [37], CPU)


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    (tmp_path / "n.onnx").write_bytes(b"x")
    with pytest.raises(ConfigError, match=re.escape(INSTALL)):
        make({"name": "onnx", "file": str(tmp_path / "n.onnx")}, [37], CPU)


def test_what_is_no_file_of_this_kind(tmp_path: Path) -> None:
    (tmp_path / "n.onnx").write_bytes(b"no network")
    with pytest.raises(ConfigError, match=r"n.onnx: .*It should have"):
        make({"name": "onnx", "file": str(tmp_path / "n.onnx")}, [37], CPU)
    with pytest.raises(ConfigError, match="there is no such file"):
        make({"name": "onnx", "file": str(tmp_path / "none.onnx")}, [37], CPU)
    for options in ({}, {"file": 3}, {"file": "n.onnx", "weights": "n"}):
        with pytest.raises(ConfigError, match="takes `file`"):
            make({"name": "onnx", **options}, [37], CPU)
