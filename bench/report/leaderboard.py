"""A page that ranks methods: static, one file, readable anywhere."""

import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from bench.analysis.fingerprints import method_conditions
from bench.analysis.leaderboard import Board, Entry, Leaderboard, Place, Saving
from bench.analysis.merging import Key
from bench.atomic import atomic, write_text
from bench.errors import ConfigError
from bench.report.page.document import document
from bench.report.page.elements import (
    Axis,
    Rate,
    bar,
    folded,
    line,
    name,
    picture,
    ratio,
    ratio_label,
    saving_axis,
    scrolled,
)
from bench.report.page.panel import embedded
from bench.report.text import NOTHING, interpolation_label, metric_label, number, printable
from bench.results.costs import STAGES
from bench.results.names import file_name

PAGE, ENTRIES = "index.html", "entries"
TITLE = "Leaderboard"
MARK = f'<meta name="generator" content="rabench {TITLE.lower()}">'
"""Of a page that may be written over."""
STYLE = """
.how { margin-top: 1rem; }
.board { width: 100%; } .board td, .board th { vertical-align: middle; }
.board tbody th { min-width: 12rem; }
.board td:has(svg) { min-width: 24rem; } .board .pair > span { flex: none; width: 11.5rem; }
.board tfoot td { border: 0; color: var(--soft); font-size: .75rem; }
.board .dot.hollow { fill: var(--paper); stroke: var(--soft); stroke-width: 1.6; }
.board small { white-space: normal; }
@media (max-width: 60rem) {
  .board td:has(svg) { min-width: 12rem; } .board .pair > span { width: auto; }
}
@media (max-width: 30rem) {
  .board tbody th { min-width: 8rem; } .board td:has(svg) { min-width: 8rem; }
  .board thead th { white-space: normal; }
}
"""
"""Beside the style of report.html."""


def write(found: Leaderboard, out: Path) -> list[Path]:
    """Write index.html and, in entries/, what says how each entry was measured → the files. Raises
    ConfigError where `out` holds another index.html or entries/, OSError where it cannot be
    written."""
    _require_ours(out)
    (out / ENTRIES).mkdir(parents=True, exist_ok=True)
    files = {}
    for entry in {e.name: e for board in found.boards for e in board.entries}.values():
        files[entry.name] = out / ENTRIES / f"{file_name(entry.name)}.json"
        with atomic(files[entry.name]) as part:
            shutil.copyfile(entry.manifest, part)
    links = {name: f"{ENTRIES}/{path.name}" for name, path in files.items()}
    write_text(out / PAGE, page(found, links))
    return [out / PAGE, *files.values()]


def _require_ours(out: Path) -> None:
    """Both or none of the two are there, the page as this module writes it."""
    there = [name for name in (PAGE, ENTRIES) if (out / name).exists()]
    if not there:
        return
    if there == [PAGE, ENTRIES] and MARK in (out / PAGE).read_text("utf-8", "replace"):
        return
    raise ConfigError(
        f"--out {out}: holds {' and '.join(there)} that no leaderboard wrote; name another folder"
    )


def page(found: Leaderboard, links: dict[str, str]) -> str:
    """As text; everything that comes from the entries is escaped. `links`: of the entries' names to
    files."""
    titles = _titles(found.boards)
    sections = [
        (f"board-{i}", title, _board(board, links))
        for i, (title, board) in enumerate(zip(titles, found.boards, strict=True))
    ]
    if found.notes:
        sections.append(("notes", "Notes", _notes(found.notes)))
    return document(
        title=TITLE,
        kind="Image coding for machines",
        heading=TITLE,
        sections=sections,
        intro=_how(),
        data=embedded({"methods": [], "panels": []}),
        style=STYLE,
        head=f"{MARK}\n",
    )


