"""The headline metric by category, where all metrics are asked for."""

from collections.abc import Iterator, Sequence

from bench.analysis.curves import Measurement
from bench.analysis.results import Results
from bench.results.rows import CategoryRow, known
from bench.tasks import scored


def category_rows(results: Results, measurements: Sequence[Measurement]) -> list[CategoryRow]:
    """A row per operating point and category that occurs in the surviving images; none unless
    `analysis.metrics` is all. Raises ResultsError."""
    if results.manifest.analysis.metrics != "all":
        return []
    return [row for m in measurements for row in _rows(results, m)]


def _rows(results: Results, m: Measurement) -> Iterator[CategoryRow]:
    task, weights = scored(m.experiment.task), m.surviving.astype("int64")
    assert task is not None  # or it would not have been measured
    names = m.experiment.categories
    for point in m.points:
        table = results.statistics(m.experiment, m.model, point.method, point.qp)
        for of in task.by_category(table, weights):
            yield CategoryRow(
                dataset=m.experiment.dataset,
                task=m.experiment.task,
                model=m.model.name,
                method=point.method,
                qp=point.qp,
                category=of.category,
                name=names.get(of.category, str(of.category)),
                metric=m.metrics[0].name,
                value=known(of.value),
                n=of.n,
            )
