"""`power`: how many images it takes."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from bench import cli
from bench.cli.arguments import effect, percent
from bench.errors import ConfigError

if TYPE_CHECKING:
    from bench.cli.arguments import Commands


def add(commands: "Commands") -> None:
    power = commands.add_parser("power", help="how many images it takes to tell a BD-rate from 0")
    power.add_argument("results", type=Path)
    power.add_argument(
        "--effect", type=effect, default=5.0, metavar="PERCENT", help="BD-rate; default 5"
    )
    power.add_argument(
        "--power",
        type=percent,
        default=0.8,
        metavar="PERCENT",
        help="of studies that are to find it; default 80",
    )


def main(a: argparse.Namespace) -> None:
    from bench.analysis.curves import measure
    from bench.analysis.power import power_table
    from bench.analysis.results import load

    if not 0 < a.power < 1:
        raise ConfigError(f"--power {100 * a.power:g}: between 0 and 100 percent is expected")
    results = load(a.results)
    analysis = results.manifest.analysis
    measurements = [
        measure(results, experiment, model)
        for experiment in results.manifest.experiments
        for model in experiment.models
    ]
    table = Table(
        "data set", "model", "metric", "method", "images", "tells from 0", f"for {a.effect:g} %"
    )
    rows = power_table(measurements, analysis.policy, analysis.interpolation, a.effect, a.power)
    for row in rows:
        table.add_row(
            escape(row.dataset),
            escape(row.model),
            row.metric,
            escape(f"{row.method} vs {row.anchor}"),
            str(row.n_images),
            escape(row.reason) if row.detectable is None else f"{row.detectable:.1f} %",
            "" if row.images_needed is None else f"{row.images_needed:,} images",
        )
    cli.out.print(table)
    cli.out.print(
        f"tells from 0: the smallest BD-rate that {100 * a.power:g} % of sets of so many images "
        f"would tell from 0 (their 95 % interval excludes it); for {a.effect:g} %: images it would "
        "take. The spread of the resamples is taken to fall with the root of the number of images.",
        markup=False,
    )
