"""Figures, tables and a page from a results folder, which is all that is read."""

from pathlib import Path

from bench.analysis import plain_matplotlib  # noqa: F401  before the figures import it
from bench.report.figures import write_figures
from bench.report.html import write_page
from bench.report.results import read
from bench.report.tables import write_tables


def write(results: Path) -> list[Path]:
    """Write figures/, tables/ and report.html into a results folder → the files written.

    Reads manifest.json, points.csv, bd.csv and equal_accuracy.csv there. The same input gives the
    same bytes. Raises ConfigError or DataError where one of them is missing or cannot be read,
    OSError where nothing can be written. A figure, table or page that is there stays whole until
    the new one is.
    """
    content = read(Path(results))
    figures = write_figures(content)
    tables = write_tables(content)
    page = write_page(content, figures)
    return [path for figure in figures for path in figure.files] + tables + [page]
