"""How far a method's pictures are from the original where it reaches an accuracy."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from bench.analysis.curves import Measurement
from bench.analysis.results import Results
from bench.results.rows import EqualAccuracyRow, FidelityRow

Floats = NDArray[np.float64]

MEASURES = ("psnr", "ms_ssim", "lpips")
"""Columns of images.parquet."""


def fidelity_rows(
    results: Results, measurements: Sequence[Measurement], equal: Sequence[EqualAccuracyRow]
) -> list[FidelityRow]:
    """A row for each of `equal`, in its order.

    A measure there is read off a straight line over log bpp through the method's operating points,
    at each of which it is the mean over the surviving images.
    """
    curves = {
        (m.experiment.dataset, m.experiment.task, m.model.name, method): _curve(results, m, method)
        for m in reversed(measurements)  # of two that measured the same, `equal` has the first
        for method in m.experiment.methods
    }
    seen = {
        (_level(row), row.method): _at(curves[row.dataset, row.task, row.model, row.method], row)
        for row in equal
    }
    return [
        _row(row, seen[_level(row), row.method], seen[_level(row), row.anchor]) for row in equal
    ]


def _level(row: EqualAccuracyRow) -> tuple[str | float, ...]:
    """What a method shares with its anchor."""
    where = (row.dataset, row.task, row.model, row.metric, row.anchor)
    return (*where, row.interpolation, row.within)


def _curve(results: Results, m: Measurement, method: str) -> dict[str, Floats]:
    """(n_points,) log bpp and each measure, by rising rate."""
    points = sorted(m.of(method), key=lambda p: float(p.bpp[0]))
    curve = {"log bpp": np.log([p.bpp[0] for p in points])}
    for measure in MEASURES:
        images = [
            results.of_images(measure, m.experiment, m.model, method, p.qp)[m.surviving]
            for p in points
            if p.qp is not None
        ]
        curve[measure] = np.array([v.mean() if len(v) else np.nan for v in images])
    return curve


def _at(curve: Mapping[str, Floats], row: EqualAccuracyRow) -> dict[str, float]:
    """Each measure at the row's rate, NaN without one."""
    rate = math.nan if row.bpp is None else math.log(row.bpp)
    return {name: float(np.interp(rate, curve["log bpp"], curve[name])) for name in MEASURES}


def _row(
    row: EqualAccuracyRow, own: Mapping[str, float], anchors: Mapping[str, float]
) -> FidelityRow:
    change = {
        name: math.nan if row.method == row.anchor else own[name] - anchors[name]
        for name in MEASURES
    }
    return FidelityRow(
        dataset=row.dataset,
        task=row.task,
        model=row.model,
        metric=row.metric,
        anchor=row.anchor,
        method=row.method,
        interpolation=row.interpolation,
        policy=row.policy,
        within=row.within,
        bpp=row.bpp,
        psnr=_finite(own["psnr"]),
        psnr_change=_finite(change["psnr"]),
        ms_ssim=_finite(own["ms_ssim"]),
        ms_ssim_change=_finite(change["ms_ssim"]),
        lpips=_finite(own["lpips"]),
        lpips_change=_finite(change["lpips"]),
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
