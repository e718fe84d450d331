"""Figures, tables and a page from a results folder, which is all that is read."""

from pathlib import Path

from bench.analysis import plain_matplotlib  # noqa: F401  before the figures import it
from bench.report import cttc
from bench.report.figures import figure_files, write_figures, write_overviews
from bench.report.html import write_page
from bench.report.names import shown
from bench.report.results import read
from bench.report.style import Options
from bench.report.tables import write_tables


def write(results: Path, options: Options | None = None) -> list[Path]:
    """Write figures/, tables/ and report.html into a results folder → the files written.

    Reads manifest.json and the CSV files there. The same input gives the same bytes. `options`
    choose and name methods in figures and tables; the page has all of them. Raises ConfigError or
    DataError where one of the files is missing or cannot be read, or where the options do not fit,
    OSError where nothing can be written. A figure, table or page that is there stays whole until
    the new one is.
    """
    options = options or Options()
    content = read(Path(results))
    chosen = shown(content, options.methods, options.names)
    figures = write_figures(chosen, options)
    overviews = write_overviews(chosen, options)
    tables = write_tables(chosen)
    if cttc.wanted(content.manifest):
        tables += cttc.write(content.folder)
    page = write_page(content, figures)
    return [path for figure in figures for path in figure.files] + overviews + tables + [page]


def write_page_of(results: Path) -> Path:
    """Write report.html into a results folder whose figures are there. Raises as `write` does."""
    content = read(Path(results))
    return write_page(content, figure_files(content))
