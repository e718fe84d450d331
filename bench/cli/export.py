"""`export`: a preprocessor for programs that run without this package."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from bench import cli

if TYPE_CHECKING:
    from bench.cli.arguments import Commands


def add(commands: "Commands") -> None:
    about = "write a preprocessor network as an ONNX file"
    export = commands.add_parser("export", help=about, description=about)
    export.add_argument("weights", help="a network that ships, or a file of weights")
    export.add_argument("output", type=Path, help="the file to write, e.g. network.onnx")


def main(a: argparse.Namespace) -> None:
    from bench.preprocessors.onnx_export import export

    name, qps = export(a.weights, a.output)
    inputs = "rgb and qp" if name == "qa-npp" else "rgb"
    line = f"{a.output}: {name} for QP {qps[0]}…{qps[-1]}, from {inputs} to filtered"
    cli.out.print(line, markup=False)
