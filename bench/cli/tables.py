"""Tables for people: what a run will do, what it will take, and what it found."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from bench.api import Results
    from bench.protocols import Protocol
    from bench.results.manifest import Manifest
    from bench.sweep.cost import Cost
    from bench.sweep.plan import Experiment

QUICK = 2.0
"""Seconds after which a dry run does not try a step again."""


def plan(experiments: "list[Experiment]", protocol: "Protocol | None" = None) -> Group:
    """What will be done, under the protocol's name."""
    told = [Text(_protocol(protocol))] if protocol else []
    return Group(*told, _plan(experiments))


def _protocol(asked: "Protocol") -> str:
    from bench.protocols import identity

    known = identity(asked)
    return f"protocol {asked.name}{f', conditions {known}' if known else ''}: {asked.summary}"


def _plan(experiments: "list[Experiment]") -> Table:
    from bench.results.names import point_name
    from bench.sweep import pilot

    table = Table("data set", "images", "models", "methods and QPs", "to code", "to predict")
    for e in experiments:
        n, points = len(e.dataset.samples), len(pilot.typical(e).points)
        about = "about " if e.auto else ""
        grid = "\n".join(
            f"{m}{' (anchor)' if m == e.config.anchor else ''}: "
            + (f"auto, within {qps[0]}…{qps[-1]}" if m in e.auto else _listed(map(point_name, qps)))
            for m, qps in e.grid().items()
        )
        names = "\n".join(f"{m.spec.name} ({m.view.split(':')[0]} view)" for m in e.models)
        table.add_row(
            escape(e.dataset.name),
            str(n),
            escape(names),
            escape(grid),
            about + str(n * points * len(e.views)),
            about + str(n * (points + 1) * len(e.models)),
        )
    return table


def _listed(points: Iterable[str]) -> str:
    """Without what each of them begins with."""
    return ", ".join(point.removeprefix("QP ") for point in points)


def costs(found: "list[Cost]") -> Table:
    """Milliseconds are of CPU time, all cores together, or of the GPU."""
    table = Table(
        "data set", "step", "of", "ms/picture", "ms/megapixel", "parameters", "kMAC/pixel"
    )
    for c in found:
        table.add_row(
            escape(c.dataset),
            c.step,
            escape(c.what) + (" (GPU)" if c.on_gpu else ""),
            f"{1000 * c.seconds:.2f}",
            f"{c.ms_per_megapixel:.0f}",
            "" if c.parameters is None else f"{c.parameters:,}",
            "" if c.macs_per_pixel is None else f"{c.macs_per_pixel / 1000:.2f}",
        )
    return table


def estimated(found: "list[Cost]", images: int) -> str:
    """What a data set of so many pictures takes if nothing is in the cache."""
    from bench.sweep import cost

    lines = []
    for e in cost.estimate(found, images):
        gpu = f" and {_time(e.gpu_hours, 'GPU')}" if e.gpu_hours else ""
        lines.append(
            f"{e.dataset}, {e.images:,} images: {e.encodes:,} encodes, "
            f"{_time(e.core_hours, 'core')}{gpu}, {e.gigabytes:.2f} GB of cache"
        )
    return "\n".join(lines)


def _time(hours: float, of: str) -> str:
    return f"{hours:.1f} {of}-hours" if hours >= 1 else f"{60 * hours:.1f} {of}-minutes"


def expected(experiments: "list[Experiment]") -> Iterator[str]:
    """What they take: first how that is found out, then a line or two as each is measured."""
    from bench.sweep import cost, pilot

    yield (
        "estimate for this machine, nothing cached: the first picture of each data set is timed, "
        f"{QUICK:g} s a step, and scaled"
    )
    for e in experiments:
        found = list(cost.measured(pilot.typical(e), 1, QUICK))
        yield estimated(found, len(e.dataset.samples))
        if searched := [p.method for p in e.points if p.tries]:
            most = max(len(p.tries) for p in e.points).bit_length()
            named = ", ".join(dict.fromkeys(searched))
            yield f"  a target rate takes up to {most} tries, so coding by {named} takes as long"
        if e.auto:
            ahead = estimated(*pilot.costs(e, found))
            yield f"  and a pilot before it, of which the run reuses a part: {ahead}"
        if slow := [f"{c.what} {c.seconds:.1f} s" for c in found if c.first_call]:
            yield f"  timed at the first call, which later ones may undercut: {', '.join(slow)}"


def of(results: "Results") -> Group:
    """The protocol that the run met, if any, and the table of `api.Results.summary`, with its
    remarks below, a line each."""
    met = dict.fromkeys(str(e.protocol) for e in results.manifest.experiments if e.protocol)
    summary = results.summary
    numbers = summary.drop(columns="remarks")
    table = Table(*numbers.columns)
    for row in numbers.itertuples(index=False):
        table.add_row(*map(escape, row))
    remarks = [
        Text(f"{', '.join(row[:4])}: {row[-1]}")
        for row in summary.itertuples(index=False)
        if row[-1]
    ]
    return Group(*map(Text, met), table, *remarks)


def off_target(manifest: "Manifest") -> str:
    """How many pictures are not near their target rate; empty if all are, or none has one."""
    missed = manifest.off_target
    if not missed:
        return ""
    of = ", ".join(dict.fromkeys(m.method for m in missed))
    return (
        f"{len(missed)} codings by {of} are not within 3 % of their target rate, also at the "
        "QP that comes nearest; rates.csv names them"
    )


def counts(manifest: "Manifest") -> str:
    computed, cached = manifest.computed, manifest.cached
    return (
        f"coded {computed.get('coded', 0)} pictures ({cached.get('coded', 0)} more from the cache),"
        f" predicted {computed.get('predicted', 0)} ({cached.get('predicted', 0)} more); "
        f"{', '.join(f'{k} {v:.0f} s' for k, v in manifest.timings.items())}"
    )
