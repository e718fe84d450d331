"""What is said first: of each data set and model the saving of every method, and what it costs."""

from html import escape

from bench.report.page.elements import OPEN, folded, name
from bench.report.results import Results
from bench.report.summary import Said, Summary, summaries
from bench.report.text import metric_label

FIRST = 3
"""Methods of which all is said at once; those after them are folded."""
NAMED = 12
"""Methods that are listed by name; more are counted."""


def summary(results: Results) -> str:
    """Raises ResultsError where a table that the sentences are made from is damaged."""
    blocks = []
    for i, about in enumerate(summaries(results)):
        title, body = _title(about), _body(results, about)
        blocks.append(f"<h3>{title}</h3>{body}" if i < OPEN else folded(title, body))
    return "".join(blocks) or "<p>Nothing measured.</p>"


def _title(about: Summary) -> str:
    against = f", against {name(about.anchor)}" if about.anchor else ""
    return (
        f"<b>{name(about.model)} on {name(about.dataset)}</b> "
        f"<small>{escape(metric_label(about.metric))}{against}</small>"
    )


def _body(results: Results, about: Summary) -> str:
    items = [_method(said, about.lead if i == 0 else "") for i, said in enumerate(about.methods)]
    first = f'<ul class="said">{"".join(items[:FIRST])}</ul>' if items else ""
    rest = items[FIRST:]
    more = folded(f"{len(rest)} more", f'<ul class="said">{"".join(rest)}</ul>') if rest else ""
    return f'<p class="note">{_measured(results, about)}</p>{first}{more}'


def _method(said: Said, lead: str) -> str:
    others = "; ".join(filter(None, (said.whole, said.fidelity, said.cost)))
    after = f"<small>{escape(others)}.</small>" if others else ""
    return f"<li><b>{name(said.method)}</b>: {escape(said.near)}. {escape(lead)}{after}</li>"


def _measured(results: Results, about: Summary) -> str:
    """Images, view and methods."""
    own = [p for p in results.points if (p.dataset, p.model) == (about.dataset, about.model)]
    limited = " (the first of the data set)" if results.limited(about.dataset) else ""
    parts = [f"{own[0].n_images} images{limited}"]
    if about.task.endswith("-agreement"):
        parts.append("no labels: agreement with the uncompressed images, not accuracy")
    if view := results.view(about.dataset, about.model):
        parts.append(f"view {escape(view)}")
    coded = {p.method for p in own}
    methods = [name(method) for method in results.methods() if method in coded]
    listed = ", ".join(methods) if len(methods) <= NAMED else f"{len(methods)} methods"
    parts.append(listed or "no coded methods")
    return " · ".join(parts)
