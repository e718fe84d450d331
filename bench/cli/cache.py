"""`cache`: look after a cache of measurements."""

import argparse
from typing import TYPE_CHECKING

from bench import cli
from bench.boundary import FAILED
from bench.cli.arguments import SHOWN, folder, gigabytes

if TYPE_CHECKING:
    from bench.cli.arguments import Commands


def add(commands: "Commands") -> None:
    cache = commands.add_parser("cache", help="look after a cache of measurements")
    cache.add_argument("action", choices=["verify", "prune", "size"])
    cache.add_argument("folder", type=folder, help="by default .cache beside the results folder")
    cache.add_argument(
        "--keep",
        type=gigabytes,
        metavar="GB",
        help="prune: delete what was written first until this is left; default: the damaged only",
    )


def main(a: argparse.Namespace) -> int:
    from bench.sweep import cache

    if a.action == "prune":
        deleted, freed = cache.prune(a.folder, a.keep)
        cli.out.print(f"{deleted} files deleted, {freed / 1e6:.1f} MB freed", markup=False)
        return 0
    found = cache.examine(a.folder, read=a.action == "verify")
    cli.out.print(f"{found.entries} entries, {found.n_bytes / 1e6:.1f} MB", markup=False)
    if found.abandoned:
        cli.out.print(f"{len(found.abandoned)} half-written by runs that were killed", markup=False)
    if a.action == "size":
        return 0
    for path in found.damaged[:SHOWN]:
        cli.out.print(f"damaged: {path}", markup=False, soft_wrap=True)
    cli.out.print(
        f"{len(found.damaged)} damaged"
        + ("; `cache prune` deletes them, and runs make them anew" if found.damaged else ""),
        markup=False,
    )
    return FAILED if found.damaged else 0
