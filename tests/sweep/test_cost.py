"""What a run costs: operations by hand, and sums in closed form."""

from pathlib import Path
from typing import Any

import pytest
import torch

from bench import config as configs
from bench import preprocessors
from bench.cli import main, tables
from bench.preprocessors.base import Neural
from bench.sweep import cost
from bench.sweep.plan import plan


def test_operations_of_a_convolution_are_those_counted_by_hand() -> None:
    layer = torch.nn.Conv2d(3, 8, 3, padding=1)

    @torch.inference_mode()
    def run() -> None:
        layer(torch.zeros(1, 3, 10, 12))

    assert cost._macs(run) == 10 * 12 * 8 * 3 * 3 * 3
    assert cost._macs(lambda: None) is None


def step(name: str, times: int, seconds: float, on_gpu: bool = False, kept: int = 0) -> cost.Cost:
    return cost.Cost("set", name, "bpg", seconds, on_gpu, 0.5, times, kept)


def test_estimate_is_the_sum_over_steps_and_images() -> None:
    found = cost.estimate(
        [
            step("encode", 5, 0.2, kept=8192),
            step("decode", 10, 0.02),
            step("predict", 6, 0.5, on_gpu=True, kept=4096),
        ],
        7200,
    )
    assert found == [
        cost.Estimate(
            "set",
            7200,
            encodes=36000,
            core_hours=pytest.approx(2 * (5 * 0.2 + 10 * 0.02)),
            gpu_hours=pytest.approx(2 * 6 * 0.5),
            gigabytes=pytest.approx(7200 * (5 * 8192 + 6 * 4096) / 1e9),
        )
    ]
    assert step("encode", 5, 0.2).ms_per_megapixel == pytest.approx(400)


def test_every_step_of_a_config_is_measured(config: Path, pictures: Path) -> None:
    described = configs.narrowed(configs.load(config), data_root={"": str(pictures)})
    (experiment,) = plan(described, torch.device("cpu"), None)
    costs = list(cost.measured(experiment, 2))
    assert [(c.step, c.what, c.times) for c in costs] == [
        ("encode", "bpg", 3),
        ("decode", "bpg", 3),
        ("encode", "jpeg", 3),
        ("decode", "jpeg", 3),
        ("predict", "mini_classifier", 7),
    ]
    assert all(c.seconds > 0 for c in costs)
    network = experiment.models[0].network.network
    assert costs[-1].parameters == sum(p.numel() for p in network.parameters())
    assert costs[-1].macs_per_pixel
    assert costs[-1].macs_per_pixel > 1000


def test_filters_before_and_after_the_codec_are_measured(config: Path, pictures: Path) -> None:
    network = {"name": "qa-npp", "weights": "qa_npp_mini_cls"}
    sandwich = {"codec": "jpeg", "preprocessor": {"name": "blur", "sigma": 1}}
    described = configs.load(
        config, [f"experiments.0.methods.jpeg={sandwich | {'postprocessor': network}}"]
    )
    described = configs.narrowed(described, data_root={"": str(pictures)})
    (experiment,) = plan(described, torch.device("cpu"), None)
    own = [c for c in cost.measured(experiment, 2) if c.what == "jpeg"]
    assert [(c.step, c.times, c.tries) for c in own] == [
        ("preprocess", 1, 6),  # a run filters once: this blur is the same at every QP
        ("encode", 3, 6),
        ("decode", 3, 6),
        ("postprocess", 3, 6),
    ]
    before, *_, after = own
    assert before.parameters is None
    filtered = experiment.points[-1].postprocessor
    assert isinstance(filtered, Neural)
    (used,) = filtered.networks.values()
    assert after.parameters == sum(p.numel() for p in used.parameters())
    assert after.macs_per_pixel
    assert after.n_bytes == cost.BLOCK


@pytest.mark.parametrize(
    ("method", "often"),
    [
        ({"name": "blur", "sigma": {33: 0.5, 45: 1.0}}, 2),
        ({"name": "npp", "weights": {30: "npp_mini_cls_30", 44: "npp_mini_cls_44"}}, 2),
        ({"name": "qa-npp", "weights": "qa_npp_mini_cls"}, 5),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else "",
)
def test_a_picture_is_filtered_once_for_qps_at_which_that_does_the_same(
    method: dict[str, Any], often: int
) -> None:
    qps = [29, 33, 37, 41, 45]
    assert cost._filterings(preprocessors.make(method, qps, torch.device("cpu")), qps) == often


def test_a_quick_estimate_tries_what_is_slow_once(
    config: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = configs.narrowed(configs.load(config), data_root={"": str(pictures)})
    (experiment,) = plan(described, torch.device("cpu"), None)
    asked = []
    for subject, name in [
        (experiment.models[0].network, "predict"),
        *((type(p.codec), "encode") for p in experiment.points[::3]),
    ]:
        original = getattr(subject, name)
        monkeypatch.setattr(
            subject,
            name,
            lambda *a, _as=name, _do=original, **k: (asked.append((_as, a[-1])), _do(*a, **k))[1],
        )
    costs = list(cost.measured(experiment, 2, bound=0.0))
    assert [(c.step, c.tries, c.first_call) for c in costs] == [
        ("encode", 1, False),
        ("decode", 1, False),
        ("encode", 1, False),
        ("decode", 1, False),
        ("predict", 1, True),
    ]
    assert [c.macs_per_pixel for c in costs] == [None] * 5
    assert [c.times for c in costs] == [3, 3, 3, 3, 7]  # scaled as ever
    middle = [qps[1] for qps in experiment.grid().values()]
    assert [qp for name, qp in asked if name == "encode"] == middle
    assert sum(name == "predict" for name, _ in asked) == 1


def test_a_dry_run_shows_the_plan_and_then_says_what_was_timed(
    config: Path,
    pictures: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tables, "QUICK", 0.0)
    words = ["--config", config, "--data-root", pictures, "--out", tmp_path / "run", "--dry-run"]
    assert main([*map(str, words)]) == 0
    said = capsys.readouterr().err
    told = ["methods and QPs", "estimate for this machine", "core-minutes", "first call"]
    places = [said.index(words) for words in told]
    assert places == sorted(places)
    assert "mini_classifier" in said[places[-1] :]


def test_the_command_writes_its_table(
    config: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["cost", config, "--data-root", pictures, "--pictures", 1, "--images", 5000]
    assert main([*map(str, words), "--out", str(tmp_path / "costs.csv")]) == 0
    header, *rows = (tmp_path / "costs.csv").read_text().splitlines()
    assert header.startswith("dataset,step,what,seconds")
    assert len(rows) == 5
    assert "5,000 images: 30,000 encodes" in capsys.readouterr().out
