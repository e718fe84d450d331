"""The real codec in training, and what the plain codec's own curve says of bits and nats."""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from joblib import cpu_count
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.analysis.bdrate import bd_rate
from bench.analysis.curves import prepare
from bench.codecs.base import Codec
from bench.preprocessors.npp import lambda_of
from bench.tasks.records import Arrays
from bench.training.task_loss import TaskLoss

VALIDATION_QP_STEP = 4

Curve = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Mean bits per pixel and mean distance at some QPs."""
Validation = tuple[Tensor, list[Arrays]]
"""Pictures (N, 3, S, S) in [0, 1] and their targets."""


@dataclass(frozen=True)
class Coder:
    """The real codec over a batch, in threads."""

    codec: Codec
    threads: int = field(default_factory=cpu_count)

    @cached_property
    def pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.threads)

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
    """The plain codec on the validation pictures: the price at which it trades bits for distance.

    `nats` is the mean distance by any measure; the answer's is in nats.
    """

    qps: list[int]
    bpp: NDArray[np.float64]
    nats: NDArray[np.float64]

    def at(self, qp: Tensor, values: NDArray[np.float64]) -> Tensor:
        """(N,) values at QPs, interpolated in the logarithm."""
        return torch.from_numpy(np.exp(np.interp(qp.cpu(), self.qps, np.log(values)))).to(qp)

    def slope(self, qp: Tensor) -> Tensor:
        """Bits per pixel that the plain codec pays for a nat less: the trade that is neutral."""
        # Relative changes are nearly the same at every QP: where one side is missing, the other
        # tells them. On few pictures the distance may fall by chance from one QP to the next.
        rise = np.maximum(np.gradient(np.log(self.nats)), 1e-3)
        return self.at(qp, -np.gradient(np.log(self.bpp)) / rise * self.bpp / self.nats)

    def cost(self, trade: str, factor: float, qp: Tensor, bpp: Tensor, nats: Tensor) -> Tensor:
        """(N,) what bits and nats cost together, at a price times `factor`: the plain codec's own,
        or the paper's if `trade` is `closed`."""
        rate, slope = self.at(qp, self.bpp), self.slope(qp)
        if trade == "closed":
            return bpp + factor * lambda_of(qp) * nats
        if trade == "linear":
            return (bpp + factor * slope * nats) / rate
        usual = self.at(qp, np.maximum.accumulate(self.nats))
        # The same price for the usual picture; a tenth keeps the easiest ones from ruling.
        weight = factor * 1.1 * slope * usual / rate
        return torch.log(bpp / rate) + weight * torch.log((nats + 0.1 * usual) / (1.1 * usual))

    def bd_rate(self, curve: Curve) -> float:
        """Percent of rate at equal distance; NaN where the curves share no distance."""
        plain, ours = (
            prepare(rate, -np.log(distances), "pareto")
            for rate, distances in ((self.bpp, self.nats), curve)
        )
        return bd_rate(plain, ours, "pchip")

    def verdict(self, curve: Curve) -> float:
        """What a network is judged by, lower is better: `bd_rate`, or where the curves share too
        little, as those over few QPs do, percent of the cost at the plain codec's own price."""
        value = self.bd_rate(curve)
        if np.isfinite(value):
            return value
        qp = torch.tensor(self.qps, dtype=torch.float64)
        costs = [
            self.cost("linear", 1.0, qp, *map(torch.from_numpy, c)).mean().item()
            for c in (curve, (self.bpp, self.nats))
        ]
        return 100 * (costs[0] / costs[1] - 1)


@torch.no_grad()
def measure(
    network: nn.Module | None, held: Validation, qps: list[int], coder: Coder, loss: TaskLoss
) -> Curve:
    """Mean bpp and mean distance per QP; without a network, of the plain codec."""
    rates, distances = [], []
    for qp in qps:
        bpp, nats = [], []
        for k in range(0, len(held[0]), 16):
            x, targets = held[0][k : k + 16], held[1][k : k + 16]
            level = torch.full((len(x),), float(qp)).to(x)
            given = x if network is None else network(x, level)
            decoded, bits = coder.finish(coder.start(given, level), x)
            bpp.append(bits)
            nats.append(loss(x, targets)(decoded))
        rates.append(torch.cat(bpp).mean().item())
        distances.append(torch.cat(nats).mean().item())
    return np.array(rates), np.array(distances)
