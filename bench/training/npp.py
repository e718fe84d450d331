"""Training of NPP and QA-NPP: bits against the task model's answer, the real codec in between.

    view ─▶ network ─▶ 8 bits ─▶ codec ─▶ decoded ─▶ task model ─▶ distance to its clean answer
                                   └─▶ bits

Forward everything is real; backward the proxy stands in for the codec. The loss of a picture at a
QP is (bpp + λ(QP) · distance) / bpp of the plain codec there, with λ(QP) the slope of the plain
codec's own curve (bits that it buys per nat at that QP), times a factor; or the same trade between
the logarithms.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from joblib import cpu_count
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field
from rich.console import Console
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bench import codecs
from bench.analysis.bdrate import bd_rate
from bench.analysis.curves import prepare
from bench.codecs.base import Codec
from bench.datasets.base import DATASETS, Sample
from bench.datasets.views import native
from bench.errors import ConfigError
from bench.models.base import LIBRARIES, ModelSpec
from bench.preprocessors.base import load_network, weights_path
from bench.preprocessors.npp import NETWORKS, NPP, QANPP
from bench.training import loop
from bench.training.losses import Distance, distance
from bench.training.proxy import analytic_bits, straight_through

VALIDATION_QP_STEP = 4
ZOOM = 1.4
COLLAPSED = 100.0
"""A BD-rate in percent beyond which there is no network worth training on."""


class PreprocessorTraining(BaseModel):
    """`configs/train/npp_*.yaml`."""

    model_config = ConfigDict(extra="forbid")

    model: dict[str, Any]
    dataset: dict[str, Any]
    extra: list[dict[str, Any]] = []
    """More data sets to train on; no labels are read."""
    view: Literal["native", "model"] = "native"
    """With `model`, pictures are trained on at random sizes up to ZOOM times the crop, and
    validated on as the model's own resize and crop leave them."""
    crop: int = Field(gt=0, multiple_of=8)
    """Side of the square that is trained on; smaller pictures are left out."""
    longer_side: int | None = Field(default=None, gt=0)
    """Of the pictures that the crops stand for, where the task model shrinks what it sees."""
    codec: str | dict[str, Any]
    qps: tuple[int, int]
    """The first and last QP trained for."""
    width: int = Field(default=32, gt=0)
    residual: bool = True
    start: str | None = None
    """Weights to begin from; those of a QA-NPP make an NPP as it is at the middle of `qps`."""
    steps: int = Field(gt=0)
    batch: int = Field(gt=0, multiple_of=2)
    learning_rate: float = Field(gt=0)
    trade: Literal["linear", "logarithmic"] = "linear"
    """Whether bits and nats are added, or their logarithms: a detector's nats have heavy tails."""
    factor: float = Field(default=1.0, gt=0)
    """On λ: above 1 for accuracy, below 1 for bits."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the preprocessor's convolutions while training."""
    average: float = Field(default=0.98, ge=0, lt=1)
    """What the moving average of the weights keeps of itself per step."""
    validation: int = Field(default=48, gt=0)
    """Pictures at the end of the data set that are validated on, never trained on."""
    validate_every: int = Field(default=500, gt=0)
    """Steps between validations, of which the best one's weights are kept."""
    seed: int = 0


