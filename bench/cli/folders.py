"""`codec encode` and `codec decode` of folders: progress, failures and totals."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import cli
from bench.errors import BenchError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.codecs.files import Decoder, Encoder
    from bench.coding_folders import Done, Made


def encode(a: argparse.Namespace, encoder: "Encoder") -> None:
    """Raises BenchError, as `decode` does, if any file failed."""
    from bench.codecs.files import FORMATS
    from bench.coding_folders import ending, total

    done = _coded(a, tuple(FORMATS), ending(encoder.codec.name), encoder)
    _finish(a, total(done.made), done)


def decode(a: argparse.Namespace, decoder: "Decoder") -> None:
    from bench.coding_folders import ending

    done = _coded(a, (ending(decoder.codec.name),), ".png", decoder)
    _finish(a, f"{len(done.made)} files", done)


def _coded(
    a: argparse.Namespace,
    taken: tuple[str, ...],
    becomes: str,
    each: "Callable[[Path, Path], Made]",
) -> "Done[Made]":
    """Every file of the input folder whose name ends in one of `taken`."""
    from joblib import cpu_count

    from bench import coding_folders as folders
    from bench.progress import Progress

    folder = folders.paired(a.input, a.output, taken, becomes, a.overwrite)
    if folder.passed:
        cli.err.print(
            f"{folder.passed} other files below {a.input} are left alone: their names do not end "
            f"in {', '.join(taken)}",
            markup=False,
        )
    with Progress(cli.err, quiet=False) as progress:
        advance = progress.start(f"codec {a.action}", len(folder.pairs))
        return folders.code(folder.pairs, each, a.jobs or cpu_count(), advance)


def _finish(a: argparse.Namespace, line: str, done: "Done[Any]") -> None:
    """Raises BenchError if any file failed."""
    for failure in done.failures:
        cli.err.print(f"failed: {failure}", style="red", markup=False)
    cli.out.print(f"{a.output}: {line}", markup=False)
    if done.failures:
        n = len(done.failures)
        raise BenchError(f"{n} of {n + len(done.made)} files failed; the others are written")
