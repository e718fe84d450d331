"""Networks and controls before the codec."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from bench.datasets import mini
from bench.errors import ConfigError
from bench.preprocessors import make
from bench.preprocessors.base import build
from bench.preprocessors.npp import NPP, QANPP, from_middle
from bench.preprocessors.paper import PaperNPP, PaperQANPP

CPU = torch.device("cpu")


def saved(
    name: str, path: Path, seed: int = 0, width: int = 8, architecture: str = "filters"
) -> Path:
    """A network with random weights, so that it does something."""
    torch.manual_seed(seed)
    network = build(name, architecture, width, True)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    state = {k: v.half() for k, v in network.state_dict().items()}
    about = {"preprocessor": name, "width": str(width), "residual": "True", "qps": "27-47"}
    about["architecture"] = architecture
    save_file(state, path, metadata=about)
    return path


@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ("filters", {}),
        ("filters", {"position": True}),
        ("filters", {"context": True}),
        ("paper", {}),
    ],
)
@given(height=st.integers(1, 40), width=st.integers(1, 40), qp=st.integers(0, 51))
@settings(max_examples=15, deadline=None)
def test_any_size_stays_in_range(
    architecture: str, options: dict[str, bool], height: int, width: int, qp: int
) -> None:
    torch.manual_seed(0)
    network = build("qa-npp", architecture, 8, **options)
    x = torch.rand(2, 3, height, width)
    y = network(x, torch.full((2,), float(qp)))
    assert y.shape == x.shape
    assert ((y >= 0) & (y <= 1)).all()


def test_training_starts_near_the_identity() -> None:
    picture = torch.from_numpy(mini.render_detection("train", 0)[0].transpose(2, 0, 1).copy())
    x = picture[None].float() / 255
    y = NPP(16)(x, torch.tensor([37.0]))
    assert -10 * torch.log10(((x - y) ** 2).mean()) > 30


def test_position_is_the_squared_distance_from_the_middle() -> None:
    seen = from_middle(100, 140, torch.zeros(2, 12, 52, 72))  # padded to multiples of 8
    assert seen.shape == (2, 1, 52, 72)
    inside = seen[0, 0, :50, :70]
    torch.testing.assert_close(inside, inside.flip(0, 1), atol=1e-5, rtol=0)
    assert inside[24:26, 34:36].max() == pytest.approx(-1, abs=0.01)
    assert inside[0, 0] == pytest.approx((1 - 0.02) ** 2 + (1 - 1 / 70) ** 2 - 1)


def test_shipped_width_is_small() -> None:
    assert sum(p.numel() for p in QANPP(32).parameters()) <= 800_000


def test_the_papers_networks_have_its_number_of_parameters() -> None:
    npp, qa = (sum(p.numel() for p in n.parameters()) for n in (PaperNPP(), PaperQANPP()))
    assert round(npp / 1e6, 2) == 9.42
    assert qa - npp == pytest.approx(39_000, rel=0.02)


@torch.no_grad()
def test_npp_of_a_qa_npp_is_the_same_network() -> None:
    torch.manual_seed(0)
    adaptive, fixed = QANPP(8), NPP(8)
    for parameter in adaptive.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    fixed.load_state_dict(adaptive.at(41.0))
    x = torch.rand(1, 3, 40, 56)
    expected, got = (n(x, torch.tensor([41.0])) for n in (adaptive, fixed))
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
    assert (expected - x).abs().max() > 0.05


@pytest.mark.parametrize("architecture", ["filters", "paper"])
@pytest.mark.parametrize(("name", "same"), [("npp", True), ("qa-npp", False)])
def test_only_the_adaptive_network_looks_at_the_qp(
    name: str, same: bool, architecture: str, tmp_path: Path
) -> None:
    rgb = mini.render_classification("train", 0)[0]
    path = saved(name, tmp_path / "w.safetensors", architecture=architecture)
    made = make({"name": name, "weights": str(path)}, [30], CPU)
    assert np.array_equal(made(rgb, 30), made(rgb, 45)) is same


def test_nearest_checkpoint_is_used(tmp_path: Path) -> None:
    rgb = mini.render_classification("train", 0)[0]
    files = {qp: str(saved("npp", tmp_path / f"{qp}.safetensors", seed=qp)) for qp in (30, 40)}
    both = make({"name": "npp", "weights": files}, [30], CPU)
    for qp, nearest in ((27, 30), (34, 30), (36, 40), (51, 40)):
        alone = make({"name": "npp", "weights": files[nearest]}, [30], CPU)
        assert np.array_equal(both(rgb, qp), alone(rgb, qp))
    assert (
        both.fingerprint() != make({"name": "npp", "weights": files[30]}, [30], CPU).fingerprint()
    )


def test_what_is_alike_at_two_qps_is_the_same(tmp_path: Path) -> None:
    rgb = mini.render_classification("train", 0)[0]
    files = {qp: str(saved("npp", tmp_path / f"{qp}.safetensors", seed=qp)) for qp in (30, 40)}
    adaptive = str(saved("qa-npp", tmp_path / "adaptive.safetensors"))
    for config, alike in (
        ({"name": "npp", "weights": files}, [30, 30, 40]),
        ({"name": "npp", "weights": files[30]}, [0, 0, 0]),
        ({"name": "qa-npp", "weights": adaptive}, [None] * 3),
        ({"name": "blur", "sigma": {33: 0.5, 41: 2.0}}, [33, 33, 41]),
        ({"name": "rescale", "scale": 0.7}, [0, 0, 0]),
    ):
        made = make(config, [30], CPU)
        assert [made.alike(qp) for qp in (29, 34, 45)] == alike  # type: ignore[attr-defined]
        if alike[0] is not None:
            assert np.array_equal(made(rgb, 29), made(rgb, 34))


def test_wrong_weights_are_refused_naming_both_sides(tmp_path: Path) -> None:
    path = saved("npp", tmp_path / "plain.safetensors")
    with pytest.raises(ConfigError, match=r"plain\.safetensors.*'npp'.*'qa-npp'"):
        make({"name": "qa-npp", "weights": str(path)}, [30], CPU)
    with pytest.raises(ConfigError, match="gone"):
        make({"name": "npp", "weights": "gone"}, [30], CPU)
    with pytest.raises(ConfigError, match="sharpen"):
        make({"name": "sharpen"}, [30], CPU)
    with pytest.raises(ConfigError, match="weights"):
        make({"name": "npp"}, [30], CPU)


def test_untrained_qp_warns(tmp_path: Path) -> None:
    path = saved("qa-npp", tmp_path / "w.safetensors")
    with pytest.warns(UserWarning, match=r"27…47.*QP 51"):
        make({"name": "qa-npp", "weights": str(path)}, [40, 51], CPU)


def test_controls() -> None:
    rgb = mini.render_detection("test", 0)[0]
    for name, option, nothing, strong in (
        ("blur", "sigma", 0, 2.0),
        ("denoise", "h", 0, 12.0),
        ("rescale", "scale", 1, 0.5),
    ):
        control = make({"name": name, option: {30: nothing, 40: strong}}, [30, 40], CPU)
        assert np.array_equal(control(rgb, 33), rgb)
        filtered = control(rgb, 44)
        assert filtered.shape == rgb.shape
        detail = [np.abs(np.diff(p.astype(int), axis=1)).mean() for p in (rgb, filtered)]
        assert detail[1] < detail[0]
    with pytest.raises(ConfigError, match="sigma"):
        make({"name": "blur", "radius": 2}, [30], CPU)
