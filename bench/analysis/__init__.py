"""From a results folder to its tables of numbers. Reads that folder and nothing else."""

from pathlib import Path

from bench.analysis.categories import category_rows
from bench.analysis.curves import measure, point_rows
from bench.analysis.equal_accuracy import equal_accuracy_rows
from bench.analysis.fidelity import fidelity_rows
from bench.analysis.means import mean_rows
from bench.analysis.pairs import against_anchor, bd_rows, pair_rows
from bench.analysis.perceptual import LPIPS
from bench.analysis.prepared import prepared
from bench.analysis.published import published_rows
from bench.analysis.results import Results, load
from bench.results.rows import Tables

__all__ = ["analyse"]


def analyse(results_folder: Path) -> Tables:
    """Compute and write `points.csv`, `bd.csv`, `equal_accuracy.csv`, `pairs.csv`, `means.csv` and
    `fidelity.csv`, and `categories.csv` if `analysis.metrics` is all; return their rows.

    None, in the files an empty field, is an undefined or withheld number. Raises ResultsError for a
    folder that is missing, unfinished, damaged or of another schema, OSError where it cannot be
    written.
    """
    tables = tabulated(load(results_folder))
    tables.write(results_folder)
    return tables


def tabulated(results: Results) -> Tables:
    """The rows of all tables. Raises ResultsError."""
    measurements = [
        measure(results, experiment, model, lpips=True)
        for experiment in results.manifest.experiments
        for model in experiment.models
    ]
    analysis = results.manifest.analysis
    curves = prepared(measurements, analysis)
    compared = against_anchor(curves)
    equal = equal_accuracy_rows([c for c in curves if c.metric != LPIPS])
    published = published_rows(results.manifest.published, curves)
    return Tables(
        points=point_rows(measurements, analysis.policy) + published.points,
        bd=bd_rows(compared) + published.bd,
        equal_accuracy=equal + published.equal,
        pairs=pair_rows(curves),
        means=mean_rows(compared),
        fidelity=fidelity_rows(results, measurements, equal),
        categories=category_rows(results, measurements),
    )
