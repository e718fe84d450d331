"""How well proxies stand for a codec: their pixels, their bits, and where they point.

    python perf/proxy.py --learned DIR/weights.safetensors --qps 31,37,43

Without --images the pictures are the last of mini's training split, which a proxy trained by
`configs/train/proxy_mini.yaml` has not seen. Pointing is judged by directional derivatives against
central differences through the real codec, mean over the pictures ± its standard error. A direction
has an RMS of one 8-bit level over all pictures; a difference goes two levels each way (one would
drown in rounding), from pictures squeezed into 5 to 95 % of the range, so that nothing clips.
Softening with its sign turned is sharpening, and so is each other direction its own opposite. As in
training the bits' gradient is scaled per picture to the real bits, and the task's gradient is taken
at the real pixels. With --filtered-by all this is measured at pictures that a network has filtered,
where training asks for gradients, and one more direction leads back to the picture.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import codecs
from bench.datasets.images import read_rgb
from bench.preprocessors.base import load_network, weights_path
from bench.preprocessors.npp import blur
from bench.training import learned_proxy, loop
from bench.training.coding import Coder
from bench.training.npp import ModelChoice
from bench.training.pictures import dataset, square
from bench.training.proxy import Proxy, analytic, straight_through
from bench.training.task_loss import TaskLoss, task_loss

LEVELS = 2.0
CPU = torch.device("cpu")


def pictures(folder: Path | None, side: int, count: int) -> Tensor:
    """(N, 3, side, side) in [0.05, 0.95]."""
    if folder is None:
        mini = dataset({"format": "mini", "task": "cls", "split": "train"}).samples
        found = [s.load() for s in mini[-count:]]
    else:
        found = [read_rgb(p) for p in sorted(folder.iterdir())[:count]]
    large = [p for p in found if min(p.shape[:2]) >= side]
    if not large:
        raise SystemExit(f"no picture of {side} × {side} pixels in {folder or 'mini'}")
    return 0.05 + 0.9 * torch.stack([square(p, side, None) for p in large])


def directions(x: Tensor, clean: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Names and (N, 3, H, W), each with an RMS of one level."""
    generator = torch.Generator().manual_seed(0)

    def noise(channels: int) -> Tensor:
        shape = (len(x), channels, *x.shape[2:])
        return torch.randn(shape, generator=generator).expand(x.shape).contiguous()

    found = {f"softening, σ {s}": blur(x, s) - x for s in (0.8, 1.5, 3.0)}
    found |= {f"detail of σ {a} to {b}": blur(x, b) - blur(x, a) for a, b in ((1.5, 3), (3, 6))}
    found["chroma gain"] = x - x.mean(dim=1, keepdim=True)
    found["contrast"] = x - x.mean(dim=(1, 2, 3), keepdim=True)
    found["brightness"] = torch.ones_like(x)
    for i in (1, 2):
        inside = blur(noise(1), 10.0) > 0
        found[f"detail removed in blobs {i}"] = inside * (blur(x, 2.0) - x)
    for i in (1, 2, 3):
        found[f"smooth field {i}"] = blur(noise(3), 6.0)
    found["noise"] = noise(3)
    if not torch.equal(x, clean):
        found["back to the picture"] = clean - x
    for name, d in found.items():
        yield name, d / (255 * d.square().mean().sqrt())


