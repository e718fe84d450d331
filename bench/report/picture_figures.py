"""What coding leaves of pictures, side by side: the original, the anchor, the best method."""

import io
import re
from collections.abc import Iterator

from matplotlib.axes import Axes
from matplotlib.patches import Polygon
from PIL import Image

from bench.report import captions
from bench.report.curve_figures import new_figure
from bench.report.names import elided
from bench.report.overviews import Drawing, warning
from bench.report.results import Results
from bench.report.style import PAGE
from bench.report.text import number
from bench.results.names import file_name, point_name
from bench.results.pictures import KeptPicture, Look, Pictures, read

COLOURS = {"true": "#00a878", "false": "#f08030", "missed": "#ffffff"}
LONGEST = 40
"""Characters of a method's name."""


def albums(results: Results) -> Iterator[Drawing]:
    """For each data set and model the picture nearest to the median change, and the worst."""
    kept = read(results.folder)
    shown: dict[tuple[str, str], dict[str, KeptPicture]] = {}
    for picture in kept.kept:
        if picture.method.method in results.methods():
            shown.setdefault((picture.dataset, picture.model), {}).setdefault(picture.rule, picture)
    for (dataset, model), by_rule in shown.items():
        pictures = list(by_rule.values())
        stem = file_name(re.sub(r"[^A-Za-z0-9._+-]+", "-", f"{dataset}_{model}_pictures"))
        yield _album(results, kept, stem.replace("~", "-"), pictures)


def _album(results: Results, kept: Pictures, stem: str, pictures: list[KeptPicture]) -> Drawing:
    columns = 4 if any(p.removed for p in pictures) else 3
    tallest = max(p.height / p.width for p in pictures)
    figure = new_figure(PAGE, len(pictures) * (0.35 + tallest * PAGE / columns))
    if warning(results):
        figure.suptitle(warning(results), fontsize=7)
    grid = figure.subplots(len(pictures), columns, squeeze=False)
    for row, picture in zip(grid, pictures, strict=True):
        for axes in row:
            axes.set_axis_off()
        looks = (picture.original, picture.anchor, picture.method)
        for axes, look in zip(row, looks, strict=False):
            _draw(axes, kept, picture, look)
        if picture.removed:
            row[3].imshow(_opened(kept, picture.removed))
            row[3].set_title("removed, enlarged 4 times", fontsize=7)
    return Drawing(stem, figure, captions.of_pictures(pictures))


def _opened(kept: Pictures, file: str) -> Image.Image:
    """Raises ResultsError."""
    return Image.open(io.BytesIO(kept.data(file)))


def _draw(axes: Axes, kept: Pictures, picture: KeptPicture, look: Look) -> None:
    extent = (0, picture.width, picture.height, 0)
    axes.imshow(_opened(kept, look.file), extent=extent)
    for mark in sorted(look.marks, key=lambda mark: mark.state):
        if mark.box:
            style = "--" if mark.state == "missed" else "-"
            axes.add_patch(
                Polygon(
                    mark.corners(),
                    fill=False,
                    edgecolor=COLOURS[mark.state],
                    linestyle=style,
                    linewidth=0.9,
                )
            )
    said = ", ".join(mark.text for mark in look.marks if mark.box is None)
    if look.qp is None:
        title = "original"
    else:
        bpp = (look.bits or 0) / (picture.width * picture.height)
        title = f"{elided(look.method, LONGEST)}, {point_name(look.qp)}, {number(bpp, 3)} bpp"
    axes.set_title(title + (f"\n{said}" if said else ""), fontsize=7)
