"""A proxy that is learned: a compressing network that is taught to put out what a codec does.

    x ─▶ analysis ─▶ × gain(QP) ─▶ rounding ─▶ ÷ gain(QP) ─▶ synthesis ─▶ pixels
                                      └─▶ hyperprior, context ─▶ bits

The network is that of Minnen et al., *Joint Autoregressive and Hierarchical Priors for Learned
Image Compression* (NeurIPS 2018), from CompressAI (the optional extra `learned`); a proxy in the
manner of Lu et al. (IEEE TCSVT 34(12), 2024). One network serves every QP: channels of the latent
are scaled by a small network of the QP. It is trained first for rate and distortion, then to
resemble the codec.
"""

import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from rich.console import Console
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from bench import codecs
from bench.codecs.base import Codec
from bench.errors import ConfigError
from bench.preprocessors.npp import QP_CENTRE, QP_SCALE, blur
from bench.training import loop
from bench.training.coding import VALIDATION_QP_STEP, Coder
from bench.training.files import save_weights
from bench.training.pictures import dataset, square
from bench.training.proxy import Proxy, straight_through

KIND = "minnen2018"
_MULTIPLE = 16
"""Of the sides that the analysis takes; pictures are padded to it by replication, and cropped."""
_FILTERS = (0.8, 1.6, 3.2)
"""Sigmas of the filters that training pictures pass, as a preprocessor would filter them."""


class ProxyTraining(BaseModel):
    """`configs/train/proxy_*.yaml`."""

    model_config = ConfigDict(extra="forbid")

    dataset: dict[str, Any]
    crop: int = Field(gt=0, multiple_of=_MULTIPLE)
    """Side of the square that is trained on; smaller pictures are left out."""
    codec: str | dict[str, Any]
    qps: tuple[int, int]
    """The first and last QP trained for."""
    width: int = Field(default=192, ge=3)
    """Channels of the network and of its latent; 192 in the paper."""
    steps: int = Field(gt=0)
    """Of the first stage, for rate and distortion."""
    fit_steps: int = Field(gt=0)
    """Of the second stage, which fits the codec."""
    batch: int = Field(gt=0)
    learning_rate: float = Field(gt=0)
    validation: int = Field(default=48, gt=0)
    """Pictures at the end of the data set that are never trained on."""
    seed: int = 0


class LearnedProxy(nn.Module):
    """A `Proxy`; `width` is the network's N and M. Raises ConfigError without CompressAI.

    Quantisation is a network's in training, also when it is used: the rate sees uniform noise, the
    synthesis sees rounded values with the gradient straight through. Nothing is entropy coded, so
    the entropy bottleneck's quantiles and tables, and the auxiliary loss for them, are not needed.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # of its video models, unused here
                from compressai.models import JointAutoregressiveHierarchicalPriors
        except ImportError as error:
            raise ConfigError(
                f"a learned proxy needs CompressAI ({error}): pip install '.[learned]'"
            ) from None
        self.width = width
        self.minnen: Any = JointAutoregressiveHierarchicalPriors(width, width)
        self.level = nn.Sequential(nn.Linear(1, 32), nn.ReLU(), nn.Linear(32, 2 * width + 1))
        last = self.level[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        # Headers: what a file has of bits however little there is to say, as a logarithm.
        self.header = nn.Parameter(torch.tensor(6.0))

    def coded(self, x: Tensor, qp: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `forward`, with the network's own bits, and (N,) its bits for a bit of the codec."""
        height, width = x.shape[-2:]
        pad = (0, -width % _MULTIPLE, 0, -height % _MULTIPLE)
        level = self.level((qp.to(x)[:, None] - QP_CENTRE) / QP_SCALE)
        gain, inverse, efficiency = level[:, :, None, None].split([self.width, self.width, 1], 1)
        # Begin at HEVC's rule, that the step doubles every six QPs.
        step = (2 ** ((qp.to(x) - QP_CENTRE) / 6)).view(-1, 1, 1, 1)

        y = self.minnen.g_a(functional.pad(x, pad, mode="replicate")) * gain.exp() / step
        rounded = straight_through(y, y.round())
        z, z_likelihood = self.minnen.entropy_bottleneck(self.minnen.h_a(y), training=True)
        prior = self.minnen.h_s(z)[..., : y.shape[2], : y.shape[3]]
        context = self.minnen.context_prediction(rounded)
        parameters = self.minnen.entropy_parameters(torch.cat((prior, context), 1))
        scale, mean = parameters.chunk(2, 1)
        _, y_likelihood = self.minnen.gaussian_conditional(y, scale, means=mean, training=True)
        bits = sum(-p.log2().sum(dim=(1, 2, 3)) for p in (y_likelihood, z_likelihood))
        pixels = self.minnen.g_s(rounded * inverse.exp() * step)[..., :height, :width]
        return pixels, bits, efficiency.exp().flatten()

    def forward(self, x: Tensor, qp: Tensor) -> tuple[Tensor, Tensor]:
        pixels, bits, efficiency = self.coded(x, qp)
        return pixels, bits / efficiency + self.header.exp()


