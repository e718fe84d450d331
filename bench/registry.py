"""What a name in a config stands for: a factory, which another package may offer through a Python
entry point, or a file."""

import sys
import warnings
from collections.abc import Callable
from functools import cache
from importlib.metadata import Distribution, EntryPoint, distributions, entry_points
from pathlib import Path
from typing import Generic, TypeVar

from bench.errors import ConfigError

T = TypeVar("T")

_GROUPS: list[str] = []
"""Of every registry."""


class Registry(Generic[T]):
    """A mapping from a name in a config to what it stands for.

    Other packages add to it with an entry point of the same name in `group` (e.g. `bench.codecs`).
    What they offer has to have the attributes `needs`, or to be callable where there are none. A
    name that is built in stays what it is, whatever is installed beside it.
    """

    def __init__(self, kind: str, group: str, needs: tuple[str, ...] = ()) -> None:
        self.kind = kind
        self.group = group
        self.needs = needs
        self._items: dict[str, T] = {}
        _GROUPS.append(group)

    def register(self, name: str) -> Callable[[T], T]:
        def add(item: T) -> T:
            if name in self._items:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self._items[name] = item
            return item

        return add

    def names(self) -> list[str]:
        return sorted({*self._items, *(e.name for e in _offered(self.group))})

    def get(self, name: str) -> T:
        """Raises ConfigError for an unknown name, naming what there is, and for what an installed
        package offers and cannot give, naming the package."""
        offers = self._offers(name)
        if name in self._items:
            for clash in self.clashes(name):
                warnings.warn(clash, stacklevel=2)
            return self._items[name]
        if not offers:
            raise ConfigError(f"unknown {self.kind} {name!r}; there are: {', '.join(self.names())}")
        if len(offers) > 1:
            raise ConfigError(self.clashes(name)[0])
        return self._loaded(offers[0])

    def package(self, name: str) -> str:
        """The installed package that a name comes from, with its version; empty if built in."""
        offers = [] if name in self._items else self._offers(name)
        return " and ".join(map(_package, offers))

    def clashes(self, name: str) -> list[str]:
        """What to say where more than one package offers a name, or a built-in one is offered."""
        offers = self._offers(name)
        listed = " and ".join(map(_package, offers))
        if name in self._items and offers:
            return [
                f"package {listed} offers {self.kind} {name!r}, which is built in: the built-in "
                "one is used; the package should choose another name"
            ]
        if len(offers) > 1:
            return [
                f"{self.kind} {name!r} is offered by packages {listed}: uninstall one of them, "
                "neither is used"
            ]
        return []

    def _offers(self, name: str) -> list[EntryPoint]:
        return [e for e in _offered(self.group) if e.name == name]

    def _loaded(self, entry: EntryPoint) -> T:
        where = f"{self.kind} {entry.name!r} of the installed package {_package(entry)}"
        remedy = "mend, update or uninstall that package"
        try:
            item: T = entry.load()
            lacking = [attribute for attribute in self.needs if not hasattr(item, attribute)]
        except (Exception, SystemExit) as error:  # whatever its import raises
            raise ConfigError(
                f"{where} cannot be loaded from {entry.value}: {type(error).__name__}: {error}; "
                f"{remedy}"
            ) from error
        if lacking or not (self.needs or callable(item)):
            what = f"has no {', '.join(lacking)}" if lacking else "cannot be called"
            raise ConfigError(f"{where} is not a {self.kind}: {entry.value} {what}; {remedy}")
        return item


def existing_file(name: str) -> Path | None:
    """The file of that name; None where there is none, or no file can be called so."""
    try:
        return Path(name) if Path(name).is_file() else None
    except (OSError, ValueError):  # too long, or with characters that no file system takes
        return None


def _offered(group: str) -> list[EntryPoint]:
    return _offered_on(group, tuple(sys.path))


@cache
def _offered_on(group: str, path: tuple[str, ...]) -> list[EntryPoint]:
    """By the folders that modules come from: to look through them takes longer than a prediction
    out of the cache."""
    try:
        return list(entry_points(group=group))
    except Exception:  # of one package, in the way of all others
        offers = [e for d in distributions() for e in _readable(d) if e.group == group]
        return list({(e.name, e.value): e for e in offers}.values())


def _readable(package: Distribution) -> list[EntryPoint]:
    try:
        return list(package.entry_points)
    except Exception as error:
        warnings.warn(
            f"the installed package {_named(package)[0]} has entry points that cannot be read "
            f"({error}), so it offers nothing: install it again, or uninstall it",
            stacklevel=2,
        )
        return []


def _named(package: Distribution | None) -> tuple[str, str]:
    """Name and version, as far as the package's own metadata have them."""
    try:
        name, version = (package.name, package.version) if package else (None, None)
    except Exception:  # they are not even text
        name, version = None, None
    return name or "(unknown)", version or "(unknown version)"


def _package(entry: EntryPoint) -> str:
    return " ".join(_named(entry.dist))


def packages() -> dict[str, str]:
    """Installed packages that offer something to any registry, and their versions."""
    return dict(_named(e.dist) for group in _GROUPS for e in _offered(group) if e.dist)
