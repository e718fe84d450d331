"""From a results folder to points.csv and bd.csv. Reads that folder and nothing else."""

import os
from pathlib import Path

import pandas as pd

from bench.analysis.bdrate import bd_table
from bench.analysis.curves import measure, points_table
from bench.analysis.results import load

__all__ = ["analyse"]


def analyse(results_folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compute and write `points.csv` and `bd.csv`; return both as data frames.

    Their columns are `curves.POINT_COLUMNS` and `bdrate.BD_COLUMNS`; an empty field is an undefined
    or withheld number. Floats are written so that reading gives the same ones back. Raises
    ResultsError for a folder that is missing, unfinished or of another schema.
    """
    results = load(results_folder)
    measurements = [
        measure(results, experiment, model)
        for experiment in results.manifest.experiments
        for model in experiment.models
    ]
    points = points_table(measurements)
    bd = bd_table(measurements, results.manifest.analysis.policy)
    _write(points, results_folder / "points.csv")
    _write(bd, results_folder / "bd.csv")
    return points, bd


def _write(table: pd.DataFrame, path: Path) -> None:
    """Write CSV so that a reader finds the old file or the new one, never half of it."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        table.to_csv(part, index=False, lineterminator="\n")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
