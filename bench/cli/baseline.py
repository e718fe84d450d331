"""`baseline`: keep a run to compare later ones with."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from bench import cli

if TYPE_CHECKING:
    from bench.cli.arguments import Commands


def add(commands: "Commands") -> None:
    baseline = commands.add_parser("baseline", help="keep a run to compare later ones with")
    baseline.add_argument("results", type=Path)
    baseline.add_argument("file", type=Path, help="NAME.json; Parquet files come beside it")


def main(a: argparse.Namespace) -> None:
    from bench.analysis import baseline

    for path in baseline.write(a.results, a.file):
        cli.out.print(str(path), markup=False)