@dataclass(frozen=True)
class Coder:
    """The real codec over a batch, in threads."""

    codec: Codec
    pool: ThreadPoolExecutor

    def start(self, x: Tensor, qp: Tensor) -> "list[Future[tuple[NDArray[np.uint8], int]]]":
        """Begin coding (N, 3, H, W) in [0, 1], rounded to 8 bits, each at its own QP."""
        pixels = (255 * x.detach()).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        return [
            self.pool.submit(self._code, np.ascontiguousarray(p), int(q))
            for p, q in zip(pixels, qp, strict=True)
        ]

    def _code(self, rgb: NDArray[np.uint8], qp: int) -> tuple[NDArray[np.uint8], int]:
        data = self.codec.encode(rgb, qp)
        return self.codec.decode(data), 8 * len(data)

    @staticmethod
    def finish(
        jobs: "list[Future[tuple[NDArray[np.uint8], int]]]", like: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(N, 3, H, W) decoded pixels in [0, 1], and (N,) bits per pixel."""
        done = [job.result() for job in jobs]
        pixels = torch.from_numpy(np.stack([p for p, _ in done])).permute(0, 3, 1, 2)
        bits = torch.tensor([float(b) for _, b in done])
        bpp = bits / (like.shape[-1] * like.shape[-2])
        return pixels.to(like) / 255, bpp.to(like)


@dataclass(frozen=True)
class Anchor:
    """The plain codec on the validation pictures: what trades bits for nats at which QP."""

    qps: list[int]
    bpp: NDArray[np.float64]
    nats: NDArray[np.float64]

    def at(self, qp: Tensor, values: NDArray[np.float64]) -> Tensor:
        """(N,) values at QPs, interpolated in the logarithm."""
        return torch.from_numpy(np.exp(np.interp(qp.cpu(), self.qps, np.log(values)))).to(qp)

    def slope(self, qp: Tensor) -> Tensor:
        """Bits per pixel that the plain codec pays for a nat less: the trade that is neutral."""
        # On few pictures the distance may fall by chance from one QP to the next.
        rise = np.maximum(np.gradient(self.nats), 1e-3)
        return self.at(qp, -np.gradient(self.bpp) / rise)

    def cost(self, trade: str, factor: float, qp: Tensor, bpp: Tensor, nats: Tensor) -> Tensor:
        """(N,) what bits and nats cost together, at the plain codec's own price times `factor`."""
        rate, slope = self.at(qp, self.bpp), self.slope(qp)
        if trade == "linear":
            return (bpp + factor * slope * nats) / rate
        usual = self.at(qp, np.maximum.accumulate(self.nats))
        # The same price for the usual picture; a tenth keeps the easiest ones from ruling.
        weight = factor * 1.1 * slope * usual / rate
        return torch.log(bpp / rate) + weight * torch.log((nats + 0.1 * usual) / (1.1 * usual))


def _zoomed(rgb: NDArray[np.uint8], side: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The picture with a short side of 1 to ZOOM times `side`."""
    scale = side * rng.uniform(1, ZOOM) / min(rgb.shape[:2])
    size = max(side, round(rgb.shape[1] * scale)), max(side, round(rgb.shape[0] * scale))
    return np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BICUBIC))


def _square(rgb: NDArray[np.uint8], side: int, rng: np.random.Generator | None) -> Tensor:
    """A random square of `side` pixels, mirrored or not; the middle one without `rng`."""
    free = rgb.shape[0] - side, rgb.shape[1] - side
    top, left = (f // 2 if rng is None else int(rng.integers(f + 1)) for f in free)
    cut = rgb[top : top + side, left : left + side]
    if rng is not None and rng.integers(2):
        cut = cut[:, ::-1]
    return torch.from_numpy(np.ascontiguousarray(cut.transpose(2, 0, 1))).float() / 255


Batch = tuple[Tensor, Tensor]


def _batches(
    pictures: list[NDArray[np.uint8]], config: PreprocessorTraining, start: int
) -> Iterator[Batch]:
    """Pictures (N, 3, S, S) and QPs (N,) from step `start` on; a step's batch depends on the seed
    and the step alone."""
    for step in range(start, config.steps):
        rng = np.random.default_rng([config.seed, step])
        chosen = rng.integers(len(pictures), size=config.batch)
        cuts = []
        for i in chosen:
            rgb = pictures[i]
            if config.view == "model":
                rgb = _zoomed(rgb, config.crop, rng)
            cuts.append(_square(rgb, config.crop, rng))
        x = torch.stack(cuts)
        qps = rng.integers(config.qps[0], config.qps[1] + 1, config.batch)
        yield x, torch.from_numpy(qps).float()


@torch.no_grad()
def _curve(
    network: nn.Module | None, pictures: Tensor, qps: list[int], coder: Coder, loss: Distance
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean bpp and mean distance per QP; without a network, of the plain codec."""
    rates, distances = [], []
    for qp in qps:
        bpp, nats = [], []
        for x in torch.split(pictures, 16):
            level = torch.full((len(x),), float(qp)).to(x)
            given = x if network is None else network(x, level)
            decoded, bits = coder.finish(coder.start(given, level), x)
            bpp.append(bits)
            nats.append(loss(x, decoded))
        rates.append(torch.cat(bpp).mean().item())
        distances.append(torch.cat(nats).mean().item())
    return np.array(rates), np.array(distances)


def _samples(dataset: dict[str, Any]) -> list[Sample]:
    options = {k: v for k, v in dataset.items() if k != "format"}
    return DATASETS.get(dataset["format"])(**options).samples


def train(
    name: str, raw: dict[str, Any], out: Path, device: torch.device, resume: bool, console: Console
) -> Path:
    """Train `npp` or `qa-npp` and write OUT/weights.safetensors (fp16) and OUT/validation.csv.

    Raises ConfigError for a config that cannot be trained.
    """
    config = loop.validated(PreprocessorTraining, raw)
    model = LIBRARIES.get(config.model["library"]).load(_spec(config.model), device)
    for parameter in model.network.parameters():  # type: ignore[attr-defined]
        parameter.requires_grad_(False)
    loss = distance(model, config.longer_side)
    coder = Coder(codecs.make(config.codec), ThreadPoolExecutor(cpu_count()))

    samples = _samples(config.dataset)
    trained_on = samples[: -config.validation] + [s for e in config.extra for s in _samples(e)]
    look = model.view if config.view == "model" and model.view else native
    held = [look(s.load()) for s in samples[-config.validation :]]
    pictures = [s.load() for s in trained_on]
    if config.view == "native":
        pictures = [p for p in pictures if min(p.shape[:2]) >= config.crop]
    held = [p for p in held if min(p.shape[:2]) >= config.crop]
    if not pictures or not held:
        raise ConfigError(f"crop: no picture of the data set has sides of {config.crop} pixels")
    validation = torch.stack([_square(p, config.crop, None) for p in held]).to(device)

    qps = list(range(config.qps[0], config.qps[1] + 1, VALIDATION_QP_STEP))
    anchor = Anchor(qps, *_curve(None, validation, qps, coder, loss))
    for qp, bpp, nats in zip(qps, anchor.bpp, anchor.nats, strict=True):
        console.print(f"plain codec at QP {qp}: {bpp:.3f} bpp, {nats:.3f} nats")

    torch.manual_seed(config.seed)
    network = NETWORKS[name](config.width, config.residual)
    if config.start:
        _begin_from(network, weights_path(config.start), sum(config.qps) / 2)
    network.to(device)
    optimiser = torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, config.learning_rate, total_steps=config.steps, pct_start=0.1
    )

    def objective(batch: Batch) -> Tensor:
        """Two halves in flight: one is coded while the network works on the other."""
        x, qp = (t.to(device) for t in batch)
        halves = []
        for part, level in zip(x.chunk(2), qp.chunk(2), strict=True):
            with torch.autocast(device.type, torch.bfloat16, config.precision == "bfloat16"):
                filtered = network(part, level)
            halves.append((part, level, filtered, coder.start(filtered, level)))
        total = x.new_zeros(())
        for part, level, filtered, jobs in halves:
            decoded, bpp = coder.finish(jobs, part)
            analytic = analytic_bits(filtered, level)
            rate = straight_through(bpp * analytic / analytic.detach(), bpp)
            nats = loss(part, straight_through(filtered, decoded))
            cost = anchor.cost(config.trade, config.factor, level, rate, nats)
            total = total + cost.sum()
        return total / len(x)

    def score(candidate: nn.Module) -> float:
        return _bd_rate(anchor, *_curve(candidate, validation, qps, coder, loss))

    path = loop.run(
        network=network,
        optimiser=optimiser,
        schedule=schedule,
        batches=lambda start: _batches(pictures, config, start),
        loss=objective,
        steps=config.steps,
        clip_norm=0.5,
        out=out,
        resume=resume,
        average=config.average,
        judge=loop.Judge(score, config.validate_every, COLLAPSED),
    )
    about = {
        "preprocessor": name,
        "width": str(config.width),
        "residual": str(config.residual),
        "qps": f"{config.qps[0]}-{config.qps[1]}",
        "model": str(config.model["name"]),
    }
    save_file(load_file(path), path, metadata=about)
    _validate(load_network(name, path, device)[0], anchor, validation, coder, loss, out, console)
    return path


def _begin_from(network: NPP, path: Path, qp: float) -> None:
    """Raises ConfigError where the weights are of another shape."""
    with safe_open(path, framework="pt") as file:
        kind = (file.metadata() or {}).get("preprocessor", "")
    source, _ = load_network(kind, path, torch.device("cpu"))
    try:
        if isinstance(source, QANPP) and not isinstance(network, QANPP):
            network.load_state_dict(source.at(qp))
        else:
            network.load_state_dict(source.state_dict())
    except RuntimeError as error:
        raise ConfigError(f"start: weights {path} do not fit this network: {error}") from None


def _bd_rate(anchor: Anchor, bpp: NDArray[np.float64], nats: NDArray[np.float64]) -> float:
    """Percent of rate at equal divergence; NaN where the curves share no divergence."""
    plain, ours = (
        prepare(rate, -np.log(distances), "pareto")
        for rate, distances in ((anchor.bpp, anchor.nats), (bpp, nats))
    )
    return bd_rate(plain, ours, "pchip")


def _spec(model: dict[str, Any]) -> ModelSpec:
    weights = model.get("weights")
    if weights is None:
        default = LIBRARIES.get(model["library"]).default_weights(model["name"])
        weights = str(default) if default else None
    return ModelSpec(model["library"], model["name"], weights)


def _validate(
    network: nn.Module,
    anchor: Anchor,
    pictures: Tensor,
    coder: Coder,
    loss: Distance,
    out: Path,
    console: Console,
) -> None:
    bpp, nats = _curve(network, pictures, anchor.qps, coder, loss)
    lines = ["qp,bpp_plain,nats_plain,bpp,nats"]
    for row in zip(anchor.qps, anchor.bpp, anchor.nats, bpp, nats, strict=True):
        lines.append(",".join(f"{v:g}" for v in row))
    (out / "validation.csv").write_text("\n".join(lines) + "\n")
    saving = _bd_rate(anchor, bpp, nats)
    console.print(f"validation: BD-rate {saving:+.1f} % at equal divergence")
