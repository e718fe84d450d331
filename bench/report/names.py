"""Names of methods as a paper calls them, and as they fit."""

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from bench.errors import ConfigError
from bench.report.results import Results
from bench.report.text import one_line
from bench.results.names import UNCOMPRESSED
from bench.results.rows import BDRow, EqualAccuracyRow, MeanRow

Change = Callable[[str], str]
R = TypeVar("R", BDRow, EqualAccuracyRow, MeanRow)


def elided(name: str, width: int) -> str:
    """A name in at most `width` columns of a terminal, where it is longer without its middle."""
    name = one_line(name)
    if columns(name) <= width:
        return name
    tail, room = "", (width - 1) // 2
    for character in reversed(name):
        if columns(character + tail) > room:
            break
        tail = character + tail
    head, room = "", width - 1 - columns(tail)
    for character in name:
        if columns(head + character) > room:
            break
        head += character
    return f"{head}…{tail}"


def columns(text: str) -> int:
    """Columns of a terminal: two for a wide character, as of Chinese, and none for an accent."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def shown(results: Results, methods: tuple[str, ...], names: Mapping[str, str]) -> Results:
    """Results with these methods and the anchors alone (all methods if none is named), some of
    them under other names.

    Raises ConfigError for a method that was not measured, and for two methods of one name.
    """
    measured = results.methods()
    for option, named in (("--methods", methods), ("--names", tuple(names))):
        unknown = [name for name in named if name not in measured]
        if unknown:
            raise ConfigError(
                f"{option}: the run has no method {', '.join(map(repr, unknown))}; it has "
                f"{', '.join(measured)}"
            )
    kept = {*methods, *results.anchors()} if methods else set(measured)
    called = [names.get(method, method) for method in measured if method in kept]
    twice = [name for name in dict.fromkeys(called) if called.count(name) > 1]
    if twice:
        raise ConfigError(f"--names: two methods would be called {twice[0]!r}")
    return _renamed(results, kept, names) if methods or names else results


def _renamed(results: Results, kept: set[str], names: Mapping[str, str]) -> Results:
    def of(method: str) -> str:
        return names.get(method, method)

    def said(reason: str) -> str:
        return pattern.sub(lambda found: names[found[0]], reason)

    listed = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    pattern = re.compile(rf"(?<![\w+-])(?:{listed})(?![\w+-])" if names else r"(?!)")
    experiments = tuple(
        e.model_copy(
            update={
                "anchor": of(e.anchor),
                "methods": {of(m): qps for m, qps in e.methods.items() if m in kept},
            }
        )
        for e in results.manifest.experiments
    )
    kept = kept | {UNCOMPRESSED}
    return replace(
        results,
        manifest=results.manifest.model_copy(update={"experiments": experiments}),
        points=[replace(p, method=of(p.method)) for p in results.points if p.method in kept],
        bd=_called(results.bd, kept, of, said),
        equal=_called(results.equal, kept, of, said),
        pairs=[
            replace(r, method=of(r.method), against=of(r.against), reason=said(r.reason))
            for r in results.pairs
            if {r.method, r.against} <= kept
        ],
        means=_called(results.means, kept, of, said),
        fidelity=[
            replace(r, method=of(r.method), anchor=of(r.anchor))
            for r in results.fidelity
            if r.method in kept
        ],
        categories=[
            replace(r, method=of(r.method)) for r in results.categories if r.method in kept
        ],
    )


def _called(rows: list[R], kept: set[str], of: Change, said: Change) -> list[R]:
    return [
        replace(r, method=of(r.method), anchor=of(r.anchor), reason=said(r.reason))
        for r in rows
        if r.method in kept
    ]
