"""From a results folder to its tables of numbers. Reads that folder and nothing else."""

from pathlib import Path

import pandas as pd

from bench.analysis.bdrate import bd_table
from bench.analysis.curves import measure, points_table
from bench.analysis.equal_accuracy import equal_accuracy_table
from bench.analysis.results import load
from bench.analysis.spreadsheet import guarded
from bench.atomic import atomic

__all__ = ["analyse"]


def analyse(results_folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compute and write `points.csv`, `bd.csv` and `equal_accuracy.csv`; return the first two.

    Their columns are `curves.POINT_COLUMNS`, `bdrate.BD_COLUMNS` and
    `equal_accuracy.EQUAL_COLUMNS`; an empty field is an undefined
    or withheld number. Floats are written so that reading gives the same ones back, and text so
    that `spreadsheet.unguarded` does. Raises ResultsError for a folder that is missing, unfinished,
    damaged or of another schema, OSError where it cannot be written.
    """
    results = load(results_folder)
    measurements = [
        measure(results, experiment, model)
        for experiment in results.manifest.experiments
        for model in experiment.models
    ]
    analysis = results.manifest.analysis
    points = points_table(measurements, analysis.policy)
    bd = bd_table(measurements, analysis.policy, analysis.within)
    equal = equal_accuracy_table(measurements, analysis.policy, analysis.within)
    _write(points, results_folder / "points.csv")
    _write(bd, results_folder / "bd.csv")
    _write(equal, results_folder / "equal_accuracy.csv")
    return points, bd


def _write(table: pd.DataFrame, path: Path) -> None:
    """Write CSV in which a spreadsheet finds no formula."""
    text = [name for name in table if not pd.api.types.is_numeric_dtype(table[name])]
    table = table.assign(**{name: table[name].map(guarded) for name in text})
    with atomic(path) as part:
        table.to_csv(part, index=False, lineterminator="\n")
