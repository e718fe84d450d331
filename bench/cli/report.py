"""`report`: tables and figures made again from what was measured."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from bench import cli
from bench.cli.arguments import names

if TYPE_CHECKING:
    from bench.cli.arguments import Commands


def add(commands: "Commands") -> None:
    report = commands.add_parser("report", help="redo tables, figures and report.html")
    report.add_argument("results", type=Path)
    report.add_argument(
        "--style",
        choices=["screen", "paper"],
        default="screen",
        help="of figures: open axes with a grid, or a frame with ticks inside; default screen",
    )
    report.add_argument("--font", choices=["sans", "serif"], default="sans", help="of figures")
    report.add_argument(
        "--methods",
        type=names,
        default=[],
        metavar="A,B",
        help="that figures and tables show beside the anchor; default all",
    )
    report.add_argument(
        "--names",
        type=other_names,
        default={},
        metavar="A=NAME,B=NAME",
        help="what figures and tables call methods",
    )
    report.add_argument(
        "--with",
        type=Path,
        nargs="+",
        default=[],
        metavar="RESULTS",
        dest="beside",
        help="other runs on the same images: their BD-rates as bars beside this one's",
    )


def other_names(text: str) -> dict[str, str]:
    pairs = [part.partition("=") for part in names(text)]
    if not all(old.strip() and new.strip() for old, _, new in pairs):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list like bpg=BPG,npp+bpg=Ours")
    return {old.strip(): new.strip() for old, _, new in pairs}


def main(a: argparse.Namespace) -> None:
    from bench import report
    from bench.analysis import analyse
    from bench.analysis.results import load
    from bench.report.style import Look, Options
    from bench.results import folder as folders

    load(a.results)  # refuses what is no results folder before anything is written there
    options = Options(Look(a.style, a.font), tuple(a.methods), a.names, tuple(a.beside))
    with folders.updating(a.results) as place:
        analyse(place.work)
        written = report.write(place.work, options)
        place.publish()
    for path in written:
        cli.out.print(str(a.results / path.relative_to(place.work)), markup=False)
