"""Whatever a config or a file says of a preprocessor, the answer is one or a ConfigError."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from bench.errors import ConfigError
from bench.preprocessors import make
from bench.preprocessors.base import build, load_network

CPU = torch.device("cpu")
PICTURE = np.arange(20 * 24 * 3, dtype=np.uint8).reshape(20, 24, 3)
OPTIONS = {
    "blur": "sigma",
    "denoise": "h",
    "rescale": "scale",
    "npp": "weights",
    "qa-npp": "weights",
}
CONTROLS = ("blur", "denoise", "rescale")
HUGE = int("f" * 5000, 16)
"""YAML reads such numbers, and Python refuses to write them in decimals."""

NEVER: list[Any] = [
    "a", "", "2", b"x", [1], [], {}, (1, 2), set(), True, False, None, math.nan, math.inf,
    -math.inf, -1, -1e-9, 1e9, HUGE, -HUGE, [HUGE],
    {"a": 1}, {None: 1}, {1.5: 1}, {True: 1}, {(1, 2): 1}, {"30": 1}, {HUGE: 1},
    {30: "x"}, {30: None}, {30: True}, {30: [1]}, {30: {31: 1}}, {30: math.nan}, {30: -1},
    {30: HUGE}, {30: 1, "x": 1},
]  # fmt: skip


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("value", NEVER, ids=range(len(NEVER)))
def test_values_that_mean_nothing(name: str, value: Any) -> None:
    with pytest.raises(
        ConfigError, match=rf"preprocessor (weights|{name}: .*{OPTIONS[name]})"
    ) as e:
        make({"name": name, OPTIONS[name]: value}, [30], CPU)
    assert len(str(e.value)) < 700


@pytest.mark.parametrize(
    ("name", "values"),
    [("blur", [100.1, 101]), ("denoise", [255.5, 256]), ("rescale", [0, 0.0, 1.001, 2])],
)
def test_strengths_out_of_range(name: str, values: list[float]) -> None:
    for value in values:
        for strength in (value, {30: value}, {30: 0.5, 40: value}):
            with pytest.raises(ConfigError, match=rf"{name}: {OPTIONS[name]}: takes a number"):
                make({"name": name, OPTIONS[name]: strength}, [30], CPU)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("blur", [0, 1e-300, 0.3, 100]),
        ("denoise", [0, 1e-300, 3, 255]),
        ("rescale", [1e-300, 0.01, 0.999, 1]),
    ],
)
def test_strengths_at_either_end_filter_any_picture(name: str, values: list[float]) -> None:
    for value in values:
        control = make({"name": name, OPTIONS[name]: {30: value}}, [30], CPU)
        for shape in ((1, 1, 3), (1, 90, 3), (90, 2, 3), (20, 24, 3)):
            filtered = control(np.full(shape, 77, np.uint8), 33)
            assert filtered.shape == shape
            assert (filtered == 77).all()


yaml_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.integers() | st.text(max_size=3) | st.none(), inner, max_size=3)
    ),
    max_leaves=5,
)


@pytest.mark.parametrize("name", OPTIONS)
@given(value=yaml_values)
@settings(max_examples=60, deadline=None)
def test_any_value(name: str, value: Any) -> None:
    """What is taken, filters and has a fingerprint."""
    try:
        made = make({"name": name, OPTIONS[name]: value}, [30], CPU)
    except ConfigError:
        return
    assert name in CONTROLS
    assert made(PICTURE, 30).shape == PICTURE.shape
    assert all(isinstance(text, str) for text in made.fingerprint().values())
    strengths = value.items() if isinstance(value, dict) else [(0, value)]
    assert all(type(qp) is int and 0 <= v <= 255 for qp, v in strengths)


@pytest.mark.parametrize("name", OPTIONS)
def test_options_that_there_are_not(name: str) -> None:
    option = OPTIONS[name]
    for options in (
        {}, {"strength": 1}, {option: 1, "strength": 1}, {1: 2}, {None: 1, option: 1}, {(1, 2): 3},
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=rf"preprocessor {name}: takes `{option}`"):
            make({"name": name, **options}, [30], CPU)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [None, 5, True, [], {}, 1.5, ["blur"]])
def test_a_name_that_is_no_text(name: Any) -> None:
    for config in ({"name": name}, {"name": name, "sigma": 1}):
        with pytest.raises(ConfigError, match=r"its `name` is .*there are: blur, denoise, npp"):
            make(config, [30], CPU)
    with pytest.raises(ConfigError, match="its `name` is missing"):
        make({"sigma": 1}, [30], CPU)


@pytest.mark.parametrize("name", ["", " blur", "BLUR", "a\0b", "\ud800", "x" * 300, "../npp"])
def test_a_name_that_is_unknown(name: str) -> None:
    with pytest.raises(ConfigError, match=r"unknown preprocessor .*there are: blur, denoise, npp"):
        make({"name": name}, [30], CPU)


@pytest.mark.parametrize(
    "weights",
    [
        "../x", "../assets/npp_mini_cls_30", "./npp_mini_cls_30", "npp_mini_cls_30.safetensors",
        "mini_fcos", "a\0b", "x" * 300, "\ud800", "/", ".", "/dev/null",
    ],
)  # fmt: skip
def test_weights_that_are_neither_a_file_nor_ship(weights: str) -> None:
    for given_ in (weights, {30: "npp_mini_cls_30", 40: weights}):
        with pytest.raises(ConfigError, match=r"neither a file nor one .*npp_mini_cls_30"):
            make({"name": "npp", "weights": given_}, [30], CPU)


def saved(path: Path, changes: dict[str, Any] | None = None, **about: str | None) -> Path:
    """An untrained network's file, with other tensors and metadata."""
    torch.manual_seed(0)
    state: dict[str, Any] = build("npp", "filters", 8).state_dict() | (changes or {})
    words = {"preprocessor": "npp", "width": "8", "residual": "True", "qps": "27-47"} | about
    save_file(
        {k: v for k, v in state.items() if v is not None},
        path,
        metadata={k: v for k, v in words.items() if v is not None},
    )
    return path