class CodecAt:
    """The real codec at one QP, with the task's loss against the clean pictures, which a network
    may have filtered first."""

    def __init__(
        self, coder: Coder, loss: TaskLoss, clean: Tensor, qp: int, network: nn.Module | None
    ) -> None:
        self.coder, self.loss, self.clean = coder, loss, clean
        self.qp = torch.full((len(clean),), float(qp))
        with torch.no_grad():
            self.x = 0.05 + 0.9 * network(clean, self.qp) if network else clean
        self.pixels, self.bpp = self.code(self.x)

    def lost(self, decoded: Tensor) -> Tensor:
        return self.loss(self.clean, [{} for _ in self.clean])(decoded)

    def code(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.coder.finish(self.coder.start(x, self.qp), x)

    @torch.no_grad()
    def differences(self, d: Tensor) -> tuple[Tensor, Tensor]:
        """(N,) derivatives of bpp and loss along `d`."""
        ends = [self.code(self.x + sign * LEVELS * d) for sign in (1, -1)]
        bpp = [e[1] for e in ends]
        lost = [self.lost(e[0]) for e in ends]
        return (bpp[0] - bpp[1]) / (2 * LEVELS), (lost[0] - lost[1]) / (2 * LEVELS)

    def gradients(self, proxy: Proxy) -> tuple[Tensor, Tensor]:
        """Of bpp and loss, each (N, 3, H, W), as training would take them."""
        x = self.x.clone().requires_grad_(True)
        pixels, bits = proxy(x, self.qp)
        rate = (self.bpp * bits / bits.detach()).sum()
        lost = self.lost(straight_through(pixels, self.pixels)).sum()
        (of_rate,) = torch.autograd.grad(rate, x, retain_graph=True)
        (of_loss,) = torch.autograd.grad(lost, x)
        return of_rate, of_loss

    @torch.no_grad()
    def resemblance(self, proxy: Proxy, scaled: bool) -> tuple[float, float, float]:
        """PSNR in dB to the decoded pixels, rank correlation and median relative error of bits."""
        pixels, bits = proxy(self.x, self.qp)
        bpp = bits / self.x[0, 0].numel()
        if scaled:
            bpp = bpp * (self.bpp / bpp).median()
        error = (pixels - self.pixels).square().mean(dim=(1, 2, 3)).clamp(min=1e-6)
        off = (bpp / self.bpp - 1).abs().median()
        rank = spearmanr(bpp, self.bpp).statistic
        return (-10 * torch.log10(error)).mean().item(), float(rank), off.item()


def along(gradient: Tensor, d: Tensor) -> NDArray[np.float64]:
    return 1e3 * (gradient * d).sum(dim=(1, 2, 3)).numpy()


def row(*cells: object) -> None:
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--learned", type=Path, help="weights of a learned proxy")
    parser.add_argument("--filtered-by", help="weights of a QA-NPP, a file or a shipped name")
    parser.add_argument("--images", type=Path, help="a folder; default: mini's")
    parser.add_argument("--codec", default="{name: bpg, level: 1}", help="as in a config")
    parser.add_argument("--model", default="{library: mini, name: mini_classifier}", help="as well")
    parser.add_argument("--loss", choices=["features", "relevance", "answer"], default="features")
    parser.add_argument("--longer-side", type=int, help="of the pictures, where a detector shrinks")
    parser.add_argument("--qps", default="31,37,43")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--side", type=int, default=96, help="of the middle square that is coded")
    a = parser.parse_args()
    torch.manual_seed(0)  # a learned proxy's rate is noisy

    codec, qps = codecs.make(yaml.safe_load(a.codec)), [int(q) for q in a.qps.split(",")]
    proxies: dict[str, Proxy] = {"analytic": analytic}
    if a.learned:
        span = range(min(qps), max(qps) + 1)
        proxies["learned"] = learned_proxy.load(a.learned, codec, span, CPU)
    model = loop.validated(ModelChoice, yaml.safe_load(a.model)).load(CPU)
    loss = task_loss(a.loss, model, a.longer_side)
    x = pictures(a.images, a.side, a.count)
    coder = Coder(codec)
    network = None
    if a.filtered_by:
        network, _ = load_network("qa-npp", weights_path(a.filtered_by), CPU)
    real = {qp: CodecAt(coder, loss, x, qp, network) for qp in qps}

    print(
        f"{len(x)} pictures of {a.side} × {a.side}; the analytic proxy's bits after one scale a QP"
    )
    row("QP", "bpp", "proxy", "PSNR to the codec's pixels", "rank correlation", "bits off, median")
    row(*["---"] * 6)
    for qp, codec_at in real.items():
        for name, proxy in proxies.items():
            psnr, rank, off = codec_at.resemblance(proxy, scaled=proxy is analytic)
            bpp = f"{codec_at.bpp.mean():.3f}"
            row(qp, bpp, name, f"{psnr:.1f} dB", f"{rank:.3f}", f"{100 * off:.0f} %")

    print(
        f"\nThousandths of a bit per pixel, and of the loss ({a.loss}), per level along a direction"
    )
    row("QP", "direction", *[f"{w}, {n}" for w in ("bpp", "loss") for n in ("codec", *proxies)])
    row(*["---"] * (4 + 2 * len(proxies)))
    for qp, codec_at in real.items():
        gradients = {n: codec_at.gradients(p) for n, p in proxies.items()}
        for name, d in directions(codec_at.x, x):
            cells = []
            for i, true in enumerate(codec_at.differences(d)):
                error = 1e3 * true.std() / len(x) ** 0.5
                cells.append(f"{1e3 * true.mean():+.2f} ± {error:.2f}")
                cells += [f"{along(g[i], d).mean():+.2f}" for g in gradients.values()]
            row(qp, name, *cells)


if __name__ == "__main__":
    main()
