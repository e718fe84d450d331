"""Text in CSV files: a spreadsheet takes a cell that begins with certain characters for a formula.

Such text gets an apostrophe in front, which spreadsheets do not show; `unguarded` takes it off.
"""

import re

_FORMULA = frozenset("=+-@\t\r\n＝＋－＠")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?")


def guarded(text: str) -> str:
    return f"'{text}" if _runs(text) else text


def unguarded(text: str) -> str:
    return text[1:] if text.startswith("'") and _runs(text) else text


def _runs(text: str) -> bool:
    """Apostrophes in front count as none, so that text that has one already gets another."""
    return text.lstrip(" '")[:1] in _FORMULA and not _NUMBER.fullmatch(text)
