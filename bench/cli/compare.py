"""`compare`: judge a run against a baseline."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cli.arguments import percent

if TYPE_CHECKING:
    from bench.cli.arguments import Commands


def add(commands: "Commands") -> None:
    compare = commands.add_parser(
        "compare", help="judge a run against a baseline: 0 fine, 1 worse, 2 not comparable"
    )
    compare.add_argument("baseline", type=Path, help="made by `baseline`, or a results folder")
    compare.add_argument("results", type=Path)
    compare.add_argument(
        "--threshold",
        type=percent,
        default=0.01,
        metavar="PERCENT",
        help="of rate at equal accuracy that is let pass; default 1",
    )
    compare.add_argument("--format", choices=["text", "markdown", "json", "junit"], default="text")


def main(a: argparse.Namespace) -> int:
    from bench.analysis.compare import compare
    from bench.report.verdicts import render

    comparison = compare(a.baseline, a.results, 100 * a.threshold)
    sys.stdout.write(render(comparison, a.format))
    return comparison.exit_code
