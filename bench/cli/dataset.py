"""`dataset`: say what is wrong with a data set."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from bench import cli
from bench.boundary import FAILED
from bench.cli.arguments import SHOWN

if TYPE_CHECKING:
    from bench.cli.arguments import Commands


def add(commands: "Commands") -> None:
    dataset = commands.add_parser("dataset", help="say what is wrong with a data set")
    dataset.add_argument("action", choices=["check"])
    dataset.add_argument("root", type=Path)
    dataset.add_argument(
        "--format",
        choices=["coco", "imagenet", "voc", "labelmaps", "folder"],
        help="default: by its files",
    )
    dataset.add_argument(
        "--task", help="of a format for several, e.g. seg; default: det, of voc by its files"
    )
    dataset.add_argument(
        "--option",
        action="append",
        metavar="KEY=VALUE",
        help="of the format, e.g. images=val2017 or split=val",
    )
    dataset.add_argument("--deep", action="store_true", help="decode every image to its end")


def main(a: argparse.Namespace) -> int:
    from bench.datasets import check
    from bench.progress import Progress

    options = dict(part.partition("=")[::2] for part in a.option or [])
    format = a.format or check.guess(a.root)
    with Progress(cli.err, quiet=False) as progress:
        findings = check.check(a.root, format, options, a.deep, progress.start, a.task)
    table = Table("", escape(f"{a.root}"), show_header=True)
    table.add_row("format", format + ("" if a.format else " (by its files)"))
    for name, value in findings.facts.items():
        table.add_row(escape(name), escape(value))
    cli.out.print(table)
    _print_kinds("fault", "red", findings.faults)
    _print_kinds("remark", "yellow", findings.remarks)
    n = sum(map(len, findings.faults.values()))
    looked = "every image was decoded" if a.deep else "headers and ends; --deep decodes every image"
    cli.out.print(f"{n} faults ({looked})", markup=False, soft_wrap=True)
    return FAILED if n else 0


def _print_kinds(title: str, style: str, kinds: dict[str, list[str]]) -> None:
    for kind, cases in kinds.items():
        if cases:
            cli.out.print(f"{title}: {kind}: {len(cases)}", style=style, markup=False)
        shown = len(cases) if kind == "notes" else SHOWN
        for case in cases[:shown]:
            cli.out.print(f"    {case}", markup=False, soft_wrap=True)
        if len(cases) > shown:
            cli.out.print(f"    … and {len(cases) - shown} more", markup=False)