def test_a_sound_file_loads(tmp_path: Path) -> None:
    network, qps = load_network("npp", saved(tmp_path / "w.safetensors"), CPU)
    assert qps == range(27, 48)
    stored = load_file(tmp_path / "w.safetensors")
    assert all(torch.equal(v, stored[k]) for k, v in network.state_dict().items())


@pytest.mark.parametrize(
    "about",
    [
        {"width": "abc"}, {"width": "-8"}, {"width": "0"}, {"width": "16"}, {"width": "1000000000"},
        {"width": "9" * 30}, {"width": "9" * 5000}, {"width": ""}, {"width": None},
        {"qps": "x-y"}, {"qps": "9-1"}, {"qps": "30"}, {"qps": "1-2-3"}, {"qps": ""}, {"qps": None},
        {"residual": None}, {"residual": "False"}, {"position": "True"}, {"context": "True"},
        {"architecture": "paper"}, {"preprocessor": None},
    ],
)  # fmt: skip
def test_metadata_that_do_not_fit(about: dict[str, str | None], tmp_path: Path) -> None:
    path = saved(tmp_path / "w.safetensors", **about)
    with pytest.raises(ConfigError, match=r"w\.safetensors do not fit preprocessor npp: \S"):
        make({"name": "npp", "weights": str(path)}, [30], CPU)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"stem.bias": None}, r"stem\.bias is missing in the file, \(8,\) in the network"),
        ({"extra": torch.ones(3)}, r"extra is \(3,\) in the file, unknown"),
        ({"stem.bias": torch.ones(9)}, r"stem\.bias is \(9,\) in the file, \(8,\) in"),
        ({"stem.bias": torch.ones(())}, r"stem\.bias is \(\) in the file"),
        ({"stem.bias": torch.full((8,), math.nan)}, r"stem\.bias holds NaN or infinity"),
        ({"stem.bias": torch.full((8,), math.inf).half()}, r"stem\.bias holds NaN or infinity"),
        ({"stem.bias": torch.ones(8, dtype=torch.int8)}, r"stem\.bias is torch\.int8, not float"),
    ],
)
def test_tensors_that_do_not_fit(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "w.safetensors", changes)
    with pytest.raises(ConfigError, match=rf"w\.safetensors do not fit preprocessor npp: .*{said}"):
        make({"name": "npp", "weights": {30: str(path)}}, [30], CPU)


@pytest.mark.parametrize("data", [b"", b"text" * 50, bytes(100), b"PK\x03\x04", b"\x80\x02}q\x00."])
def test_a_file_of_another_format(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(data)
    with pytest.raises(ConfigError, match=r"w\.safetensors do not fit preprocessor npp: \S"):
        make({"name": "npp", "weights": str(tmp_path / "w.safetensors")}, [30], CPU)


@given(data=st.data())
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_damaged_file_is_refused_or_filters(data: st.DataObject, tmp_path: Path) -> None:
    damaged = bytearray(saved(tmp_path / "w.safetensors").read_bytes())
    place = st.integers(0, len(damaged) - 1) | st.integers(0, 400)  # the header lies in front
    if data.draw(st.booleans(), label="cut"):
        del damaged[data.draw(place) :]
    for at, byte in data.draw(st.lists(st.tuples(place, st.integers(0, 255)), max_size=6)):
        if at < len(damaged):
            damaged[at] = byte
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(damaged)
    try:
        made = make({"name": "npp", "weights": {30: str(path)}}, [30], CPU)
    except ConfigError as error:
        assert "damaged.safetensors" in str(error)  # noqa: PT017
    else:
        assert made(PICTURE, 30).shape == PICTURE.shape