IDENTITY = ("codec", "provider", "settings", "format")
TABLES = ("qualities", "encoder_qps", "distances", "psnrs")
"""What a codec's QPs stand for, by the name of its own knob."""


def _identity(codec: Codec) -> dict[str, str]:
    """What of a codec's fingerprint a proxy stands for. Versions of libraries are left out: they
    move single bytes, and a proxy is not that exact."""
    fingerprint = codec.fingerprint()
    return {k: fingerprint[k] for k in (*IDENTITY, *TABLES) if k in fingerprint}


def load(path: Path, codec: Codec, qps: range, device: torch.device) -> Proxy:
    """Frozen. Raises ConfigError for a file that is no proxy, or one for another codec or QPs."""
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ConfigError(f"proxy {path}: {error}") from None
    if about.get("proxy") != KIND:
        what = ", ".join(f"{k} {v}" for k, v in about.items()) or "nothing"
        raise ConfigError(f"proxy {path}: no proxy of kind {KIND}; the file says of itself: {what}")
    theirs, ours = json.loads(about["codec"]), _identity(codec)
    if theirs != ours:
        other = [k for k in {**theirs, **ours} if theirs.get(k) != ours.get(k)]
        sides = [", ".join(f"{k} {s[k]}" for k in other if k in s) for s in (theirs, ours)]
        raise ConfigError(
            f"proxy {path} stands for another codec: {sides[0]}; the config codes with: {sides[1]}"
        )
    low, high = (int(qp) for qp in about["qps"].split("-"))
    if qps[0] < low or qps[-1] > high:
        raise ConfigError(
            f"proxy {path} was trained for QP {low}…{high}, the config asks for {qps[0]}…{qps[-1]}"
        )
    network = LearnedProxy(int(about["width"]))
    network.load_state_dict(network.state_dict() | state)
    return network.requires_grad_(False).eval().to(device)


Batch = tuple[Tensor, Tensor]
Pixels = NDArray[np.uint8]


def _batches(
    pictures: list[Pixels], config: ProxyTraining, stage: int, steps: int, start: int
) -> Iterator[Batch]:
    """Pictures (N, 3, S, S), half of them softened or sharpened, and QPs (N,), from step `start`
    on; a step's batch depends on the seed, the stage and the step alone."""
    for step in range(start, steps):
        rng = np.random.default_rng([config.seed, stage, step])
        chosen = rng.integers(len(pictures), size=config.batch)
        x = torch.stack([square(pictures[i], config.crop, rng) for i in chosen])
        strength = rng.uniform(-1, 1, config.batch) * rng.integers(2, size=config.batch)
        detail = x - blur(x, float(rng.choice(_FILTERS)))
        x = (x + torch.from_numpy(strength).to(x).view(-1, 1, 1, 1) * detail).clamp(0, 1)
        qps = rng.integers(config.qps[0], config.qps[1] + 1, config.batch)
        yield (255 * x).round() / 255, torch.from_numpy(qps).float()


def _squared_error(a: Tensor, b: Tensor) -> Tensor:
    """(N,) mean over channels and pixels of two (N, 3, H, W) in [0, 1]."""
    return ((a - b) ** 2).mean(dim=(1, 2, 3))


def rate_distortion(network: LearnedProxy, x: Tensor, qp: Tensor) -> Tensor:
    """R + λp · MSE in bits per pixel, pixels in [0, 1] (in CompressAI's terms its λ times
    255² is our λp), mean over the batch, (). λp = 512 · 2^((37 − QP) / 3): at QP 37 HEVC itself
    trades at 353, with the 3 QP that x265 takes off for an intra picture at 706."""
    trade = 2 ** ((37 - qp) / 3)
    pixels, bits, _ = network.coded(x, qp)
    cost = bits / x[0, 0].numel() + 512 * trade * _squared_error(pixels, x)
    # The usual bits go with the root of λ: so no QP outweighs the others.
    return (cost / trade.sqrt()).mean()


def misfit(network: LearnedProxy, coder: Coder, x: Tensor, qp: Tensor) -> Tensor:
    """The squared error to the codec's pixels as a logarithm, so that fine and coarse QPs
    count alike (0 is what the picture itself would score), plus the squared error of the
    logarithm of the bits; mean over the batch, ()."""
    decoded, bpp = coder.finish(coder.start(x, qp), x)
    pixels, bits = network(x, qp)
    rounding = 1 / (12 * 255**2)  # of 8 bits: keeps flat pictures from ruling
    ours, theirs = (_squared_error(p, decoded) + rounding for p in (pixels, x))
    return (torch.log(ours / theirs) + torch.log(bits / x[0, 0].numel() / bpp) ** 2).mean()


