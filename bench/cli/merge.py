"""`merge`: the methods of several results side by side."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from bench import cli
from bench.cli.arguments import folder

if TYPE_CHECKING:
    from bench.cli.arguments import Commands


def add(commands: "Commands") -> None:
    about = "put the methods of several runs side by side, on the images they share"
    merge = commands.add_parser("merge", help=about, description=about)
    merge.add_argument(
        "sources",
        type=Path,
        nargs="+",
        metavar="RESULTS",
        help="results folders, or baselines made by `baseline` or `import`; the first one's "
        "analysis settings count",
    )
    merge.add_argument(
        "--out", type=folder, required=True, metavar="DIR", help="results folder to write"
    )


def main(a: argparse.Namespace) -> None:
    from bench import api, report
    from bench.analysis import analyse, merged
    from bench.analysis.merging import require_new
    from bench.cli import tables
    from bench.results import folder as folders

    require_new(a.out, a.sources)
    made = merged.merge(merged.opened(a.sources))
    for text in (*(f"left out: {one.reason}" for one in made.left_out), *made.notes):
        cli.err.print(text, style="yellow", markup=False)
    with folders.writing(a.out) as place:
        merged.write(made, place.work, a.out.resolve().name)
        analyse(place.work)
        report.write(place.work)
        place.publish()
    cli.out.print(tables.of(api.load(a.out)))
    for curve in made.manifest.published:
        about = f"{curve.metric} of {curve.model} on {curve.dataset}"
        cli.out.print(
            f"{curve.method}: published ({curve.source}), {about}: drawn hollow, without intervals",
            markup=False,
        )
    cli.out.print(f"results in {a.out}: open {a.out / 'report.html'}", markup=False)
