"""Training: what the proxy says of the real codec, and that a killed training goes on."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from qa_npp_config import QA_NPP
from rich.console import Console
from safetensors.torch import load_file

from bench import codecs
from bench.datasets import mini
from bench.errors import BenchError, ConfigError
from bench.models import mini as mini_models
from bench.models.base import LIBRARIES
from bench.preprocessors import make
from bench.preprocessors.base import load_network, weights_path
from bench.preprocessors.npp import QANPP, QANPPByLambda
from bench.training import loop, npp, task_model
from bench.training.guided import Guided
from bench.training.pictures import cut
from bench.training.proxy import analytic, analytic_bits, straight_through
from bench.training.task_loss import attention, where_it_counts

CPU = torch.device("cpu")


def test_analytic_bits_rank_pictures_as_the_codec_does() -> None:
    pictures = np.stack([mini.render_classification("train", i)[0] for i in range(40)])
    x = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
    codec = codecs.make({"name": "bpg", "level": 1})
    for qp in (29, 41):
        real = np.array([len(codec.encode(p, qp)) for p in pictures])
        proxy = analytic_bits(x, torch.full((40,), float(qp))).numpy()
        ranks = [np.argsort(np.argsort(v)) for v in (real, proxy)]
        assert np.corrcoef(*ranks)[0, 1] > 0.9


def test_analytic_bits_fall_with_the_qp_and_have_a_gradient() -> None:
    x = torch.rand(1, 3, 24, 40, dtype=torch.float64, requires_grad=True)
    bits = [analytic_bits(x, torch.tensor([float(qp)])).item() for qp in range(20, 50, 5)]
    assert bits == sorted(bits, reverse=True)
    direction = torch.randn_like(x)
    analytic_bits(x, torch.tensor([37.0])).backward()
    assert x.grad is not None
    step = 1e-5
    with torch.no_grad():
        up, down = (analytic_bits(x + s * direction, torch.tensor([37.0])) for s in (step, -step))
    measured = ((up - down) / (2 * step)).item()
    assert (x.grad * direction).sum().item() == pytest.approx(measured, rel=1e-2)


def test_straight_through_has_the_value_of_one_and_the_gradient_of_the_other() -> None:
    a = torch.tensor([1.0, 2.0], requires_grad=True)
    y = straight_through(3 * a, torch.tensor([7.0, 8.0]))
    y.sum().backward()
    assert y.tolist() == [7.0, 8.0]
    assert a.grad is not None
    assert a.grad.tolist() == [3.0, 3.0]


TASK = {
    "task": "cls",
    "network": "mini_classifier",
    "dataset": {"format": "mini", "split": "train"},
    "epochs": 2,
    "batch": 8,
    "learning_rate": 1e-3,
    "weight_decay": 0.01,
}


def train(kind: str, out: Path, resume: bool = False) -> dict[str, torch.Tensor]:
    if kind == "task":
        return load_file(task_model.train(TASK, out, CPU, resume))
    return load_file(npp.train(kind, QA_NPP, out, CPU, resume, Console(quiet=True)))


@pytest.mark.parametrize("kind", ["task", "qa-npp"])
def test_killed_training_goes_on_to_the_same_weights(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(mini.COUNTS, ("cls", "train"), 32)
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    whole = train(kind, tmp_path / "whole")

    plain, calls = loop.save_checkpoint, 0

    def dying(path: Path, state: dict[str, Any]) -> None:
        nonlocal calls
        plain(path, state)
        calls += 1
        if calls == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "save_checkpoint", dying)
    with pytest.raises(KeyboardInterrupt):
        train(kind, tmp_path / "killed")
    monkeypatch.setattr(loop, "save_checkpoint", plain)
    resumed = train(kind, tmp_path / "killed", resume=True)
    for key, tensor in whole.items():
        torch.testing.assert_close(resumed[key], tensor, atol=1e-5, rtol=1e-4)


def test_trained_network_is_a_preprocessor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(mini.COUNTS, ("cls", "train"), 32)
    train("qa-npp", tmp_path / "out")
    weights = str(tmp_path / "out" / "weights.safetensors")
    made = make({"name": "qa-npp", "weights": weights}, [35, 43], CPU)
    rgb = mini.render_classification("test", 0)[0]
    assert made(rgb, 40).shape == rgb.shape
    lines = (tmp_path / "out" / "validation.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["qp", "35", "39", "43"]


def test_nan_is_refused_with_its_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(mini.COUNTS, ("cls", "train"), 32)
    monkeypatch.setattr(
        task_model, "_loss", lambda *_: torch.tensor(float("nan"), requires_grad=True)
    )
    with pytest.raises(BenchError, match="step 0"):
        train("task", tmp_path)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"epochs": 0}, "epochs"),
        ({"speed": 1}, "speed"),
        ({"network": "unet"}, "unet"),
        ({"trunk": "unet"}, "trunk: 'unet'"),
    ],
)
def test_wrong_training_config(change: dict[str, Any], named: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=named):
        task_model.train(TASK | change, tmp_path, CPU, False)


def test_a_segmentation_network_begins_with_the_trunk_of_the_detector() -> None:
    network = mini_models.segmenter()
    mini_models.take_trunk(network, "mini_fcos")
    shipped = LIBRARIES.get("mini").default_weights("mini_fcos")
    assert shipped is not None
    taken = network.state_dict()
    held = {k: v for k, v in load_file(shipped).items() if k.startswith("backbone.trunk.")}
    assert held
    for name, tensor in held.items():
        torch.testing.assert_close(taken[name], tensor.to(taken[name].dtype), msg=name)


@pytest.mark.parametrize(
    ("model", "named"),
    [
        ("mini_classifier", "model"),
        ({"name": "mini_classifier"}, r"model\.library"),
        ({"library": "mini", "name": 3}, r"model\.name"),
        ({"library": "mini", "name": "mini_classifier", "wieghts": None}, r"model\.wieghts"),
        ({"library": "tmim", "name": "resnet18"}, "tmim"),
    ],
)
def test_wrong_task_model(model: Any, named: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=named):
        npp.train("npp", QA_NPP | {"model": model}, tmp_path, CPU, False, Console(quiet=True))


@pytest.mark.parametrize("qp", [27.0, 37.0, 47.0])
@pytest.mark.parametrize("trade", ["linear", "logarithmic"])
def test_moving_along_the_plain_codecs_curve_costs_nothing(trade: str, qp: float) -> None:
    """At factor 1 the price of a nat is what the plain codec pays, at the first and the last QP
    too: the cost is stationary there."""
    qps = np.arange(27, 48, 4)

    def curve(level: Any) -> list[Any]:
        return [9 * np.exp(-0.1 * level), np.exp(0.2 * level) / 400]

    anchor = npp.Anchor(qps.tolist(), *curve(qps))
    costs = [
        anchor.cost(trade, 1.0, torch.tensor([qp]), *map(torch.tensor, curve(qp + shift))).item()
        for shift in (-0.05, 0.05)
    ]
    bits_alone = 0.1 * 0.1  # what the change of rate alone would be worth
    assert abs(costs[1] - costs[0]) < 0.1 * bits_alone


def test_an_npp_begins_as_a_qa_npp_is_at_a_qp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(mini.COUNTS, ("cls", "train"), 32)
    train("qa-npp", tmp_path / "qa")
    start = {"start": str(tmp_path / "qa" / "weights.safetensors"), "steps": 2, "qps": [37, 39]}
    config = QA_NPP | start | {"learning_rate": 1e-9}
    npp.train("npp", config, tmp_path / "npp", CPU, False, Console(quiet=True))
    network, trained = load_network("npp", tmp_path / "npp" / "weights.safetensors", CPU)
    adaptive, _ = load_network("qa-npp", tmp_path / "qa" / "weights.safetensors", CPU)
    assert trained == range(37, 40)
    for key, tensor in adaptive.at(38.0).items():  # type: ignore[operator]
        torch.testing.assert_close(network.state_dict()[key], tensor, atol=2e-3, rtol=1e-2)
    with pytest.raises(ConfigError, match="do not fit"):
        npp.train("npp", config | {"width": 16}, tmp_path / "wide", CPU, False, Console(quiet=True))


@pytest.mark.parametrize("more", ["position", "context"])
def test_a_network_that_is_given_more_begins_as_one_that_does_not_know_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: str
) -> None:
    monkeypatch.setitem(mini.COUNTS, ("cls", "train"), 32)
    train("qa-npp", tmp_path / "before")
    before = tmp_path / "before" / "weights.safetensors"
    old, _ = load_network("qa-npp", before, CPU)
    new = npp.untrained("qa-npp", loop.validated(npp.PreprocessorTraining, QA_NPP | {more: True}))
    npp._begin_from(new, before, 37.0)
    x, qp = torch.rand(2, 3, 40, 56), torch.tensor([35.0, 43.0])
    torch.testing.assert_close(new(x, qp), old(x, qp))


def test_every_picture_is_held_out_by_one_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(mini.COUNTS, ("cls", "train"), 8)
    side, held = QA_NPP["crop"], []
    for fold in range(3):
        config = npp.PreprocessorTraining(**QA_NPP | {"fold": [fold, 3]})
        setting = npp.prepare(config, CPU)
        out = [cut(p, side, None)[0] for p in setting.pictures]
        assert len(out) + len(setting.validation[0]) == 8
        assert not any(torch.equal(a, b) for a in out for b in setting.validation[0])
        held += list(setting.validation[0])
    pictures = [mini.render_classification("train", i) for i in (0, 3, 6, 1, 4, 7, 2, 5)]
    for picture, x in zip(pictures, held, strict=True):
        torch.testing.assert_close(x, cut((picture[0], {}), side, None)[0])
    with pytest.raises(ConfigError, match=r"fold: \[3, 3\]"):
        npp.prepare(npp.PreprocessorTraining(**QA_NPP | {"fold": [3, 3]}), CPU)


def test_a_context_begins_as_the_backbone_of_one_detector_alone(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"context: .* is not YOLOX-nano's backbone"):
        npp.train("qa-npp", QA_NPP | {"context": True}, tmp_path, CPU, False, Console(quiet=True))


def test_a_context_begins_as_that_of_another_network() -> None:
    named = {"context": True, "context_start": "qa_npp_coco_yolox_nano"}
    config = npp.PreprocessorTraining(**QA_NPP | named)
    network = npp._begun("qa-npp", config, config.model.load(CPU))
    assert isinstance(network, QANPP)
    assert network.context is not None
    other, _ = load_network("qa-npp", weights_path("qa_npp_coco_yolox_nano"), CPU)
    assert isinstance(other, QANPP)
    assert other.context is not None
    x = torch.rand(1, 3, 64, 64)
    for ours, theirs in zip(
        network.context.stage_maps(x), other.context.stage_maps(x), strict=True
    ):
        torch.testing.assert_close(ours, theirs)
    assert not network.context(x).any()  # what it says is not listened to yet
    without = config.model_copy(update={"context_start": "qa_npp_mini_cls"})
    with pytest.raises(ConfigError, match="context_start: weights qa_npp_mini_cls have no context"):
        npp.prepare(without, CPU)


def test_a_guided_network_learns_where_objects_are_and_ships_without_the_guess(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(mini.COUNTS, ("det", "train"), 32)
    config = QA_NPP | {
        "model": {"library": "mini", "name": "mini_fcos"},
        "dataset": {"format": "mini", "task": "det", "split": "train"},
        "guidance": 1.0,
    }
    npp.train("qa-npp", config, tmp_path, CPU, False, Console(quiet=True))
    network, _ = load_network("qa-npp", tmp_path / "weights.safetensors", CPU)
    assert not any("guess" in k for k in network.state_dict())

    torch.manual_seed(0)
    guided = Guided(network)  # type: ignore[arg-type]
    x, qp = torch.zeros(2, 3, 64, 64), torch.tensor([37.0, 37.0])
    x[..., 32:] = torch.rand(2, 3, 64, 32)
    box = {"boxes": np.array([[36, 4, 60, 60]], np.float32), "scores": np.array([0.9])}
    wanted = attention([box, box], 64)
    torch.testing.assert_close(guided.both(x, qp, wanted)[0], guided(x, qp))
    optimiser = torch.optim.Adam(guided.parameters(), 1e-2)
    for _ in range(30):
        _, missed = guided.both(x, qp, wanted)
        optimiser.zero_grad()
        missed.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    guess = guided.guess(guided.network.encoded(x, qp)[-1]).sigmoid()
    assert guess[..., 4:].mean() > 0.6 > 0.3 > guess[..., :4].mean()

    with pytest.raises(ConfigError, match="guidance: 1 is for a loss other than 'labels'"):
        npp.prepare(npp.PreprocessorTraining(**config | {"loss": "labels"}), CPU)


def test_a_classifier_guides_to_where_its_answer_depends_on_the_picture() -> None:
    model = npp.PreprocessorTraining(**QA_NPP).model.load(CPU)
    pictures = [mini.render_classification("train", i)[0] for i in range(16)]
    x = torch.stack([cut((p, {}), 96, None)[0] for p in pictures])
    where = where_it_counts(model)(x, [{}] * len(x))
    assert where.shape == (16, 1, 12, 12)
    assert 0 <= where.min() < where.max() <= 1
    # The object is in the middle of each scene.
    assert where[..., 3:9, 3:9].mean() > 1.2 * where[..., :3].mean()


def test_the_codec_gets_its_share_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npp, "cpu_count", lambda: 8)
    left: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", left.append)
    assert npp._codec_threads(None, CPU) == 8
    assert npp._codec_threads(0.25, torch.device("cuda")) == 8
    assert left == []
    assert npp._codec_threads(0.25, CPU) == 2
    assert npp._codec_threads(0.01, CPU) == 1
    assert left == [6, 7]


@pytest.mark.parametrize(
    ("capability", "device", "trained_in"),
    [("AVX2", "cpu", "float32"), ("AVX512", "cpu", "bfloat16"), ("AVX2", "cuda", "bfloat16")],
)
def test_bfloat16_is_not_for_cpus_that_emulate_it(
    capability: str, device: str, trained_in: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    config = loop.validated(npp.PreprocessorTraining, QA_NPP | {"precision": "bfloat16"})
    assert npp.fast_precision(config, torch.device(device)) == trained_in


def test_coarse_qps_are_likelier_where_asked() -> None:
    config = loop.validated(npp.PreprocessorTraining, QA_NPP | {"coarser": 4.0, "batch": 2000})
    picture = (np.zeros((96, 96, 3), np.uint8), {})
    _, qps, _ = npp.batch([picture], config, 0)
    share = (qps == config.qps[1]).sum() / (qps == config.qps[0]).sum()
    assert 2.5 < share < 6.5


def test_a_qp_left_out_is_not_trained_on() -> None:
    config = loop.validated(npp.PreprocessorTraining, QA_NPP | {"without": [40], "batch": 64})
    picture = (np.zeros((96, 96, 3), np.uint8), {})
    _, qps, _ = npp.batch([picture], config, 0)
    assert set(qps.tolist()) == {35, 36, 37, 38, 39, 41, 42, 43}


def test_a_network_with_batch_norm_is_judged_as_it_will_be_used(tmp_path: Path) -> None:
    network = torch.nn.BatchNorm1d(1)
    optimiser = torch.optim.SGD(network.parameters(), 0.1)
    modes: list[bool] = []

    def score(candidate: torch.nn.Module) -> float:
        modes.append(candidate.training)
        return 0.0

    loop.run(
        network=network,
        optimiser=optimiser,
        schedule=torch.optim.lr_scheduler.ConstantLR(optimiser),
        batches=lambda start: iter(torch.randn(2, 4, 1)),
        loss=lambda x: [network(x).square().mean()],
        steps=2,
        clip_norm=1.0,
        out=tmp_path,
        resume=False,
        judge=loop.Judge(score, 1, 1.0),
    )
    assert modes == [False, False]
    assert network.training


def test_terms_of_a_loss_add_up(tmp_path: Path) -> None:
    def trained(split: bool) -> torch.Tensor:
        torch.manual_seed(0)
        network = torch.nn.Linear(3, 1)
        optimiser = torch.optim.SGD(network.parameters(), 0.1)

        def loss(x: torch.Tensor) -> list[torch.Tensor]:
            terms = [network(part).square().sum() for part in x.chunk(2)]
            return terms if split else [torch.stack(terms).sum()]

        loop.run(
            network=network,
            optimiser=optimiser,
            schedule=torch.optim.lr_scheduler.ConstantLR(optimiser),
            batches=lambda start: iter(torch.rand(3, 4, 3)),
            loss=loss,
            steps=3,
            clip_norm=1.0,
            out=tmp_path / str(split),
            resume=False,
        )
        return network.weight.detach()

    torch.testing.assert_close(trained(True), trained(False))


OTHER = {
    "model": {"library": "mini", "name": "mini_fcos"},
    "dataset": {"format": "mini", "task": "det", "split": "train"},
    "crop": 64,
    "qps": [37, 45],
}


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """The train splits are small."""
    for task in ("cls", "det"):
        monkeypatch.setitem(mini.COUNTS, (task, "train"), 24)


def cost_and_gradient(setting: npp.Setting, **changes: Any) -> tuple[float, torch.Tensor]:
    """Of the first batch: the loss, and its gradient in the layer that makes the picture."""
    config = loop.validated(npp.PreprocessorTraining, QA_NPP | changes)
    torch.manual_seed(0)
    network = QANPP(config.width)
    batch = npp.batch(setting.pictures, config, 0)
    total = torch.stack(list(npp.costs(network, batch, setting, analytic, config))).sum()
    total.backward()
    gradient = network.head.weight.grad
    assert gradient is not None
    return total.item(), gradient


@pytest.mark.usefixtures("few")
def test_what_stands_in_for_the_codec_forward_and_backward() -> None:
    setting = npp.prepare(loop.validated(npp.PreprocessorTraining, QA_NPP), CPU)
    cost, gradient = cost_and_gradient(setting)
    straight, its_gradient = cost_and_gradient(setting, backward="identity")
    assert straight == pytest.approx(cost)  # both see the codec's pixels and bits
    assert not torch.allclose(its_gradient, gradient)

    proxied, _ = cost_and_gradient(setting, forward="proxy")
    assert proxied != pytest.approx(cost)
    without_codec = replace(setting, coder=None)  # type: ignore[arg-type]
    again, _ = cost_and_gradient(without_codec, forward="proxy")
    assert again == proxied


@pytest.mark.usefixtures("few")
def test_the_proxys_bits_are_the_plain_codecs_for_the_picture_as_it_is() -> None:
    """Without a price on the loss what is left is the rate over the plain codec's: 1."""
    setting = npp.prepare(loop.validated(npp.PreprocessorTraining, QA_NPP), CPU)
    config = loop.validated(npp.PreprocessorTraining, QA_NPP | {"forward": "proxy", "factor": 1e-9})
    batch = npp.batch(setting.pictures, config, 0)

    class Same(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain = torch.nn.Parameter(torch.ones(()))

        def forward(self, x: torch.Tensor, qp: torch.Tensor) -> torch.Tensor:
            return self.gain * x

    shares = npp.costs(Same(), batch, setting, analytic, config)
    assert sum(share.item() for share in shares) == pytest.approx(1)


@pytest.mark.usefixtures("few")
def test_a_qa_npp_by_lambda_is_told_what_the_paper_says(tmp_path: Path) -> None:
    network = QANPPByLambda(8)
    assert network.level(torch.tensor([37.0, 34.0, 28.0])).tolist() == [1 / 8, 2 / 8, 1]
    path = npp.train(
        "qa-npp", QA_NPP | {"by_lambda": True}, tmp_path, CPU, False, Console(quiet=True)
    )
    loaded, _ = load_network("qa-npp", path, CPU)
    assert isinstance(loaded, QANPPByLambda)


@pytest.mark.usefixtures("few")
def test_one_network_for_two_task_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, int]] = []
    costs = npp.Served.costs

    def noted(served: npp.Served, network: torch.nn.Module, drawn: npp.Batch) -> Any:
        seen.append((served.config.model.name, drawn[0].shape[-1]))
        return costs(served, network, drawn)

    monkeypatch.setattr(npp.Served, "costs", noted)
    raw = QA_NPP | {"others": [OTHER], "steps": 4}
    path = npp.train("qa-npp", raw, tmp_path, CPU, False, Console(quiet=True))
    assert seen == [("mini_classifier", 96), ("mini_fcos", 64)] * 2
    _, qps = load_network("qa-npp", path, CPU)
    assert (qps[0], qps[-1]) == (35, 45)
    rows = [(tmp_path / f"validation{i}.csv").read_text().splitlines() for i in ("", ".1")]
    assert [r[1].split(",")[0] for r in rows] == ["35", "37"]


