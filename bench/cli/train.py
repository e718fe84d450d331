"""`train`: make what is compared."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import api, cli
from bench.cli.arguments import TRUST, folder

if TYPE_CHECKING:
    from bench.cli.arguments import Commands


def add(commands: "Commands") -> None:
    train = commands.add_parser("train", help="train what is compared")
    train.add_argument("what", choices=["npp", "qa-npp", "proxy", "controls", "task"])
    train.add_argument("--config", type=Path, required=True)
    train.add_argument("--out", type=folder, required=True)
    train.add_argument("--trust", type=Path, action="append", metavar="FILE", help=TRUST)
    train.add_argument("--set", action="append", metavar="KEY=VALUE", help="change a config value")
    train.add_argument("--device", choices=api.DEVICES, default="auto")
    train.add_argument("--resume", action="store_true", help="go on where it was stopped")


def main(a: argparse.Namespace) -> None:
    from bench import config as configs
    from bench.models.programs import require_trusted
    from bench.training import controls, learned_proxy, loop, npp, task_model

    raw = configs.read(configs.found(a.config), a.set)
    require_trusted(_models(raw), a.trust or ())
    device = api.chosen_device(a.device)
    with loop.claimed(a.out, a.resume):
        if a.what == "task":
            path = task_model.train(raw, a.out, device, a.resume)
        elif a.what == "proxy":
            path = learned_proxy.train(raw, a.out, device, a.resume, cli.err)
        elif a.what == "controls":
            path = controls.choose(raw, a.out, device, cli.err)
        else:
            path = npp.train(a.what, raw, a.out, device, a.resume, cli.err)
    cli.out.print(f"written: {path}", markup=False)


def _models(raw: dict[str, Any]) -> list[tuple[str, str]]:
    """Library and name of every task model in a config that nobody has validated yet."""
    others = raw.get("others")
    found = []
    for part in [raw, *(others if isinstance(others, list) else [])]:
        model = part.get("model") if isinstance(part, dict) else None
        if isinstance(model, dict):
            library, name = model.get("library"), model.get("name")
            if isinstance(library, str) and isinstance(name, str):
                found.append((library, name))
    return found
