"""Where a classifier's pictures must stay sharp, and which distance of its features sees that.

    python perf/where.py --model "{library: timm, name: NAME, weights: FILE}" \\
        --dataset "{format: imagenet, root: DIR}"

Pictures as the model's view leaves them are blurred outside of a share of their area and coded.
What is kept is a random patchwork, what lies where this picture's answer depends on it
(`DifferentiableClassifier.relevance` at stride 8), or where that of the other pictures does on
average, which is about the middle. BD-rates against the plain codec, at equal accuracy and at equal
distance by the losses that a preprocessor can be trained on; lower is better.
"""

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import codecs
from bench.analysis.bdrate import bd_rate
from bench.analysis.curves import prepare
from bench.models.gradients import DifferentiableClassifier
from bench.training import loop
from bench.training.coding import Coder
from bench.training.npp import ModelChoice
from bench.training.pictures import dataset
from bench.training.task_loss import Kind, task_loss

CPU = torch.device("cpu")
LOSSES: tuple[Kind, ...] = ("answer", "features", "relevance")
BATCH = 16


def mask(where: NDArray[np.float32], share: float, side: int) -> NDArray[np.float32]:
    """(h, w) → (side, side, 1): 1 in the `share` of the area where it is highest, soft edges."""
    large = cv2.resize(where, (side, side), interpolation=cv2.INTER_CUBIC)
    kept = (large >= np.quantile(large, 1 - share)).astype(np.float32)
    return cv2.GaussianBlur(kept, (0, 0), 4)[..., None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", required=True, help="as in a config")
    parser.add_argument("--dataset", required=True, help="as well")
    parser.add_argument("--codec", default="{name: bpg, level: 1}", help="as well")
    parser.add_argument("--qps", default="26,30,34,38,42")
    parser.add_argument("--count", type=int, default=160)
    parser.add_argument("--share", type=float, default=0.3)
    parser.add_argument("--sigma", type=float, default=0.8)
    a = parser.parse_args()

    chosen = loop.validated(ModelChoice, yaml.safe_load(a.model))
    model = chosen.load(CPU)
    if not isinstance(model, DifferentiableClassifier) or model.view is None:
        raise SystemExit(f"{chosen.name}: not a classifier with a view of 8-bit pixels")
    samples = dataset(yaml.safe_load(a.dataset)).samples[: a.count]
    plain = [model.view(s.load()) for s in samples]
    labels = torch.tensor([int(s.target.label) for s in samples])
    coder = Coder(codecs.make(yaml.safe_load(a.codec)))
    losses = {kind: task_loss(kind, model) for kind in LOSSES}
    qps = [int(q) for q in a.qps.split(",")]

    def tensor(pictures: list[NDArray[np.uint8]]) -> Tensor:
        return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255

    def curve(pictures: list[NDArray[np.uint8]]) -> dict[str, list[float]]:
        points: dict[str, list[float]] = {}
        for qp in qps:
            parts: dict[str, list[Tensor]] = {}
            for k in range(0, len(plain), BATCH):
                clean, given = tensor(plain[k : k + BATCH]), tensor(pictures[k : k + BATCH])
                jobs = coder.start(given, torch.full((len(given),), float(qp)))
                decoded, bpp = coder.finish(jobs, given)
                with torch.no_grad():
                    logits = model.logits(decoded)
                    truth = labels[k : k + BATCH]
                    found: dict[str, Tensor] = {
                        "bpp": bpp,
                        "top-1": (logits.argmax(dim=1) == truth).float(),
                        "cross-entropy": functional.cross_entropy(logits, truth, reduction="none"),
                        **{kind: loss(clean, [{}])(decoded) for kind, loss in losses.items()},
                    }
                for name, values in found.items():
                    parts.setdefault(name, []).append(values)
            for name, batches in parts.items():
                points.setdefault(name, []).append(torch.cat(batches).mean().item())
        return points

    weights = [
        model.relevance(tensor(plain[k : k + BATCH]))[1][0] for k in range(0, len(plain), BATCH)
    ]
    own = torch.cat(weights)[:, 0].numpy()
    rng = np.random.default_rng(0)
    noise = rng.normal(size=own.shape).astype(np.float32)
    places: dict[str, NDArray[np.float32]] = {
        "at random": np.stack([cv2.GaussianBlur(n, (0, 0), 4) for n in noise]),
        "where others' answers depend on it": (own.sum(axis=0) - own) / (len(own) - 1),
        "where its own answer depends on it": own,
    }
    anchor = curve(plain)
    measures = [m for m in anchor if m != "bpp"]
    print("| kept sharp | " + " | ".join(measures) + " |")
    print("|---" * (len(measures) + 1) + "|")
    for name, where in places.items():
        blurred = []
        for rgb, w in zip(plain, where, strict=True):
            kept = mask(w, a.share, rgb.shape[0])
            soft = cv2.GaussianBlur(rgb, (0, 0), a.sigma)
            blurred.append((kept * rgb + (1 - kept) * soft).round().astype(np.uint8))
        found, cells = curve(blurred), []
        for m in measures:
            sign = 1 if m == "top-1" else -1
            before, after = (
                prepare(np.array(c["bpp"]), sign * np.array(c[m]), "pareto")
                for c in (anchor, found)
            )
            cells.append(f"{bd_rate(before, after, 'pchip'):+.1f}")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
