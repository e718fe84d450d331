"""What coding costs each category and each size of objects, and what the methods save of it."""

from collections.abc import Sequence
from html import escape

from bench.report.breakdown import FEW, Breakdown, Part, breakdowns
from bench.report.page.elements import folded, name, scrolled, unfolded
from bench.report.page.overview import range_of
from bench.report.results import Results
from bench.report.text import NOTHING, metric_label, number, percent, signed
from bench.results.names import CATEGORIES, point_name

WIDE = 8
"""Methods of one table; those after them have folded tables of their own."""
LISTED = 200
"""Categories of a table."""
NAMED = 3
"""Categories that are named of a method."""
TOLD = 3
"""Methods of which something is said at once."""
TALL = 20
"""A table with more rows is scrolled in a box of its own."""
DIGITS = 3
"""Of accuracies; what is smaller is no difference."""
NUMBER, FADED = ' class="n"', ' class="few"'


def section(results: Results) -> str:
    """Empty where the run has neither categories nor sizes."""
    found = breakdowns(results)
    if not found:
        return ""
    drawn = []
    for i, about in enumerate(found):
        title = (
            f"<b>{name(about.model)}</b> on {name(about.dataset)}, "
            f"{escape(metric_label(about.metric))}"
        )
        rows = len(about.sizes) + len(about.categories)
        drawn.append(folded(title, _body(about), is_open=unfolded(i, rows)))
    caption = (
        "What compression takes from each category and size, and what the methods save of it: the "
        "anchor’s change against the uncompressed images, and every other method’s difference from "
        "the anchor at the same rate, where positive keeps more."
    )
    rule = (
        f"The anchor’s QP is the one nearest the middle of the acceptable range "
        f"({range_of(results)}), of those whose rate lies between two QPs of at least half of the "
        "methods. Other methods are read off a straight line over the logarithm of the rate. "
        "A dash: undefined, or no QP on one side of that rate. No intervals: a few objects "
        "make a noisy number."
    )
    return (
        f'<p class="caption">{caption}</p>{"".join(drawn)}'
        f'<ul class="footnotes"><li>{rule}</li></ul>'
    )


def _body(about: Breakdown) -> str:
    parts = [f'<p class="note">{_where(about)}</p>']
    if about.sizes:
        parts.append("<h3>By size of objects</h3>" + _tables("Metric", about, about.sizes))
    if about.categories:
        parts.append("<h3>By category</h3>" + _told(about) + _categories(about))
    return "".join(parts)


def _where(about: Breakdown) -> str:
    """The operating point."""
    at, metric = about.at, escape(metric_label(about.metric))
    if at is None or at.value is None or about.clean is None:
        return f"The anchor has no operating point with {metric}, so that no change is known."
    return (
        f"{name(about.anchor)} at {point_name(at.qp or 0)}: "
        f"{number(at.bpp, DIGITS)} bits per pixel, "
        f"{metric} {number(at.value, DIGITS)} of {number(about.clean, DIGITS)} uncompressed"
        f"{_share(at.value - about.clean, about.clean)}."
    )


def _share(change: float, of: float | None) -> str:
    return f" <small>{percent(100 * change / of)} %</small>" if of else ""


# --- what is said of the categories ---------------------------------------------------------------


def _told(about: Breakdown) -> str:
    """Of each method: in how many categories it is better or worse, and in which the most."""
    parts = [part for part in about.categories if not part.few]
    items = [item for method in about.methods if (item := _method(method, parts))]
    if not items:
        return ""
    lead = (
        f"Against {name(about.anchor)} at its rate, of the categories with at least {FEW} objects "
        "or images:"
    )
    rest = items[TOLD:]
    more = folded(f"{len(rest)} more", f'<ul class="said">{"".join(rest)}</ul>') if rest else ""
    return f'<p class="note">{lead}</p><ul class="said">{"".join(items[:TOLD])}</ul>{more}'


