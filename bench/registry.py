"""Names to factories, open to other packages through Python entry points."""

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from bench.errors import ConfigError

T = TypeVar("T")


class Registry(Generic[T]):
    """A mapping from a name in a config to what it stands for.

    Other packages add to it with an entry point of the same name in `group` (e.g. `bench.codecs`).
    """

    def __init__(self, kind: str, group: str) -> None:
        self.kind = kind
        self.group = group
        self._items: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        def add(item: T) -> T:
            if name in self._items:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self._items[name] = item
            return item

        return add

    def names(self) -> list[str]:
        return sorted({*self._items, *(e.name for e in entry_points(group=self.group))})

    def get(self, name: str) -> T:
        """Raises ConfigError, naming what there is, for an unknown name."""
        if name in self._items:
            return self._items[name]
        for entry in entry_points(group=self.group):
            if entry.name == name:
                item: T = entry.load()
                return item
        raise ConfigError(f"unknown {self.kind} {name!r}; there are: {', '.join(self.names())}")
