"""`list`: what there is to choose from."""

import argparse
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import cli
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.cli.arguments import Commands
    from bench.registry import Registry

Listed = tuple["Registry[Any]", Callable[[str], list[str]]]  # and the lines on one of its names


def add(commands: "Commands") -> None:
    what = commands.add_parser("list", help="what there is to choose from")
    what.add_argument("what", choices=[*LISTED, "methods"])
    what.add_argument("--config", type=Path, help="whose methods to list; default: mini")


def main(a: argparse.Namespace) -> None:
    if a.what in LISTED:
        _list_registered(*LISTED[a.what]())
    else:
        _list_methods(a.config)


def _list_methods(config: Path | None) -> None:
    from bench import config as configs

    path = configs.found(config) if config else configs.built_in("mini")
    for e in configs.load(path).experiments:
        for name in e.methods:
            qps, rates = e.qps(name), e.rates(name)
            listed = f"QP {qps if isinstance(qps, str) else ', '.join(map(str, qps))}"
            if rates:
                listed = f"{', '.join(f'{rate:g}' for rate in rates)} bpp"
            anchor = "  (anchor)" if name == e.anchor else ""
            cli.out.print(f"{e.task}  {name}  {listed}{anchor}", markup=False)


def _list_registered(registry: "Registry[Any]", lines_of: Callable[[str], list[str]]) -> None:
    """Built in or offered by an installed package; one that is broken does not hide the others."""
    for name in registry.names():
        for clash in registry.clashes(name):
            cli.err.print(f"warning: {clash}", style="yellow", markup=False, soft_wrap=True)
        package = registry.package(name)
        try:
            with warnings.catch_warnings(action="ignore"):
                lines = lines_of(name)
        except Exception as error:
            if not (package or isinstance(error, BenchError)):
                raise
            lines = [f"{name}  not usable here: {error}"]
        origin = f"  (from {package})" if package else ""
        for line in lines:
            cli.out.print(line + origin, markup=False, soft_wrap=True)


def _codecs() -> Listed:
    from bench.codecs import CODECS, make  # without torch, so it is quick
    from bench.codecs.base import says

    return CODECS, lambda name: [f"{name}  QP {says(make(name).qps)}"]


def _preprocessors() -> Listed:
    from bench.preprocessors import PREPROCESSORS

    def lines(name: str) -> list[str]:
        PREPROCESSORS.get(name)  # refuses one that cannot be loaded
        return [name]

    return PREPROCESSORS, lines


def _models() -> Listed:
    from bench.models import LIBRARIES

    return LIBRARIES, lambda name: [f"{name}  {model}" for model in LIBRARIES.get(name).names()]


def _datasets() -> Listed:
    from bench.datasets import DATASETS
    from bench.datasets.base import options

    def lines(name: str) -> list[str]:
        has = options(name)
        return [name + (f"  options: {', '.join(has)}" if has else "")]

    return DATASETS, lines


def _protocols() -> Listed:
    from bench.protocols import PROTOCOLS, identity, load

    def lines(name: str) -> list[str]:
        protocol = load(name)
        known = identity(protocol)
        conditions = f"conditions {known}" if known else "conditions by what is found"
        return [f"{name}  {conditions}  {protocol.summary}"]

    return PROTOCOLS, lines


LISTED: dict[str, Callable[[], Listed]] = {
    "codecs": _codecs,
    "preprocessors": _preprocessors,
    "models": _models,
    "datasets": _datasets,
    "protocols": _protocols,
}
