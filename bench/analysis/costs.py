"""What coding took, as a baseline carries it."""

from bench.analysis.results import Results
from bench.results import costs
from bench.results.baseline import Speed


def speeds(results: Results) -> tuple[Speed, ...]:
    """Milliseconds per megapixel, to three digits. Raises ResultsError where a table is damaged."""
    return tuple(
        Speed(dataset=d, view=v, method=m, stage=s, ms_per_megapixel=float(f"{ms:.3g}"))
        for (d, v, m, s), ms in costs.speeds(results.root).items()
    )
