"""Numbers and flags as annotation files write them."""

import math
import reprlib
from collections import Counter
from dataclasses import dataclass, field

_NO = {"", "0", "0.0", "false", "no", "none", "unspecified"}
_YES = {"1", "1.0", "true", "yes"}
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 200


def shown(value: object) -> str:
    """For a message: as Python writes it, cut where it is long or deep."""
    return _SHORT.repr(value)


def whole(value: object) -> int | None:
    """3 and 3.0 → 3, within 64 bits; None for everything else, texts and booleans too."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if -(2**63) <= value < 2**63 else None


def finite(value: object) -> float | None:
    """A number that a float can hold; None for everything else, texts and booleans too."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def flag(value: object) -> bool | None:
    """0, 1 and other spellings of no and yes; nothing, and `Unspecified`, is no. None for what has
    no meaning."""
    if not isinstance(value, bool | int | float | str | None):
        return None
    text = "" if value is None else str(value).strip().lower()
    return text in _YES if text in _YES | _NO else None


@dataclass
class Spellings:
    """Of a flag in a whole data set: those that are not among the `plain` ones."""

    key: str
    plain: tuple[object, ...]
    others: Counter[str] = field(default_factory=Counter)

    def read(self, value: object) -> bool:
        """Of a value that `flag` understands."""
        if value not in self.plain:
            self.others[f"{shown(value)} is read as {int(bool(flag(value)))}"] += 1
        return bool(flag(value))

    def cases(self) -> list[str]:
        return [f"{case}, {n} times" for case, n in self.others.items()]
