"""`codec`: use a codec by hand."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench import api, cli
from bench.cli import folders
from bench.cli.arguments import jobs
from bench.errors import ConfigError

if TYPE_CHECKING:
    from bench.cli.arguments import Commands
    from bench.codecs.files import Decoder, Encoder
    from bench.preprocessors.chosen import Chosen

ABOUT = (
    "Encode a picture, decode it again, or say what a coded file holds. A folder is coded file by "
    "file, with all folders below it."
)


def add(commands: "Commands") -> None:
    codec = commands.add_parser("codec", help="use a codec by hand", description=ABOUT)
    codec.add_argument("action", choices=["encode", "decode", "info"])
    codec.add_argument("input", type=Path, help="a picture, a coded file, or a folder of them")
    codec.add_argument(
        "output", type=Path, nargs="?", help="the file to write, or a folder; info needs none"
    )
    codec.add_argument(
        "--codec", default="bpg", help="default: bpg; `list codecs` names the others"
    )
    codec.add_argument(
        "--qp",
        type=int,
        help="to encode with, larger is coarser; a postprocessor is told what was encoded with",
    )
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
    codec.add_argument(
        "--preprocessor",
        metavar="NAME",
        help="filter pictures before they are encoded: a network that ships, a file of weights, or "
        "a name of `list preprocessors`",
    )
    codec.add_argument(
        "--preprocessor-option",
        action="append",
        metavar="KEY=VALUE",
        help="of the preprocessor, e.g. sigma=0.8 of blur",
    )
    codec.add_argument(
        "--postprocessor", metavar="NAME", help="filter pictures once they are decoded, likewise"
    )
    codec.add_argument(
        "--postprocessor-option", action="append", metavar="KEY=VALUE", help="of the postprocessor"
    )
    codec.add_argument(
        "--device", choices=api.DEVICES, default="auto", help="where these networks run"
    )
    codec.add_argument("--jobs", type=jobs, help="files of a folder at once; default: all cores")
    codec.add_argument(
        "--overwrite", action="store_true", help="of a folder: replace files that are there"
    )


def main(a: argparse.Namespace) -> None:
    from bench.codecs import files

    _require_filters_fit(a)
    spec = files.spec(a.codec, a.option or [])
    if a.action == "info":
        cli.out.print(files.info_text(a.input, spec), markup=False)
    elif a.output is None:
        raise ConfigError(f"codec {a.action} needs an output file or folder after {a.input}")
    elif a.action == "encode":
        _encode(a, files.encoder(spec, a.qp, a.background))
    else:
        _decode(a, files.decoder(spec, a.background))


def _encode(a: argparse.Namespace, encoder: "Encoder") -> None:
    if a.preprocessor is not None:
        encoder = replace(encoder, filtered=_filter(a, "preprocessor", encoder.qp))
    if a.input.is_dir():
        folders.encode(a, encoder)
    else:
        cli.out.print(f"{a.output}: {encoder(a.input, a.output)}", markup=False)


def _decode(a: argparse.Namespace, decoder: "Decoder") -> None:
    if a.postprocessor is not None:
        qp = decoder.coded_with(a.qp)
        filtered = _filter(a, "postprocessor", qp)
        decoder = replace(decoder, filtered=lambda rgb: filtered(rgb, qp))
    if a.input.is_dir():
        folders.decode(a, decoder)
    else:
        cli.out.print(f"{a.output}: {decoder(a.input, a.output)}", markup=False)


def _require_filters_fit(a: argparse.Namespace) -> None:
    """Raises ConfigError for a filter on the other side of the codec, and an option of none."""
    for role, action in (("preprocessor", "encode"), ("postprocessor", "decode")):
        name, given = getattr(a, role), getattr(a, f"{role}_option")
        if name is None and given:
            raise ConfigError(f"--{role}-option needs a --{role} that it is an option of")
        if name is not None and a.action != action:
            raise ConfigError(f"--{role} {name}: codec {a.action} has none, codec {action} has")


def _filter(a: argparse.Namespace, role: str, qp: int) -> "Chosen":
    from bench.codecs.files import options
    from bench.preprocessors.chosen import Chosen

    given = options(role, getattr(a, f"{role}_option") or [])
    chosen = Chosen(getattr(a, role), given, qp, api.chosen_device(a.device))
    for warning in chosen.warnings:
        cli.err.print(f"warning: {warning}", style="yellow", markup=False)
    return chosen
