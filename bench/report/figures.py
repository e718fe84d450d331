"""The figures of a results folder, each with its caption, in sizes of a two-column paper."""

import re
import threading
import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import matplotlib

from bench.atomic import atomic, write_text
from bench.report import captions
from bench.report.curve_figures import LONGEST, draw
from bench.report.difference_figures import Saving
from bench.report.fonts import fallbacks
from bench.report.names import elided
from bench.report.overviews import (
    Drawing,
    ablations,
    compared,
    forests,
    has_points,
    headline_curves,
    looks_of,
    panels,
    saving_of,
    savings,
    warning,
)
from bench.report.picture_figures import albums
from bench.report.results import Curves, Results
from bench.report.style import FAMILIES, SETTINGS, Options, settings, styles
from bench.results.names import file_name

__all__ = ["SETTINGS", "FigureFiles", "draw", "labels", "looks_of", "styles", "write_figures"]

FORMATS = ("pdf", "svg", "png")
CAPTION = "caption.tex"
DEFAULT = Options()

# rc_context changes matplotlib's global settings, and some are only read when a file is written.
_RC_LOCK = threading.Lock()
# No dates and no versions: the same results give the same bytes.
_METADATA: dict[str, dict[str, None]] = {
    "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
}


@dataclass(frozen=True)
class FigureFiles:
    """One figure of curves, written in each of FORMATS, and its caption."""

    curves: Curves
    files: list[Path]

    def file(self, suffix: str) -> Path:
        return next(path for path in self.files if path.suffix == f".{suffix}")


def write_figures(results: Results, options: Options = DEFAULT) -> list[FigureFiles]:
    """Write figures/<dataset>_<model>_<metric>.{pdf,svg,png,caption.tex} for all curves with coded
    points."""
    with _drawing(results, options):
        for stem, curves in _named(results):
            _write(results, _curves(results, curves, stem))
    return figure_files(results)


def figure_files(results: Results) -> list[FigureFiles]:
    """What `write_figures` has written there."""
    folder = results.folder / "figures"
    return [
        FigureFiles(curves, [folder / f"{stem}.{suffix}" for suffix in (*FORMATS, CAPTION)])
        for stem, curves in _named(results)
    ]


def write_overviews(results: Results, options: Options = DEFAULT) -> list[Path]:
    """Write the figures of more than one curve → the files: panel, forest, and for each model on
    its data set <dataset>_<model>_<metric>_saving; with runs beside this one also ablation.

    Raises ConfigError where those cannot be compared with it.
    """
    with _drawing(results, options):
        written = []
        for drawing in _overviews(results, options):
            written += _write(results, drawing)
        return written


def _overviews(results: Results, options: Options) -> Iterator[Drawing]:
    yield from panels(results)
    yield from forests(results)
    headlines = headline_curves(results)
    for stem, curves in _named(results):
        drawing = savings(results, curves, stem) if curves in headlines else None
        if drawing:
            yield drawing
    yield from albums(results)
    yield from ablations(results, options)


def labels(results: Results, curves: Curves) -> dict[str, str]:
    """The legend's entries: each method with its BD-rate against the anchor, its interval, and †
    where it rests on little."""
    text = {method: elided(method, LONGEST) for method in curves.methods}
    for row in compared(results, curves):
        if row.method in text:
            saving = saving_of(row)
            name = text[row.method]
            if _turned(name):  # marks keep it and what follows in their own directions
                name = f"\N{LEFT-TO-RIGHT MARK}{name}\N{LEFT-TO-RIGHT MARK}"
            said = saving.text if saving.value is None else _percent(saving)
            text[row.method] = f"{name}  {said}"
    return text


def _turned(name: str) -> bool:
    return any(unicodedata.bidirectional(c) in ("R", "AL") for c in name)


def _percent(saving: Saving) -> str:
    """ "−12.3 % [−15.0, −9.1] †" """
    value, *rest = saving.text.split(" ", 1)
    return " ".join([value, "%", *rest])


def _curves(results: Results, curves: Curves, stem: str) -> Drawing:
    entries = labels(results, curves)
    looks = looks_of(results, curves.anchor)
    figure = draw(curves, looks, entries, warning(results), results.accepted(curves))
    return Drawing(stem, figure, captions.of_curves(results, curves, list(entries.values())))


def _named(results: Results) -> Iterator[tuple[str, Curves]]:
    """All curves with something to draw, and names for their files that differ."""
    taken: set[str] = set()
    for curves in filter(has_points, results.curves()):
        name = f"{curves.dataset}_{curves.model}_{curves.metric}"
        stem = file_name(re.sub(r"[^A-Za-z0-9._+-]+", "-", name).lstrip(".-"))
        stem = stem.replace("~", "-")  # in LaTeX a blank
        unique, n = stem, 2
        while unique in taken:
            unique, n = f"{stem}-{n}", n + 1
        taken.add(unique)
        yield unique, curves


@contextmanager
def _drawing(results: Results, options: Options) -> Iterator[None]:
    """Matplotlib as it is set for these figures; for one thread at a time."""
    (results.folder / "figures").mkdir(exist_ok=True)
    names = [*results.methods(), *(name for group in results.groups() for name in group)]
    with _RC_LOCK, warnings.catch_warnings():
        families = fallbacks(FAMILIES[options.look.font], tuple(names))
        warnings.filterwarnings("ignore", message="Glyph")  # said above, naming the names
        with matplotlib.rc_context(settings(options.look, families)):
            yield


def _write(results: Results, drawing: Drawing) -> list[Path]:
    folder = results.folder / "figures"
    files = [folder / f"{drawing.stem}.{suffix}" for suffix in FORMATS]
    drawing.figure.draw_without_rendering()  # lays it out, once for all formats
    drawing.figure.set_layout_engine("none")
    for suffix, file in zip(FORMATS, files, strict=True):
        with atomic(file) as part:
            drawing.figure.savefig(part, format=suffix, dpi=300, metadata=_METADATA[suffix])
    caption = folder / f"{drawing.stem}.{CAPTION}"
    write_text(caption, captions.caption(results, drawing.stem, drawing.caption))
    return [*files, caption]
