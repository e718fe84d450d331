"""How figures look: fonts, sizes, colours and markers."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import matplotlib

COLUMN, PAGE = 3.5, 7.16
"""Inches: one column of an IEEE paper, and both with the gap between them."""
TALLEST = 8.5
"""Inches of a page that a figure may take, so that its caption still fits."""


@dataclass(frozen=True)
class Look:
    """`screen` has open axes with a grid; `paper` a frame with ticks inside, and no grid."""

    style: Literal["screen", "paper"] = "screen"
    font: Literal["sans", "serif"] = "sans"


@dataclass(frozen=True)
class Options:
    """What a report shows, and how."""

    look: Look = Look()
    methods: tuple[str, ...] = ()
    """Shown beside the anchor; empty for all."""
    names: dict[str, str] = field(default_factory=dict)
    """Method → what figures and tables call it."""
    beside: tuple[Path, ...] = ()
    """Other results folders whose BD-rates stand beside this one's in a figure of bars."""


RC: Any = {
    "font.family": "sans-serif",
    # Measured in the fonts that come with matplotlib, so a layout is the same on every machine.
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "Helvetica"],
    "font.serif": ["STIXGeneral", "Times New Roman", "Times"],
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 7,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 7,
    "axes.linewidth": 0.6,
    "axes.unicode_minus": True,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.parse_math": False,  # a $ in a name is a $
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "grid.linewidth": 0.4,
    "grid.color": "#dddddd",
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "rate-accuracy",
    "savefig.facecolor": "white",
}
_PAPER: Any = {
    "axes.grid": False,
    "axes.spines.top": True,
    "axes.spines.right": True,
    "xtick.direction": "in",
    "ytick.direction": "in",
    "xtick.top": True,
    "ytick.right": True,
}
_SERIF: Any = {
    "font.family": "serif",
    # Smaller to the eye at the same size.
    "font.size": 9,
    "axes.labelsize": 9,
    "axes.titlesize": 8,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8,
}


FAMILIES = {"sans": "DejaVu Sans", "serif": "STIXGeneral"}
"""What is measured in; both come with matplotlib."""


def settings(look: Look, fallbacks: tuple[str, ...] = ()) -> Any:
    """All of matplotlib's, so that a figure does not depend on what a user's matplotlibrc says.

    `fallbacks` are families for characters that the font of the look does not have.
    """
    defaults = {k: v for k, v in matplotlib.rcParamsDefault.items() if k != "backend"}
    chosen = RC | (_PAPER if look.style == "paper" else {})
    chosen |= _SERIF if look.font == "serif" else {}
    return defaults | chosen | {"font.family": [chosen["font.family"], *fallbacks]}


SETTINGS: Any = settings(Look())

# Okabe & Ito's colours without yellow, which is too pale for a line; black is kept for the anchor.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = ("s", "^", "D", "v", "P", "X", "<", ">")
MARKER_SIZES = {"o": 3.8, "s": 3.6, "D": 3.5}
"""Points; the others look smaller at the same size."""
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)))


@dataclass(frozen=True)
class Style:
    colour: str
    marker: str
    dashes: Any = "-"

    @property
    def size(self) -> float:
        return MARKER_SIZES.get(self.marker, 4.6)

    def line(self) -> dict[str, Any]:
        """How matplotlib draws a line of it, with its points."""
        return {
            "color": self.colour,
            "linestyle": self.dashes,
            "linewidth": 1.1,
            "marker": self.marker,
            "markersize": self.size,
            "markeredgecolor": "white",
            "markeredgewidth": 0.4,
        }


ANCHOR = Style("#000000", "o")
REST = Style("#bbbbbb", "")
"""Of methods that are too many to tell apart."""


def styles(methods: list[str], anchor: str) -> dict[str, Style]:
    """The anchor always looks the same; the others keep their look in all figures of a run."""
    others = [method for method in methods if method != anchor]
    looks = {
        method: Style(
            _COLOURS[i % len(_COLOURS)],
            _MARKERS[i % len(_MARKERS)],
            _DASHES[i // len(_COLOURS) % len(_DASHES)],
        )
        for i, method in enumerate(others)
    }
    return {anchor: ANCHOR, **looks}
