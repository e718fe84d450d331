"""Folders coded by hand: every file below one goes to the same place below another."""

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from joblib import Parallel, delayed

from bench.codecs.files import Size
from bench.datasets.tree import below
from bench.errors import BenchError, ConfigError, DataError
from bench.progress import Advance

_ENDINGS = {"jpeg": ".jpg", "jpeg2000": ".j2k", "jpegxl": ".jxl"}

Made = TypeVar("Made")


def ending(codec: str) -> str:
    """Of the names of a codec's files."""
    return _ENDINGS.get(codec, f".{codec}")


@dataclass(frozen=True)
class Folder:
    """A file of each pair is to be made of the other one; `passed` files were not taken."""

    pairs: list[tuple[Path, Path]]
    passed: int


@dataclass(frozen=True)
class Done(Generic[Made]):
    made: list[Made]
    failures: list[str]
    """A sentence on each file that failed, naming it."""


def paired(
    source: Path, target: Path, taken: Collection[str], becomes: str, overwrite: bool
) -> Folder:
    """The files below `source` whose names end in one of `taken`, and those below `target` of the
    same names, but for the ending, that are to be made of them.

    Where `target` is below `source`, what is in it is not taken. Raises ConfigError and DataError.
    """
    there, here = target.resolve(), source.resolve()
    if there == here or target.is_file():
        what = "a file" if target.is_file() else "the folder of the input itself"
        raise ConfigError(f"{target}: is {what}; name another folder for the output")
    tree = below(source)
    names = [Path(name) for name in sorted([*tree.images, *tree.others, *tree.broken])]
    if there.is_relative_to(here):
        names = [name for name in names if not (here / name).is_relative_to(there)]
    chosen = [name for name in names if name.suffix.lower() in taken]
    if not chosen:
        raise DataError(f"{source}: no file in it or below it ends in {', '.join(taken)}")
    pairs = [(source / name, (target / name).with_suffix(becomes)) for name in chosen]
    _require_apart(pairs)
    _require_free([made for _, made in pairs], overwrite)
    return Folder(pairs, len(names) - len(chosen))


def _require_apart(pairs: list[tuple[Path, Path]]) -> None:
    """No file is made twice, and none is made of another one's place."""
    twice = [made for made, n in Counter(made for _, made in pairs).items() if n > 1]
    if twice:
        both = " and ".join(str(source) for source, made in pairs if made == twice[0])
        raise ConfigError(f"{both} would both become {twice[0]}: rename one of them")
    sources = {source.resolve() for source, _ in pairs}
    over = [made for _, made in pairs if made.resolve() in sources]
    if over:
        raise ConfigError(f"{over[0]}: is a file of the input; name another folder for the output")


def _require_free(made: list[Path], overwrite: bool) -> None:
    there = [path for path in made if path.exists()]
    if there and not overwrite:
        more = f" and {len(there) - 1} more of {len(made)} files" if len(there) > 1 else ""
        raise ConfigError(
            f"{there[0]}{more}: there already; name another folder, or replace what is there with "
            "--overwrite"
        )


def code(
    pairs: list[tuple[Path, Path]],
    each: Callable[[Path, Path], Made],
    jobs: int,
    advance: Advance,
) -> Done[Made]:
    """`each(source, target)` of every pair, `jobs` at once in threads; a file that fails does not
    keep the others from being made."""
    done = Done[Made]([], [])
    parallel = Parallel(jobs, backend="threading", return_as="generator")
    for made, failure in parallel(delayed(_tried)(each, *pair) for pair in pairs):
        if made is None:
            done.failures.append(failure)
        else:
            done.made.append(made)
        advance(1, f"{len(done.failures)} failed" if done.failures else "")
    return done


def _tried(
    each: Callable[[Path, Path], Made], source: Path, target: Path
) -> tuple[Made | None, str]:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        return each(source, target), ""
    except Exception as error:  # of a codec or a preprocessor of another package, of any kind
        what = str(error) if isinstance(error, BenchError) else f"{type(error).__name__}: {error}"
        return None, what if str(source) in what else f"{source}: {what}"


def total(sizes: list[Size]) -> str:
    """For people: rates as in a report, the mean over pictures, and all bits over all pixels."""
    bits, pixels = sum(8 * size.n_bytes for size in sizes), sum(size.pixels for size in sizes)
    if not sizes:
        return "0 files"
    mean = sum(size.bpp for size in sizes) / len(sizes)
    return f"{len(sizes)} files, {bits} bits, bpp {mean:.4f}, bpp_total {bits / pixels:.4f}"