@pytest.mark.usefixtures("few")
def test_what_cannot_differ_between_task_models(tmp_path: Path) -> None:
    raw = QA_NPP | {"others": [OTHER | {"width": 16, "seed": 2}]}
    with pytest.raises(ConfigError, match=r"others.0: width, seed: is of the whole training"):
        npp.train("qa-npp", raw, tmp_path, CPU, False, Console(quiet=True))
    raw = QA_NPP | {"others": [OTHER | {"crop": 3}]}
    with pytest.raises(ConfigError, match="crop"):
        npp.train("qa-npp", raw, tmp_path, CPU, False, Console(quiet=True))


def test_crops_near_the_middle_are_likelier_where_asked() -> None:
    columns = np.tile(np.arange(100, dtype=np.uint8)[None, :, None], (40, 1, 3))
    lefts = []
    for central in (False, True):
        rng = np.random.default_rng(0)
        crops = [cut((columns, {}), 40, rng, central)[0] for _ in range(400)]
        lefts.append(np.array([round(255 * x.min().item()) for x in crops]))
    for left in lefts:
        assert 0 <= left.min() < left.max() <= 60
        assert left.mean() == pytest.approx(30, abs=3)
    assert lefts[1].std() < 0.7 * lefts[0].std()


@pytest.mark.parametrize("turn", range(8))
def test_a_label_map_turns_with_its_picture(turn: int) -> None:
    regions = np.random.default_rng(turn).integers(0, 13, (6, 6)).astype(np.uint8)
    picture = np.repeat(regions[..., None], 3, axis=2)
    pixels, target = task_model._augment(picture, {"labels": regions}, turn)
    np.testing.assert_array_equal((pixels[0] * 255).round().to(torch.uint8), target["labels"])
    assert turn == 0 or not np.array_equal(target["labels"], regions)


