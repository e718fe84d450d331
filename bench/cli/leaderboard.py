"""`leaderboard`: a page that ranks the methods of many results."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from bench import cli
from bench.cli.arguments import folder

if TYPE_CHECKING:
    from bench.cli.arguments import Commands


def add(commands: "Commands") -> None:
    about = "a page that ranks the methods of the baselines in a folder"
    command = commands.add_parser("leaderboard", help=about, description=about)
    command.add_argument(
        "entries", type=Path, metavar="DIR_OF_BASELINES", help="results folders in it count, too"
    )
    command.add_argument("--out", type=folder, required=True, metavar="DIR")


def main(a: argparse.Namespace) -> None:
    from bench.analysis.leaderboard import leaderboard
    from bench.report.leaderboard import write

    found = leaderboard(a.entries)
    for note in found.notes:
        cli.err.print(note, style="yellow", markup=False)
    for path in write(found, a.out):
        cli.out.print(str(path), markup=False)