def _titles(boards: Sequence[Board]) -> Iterator[str]:
    """HTML; those of one data set and model are numbered."""
    before: Counter[Key] = Counter()
    for board in boards:
        dataset, task, model = board.key
        before[board.key] += 1
        kind = f" ({escape(task)})" if task.endswith("-agreement") else ""
        (experiment,) = board.manifest.experiments
        kind += f", {escape(experiment.protocol.name)}" if experiment.protocol else ""
        more = f", conditions {before[board.key]}" if before[board.key] > 1 else ""
        yield f"{name(model)} on {name(dataset)}{kind}{more}"


def _how() -> str:
    return (
        '<p class="caption how">Change of bits at equal accuracy against the anchor: near the '
        "uncompressed score, which decides, and over all accuracies that both curves reach; less "
        "than 0 saves bits. Brackets hold 95 % intervals from the same resampled images for all "
        "methods. A method’s place is one more than the number of methods that are clearly better: "
        "their paired interval against it excludes zero. Methods between which it holds zero, or "
        "has to be withheld, are tied. Without an interval of its own a method has no place, and a "
        "published curve has none. What has a * or is undefined is explained below its table.</p>"
    )


def _notes(notes: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f'<ul class="said">{items}</ul>'


def _board(board: Board, links: dict[str, str]) -> str:
    (experiment,) = board.manifest.experiments
    analysis = board.manifest.analysis
    about = [
        *([str(experiment.protocol)] if experiment.protocol else []),
        metric_label(board.metric),
        f"against {board.anchor}",
        f"{board.n_images} images",
        f"view {experiment.models[0].view}",
        f"range {analysis.range}",
        f"{interpolation_label(analysis.interpolation)} interpolation",
    ]
    untrained = ", ".join(board.manifest.random_weights)
    warning = (
        f'<p class="worse">Random weights, so the numbers mean nothing: {escape(untrained)}.</p>'
        if untrained
        else ""
    )
    differs = (
        f'<p class="note">Other conditions than in the table above: {escape(board.differs)}</p>'
        if board.differs
        else ""
    )
    return (
        f'<p class="note">{escape(" · ".join(about))}</p>{warning}{differs}'
        f"{_table(board, links)}{_remarks(board)}{_conditions(board)}"
    )


def _remarks(board: Board) -> str:
    """Why a number is missing or to be taken with care, for those who cannot point at it."""
    items = "".join(
        f"<li>{name(place.method)}, {where}: {escape(printable(saving.reason))}</li>"
        for place in board.places
        for where, saving in (("near the clean score", place.near), ("whole overlap", place.whole))
        if saving.reason
    )
    return folded("Remarks", f'<ul class="said">{items}</ul>') if items else ""


def _conditions(board: Board) -> str:
    (experiment,) = board.manifest.experiments
    model = experiment.models[0]
    facts = {
        "Images and ground truth": experiment.dataset_fingerprint,
        **{f"Metric {k}": v for k, v in experiment.metrics.items()},
        **method_conditions(experiment, board.anchor),
        **{f"Task model’s {k}": v for k, v in model.fingerprint.items()},
    }
    rows = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in facts.items())
    return folded("Conditions", f"<dl>{rows}</dl>")


# --- the table ------------------------------------------------------------------------------------


def _table(board: Board, links: dict[str, str]) -> str:
    ends = [v for p in board.places for v in (p.near.value, p.near.low, p.near.high)]
    axis = saving_axis(v for v in ends if v is not None)
    stages = [stage for stage in STAGES if any(stage in p.costs for p in board.places)]
    heads = ["Place", "Method", "Bits near the clean score, %", "Bits, whole overlap, %"]
    rows = ' rowspan="2"' if stages else ""
    first = "".join(
        f'<th scope="col"{rows} data-sort="{i}">{text}</th>' for i, text in enumerate(heads)
    )
    costs = f'<th scope="colgroup" colspan="{len(stages)}">ms per megapixel</th>' if stages else ""
    second = "".join(
        f'<th scope="col" class="n" data-sort="{len(heads) + i}">{stage.capitalize()}</th>'
        for i, stage in enumerate(stages)
    )
    head = f'<tr>{first}{costs}<th scope="col"{rows}>Entry</th></tr>'
    head += f"<tr>{second}</tr>" if stages else ""
    body = "".join(_row(i, p, board, axis, stages, links) for i, p in enumerate(board.places))
    ticks = axis.labels(map(ratio_label, axis.ticks))
    inner = (
        f'<table class="board"><thead>{head}</thead><tbody>{body}</tbody><tfoot><tr>'
        f'<td></td><td></td><td><div class="pair">{ticks}<span></span></div></td></tr></tfoot>'
        "</table>"
    )
    return scrolled(inner, f"Methods by their change of bits, {board.key[2]} on {board.key[0]}")