class Opened:
    """Leaves a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def checkpoint(kept: Path, **changes: Any) -> dict[str, Any]:
    """What `train` left there, changed."""
    state: dict[str, Any] = torch.load(kept / "checkpoint.pt", weights_only=True)
    return {key: value for key, value in (state | changes).items() if value is not None}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(mini.COUNTS, ("cls", "train"), 16)
        out = tmp_path_factory.mktemp("trained")
        train("task", out)
    return out


def test_a_checkpoint_of_before_versions_is_resumed(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(mini.COUNTS, ("cls", "train"), 16)
    assert checkpoint(kept)["version"] == loop.VERSION
    torch.save(checkpoint(kept, version=None), tmp_path / "checkpoint.pt")
    resumed, whole = train("task", tmp_path, resume=True), load_file(kept / "weights.safetensors")
    assert all(torch.equal(resumed[key], whole[key]) for key in whole)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": 2}, "of version 2, and this rabench reads 1: go on with the one that wrote"),
        ({"step": None, "rng": None}, "has no rng, step"),
        ({"network": {"w": torch.zeros(3)}}, "of another network or config"),
    ],
    ids=str,
)
def test_a_checkpoint_that_is_not_this_trainings(
    changes: dict[str, Any], said: str, kept: Path, tmp_path: Path
) -> None:
    torch.save(checkpoint(kept, **changes), tmp_path / "checkpoint.pt")
    with pytest.raises(ConfigError, match=f"(?s)checkpoint.pt: cannot be resumed.*{said}.*Delete"):
        train("task", tmp_path, resume=True)


def test_nothing_in_a_checkpoint_is_run(kept: Path, tmp_path: Path) -> None:
    state = checkpoint(kept) | {"step": Opened(tmp_path / "was run")}
    torch.save(state, tmp_path / "checkpoint.pt")
    with pytest.raises(ConfigError, match="holds Python objects, of which none is made here"):
        train("task", tmp_path, resume=True)
    assert not (tmp_path / "was run").exists()


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 no checkpoint"], ids=str)
def test_no_checkpoint_at_all(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(content)
    with pytest.raises(ConfigError, match="should be what `train` wrote there"):
        train("task", tmp_path, resume=True)
