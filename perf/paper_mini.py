"""The ablation of Lu et al. (IEEE TCSVT 34(12), 2024) on the built-in set: trains its networks, and
prints the table of what they save.

    python perf/paper_mini.py train [--task cls|det …] [--rows NAME …] [--out DIR]
    python run_bench.py --config configs/paper_mini.yaml --out results/paper_mini
    python run_bench.py cost configs/paper_mini.yaml --out results/paper_mini_cost.csv
    python perf/paper_mini.py table results/paper_mini results/paper_mini_cost.csv

`train` prints each row's command, runs it on one core and goes on with what is there already. All
rows of a task take the same number of steps; the three NPPs share them.
"""

import argparse
import json
import os
import resource
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
OUT = Path("results/trained/paper_mini")
STEPS = {"cls": 500, "det": 200}
BEGUN = {"cls": (), "det": ("start=qa_npp_mini_seg", "batch=8")}
"""Detection takes a thousand steps from nothing: its rows begin with segmentation's network."""
METRICS = {"cls": ("top1", "cross-entropy"), "det": ("mAP", "loss")}
"""A task's accuracy, and a measure that is smooth in what coding does."""
PAPER_LOSS = ("loss=labels", "trade=closed", "fidelity=0.5", "learning_rate=3e-4")
"""At the first row's learning rate it collapses; the paper's was 1e-4, for longer."""


@dataclass(frozen=True)
class Row:
    """A network of the table: what it is, and how its training differs from the first row's."""

    shown: str
    sets: tuple[str, ...] = ()
    kind: str = "qa-npp"
    share: float = 1.0
    """Of the steps of the first row."""
    made: str = ""
    """How, where `train` does not: nothing is trained."""


ROWS = {
    "qa-npp": Row("QA-NPP as here"),
    "labels": Row("the labels' loss at BPG's own price", ("loss=labels",)),
    "paper-loss": Row("the paper's loss", PAPER_LOSS),
    "no-fidelity": Row("the paper's loss without fidelity", (*PAPER_LOSS, "fidelity=0")),
    "paper": Row(
        "the paper's network and loss", (*PAPER_LOSS, "architecture=paper", "width=32", "batch=4")
    ),
    "by-lambda": Row("told λ / 8 in place of the QP", ("by_lambda=true",)),
    "proxy-both-ways": Row("proxy forward and backward", ("forward=proxy",)),
    "straight-through": Row("codec forward, identity backward", ("backward=identity",)),
    "npp-30": Row("", ("qps=[27,33]",), "npp", 1 / 3),
    "npp-37": Row("", ("qps=[34,40]",), "npp", 1 / 3),
    "npp-44": Row("", ("qps=[41,47]",), "npp", 1 / 3),
    "other-task": Row("a network that ships, for the other task's model", made="as it ships"),
}
NPP = "NPP, one network for each of three QPs"


def command(task: str, name: str) -> list[str]:
    """What trains a row."""
    row = ROWS[name]
    steps = round(STEPS[task] * row.share)
    sets = (f"steps={steps}", f"validate_every={steps // 4}", "validation=64", *BEGUN[task])
    config = f"configs/train/qa_npp_mini_{task}.yaml"
    line = ["run_bench.py", "train", row.kind, "--config", config]
    return line + [part for value in (*sets, *row.sets) for part in ("--set", value)]


def train(tasks: list[str], rows: list[str], out: Path) -> None:
    for task in tasks:
        for name in (name for name in rows if not ROWS[name].made):
            _run(command(task, name), out / task / name)


def _run(line: list[str], out: Path) -> None:
    """One training on one core, unless it is there already; its CPU seconds go to seconds.json,
    those of earlier parts included where it was interrupted."""
    if (out / "weights.safetensors").exists():
        return
    line = [*line, "--out", str(out)]
    print("python", shlex.join(line), flush=True)
    resume = ["--resume"] if (out / "checkpoint.pt").exists() else []
    spent = out / "seconds.json"
    before = json.loads(spent.read_text()) if spent.exists() else 0.0
    began, environment = _cpu_seconds(), os.environ | {"OMP_NUM_THREADS": "1"}
    try:
        subprocess.run([sys.executable, *line, *resume], cwd=ROOT, env=environment, check=True)
    finally:
        out.mkdir(parents=True, exist_ok=True)
        spent.write_text(json.dumps(before + _cpu_seconds() - began))


def table(results: Path, cost: Path, out: Path) -> str:
    """Markdown: a row per network, of what the tables of a run and of `cost` say."""
    bd = pd.read_csv(results / "bd.csv")
    bd = bd[bd["interpolation"] == "pchip"]
    costs = pd.read_csv(cost)
    costs = costs[costs["step"] == "preprocess"].set_index(["dataset", "what"])
    lines = []
    for task, (accuracy, smooth) in METRICS.items():
        if not (found := bd[bd["task"] == task]).empty:
            lines += [
                f"| {task} | BD-rate on {accuracy} | on {smooth} | trained | parameters "
                "| kMAC/pixel | ms/megapixel | `--set` |",
                "|---|---|---|---|---|---|---|---|",
            ]
        for method in found["method"].unique():
            own = found[found["method"] == method].set_index("metric")
            names = [n for n in ROWS if n == method or (method == "npp" and n.startswith("npp-"))]
            cells = [
                NPP if method == "npp" else ROWS[method].shown,
                *(_interval(own.loc[metric]) for metric in (accuracy, smooth)),
                _trained([out / task / n for n in names if not ROWS[n].made]),
                *_cost(costs.loc[f"mini-{task}", method]),
                "`train npp`, `qps` of each" if method == "npp" else _differs(ROWS[method]),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _trained(folders: list[Path]) -> str:
    seconds = sum(json.loads((folder / "seconds.json").read_text()) for folder in folders)
    return f"{seconds / 60:.0f} CPU min" if folders else "no"


def _interval(row: "pd.Series[float]") -> str:
    if pd.isna(row["bd_rate"]):
        return f"undefined: {row['reason'].split(';')[0]}"
    ends = "" if pd.isna(row["ci_low"]) else f" [{row['ci_low']:+.1f}, {row['ci_high']:+.1f}]"
    return f"{row['bd_rate']:+.1f}{ends}".replace("-", "−")


def _differs(row: Row) -> str:
    return row.made or ", ".join(f"`{value}`" for value in row.sets)


def _cost(row: "pd.Series[float]") -> list[str]:
    return [
        f"{row['parameters'] / 1e6:.2f} M",
        f"{row['macs_per_pixel'] / 1000:.1f}",
        f"{row['ms_per_megapixel']:.0f}",
    ]


def _cpu_seconds() -> float:
    """Of all programs that were run and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    t = commands.add_parser("train")
    t.add_argument("--task", nargs="*", choices=list(STEPS), default=list(STEPS))
    t.add_argument("--rows", nargs="*", choices=list(ROWS), default=list(ROWS))
    shown = commands.add_parser("table")
    shown.add_argument("results", type=Path)
    shown.add_argument("cost", type=Path)
    for command_ in (t, shown):
        command_.add_argument("--out", type=Path, default=OUT, help="of the networks")
    a = parser.parse_args()
    if a.command == "train":
        train(a.task, a.rows, a.out)
    else:
        print(table(a.results, a.cost, a.out))


if __name__ == "__main__":
    main()
