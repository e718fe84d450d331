"""What the real codec in the loop costs a training step.

    python perf/training_step.py --config configs/train/qa_npp_mini_cls.yaml

Steps with the codec alternate with the same steps whose decoded pictures and bits are kept from the
one before, so that whatever else the machine does falls on both. The ratio printed last is that of
the step to the larger of the step without codec and the codec's CPU time spread over all cores.
"""

import argparse
import os
import statistics
import sys
import time
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch

import numpy as np
import torch
from joblib import cpu_count
from numpy.typing import NDArray
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import config as configs
from bench.training import loop, npp
from bench.training.coding import Coder
from bench.training.proxy import analytic

Jobs = list[Future[tuple[NDArray[np.uint8], int]]]


@dataclass(frozen=True)
class Remembering(Coder):
    """Gives what was coded last, when told to."""

    kept: Any = None

    def start(self, x: Tensor, qp: Tensor) -> Jobs:
        if self.kept["again"]:
            return self.kept["jobs"].pop(0)
        jobs = super().start(x, qp)
        self.kept["jobs"].append(jobs)
        return jobs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--set", action="append", metavar="KEY=VALUE")
    parser.add_argument("--steps", type=int, default=20)
    a = parser.parse_args()

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    config = loop.validated(npp.PreprocessorTraining, configs.read(a.config, a.set))
    setting = npp.prepare(config, device)
    coder = Remembering(
        setting.coder.codec, setting.coder.threads, kept={"again": False, "jobs": []}
    )
    setting = replace(setting, coder=coder)
    network = npp.untrained("qa-npp", config).to(device)

    whole, without, coding = [], [], []
    for step in range(a.steps + 1):
        batch = npp.batch(setting.pictures, config, step)
        seconds = []
        for again in (False, True):
            coder.kept["again"] = again
            started = time.perf_counter()
            for term in npp.costs(network, batch, setting, analytic, config):
                term.backward()  # type: ignore[no-untyped-call]
            seconds.append(time.perf_counter() - started)
        coder.kept["again"] = False
        started = time.process_time()
        Coder.finish(setting.coder.start(batch[0], batch[1]), batch[0])
        coding.append((time.process_time() - started) / cpu_count())
        coder.kept["jobs"].clear()
        if step:  # the first one warms up
            whole.append(seconds[0])
            without.append(seconds[1])
    step, bare, codes = (statistics.median(v) for v in (whole, without, coding[1:]))
    print(f"step {step:.2f} s, without codec {bare:.2f} s, coding / cores {codes:.2f} s (medians)")
    print(f"step / max(without codec, coding / cores): {step / max(bare, codes):.2f}")


if __name__ == "__main__":
    main()