@dataclass(frozen=True)
class _Stage:
    """One of the two that a proxy is trained in."""

    number: int
    name: str
    loss: Callable[[Tensor, Tensor], Tensor]
    """Of pictures (N, 3, S, S) and QPs (N,), ()."""
    steps: int
    out: Path


def train(
    raw: dict[str, Any], out: Path, device: torch.device, resume: bool, console: Console
) -> Path:
    """Train a learned proxy and write OUT/weights.safetensors (fp16); its first stage is kept in
    OUT/rate_distortion. Raises ConfigError for a config that cannot be trained.
    """
    config = loop.validated(ProxyTraining, raw)
    codec = _codec(config)
    trained_on, held = _pictures(config)
    coder = Coder(codec)
    torch.manual_seed(config.seed)
    network = LearnedProxy(config.width).to(device)
    rate, fit = partial(rate_distortion, network), partial(misfit, network, coder)
    for stage in (
        _Stage(0, "rate–distortion", rate, config.steps, out / "rate_distortion"),
        _Stage(1, "fit", fit, config.fit_steps, out),
    ):
        console.print(f"{stage.name}: {stage.steps} steps")
        path = _trained(network, stage, trained_on, config, resume)
    _describe(path, network, config, codec)
    qps = range(config.qps[0], config.qps[1] + 1)
    validation = torch.stack([square(p, config.crop, None) for p in held]).to(device)
    _validate(load(path, codec, qps, device), validation, qps, coder, console)
    return path


def _codec(config: ProxyTraining) -> Codec:
    """Raises ConfigError for QPs that it does not have."""
    codec, (low, high) = codecs.make(config.codec), config.qps
    if low not in codec.qps or high not in codec.qps or low > high:
        raise ConfigError(
            f"qps: {low}, {high} are no first and last QP within {codec.name}'s "
            f"{codec.qps[0]}…{codec.qps[-1]}"
        )
    return codec


def _pictures(config: ProxyTraining) -> tuple[list[Pixels], list[Pixels]]:
    """Those to train on, and those to validate on. Raises ConfigError where none is large
    enough."""
    found = dataset(config.dataset).samples
    held, trained_on = (
        [p for p in (s.load() for s in part) if min(p.shape[:2]) >= config.crop]
        for part in (found[-config.validation :], found[: -config.validation])
    )
    if not trained_on or not held:
        raise ConfigError(f"crop: no picture of the data set has sides of {config.crop} pixels")
    return trained_on, held


def _trained(
    network: LearnedProxy,
    stage: _Stage,
    pictures: list[Pixels],
    config: ProxyTraining,
    resume: bool,
) -> Path:
    """Of the network as the stage leaves it, the weights."""
    device = network.header.device
    optimiser = torch.optim.Adam(network.parameters(), config.learning_rate)
    return loop.run(
        network=network,
        optimiser=optimiser,
        schedule=torch.optim.lr_scheduler.OneCycleLR(
            optimiser, config.learning_rate, total_steps=stage.steps, pct_start=0.1
        ),
        batches=partial(_batches, pictures, config, stage.number, stage.steps),
        loss=lambda batch: [stage.loss(*(t.to(device) for t in batch))],
        steps=stage.steps,
        clip_norm=1.0,
        out=stage.out,
        resume=resume,
        average=0.98,
    )


def _describe(path: Path, network: LearnedProxy, config: ProxyTraining, codec: Codec) -> None:
    """Have the file of weights say what it is, and hold only what was learned."""
    about = {
        "proxy": KIND,
        "width": str(config.width),
        "codec": json.dumps(_identity(codec)),
        "qps": f"{config.qps[0]}-{config.qps[1]}",
    }
    # Buffers are CompressAI's constants and tables; some constants are too small for fp16.
    learned = dict(network.named_parameters())
    save_weights(path, {k: v for k, v in load_file(path).items() if k in learned}, about)


@torch.no_grad()
def _validate(proxy: Proxy, pictures: Tensor, qps: range, coder: Coder, console: Console) -> None:
    for qp in qps[::VALIDATION_QP_STEP]:
        level = torch.full((len(pictures),), float(qp)).to(pictures)
        decoded, bpp = coder.finish(coder.start(pictures, level), pictures)
        pixels, bits = proxy(pictures, level)
        psnr = -10 * torch.log10(_squared_error(pixels, decoded)).mean()
        off = (bits / pictures[0, 0].numel() / bpp - 1).abs().median()
        console.print(
            f"QP {qp}: {psnr:.1f} dB from the codec's pixels, bits {100 * off:.0f} % off (median)"
        )
