"""report.html: one file with everything in it, readable anywhere and for years."""

import base64
from html import escape
from pathlib import Path

from bench.atomic import write_text
from bench.report.figures import FigureFiles
from bench.report.page import (
    by_category,
    comparisons,
    in_short,
    measured,
    overview,
    panel,
    pictures,
    record,
)
from bench.report.page.document import Section, document
from bench.report.results import Results
from bench.report.text import metric_label


def write_page(results: Results, figures: list[FigureFiles]) -> Path:
    """Write report.html: it needs nothing beside it and nothing from the network.

    Raises ResultsError where images.parquet or costs.parquet is there and damaged.
    """
    path = results.folder / "report.html"
    write_text(path, page(results, figures))
    return path


def page(results: Results, figures: list[FigureFiles]) -> str:
    """The page as text. Everything that comes from the results is escaped."""
    title = results.manifest.name or results.folder.resolve().name
    content = panel.content(results)
    curves = _curves(results, figures) if content["panels"] else ""
    return document(
        title=f"{escape(title)} – rate–accuracy report",
        kind="Rate–accuracy report",
        heading=escape(title),
        lead=_protocol(results) + _warning(results),
        sections=[section for section in _sections(results, curves) if section[2]],
        data=panel.embedded(content),
    )


def _sections(results: Results, curves: str) -> list[Section]:
    cost, bits = measured.sections(results)
    return [
        ("summary", "In short", in_short.summary(results)),
        ("matrix", "BD-rate", overview.matrix(results) + record.bd_rates(results)),
        ("forest", "Intervals", overview.forest(results)),
        ("curves", "Curves", curves or "<p>No operating points to draw.</p>"),
        ("saving", "Saving against accuracy", _saving(results) if curves else ""),
        ("parts", "By category and size", by_category.section(results)),
        ("pairs", "Pairs and means", comparisons.pairs(results) + comparisons.means(results)),
        ("cost", "Cost", cost),
        ("bits", "Bits by image", bits),
        ("pictures", "Pictures", pictures.section(results)),
        ("points", "Operating points", record.points(results)),
        ("failures", "Failures", record.failures(results)),
        ("provenance", "How it was made", record.provenance(results)),
        ("files", "Files", record.files(results)),
    ]


def _protocol(results: Results) -> str:
    told = dict.fromkeys(str(e.protocol) for e in results.manifest.experiments if e.protocol)
    return "".join(f"<p>{escape(text)}.</p>\n" for text in told)


def _warning(results: Results) -> str:
    said = results.random_weights
    return f'<p><span class="worse">{escape(said)}</span></p>\n' if said else ""


def _curves(results: Results, figures: list[FigureFiles]) -> str:
    """The panel for those with a script; the figures for those without, and for paper."""
    drawn = "".join(_figure(results, f) for f in figures)
    return f'{panel.controls()}<div class="figures still">{drawn}</div>'


def _saving(results: Results) -> str:
    return (
        '<div class="live"><p class="caption">Bits at equal accuracy against the anchor, of the '
        "data set, model, metric and methods chosen above; bands are paired 95 % intervals.</p>"
        '<div class="chart" id="savings"></div></div>' + record.equal_accuracy(results)
    )


def _figure(results: Results, figure: FigureFiles) -> str:
    curves = figure.curves
    metric = metric_label(curves.metric)
    view = results.view(curves.dataset, curves.model)
    caption = f"{curves.model} on {curves.dataset}" + (f", view {view}" if view else "")
    bands = "; bands are 95 % intervals" if _has_bands(figure) else ""
    points = [p for own in curves.methods.values() for p in own]
    if any(p.change and not p.published for p in points):
        bands += "; hollow points were left out of BD-rates or averaged into the line"
    if any(p.published for p in points):
        bands += "; curves that are hollow all along were published, without intervals"
    # As an image, not inline: the identifiers of several SVGs would clash in one document.
    data = base64.b64encode(figure.file("svg").read_bytes()).decode("ascii")
    description = f"{metric} against rate, {caption}: {', '.join(curves.methods)}"
    return (
        f'<figure><img alt="{escape(description)}" src="data:image/svg+xml;base64,{data}">'
        f"<figcaption><b>{escape(metric)}</b>, {escape(caption)}{bands}.</figcaption></figure>"
    )


def _has_bands(figure: FigureFiles) -> bool:
    return any(p.ci_low is not None for points in figure.curves.methods.values() for p in points)
