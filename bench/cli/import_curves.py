"""`import`: published curves as a method that `merge` takes."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from bench import cli

if TYPE_CHECKING:
    from bench.cli.arguments import Commands


def add(commands: "Commands") -> None:
    about = "take published curves as a method that `merge` and `leaderboard` put beside others"
    command = commands.add_parser("import", help=about, description=about)
    command.add_argument(
        "curves",
        type=Path,
        help="a CSV file with the columns dataset, model, metric, bpp, accuracy",
    )
    command.add_argument("--as", required=True, dest="name", metavar="NAME", help="of the method")
    command.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="the baseline to write, NAME.json"
    )


def main(a: argparse.Namespace) -> None:
    from bench.analysis.imported import imported

    written, warnings = imported(a.curves, a.name, a.out)
    for text in warnings:
        cli.err.print(f"warning: {text}", style="yellow", markup=False)
    for path in written:
        cli.out.print(f"{path}: published curves, without intervals", markup=False)
