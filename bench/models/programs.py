"""Models whose config is a program: it runs only where the user said so."""

from collections.abc import Iterable
from os import PathLike
from pathlib import Path

from bench.errors import ConfigError
from bench.models.base import LIBRARIES


def require_trusted(
    named: Iterable[tuple[str, str]], trusted: Iterable[str | PathLike[str]] = ()
) -> None:
    """Models by library and name, before any is built. Raises ConfigError for one whose config is
    a file, which its library runs, and none of those that are `trusted`. Configs by name, which
    are the library's own, need no trust."""
    allowed = {Path(file).resolve() for file in trusted}
    for library, name in named:
        program = LIBRARIES.get(library).program(name)
        if program is not None and program.resolve() not in allowed:
            raise ConfigError(
                f"model {name} of {library}: {program} is a Python program, which {library} runs "
                "with the files that it builds on, and which can do whatever you can. Nothing of "
                f"it was run. Read it, and if you trust it, say --trust {program} (in Python "
                f"trust=[{str(program)!r}])"
            )
