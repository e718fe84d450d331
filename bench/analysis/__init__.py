"""From a results folder to its tables of numbers. Reads that folder and nothing else."""

import os
from pathlib import Path

import pandas as pd

from bench.analysis.bdrate import bd_table
from bench.analysis.curves import measure, points_table
from bench.analysis.equal_accuracy import equal_accuracy_table
from bench.analysis.results import load

__all__ = ["analyse"]


def analyse(results_folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compute and write `points.csv`, `bd.csv` and `equal_accuracy.csv`; return the first two.

    Their columns are `curves.POINT_COLUMNS`, `bdrate.BD_COLUMNS` and
    `equal_accuracy.EQUAL_COLUMNS`; an empty field is an undefined
    or withheld number. Floats are written so that reading gives the same ones back. Raises
    ResultsError for a folder that is missing, unfinished or of another schema.
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
    """Write CSV so that a reader finds the old file or the new one, never half of it."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        table.to_csv(part, index=False, lineterminator="\n")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