def _row(
    order: int,
    place: Place,
    board: Board,
    axis: Axis,
    stages: Sequence[str],
    links: dict[str, str],
) -> str:
    tied = ", ".join(place.tied)
    shown = NOTHING if place.place is None else f"{'=' if place.tied else ''}{place.place}"
    remark = f"<br><small>tied with {escape(tied)}</small>" if tied else ""
    if place.place is None:
        remark = "<br><small>no interval, so no place</small>"
    if place.published:
        remark = "<br><small>published curve, no interval</small>"
    if place.method == board.anchor:
        remark = f"<br><small>anchor{f', tied with {escape(tied)}' if tied else ''}</small>"
    costs = "".join(_cost(place.costs.get(stage)) for stage in stages)
    return (
        f'<tr><td data-value="{order}">{shown}</td>'
        f'<th scope="row" data-value="{order}">{name(place.method)}{remark}</th>'
        f"{_saving(place, board, axis)}{_whole(place, board)}{costs}"
        f"<td>{'all' if place.method == board.anchor else _link(place.entry, links)}</td></tr>"
    )


def _saving(place: Place, board: Board, axis: Axis) -> str:
    if place.method == board.anchor:
        return (
            f'<td data-value="0"><div class="pair">{_strip(place, axis)}<span>0</span></div></td>'
        )
    rate = _rate(place.near)
    value = "" if rate.value is None else f' data-value="{rate.value!r}"'
    return (
        f'<td{value}><div class="pair">{_strip(place, axis)}<span>{rate.html()}</span></div></td>'
    )


def _whole(place: Place, board: Board) -> str:
    if place.method == board.anchor:
        return '<td class="n" data-value="0">0</td>'
    rate = _rate(place.whole)
    value = "" if rate.value is None else f' data-value="{rate.value!r}"'
    return f'<td class="n"{value}>{rate.html()}</td>'


def _rate(saving: Saving) -> Rate:
    return Rate(saving.value, saving.low, saving.high, saving.reason)


def _strip(place: Place, axis: Axis) -> str:
    zero = axis.place(1)
    drawn = [axis.lines(), line(zero, zero, "0", "100%", "zero")]
    rate = _rate(place.near)
    if rate.value is not None:
        at = axis.place(ratio(rate.value))
        if rate.low is not None and rate.high is not None and rate.low < rate.high:
            low, high = axis.place(ratio(rate.low)), axis.place(ratio(rate.high))
            drawn.append(line(low, high, "50%", "50%", f"whisker {rate.verdict}"))
            drawn += [bar(end, end, "32%", "36%", f"cap {rate.verdict}") for end in (low, high)]
        kind = "hollow" if place.published else rate.verdict
        drawn.append(f'<circle class="dot {kind}" cx="{at:.2f}%" cy="50%" r="4.5"/>')
    return picture(*drawn)


def _cost(value: float | None) -> str:
    if value is None:
        return f'<td class="n">{NOTHING}</td>'
    shown = number(value, 0 if value >= 10 else 1)
    return f'<td class="n" data-value="{value!r}">{shown}</td>'


def _link(entry: Entry | None, links: dict[str, str]) -> str:
    if entry is None or entry.name not in links:
        return NOTHING
    return f'<a href="{quote(os.fsencode(links[entry.name]))}">{name(entry.name)}</a>'
