"""Training of NPP and QA-NPP: bits against the task model's loss, the real codec in between.

    view ─▶ network ─▶ 8 bits ─▶ codec ─▶ decoded ─▶ task model ─▶ distance to the clean picture's
                                   └─▶ bits

Forward everything is real; backward a proxy stands in for the codec. The loss of a picture at a
QP is (bpp + λ(QP) · distance) / bpp of the plain codec there, with λ(QP) the slope of the plain
codec's own curve (bits that it buys per unit of distance at that QP), times a factor; or the same
trade between the logarithms.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from joblib import cpu_count
from pydantic import BaseModel, ConfigDict, Field
from rich.console import Console
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from bench import codecs
from bench.atomic import write_text
from bench.codecs.base import Codec
from bench.datasets.base import Sample
from bench.datasets.views import native
from bench.errors import ConfigError
from bench.models.base import LIBRARIES, ModelSpec, TaskModel
from bench.preprocessors.base import build, load_network, weights_path
from bench.preprocessors.context import Context
from bench.preprocessors.npp import NPP, QANPP
from bench.tasks.records import Arrays
from bench.training import loop
from bench.training.coding import (
    VALIDATION_QP_STEP,
    Anchor,
    Coder,
    Curve,
    Validation,
    measure,
)
from bench.training.files import save_weights
from bench.training.guided import Guided
from bench.training.pictures import Picture, cut, dataset, zoomed
from bench.training.proxy import Proxy, analytic, straight_through
from bench.training.task_loss import (
    Kind,
    TaskLoss,
    Where,
    labelled,
    regarded,
    task_loss,
    where_it_counts,
)

KNOWING = 0.1
"""Share of the learning rate for weights that already know objects."""
COLLAPSED = 100.0
"""A BD-rate in percent beyond which there is no network worth training on."""
OWN = (
    "model", "dataset", "extra", "view", "crop", "longer_side", "qps", "without", "coarser",
    "batch", "trade", "fidelity", "loss", "factor", "judge", "validation", "fold",
)  # fmt: skip
"""Keys of a training config that may differ from one task model to another."""


class ModelChoice(BaseModel):
    """The task model that a preprocessor is trained for."""

    model_config = ConfigDict(extra="forbid")

    library: str
    name: str
    weights: str | None = None
    """A file, a name known to the library, or null for what ships."""

    def load(self, device: torch.device) -> TaskModel:
        """Raises ConfigError."""
        library, weights = LIBRARIES.get(self.library), self.weights
        if weights is None and (shipped := library.default_weights(self.name)):
            weights = str(shipped)
        return library.load(ModelSpec(self.library, self.name, weights), device)


class PreprocessorTraining(BaseModel):
    """`configs/train/npp_*.yaml`."""

    model_config = ConfigDict(extra="forbid")

    model: ModelChoice
    dataset: dict[str, Any]
    extra: list[dict[str, Any]] = []
    """More data sets to train on; labels are read only for the loss `labels`."""
    view: Literal["native", "model"] = "native"
    """With `model`, pictures are trained on at random sizes up to ZOOM times the crop, mostly on
    their middle, and validated on as the model's own resize and crop leave them."""
    crop: int = Field(gt=0, multiple_of=8)
    """Side of the square that is trained on; smaller pictures are left out."""
    longer_side: int | None = Field(default=None, gt=0)
    """Of the pictures that the crops stand for, where the task model shrinks what it sees."""
    codec: str | dict[str, Any]
    proxy: str | None = None
    """Weights of a learned proxy; by default the analytic one, which needs none."""
    forward: Literal["codec", "proxy"] = "codec"
    """Whose pixels and bits are seen in training; validation always has the codec's. Of the proxy's
    bits those that it has for the picture as it is are worth the plain codec's mean bpp."""
    backward: Literal["proxy", "identity"] = "proxy"
    """What stands in for the derivative of decoded pixels. That of bits is always the proxy's."""
    qps: tuple[int, int]
    """The first and last QP trained for."""
    without: list[int] = []
    """QPs between them that are not trained on, to see whether the network interpolates."""
    coarser: float = Field(default=1.0, gt=0)
    """How much likelier the last QP is trained on than the first; those between lie between."""
    architecture: Literal["filters", "paper"] = "filters"
    """`bench.preprocessors.npp`, or the paper's networks, whose width was 32."""
    width: int = Field(default=32, gt=0)
    residual: bool = True
    position: bool = False
    context: bool = False
    """These three are of the architecture `filters`; see `bench.preprocessors.npp`. The context
    begins as the detector's own backbone, which must be YOLOX-nano's, or as `context_start`."""
    by_lambda: bool = False
    """Have a QA-NPP of this architecture be told the paper's λ(QP) / 8 in place of the QP."""
    context_start: str | None = None
    """Weights of a QA-NPP whose context this one begins with, for any other task model."""
    start: str | None = None
    """Weights to begin from; those of a QA-NPP make an NPP as it is at the middle of `qps`, and
    those of a network without `position` or `context` one that learns to use it."""
    steps: int = Field(gt=0)
    batch: int = Field(gt=0, multiple_of=2)
    learning_rate: float = Field(gt=0)
    trade: Literal["linear", "logarithmic", "closed"] = "linear"
    """At the plain codec's own price: bits and loss added, or, for losses with heavy tails, their
    logarithms. `closed`: bpp + λ(QP) · loss with the paper's λ(QP) = 2^((37 − QP) / 3)."""
    fidelity: float = Field(default=0.0, ge=0)
    """Weight of the mean squared distance of the filtered picture from the original, in [0, 1]²."""
    loss: Kind = "features"
    """What is traded against bits: how far the task model's features, or its answer, move from
    those on the clean picture, or its own training loss on the labels; see `task_loss`."""
    guidance: float = Field(default=0.0, ge=0)
    """Weight of a side task: see `bench.training.guided`."""
    factor: float = Field(default=1.0, gt=0)
    """On λ: above 1 for accuracy, below 1 for bits."""
    judge: Kind = "answer"
    """By which loss a validation judges; two-stage detectors have no `answer`."""
    codec_share: float | None = Field(default=None, gt=0, lt=1)
    """Share of the CPU's cores that the codec has to itself, and the networks the others, where
    these run on the CPU. By default both use all of them."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the preprocessor's convolutions while training. A CPU without AVX-512, which is many times
    slower in bfloat16, takes float32."""
    average: float = Field(default=0.98, ge=0, lt=1)
    """What the moving average of the weights keeps of itself per step."""
    validation: int = Field(default=48, gt=0)
    """Pictures at the end of the data set that are validated on, never trained on."""
    fold: tuple[int, int] | None = None
    """Validates on another part: of every k pictures the i-th, counted from 0, given as [i, k]. For
    cross-validation (`perf/folds.py`)."""
    validate_every: int = Field(default=500, gt=0)
    """Steps between validations, of which the best one's weights are kept."""
    others: list[dict[str, Any]] = []
    """More task models that the one network is to serve: for each its `model` and what else differs
    from this config (data set, pictures, QPs, batch, trade, loss, judge). Steps take turns, and a
    validation is the mean over all."""
    seed: int = 0


