"""Tables for people: what a run will do, what it will take, and what it found."""

from typing import TYPE_CHECKING

from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    import pandas as pd

    from bench.results.manifest import Manifest
    from bench.sweep.cost import Cost
    from bench.sweep.plan import Experiment


def plan(experiments: "list[Experiment]") -> Table:
    table = Table("data set", "images", "models", "methods and QPs", "to code", "to predict")
    for e in experiments:
        n, points = len(e.dataset.samples), len(e.points)
        grid = "\n".join(
            f"{m}{' (anchor)' if m == e.config.anchor else ''}: {', '.join(map(str, qps))}"
            for m, qps in e.grid().items()
        )
        names = "\n".join(f"{m.spec.name} ({m.view.split(':')[0]} view)" for m in e.models)
        table.add_row(
            escape(e.dataset.name),
            str(n),
            escape(names),
            escape(grid),
            str(n * points * len(e.views)),
            str(n * (points + 1) * len(e.models)),
        )
    return table


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


def expected(experiments: "list[Experiment]") -> str:
    """What they take, by the first picture of each data set."""
    from bench.sweep import cost

    return "\n".join(
        estimated(list(cost.measured(e, 1)), len(e.dataset.samples)) for e in experiments
    )


def of(summary: "pd.DataFrame") -> Group:
    """The table of `api.Results.summary`, with its remarks below, a line each."""
    numbers = summary.drop(columns="remarks")
    table = Table(*numbers.columns)
    for row in numbers.itertuples(index=False):
        table.add_row(*map(escape, row))
    remarks = [
        Text(f"{', '.join(row[:4])}: {row[-1]}")
        for row in summary.itertuples(index=False)
        if row[-1]
    ]
    return Group(table, *remarks)


def counts(manifest: "Manifest") -> str:
    computed, cached = manifest.computed, manifest.cached
    return (
        f"coded {computed.get('coded', 0)} pictures ({cached.get('coded', 0)} more from the cache),"
        f" predicted {computed.get('predicted', 0)} ({cached.get('predicted', 0)} more); "
        f"{', '.join(f'{k} {v:.0f} s' for k, v in manifest.timings.items())}"
    )
