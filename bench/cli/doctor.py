"""`doctor`: what is installed, and what works."""

import argparse
from typing import TYPE_CHECKING

from bench import cli
from bench.errors import ConfigError

if TYPE_CHECKING:
    from bench.cli.arguments import Commands


def add(commands: "Commands") -> None:
    commands.add_parser("doctor", help="what is installed, what works, what mends the rest")


def main(a: argparse.Namespace) -> None:
    # A backend of matplotlib that is named but not there would make libraries look broken.
    from bench import doctor
    from bench.analysis import plain_matplotlib  # noqa: F401

    findings = []
    for finding in doctor.examine():
        findings.append(finding)
        good = finding.state == doctor.USABLE
        style = "green" if good else "red" if finding.needed else "yellow"
        # Not wrapped: a command is to be copied.
        cli.out.print(f"{finding.what}: {finding.state}", style=style, markup=False, end=" ")
        cli.out.print(f"({finding.detail})", markup=False, soft_wrap=True)
        if finding.remedy:
            cli.out.print(f"    to mend it: {finding.remedy}", markup=False, soft_wrap=True)
    broken = [f.what for f in findings if f.needed and f.state != doctor.USABLE]
    if broken:
        raise ConfigError(f"nothing can run before this is mended: {', '.join(broken)}")