@dataclass(frozen=True)
class Setting:
    """What training starts from: the codec, pictures, and two measures of what coding did to them.

    `loss` is trained on, by `judge` a network is validated. The anchors are the plain codec's
    curves on the validation pictures in either measure.
    """

    model: TaskModel
    coder: Coder
    pictures: list[Picture]
    validation: Validation
    loss: TaskLoss
    judge: TaskLoss
    by_loss: Anchor
    by_judge: Anchor
    where: Where | None = None
    """What a guided network is to guess."""

    def curve(self, network: nn.Module) -> Curve:
        """Bits and distance on the validation pictures."""
        qps = self.by_judge.qps
        return measure(network, self.validation, qps, self.coder, self.judge)


def prepare(config: PreprocessorTraining, device: torch.device) -> Setting:
    """Raises ConfigError where model, data set and config do not fit together."""
    model = config.model.load(device)
    if config.guidance and (config.loss == "labels" or config.architecture != "filters"):
        raise ConfigError(
            f"guidance: {config.guidance:g} is for a loss other than 'labels' and architecture "
            f"'filters', not for loss {config.loss!r} and architecture {config.architecture!r}; "
            "leave it out"
        )
    if config.context:
        _begin_context(Context(1), config, model)  # refused before anything is coded
    for parameter in model.network.parameters():  # type: ignore[attr-defined]
        parameter.requires_grad_(False)
    loss = task_loss(config.loss, model, config.longer_side)
    judge = task_loss(config.judge, model, config.longer_side)
    coder = Coder(codecs.make(config.codec), _codec_threads(config.codec_share, device))

    found, *more = (
        labelled(data, model) if config.loss == "labels" else regarded(data.samples, model)
        for data in map(dataset, (config.dataset, *config.extra))
    )
    kept, held_out = _split(found, config)
    trained_on = kept + [s for e in more for s in e]
    look = model.view if config.view == "model" and model.view else native
    held = [(look(s.load()), s.target) for s in held_out]
    pictures = [(s.load(), s.target) for s in trained_on]
    if config.view == "native":
        pictures = [p for p in pictures if min(p[0].shape[:2]) >= config.crop]
    held = [p for p in held if min(p[0].shape[:2]) >= config.crop]
    if not pictures or not held:
        raise ConfigError(f"crop: no picture of the data set has sides of {config.crop} pixels")
    cuts = [cut(p, config.crop, None) for p in held]
    validation = torch.stack([x for x, _ in cuts]).to(device), [target for _, target in cuts]

    first, last = config.qps
    if last < first + 2:
        raise ConfigError(f"qps: {first} to {last}: the slope of a curve needs three QPs or more")
    qps = list(range(first, last + 1, min(VALIDATION_QP_STEP, (last - first) // 2)))
    by_loss, by_judge = (
        Anchor(qps, *measure(None, validation, qps, coder, measured)) for measured in (loss, judge)
    )
    where = where_it_counts(model) if config.guidance else None
    return Setting(model, coder, pictures, validation, loss, judge, by_loss, by_judge, where)


def _split(
    samples: list[Sample], config: PreprocessorTraining
) -> tuple[list[Sample], list[Sample]]:
    """Those to train on, and those to validate on."""
    if config.fold is None:
        return samples[: -config.validation], samples[-config.validation :]
    i, k = config.fold
    if not 0 <= i < k or k < 2:
        raise ConfigError(f"fold: [{i}, {k}]: the first of 2 or more folds is [0, 2]")
    return [s for j, s in enumerate(samples) if j % k != i], samples[i::k]


def _codec_threads(share: float | None, device: torch.device) -> int:
    """How many threads the codec gets; torch's become the others where it has a share."""
    cores = cpu_count()
    if share is None or device.type != "cpu":
        return cores
    threads = max(1, round(share * cores))
    torch.set_num_threads(max(1, cores - threads))
    return threads


def fast_precision(
    config: PreprocessorTraining, device: torch.device
) -> Literal["float32", "bfloat16"]:
    """The config's, but for CPUs that have to emulate bfloat16, those without AVX-512."""
    emulated = device.type == "cpu" and "AVX512" not in torch.backends.cpu.get_cpu_capability()
    return "float32" if emulated else config.precision


Batch = tuple[Tensor, Tensor, list[Arrays]]


def batch(pictures: list[Picture], config: PreprocessorTraining, step: int) -> Batch:
    """Pictures (N, 3, S, S), QPs (N,) and N targets; the seed and the step say which."""
    grid = [q for q in range(config.qps[0], config.qps[1] + 1) if q not in config.without]
    odds = np.linspace(1, config.coarser, len(grid))
    rng = np.random.default_rng([config.seed, step])
    cuts = []
    for i in rng.integers(len(pictures), size=config.batch):
        picture = pictures[i]
        if config.view == "model":
            picture = zoomed(picture, config.crop, rng)
        cuts.append(cut(picture, config.crop, rng, central=config.view == "model"))
    x = torch.stack([part for part, _ in cuts])
    qp = rng.choice(grid, config.batch, p=odds / odds.sum())
    return x, torch.from_numpy(qp).float(), [target for _, target in cuts]


def _proxy(config: PreprocessorTraining, codec: Codec, device: torch.device) -> Proxy:
    if config.proxy is None:
        return analytic
    from bench.training import learned_proxy  # needs the extra `learned`

    qps = range(config.qps[0], config.qps[1] + 1)
    return learned_proxy.load(Path(config.proxy), codec, qps, device)


def costs(
    network: nn.Module,
    drawn: Batch,
    setting: Setting,
    proxy: Proxy,
    config: PreprocessorTraining,
) -> Iterator[Tensor]:
    """What is minimised: the mean over the batch, as the share () of each half. Both are in flight:
    one is coded while networks work on the other, forward and, as its share is used, backward."""
    device = next(network.parameters()).device
    x, qp, targets = drawn[0].to(device), drawn[1].to(device), drawn[2]
    half = len(x) // 2
    halves = []
    for part, level, known in zip(
        x.chunk(2), qp.chunk(2), (targets[:half], targets[half:]), strict=True
    ):
        with torch.autocast(device.type, torch.bfloat16, config.precision == "bfloat16"):
            if isinstance(network, Guided):
                assert setting.where  # with guidance there is one
                filtered, missed = network.both(part, level, setting.where(part, known))
            else:
                filtered, missed = network(part, level), x.new_zeros(())
        jobs = setting.coder.start(filtered, level) if config.forward == "codec" else None
        halves.append((part, level, filtered, missed, jobs, setting.loss(part, known)))
    for part, level, filtered, missed, jobs, loss in halves:
        pixels, bits = proxy(filtered, level)
        if jobs is None:
            decoded = pixels.detach()
            with torch.no_grad():
                plain = setting.by_loss.at(level, setting.by_loss.bpp)
                bpp = plain * bits / proxy(part, level)[1]
        else:
            decoded, bpp = setting.coder.finish(jobs, part)
        rate = straight_through(bpp * bits / bits.detach(), bpp)
        differentiable = pixels if config.backward == "proxy" else filtered
        lost = loss(straight_through(differentiable, decoded))
        price = setting.by_loss.cost(config.trade, config.factor, level, rate, lost)
        moved = ((filtered - part) ** 2).mean(dim=(1, 2, 3))
        traded = (price + config.fidelity * moved).sum() / len(x)
        yield traded + config.guidance * missed * len(part) / len(x)


@dataclass(frozen=True)
class Served:
    """A task model that the network is trained for."""

    config: PreprocessorTraining
    setting: Setting
    proxy: Proxy

    def costs(self, network: nn.Module, drawn: Batch) -> Iterator[Tensor]:
        return costs(network, drawn, self.setting, self.proxy, self.config)


def _served(config: PreprocessorTraining, device: torch.device, console: Console) -> Served:
    setting = prepare(config, device)
    for row in zip(setting.by_loss.qps, setting.by_loss.bpp, setting.by_loss.nats, strict=True):
        console.print("plain codec at QP {}: {:.3f} bpp, loss {:.4g}".format(*row))
    return Served(config, setting, _proxy(config, setting.coder.codec, device))


def _configs(raw: dict[str, Any]) -> list[PreprocessorTraining]:
    """The config's own, and those of the other task models. Raises ConfigError."""
    config = loop.validated(PreprocessorTraining, raw)
    alone = {key: value for key, value in raw.items() if key != "others"}
    for i, other in enumerate(config.others):
        if wrong := [key for key in other if key not in OWN]:
            raise ConfigError(
                f"others.{i}: {', '.join(wrong)}: is of the whole training; what can differ is: "
                f"{', '.join(OWN)}"
            )
    return [config, *(loop.validated(PreprocessorTraining, alone | o) for o in config.others)]


def train(
    name: str, raw: dict[str, Any], out: Path, device: torch.device, resume: bool, console: Console
) -> Path:
    """Train `npp` or `qa-npp` and write OUT/weights.safetensors (fp16) and OUT/validation.csv, with
    other task models validation.1.csv and so on beside it.

    Raises ConfigError for a config that cannot be trained.
    """
    configs = _configs(raw)
    if configs[0].precision != (fast := fast_precision(configs[0], device)):
        console.print(f"precision: {fast}, since this CPU is many times slower in bfloat16")
        configs = [c.model_copy(update={"precision": fast}) for c in configs]
    served = [_served(c, device, console) for c in configs]
    config = configs[0]
    network = _begun(name, config, served[0].setting.model).to(device)
    optimiser, schedule = _optimiser(network, config)

    def turns(start: int) -> Iterator[tuple[Served, Batch]]:
        for step in range(start, config.steps):
            one = served[step % len(served)]
            yield one, batch(one.setting.pictures, one.config, step)

    def score(candidate: nn.Module) -> float:
        values = [s.setting.by_judge.verdict(s.setting.curve(candidate)) for s in served]
        for value, one in zip(values, served, strict=True):
            of = f" ({one.config.model.name})" if len(served) > 1 else ""
            console.print(
                f"validation: {value:+.1f} % of rate at equal {one.config.judge}{of}", markup=False
            )
        return float(np.mean(values))

    # The paper's networks have no path that leaves the picture alone: they begin beyond any limit.
    limit = math.inf if config.architecture == "paper" else COLLAPSED
    path = loop.run(
        network=network,
        optimiser=optimiser,
        schedule=schedule,
        batches=turns,
        loss=lambda turn: turn[0].costs(network, turn[1]),
        steps=config.steps,
        clip_norm=0.5,
        out=out,
        resume=resume,
        average=config.average,
        judge=loop.Judge(score, config.validate_every, limit),
    )
    _describe(path, name, configs)
    written = load_network(name, path, device)[0]
    for i, one in enumerate(served):
        plain, ours = one.setting.by_judge, one.setting.curve(written)
        _write_curves(out / (f"validation.{i}.csv" if i else "validation.csv"), plain, ours)
        console.print(f"weights that are written: {plain.verdict(ours):+.1f} %")
    return path


def _begun(name: str, config: PreprocessorTraining, model: TaskModel) -> nn.Module:
    """The network that training starts from. Raises ConfigError for weights that do not fit it."""
    torch.manual_seed(config.seed)
    network = untrained(name, config)
    if isinstance(network, NPP) and network.context:
        _begin_context(network.context, config, model)
    if config.start:
        _begin_from(network, weights_path(config.start), sum(config.qps) / 2)
    if not config.guidance:
        return network
    assert isinstance(network, NPP)  # `prepare` refuses others
    return Guided(network)


def _optimiser(
    network: nn.Module, config: PreprocessorTraining
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """The weights that already know objects are moved KNOWING times as far."""
    parameters: dict[float, list[nn.Parameter]] = {}
    for key, parameter in network.named_parameters():
        rate = config.learning_rate * (KNOWING if "context.stages." in key else 1)
        parameters.setdefault(rate, []).append(parameter)
    groups = [{"params": group} for group in parameters.values()]
    optimiser = torch.optim.AdamW(groups, weight_decay=1e-4)
    return optimiser, torch.optim.lr_scheduler.OneCycleLR(
        optimiser, list(parameters), total_steps=config.steps, pct_start=0.1
    )


def _describe(path: Path, name: str, configs: list[PreprocessorTraining]) -> None:
    """Have the file of weights say what network it is of, and hold no guess."""
    config, ends = configs[0], [qp for c in configs for qp in c.qps]
    about = {
        "preprocessor": name,
        "architecture": config.architecture,
        "width": str(config.width),
        "residual": str(config.residual),
        "position": str(config.position),
        "context": str(config.context),
        "by_lambda": str(config.by_lambda),
        "qps": f"{min(ends)}-{max(ends)}",
        "model": ", ".join(c.model.name for c in configs),
    }
    state = load_file(path)
    if config.guidance:
        kept = "network."
        state = {k.removeprefix(kept): v for k, v in state.items() if k.startswith(kept)}
    save_weights(path, state, about)


def _write_curves(path: Path, plain: Anchor, ours: Curve) -> None:
    """The plain codec's curve and the network's beside each other, a row per QP."""
    lines = ["qp,bpp_plain,nats_plain,bpp,nats"]
    for values in zip(plain.qps, plain.bpp, plain.nats, *ours, strict=True):
        lines.append(",".join(f"{v:g}" for v in values))
    write_text(path, "\n".join(lines) + "\n")


def untrained(name: str, config: PreprocessorTraining) -> nn.Module:
    shape = config.width, config.residual, config.position, config.context, config.by_lambda
    return build(name, config.architecture, *shape)


def _begin_from(network: nn.Module, path: Path, qp: float) -> None:
    """Raises ConfigError where the weights are of another shape."""
    with safe_open(path, framework="pt") as file:
        kind = (file.metadata() or {}).get("preprocessor", "")
    source, _ = load_network(kind, path, torch.device("cpu"))
    if isinstance(source, QANPP) and not isinstance(network, QANPP):
        state = source.at(qp)
    else:
        state = source.state_dict()
    both = isinstance(source, NPP) and isinstance(network, NPP)
    if both and network.position and not source.position:
        # An input more, which is not looked at to begin with.
        state["stem.weight"] = functional.pad(state["stem.weight"], (0, 0, 0, 0, 0, 1))
    if both and network.context and not source.context:
        state |= {k: v for k, v in network.state_dict().items() if k.startswith("context.")}
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ConfigError(f"start: weights {path} do not fit this network: {error}") from None


def _begin_context(context: Context, config: PreprocessorTraining, model: TaskModel) -> None:
    """Raises ConfigError where there is nothing that knows objects to begin with."""
    if config.context_start is None:
        _begin_as_backbone(context, model)
        return
    network, _ = load_network("qa-npp", weights_path(config.context_start), torch.device("cpu"))
    if not isinstance(network, NPP) or network.context is None:
        raise ConfigError(
            f"context_start: weights {config.context_start} have no context; name a network that "
            "was trained with one, such as qa_npp_coco_yolox_nano"
        )
    known = network.context.state_dict()
    # Not its last layer: that speaks to the network around it.
    own = {k: v for k, v in context.state_dict().items() if k.startswith("out.")}
    context.load_state_dict(known | own)


def _begin_as_backbone(context: Context, model: TaskModel) -> None:
    network: nn.Module = model.network  # type: ignore[attr-defined]
    try:
        context.begin_as(getattr(network, "backbone", network))
    except ValueError as error:
        raise ConfigError(
            f"context: {error}; name a network that has a context as context_start, or leave it out"
        ) from None
