"""`codec`: use a codec by hand."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from bench import cli
from bench.errors import ConfigError

if TYPE_CHECKING:
    from bench.cli.arguments import Commands


def add(commands: "Commands") -> None:
    codec = commands.add_parser("codec", help="use a codec by hand")
    codec.add_argument("action", choices=["encode", "decode", "info"])
    codec.add_argument("input", type=Path)
    codec.add_argument("output", type=Path, nargs="?")
    codec.add_argument("--codec", default="bpg")
    codec.add_argument("--qp", type=int)
    codec.add_argument(
        "--option",
        action="append",
        metavar="KEY=VALUE",
        help="of the codec, e.g. pixel_format=4:4:4",
    )
    codec.add_argument(
        "--background",
        choices=["white", "black", "gray"],
        help="put transparent pictures on it; default: keep the alpha plane",
    )


def main(a: argparse.Namespace) -> None:
    from bench.codecs import files

    spec = files.spec(a.codec, a.option or [])
    if a.action == "info":
        cli.out.print(files.info_text(a.input, spec), markup=False)
        return
    if a.output is None:
        raise ConfigError(f"codec {a.action} needs an output file after {a.input}")
    if a.action == "encode":
        line = files.encode_file(a.input, a.output, spec, a.qp, a.background)
    else:
        line = files.decode_file(a.input, a.output, spec, a.background)
    cli.out.print(line, markup=False)
