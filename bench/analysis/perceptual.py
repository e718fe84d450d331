"""LPIPS as a metric with curves and BD-rates, where a run measured it."""

import numpy as np
from numpy.typing import NDArray

from bench.analysis.results import Results
from bench.results.manifest import Experiment, Model
from bench.tasks.base import Metric

Floats = NDArray[np.float64]

LPIPS = Metric("LPIPS", higher_is_better=False, optional=True)
"""The mean over images; 0 of the uncompressed ones, so that nothing is within some percent of
that."""
COLUMN = "lpips"
"""Of images.parquet."""


def distances(
    results: Results, experiment: Experiment, model: Model, surviving: NDArray[np.bool_]
) -> dict[tuple[str, int | None], Floats]:
    """Method and QP → (n_images,) LPIPS; empty where no point has it of all surviving images."""
    found: dict[tuple[str, int | None], Floats] = {
        (method, qp): results.of_images(COLUMN, experiment, model, method, qp)
        for method, qps in experiment.methods.items()
        for qp in qps
        if COLUMN in results.images
    }
    measured = surviving.any() and any(np.isfinite(v[surviving]).all() for v in found.values())
    return found if measured else {}
