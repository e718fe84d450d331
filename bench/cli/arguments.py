"""What commands share: the types of their options' values."""

import argparse
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bench.api import MOST_JOBS

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

TRUST = "a model's config that is a Python program: run it; may be given again"
SHOWN = 5
"""Examples of each kind of fault."""


def names(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def qps(text: str) -> list[int] | Literal["auto"]:
    try:
        return "auto" if text == "auto" else [int(part) for part in names(text)]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a list like 37,40,43 nor auto"
        ) from None


def percent(text: str) -> float:
    try:
        value = float(text.rstrip("%"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a percentage like 1") from None
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{text} is outside 0…100 percent")
    return value / 100


def effect(text: str) -> float:
    try:
        value = abs(float(text.rstrip("%")))
    except ValueError:
        value = 0.0
    if not 0 < value < 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not a BD-rate like 5, in percent")
    return value


def seconds(text: str) -> float:
    try:
        value = float(text.removesuffix("s"))
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds like 20")
    return value


def positive(text: str, most: int = 10**9) -> int:
    if not re.fullmatch("[0-9]{1,10}", text) or not 1 <= int(text) <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {most:,}")
    return int(text)


jobs = partial(positive, most=MOST_JOBS)


def folder(text: str) -> Path:
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is no name of a folder")
    return Path(text)


def gigabytes(text: str) -> int:
    try:
        value = float(text.lower().removesuffix("gb"))
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of gigabytes like 20")
    return int(value * 1e9)
