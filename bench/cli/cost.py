"""`cost`: what each step of a config costs on this machine, and what a whole data set would."""

import argparse
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING

from bench import api, cli
from bench.cli.arguments import TRUST, positive

if TYPE_CHECKING:
    from bench.cli.arguments import Commands

PICTURES = 8
"""Of each data set, unless told."""


def add(commands: "Commands") -> None:
    cost = commands.add_parser(
        "cost", help="milliseconds, parameters and kMAC of every preprocessor, codec and model"
    )
    cost.add_argument("config", type=Path, help="a file or the name of one that ships")
    cost.add_argument("--data-root", help="DIR, or det=DIR,cls=DIR")
    cost.add_argument("--weights", help="FILE, or det=FILE,cls=FILE, or MODEL=FILE,MODEL=FILE")
    cost.add_argument("--device", choices=api.DEVICES, default="auto")
    cost.add_argument(
        "--pictures", type=positive, default=PICTURES, metavar="N", help=f"default: {PICTURES}"
    )
    cost.add_argument(
        "--images", type=positive, metavar="N", help="estimate a data set of so many such pictures"
    )
    cost.add_argument("--trust", type=Path, action="append", metavar="FILE", help=TRUST)
    cost.add_argument("--set", action="append", metavar="KEY=VALUE", help="change a config value")
    cost.add_argument("--out", type=Path, metavar="FILE.csv", help="write the table there too")


def main(a: argparse.Namespace) -> None:
    import pandas as pd

    from bench import config as configs
    from bench.atomic import atomic
    from bench.cli import tables
    from bench.models.programs import require_trusted
    from bench.sweep import cost, pilot, plan

    loaded = configs.load(configs.found(a.config), a.set)
    config = configs.narrowed(
        loaded,
        data_root=configs.per_task("--data-root", a.data_root),
        weights=configs.per_task(
            "--weights", a.weights, {m.name for e in loaded.experiments for m in e.models}
        ),
    )
    models = [(model.library, model.name) for e in config.experiments for model in e.models]
    require_trusted(models, a.trust or ())
    planned = plan.plan(config, api.chosen_device(a.device), None)
    experiments = [pilot.typical(e) for e in planned]
    costs = [c for e in experiments for c in cost.measured(e, a.pictures)]
    cli.out.print(tables.costs(costs))
    if a.out:
        rows = [asdict(c) | {"ms_per_megapixel": c.ms_per_megapixel} for c in costs]
        columns = [*(f.name for f in fields(cost.Cost)), "ms_per_megapixel"]
        with atomic(a.out) as part:
            pd.DataFrame(rows, columns=columns).to_csv(part, index=False, lineterminator="\n")
        cli.out.print(f"written: {a.out}", markup=False)
    for e in experiments:
        own = [c for c in costs if c.dataset == e.dataset.name]
        cli.out.print(tables.estimated(own, a.images or len(e.dataset.samples)), markup=False)
