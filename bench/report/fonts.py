"""Fonts for names in scripts that the fonts of a figure have no letters of."""

import unicodedata
import warnings
from functools import cache
from pathlib import Path

from matplotlib.font_manager import FontProperties, findfont, findSystemFonts, fontManager
from matplotlib.ft2font import FT2Font

from bench.report.text import printable

_UNDRAWN = ("Cf", "Mn", "Zs")
"""Categories of characters that need no glyph of their own."""


@cache
def fallbacks(family: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """Installed fonts that have what `family` lacks of these names; most often none.

    Warns once, naming the names, where no installed font has all of their characters: these are
    drawn as boxes.
    """
    names = tuple(dict.fromkeys(map(printable, names)))
    own = findfont(FontProperties(family=family))
    missing = {c for name in names for c in name if _drawn(c)} - _characters(own)
    found = []
    for path in [findfont(FontProperties(family="DejaVu Sans")), *_installed()] if missing else ():
        helps = missing & _characters(path)
        if helps:
            fontManager.addfont(path)
            found.append(str(FT2Font(path).family_name))
            missing -= helps
    if missing:
        unshown = [name for name in names if missing & set(name)]
        warnings.warn(
            "no font on this machine has all characters of "
            f"{', '.join(unshown)}: figures show boxes for {' '.join(sorted(missing))}. Install a "
            "font that has them, or give other names with --names NAME=OTHER",
            stacklevel=2,
        )
    return tuple(found)


def _drawn(character: str) -> bool:
    return unicodedata.category(character) not in _UNDRAWN


@cache
def _installed() -> list[str]:
    """Files of fonts that can be drawn in any size; upright ones first, then by name."""
    usable = []
    for path in findSystemFonts():
        try:
            font = FT2Font(path)
            font.set_size(8, 72)  # fails for fonts of pictures, as of coloured emoji
        except (OSError, RuntimeError):
            continue
        plain = font.style_name in ("Regular", "Book", "Roman", "Medium")
        # PDF takes TrueType as it is; collections and OpenType may hold other outlines.
        usable.append((not plain, Path(path).suffix.lower() != ".ttf", Path(path).name, path))
    return [path for *_, path in sorted(usable)]


@cache
def _characters(path: str) -> frozenset[str]:
    return frozenset(map(chr, FT2Font(path).get_charmap()))
