"""Options of a codec as they stand in a config file: known names, allowed values."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from bench.errors import ConfigError


@dataclass(frozen=True)
class Option:
    """What an option may be: one of `allowed`, or any value of `kind` that is not below `least`."""

    allowed: Collection[object] = ()
    kind: type | tuple[type, ...] = object
    least: float | None = None
    says: str = ""
    """What is allowed, for people, where there is no list."""

    def accepts(self, value: object) -> bool:
        if self.allowed:
            # True == 1 in Python, but a config that says one and means the other is mistaken
            return any(value == a and type(value) is type(a) for a in self.allowed)
        if isinstance(value, bool) or not isinstance(value, self.kind):
            return False
        return self.least is None or value >= self.least  # type: ignore[operator]

    @property
    def words(self) -> str:
        if isinstance(self.allowed, range):
            return f"{self.allowed[0]}…{self.allowed[-1]}"
        return ", ".join(map(str, self.allowed)) if self.allowed else self.says


def check_options(codec: str, options: Mapping[str, object], known: Mapping[str, Option]) -> None:
    """Raises ConfigError naming the option, its value and what is allowed."""
    for key, value in options.items():
        if key not in known:
            there_are = f"it has {', '.join(known)}" if known else "it has none"
            raise ConfigError(f"codec {codec}: unknown option {key!r}; {there_are}")
        if not known[key].accepts(value):
            raise ConfigError(
                f"codec {codec}: {key}: {value!r} is not allowed; allowed: {known[key].words}"
            )