def _method(method: str, parts: Sequence[Part]) -> str:
    gains = [(part.gained(method), part.name) for part in parts]
    known = [(round(gain, DIGITS), called) for gain, called in gains if gain is not None]
    better = sorted((one for one in known if one[0] > 0), key=lambda one: -one[0])
    worse = sorted((one for one in known if one[0] < 0), key=lambda one: one[0])
    if not known:
        return ""
    return (
        f"<li><b>{name(method)}</b>: better in {len(better)} of {len(known)}{_most(better)}, "
        f"worse in {len(worse)}{_most(worse)}.</li>"
    )


def _most(known: Sequence[tuple[float, str]]) -> str:
    listed = ", ".join(f"{name(called)} {signed(gain, DIGITS)}" for gain, called in known[:NAMED])
    return f" ({'most: ' if len(known) > NAMED else ''}{listed})" if known else ""


# --- tables ---------------------------------------------------------------------------------------


def _categories(about: Breakdown) -> str:
    count = len(about.categories)
    said = f"Largest loss with {name(about.anchor)} first" if about.at else "As in the data set"
    if any(part.few for part in about.categories):
        said += f"; those with fewer than {FEW} objects or images last and in grey"
    if count > LISTED:
        said += f"; {LISTED} of {count:,} categories, all of them in {CATEGORIES}"
    return f'<p class="note">{said}.</p>{_tables("Category", about, about.categories[:LISTED])}'


def _tables(what: str, about: Breakdown, parts: Sequence[Part]) -> str:
    """One for every WIDE methods, all but the first folded."""
    groups = [about.methods[i : i + WIDE] for i in range(0, len(about.methods), WIDE)]
    first, *others = groups or [[]]
    return _table(what, about, parts, first) + "".join(
        folded(f"With {', '.join(map(name, methods))}", _table(what, about, parts, methods))
        for methods in others
    )


def _table(what: str, about: Breakdown, parts: Sequence[Part], methods: Sequence[str]) -> str:
    counted = any(part.n is not None for part in parts)
    alphabet = sorted(range(len(parts)), key=lambda i: parts[i].name.casefold())
    places = {i: place for place, i in enumerate(alphabet)}
    body = "".join(
        f"<tr{FADED if part.few else ''}>"
        f'<th scope="row" data-value="{places[i]}">{name(part.name)}</th>'
        f"{_cells(part, methods, counted)}</tr>"
        for i, part in enumerate(parts)
    )
    inner = (
        f'<table class="parts"><thead>{_head(what, about.anchor, methods, counted)}</thead>'
        f"<tbody>{body}</tbody></table>"
    )
    label = f"Accuracy by {what.lower()}, {about.model} on {about.dataset}"
    return scrolled(inner, label, tall=len(parts) > TALL)


def _head(what: str, anchor: str, methods: Sequence[str], counted: bool) -> str:
    """A head over the methods, if there are any, says what they are compared with."""
    lost = f"Change with {name(anchor)}"
    titles = [what, *(["n"] if counted else []), "Uncompressed", lost]
    rows = ' rowspan="2"' if methods else ""
    first = "".join(
        f'<th scope="col"{rows}{NUMBER if i else ""} data-sort="{i}">{title}</th>'
        for i, title in enumerate(titles)
    )
    if not methods:
        return f"<tr>{first}</tr>"
    first += f'<th scope="colgroup" colspan="{len(methods)}">Against {name(anchor)}</th>'
    second = "".join(
        f'<th scope="col"{NUMBER} data-sort="{len(titles) + i}">{name(method)}</th>'
        for i, method in enumerate(methods)
    )
    return f"<tr>{first}</tr><tr>{second}</tr>"


def _cells(part: Part, methods: Sequence[str], counted: bool) -> str:
    lost = part.lost
    share = "" if lost is None else _share(lost, part.clean)
    return "".join(
        (
            _cell(part.n, str(part.n)) if counted else "",
            _cell(part.clean, number(part.clean, DIGITS)),
            _cell(lost, _signed(lost) + share),
            *(_cell(gain, _signed(gain)) for gain in map(part.gained, methods)),
        )
    )


def _cell(value: float | None, text: str) -> str:
    """`text` is HTML."""
    if value is None:
        return f'<td{NUMBER}><span class="none">{NOTHING}</span></td>'
    return f'<td{NUMBER} data-value="{value!r}">{text}</td>'


def _signed(value: float | None) -> str:
    return NOTHING if value is None else signed(value, DIGITS)
