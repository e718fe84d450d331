"""`report`: tables and figures made again from what was measured."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from bench import cli

if TYPE_CHECKING:
    from bench.cli.arguments import Commands


def add(commands: "Commands") -> None:
    report = commands.add_parser("report", help="redo tables, figures and report.html")
    report.add_argument("results", type=Path)


def main(a: argparse.Namespace) -> None:
    from bench import report
    from bench.analysis import analyse
    from bench.analysis.results import load
    from bench.results import folder as folders

    load(a.results)  # refuses what is no results folder before anything is written there
    with folders.updating(a.results) as place:
        analyse(place.work)
        written = report.write(place.work)
        place.publish()
    for path in written:
        cli.out.print(str(a.results / path.relative_to(place.work)), markup=False)
