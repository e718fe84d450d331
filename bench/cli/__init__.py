"""The command line: run (the default) and the commands around it, a file for each."""

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from types import ModuleType

from rich.console import Console

import bench
from bench.boundary import FAILED, INTERRUPTED, answered, prepared, settled

COMMANDS = {
    "run": "run",
    "doctor": "doctor",
    "report": "report",
    "compare": "compare",
    "baseline": "baseline",
    "merge": "merge",
    "import": "import_curves",
    "leaderboard": "leaderboard",
    "power": "power",
    "cost": "cost",
    "train": "train",
    "export": "export",
    "list": "listing",
    "codec": "codec",
    "cache": "cache",
    "dataset": "dataset",
}
"""Each is a module here with `add(commands)` and `main(arguments)`."""

GLOBAL = ("-h", "--help", "--version")
"""What may stand in place of a command."""


def _console(stderr: bool) -> Console:
    """Tables keep their width when written to a file, and `a:fire:b` is a path, no picture."""
    plain = partial(Console, stderr=stderr, highlight=False, emoji=False)
    console = plain(soft_wrap=True)
    return console if console.is_terminal else plain(width=140)


# Commands look them up here when they say something: who calls `main` may put others in place.
err, out = _console(True), _console(False)


def _module(command: str) -> ModuleType:
    return import_module(f"bench.cli.{COMMANDS[command]}")


def parser() -> argparse.ArgumentParser:
    main = argparse.ArgumentParser(
        prog="run_bench.py",
        description="Rate–accuracy benchmarking for image coding for machines.",
        epilog="Without a command it runs; `run_bench.py run --help` lists its options.",
    )
    main.add_argument("--version", action="version", version=f"rabench {bench.__version__}")
    commands = main.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        _module(command).add(commands)
    return main


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 2 refused or failed (the reason is on stderr), 130 interrupted; of
    `compare` 1 if anything is worse, 2 if anything could not be compared."""
    settled()
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or (words[0] not in COMMANDS and words[0] not in GLOBAL):
        words.insert(0, "run")
    arguments = parser().parse_args(words)
    prepared()
    return answered(lambda: _module(arguments.command).main(arguments), err)


def entry() -> None:
    """`main` as a program. One that is interrupted or failed ends at once: threads in the midst of
    coding would have the interpreter torn down under them, and one whose call never ends would be
    waited for."""
    code = main()
    if code in (FAILED, INTERRUPTED):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
