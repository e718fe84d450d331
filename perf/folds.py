"""How good a preprocessor's training is, on pictures that it did not see: k-fold cross-validation.

    python perf/folds.py --config FILE --out DIR [--folds 3] [--set KEY=VALUE …] [--beside NAME …]

The data set of a training config is cut into folds. For each, a QA-NPP is trained on the others
(into DIR/fold-0, …, gone on with if it is there) and judged on it: BD-rate against the plain codec
at equal answer. Every picture is held out once. `--beside` judges weights that are there already on
the same pictures; those that have seen them look better than they are.

The means and their spread over the folds are printed. A training that is chosen by them still has
to be measured once on other pictures.
"""

import argparse
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import api
from bench import config as configs
from bench.boundary import settled
from bench.preprocessors.base import load_network, weights_path
from bench.training import loop, npp

Scores = dict[str, list[float]]
"""By what is judged, a BD-rate in percent for each fold."""


def judged(raw: dict[str, Any], names: list[str], device: torch.device) -> dict[str, float]:
    """On the pictures that the config holds out."""
    setting = npp.prepare(loop.validated(npp.PreprocessorTraining, raw), device)
    found = {}
    for name in names:
        network, _ = load_network("qa-npp", weights_path(name), device)
        found[name] = setting.by_judge.verdict(setting.curve(network))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--out", type=Path, help="without it nothing is trained")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--set", action="append", metavar="KEY=VALUE")
    parser.add_argument("--beside", nargs="*", default=[], metavar="NAME")
    parser.add_argument("--device", choices=api.DEVICES, default="auto")
    a = parser.parse_args()
    settled()
    raw, device = configs.read(configs.found(a.config), a.set), api.chosen_device(a.device)
    scores: Scores = {}
    for fold in range(a.folds):
        held = raw | {"fold": [fold, a.folds]}
        names = list(a.beside)
        if a.out:
            out = a.out / f"fold-{fold}"
            with loop.claimed(out, resume=True):
                npp.train("qa-npp", held, out, device, True, Console(stderr=True))
            names.append(str(out / "weights.safetensors"))
        for name, score in judged(held, names, device).items():
            what = name if name in a.beside else "this training"
            scores.setdefault(what, []).append(score)
            print(f"fold {fold}: {what}: {score:+.1f} %", flush=True)
    for what, each in scores.items():
        spread = f" ± {stdev(each):.1f}" if len(each) > 1 else ""
        print(f"{what}: mean {mean(each):+.1f}{spread} %")


if __name__ == "__main__":
    main()
