"""A metric's curves, resampled and prepared once for everything that compares them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.analysis.curves import (
    Curve,
    CurveRows,
    Measurement,
    OperatingPoint,
    prepare,
    prepare_rows,
)
from bench.analysis.diagnosis import falls, saturation
from bench.results.manifest import Analysis
from bench.results.names import UNCOMPRESSED, point_name
from bench.tasks.base import Metric

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Method:
    """A method's curves on one metric, qualities with higher meaning better."""

    curve: Curve
    """On the surviving images."""
    rows: CurveRows
    """Row 0 the same, then the resamples, then without a group of images each."""
    remarks: tuple[str, ...]
    """What the policy changed, where accuracy falls and where it is at its ceiling; may be empty
    strings."""

    @staticmethod
    def of(m: Measurement, method: str, k: int, policy: str) -> "Method":
        points = m.of(method)
        sign = _sign(m.metrics[k])
        rates = np.column_stack([np.r_[p.bpp, p.bpp_without] for p in points])
        qualities = sign * np.column_stack([_all(p, k) for p in points])
        curve = prepare(rates[0], qualities[0], policy)
        changes = curve.describe_changes([point_name(point.qp or 0) for point in points])
        finest = np.argsort(-rates[0])
        qps = [points[i].qp for i in finest.tolist()]
        paired = qualities[: len(points[0].values), finest]
        clean = sign * m.of(UNCOMPRESSED)[0].values[:, k]
        remarks = (
            f"{method} {changes}" if changes else "",
            falls(method, qps, paired),
            saturation(method, qps, paired, clean),
        )
        return Method(curve, prepare_rows(rates, qualities, policy), remarks)


@dataclass(frozen=True)
class Prepared:
    """Every method's curves of one (dataset, task, model) on one metric."""

    m: Measurement
    metric: Metric
    analysis: Analysis
    methods: dict[str, Method]
    clean: Floats
    """(R,) quality of the clean pictures, rows as those of the methods."""

    @property
    def sign(self) -> float:
        """Metric times this is quality."""
        return _sign(self.metric)

    def below_clean(self, percent: float) -> Floats:
        """(R,) quality that is `percent` of the clean score below it."""
        return self.clean - percent / 100 * np.abs(self.clean)


def prepared(measurements: Sequence[Measurement], analysis: Analysis) -> list[Prepared]:
    """One for each measurement and metric."""
    return [
        Prepared(
            m,
            metric,
            analysis,
            {name: Method.of(m, name, k, analysis.policy) for name in m.experiment.methods},
            _sign(metric) * _all(m.of(UNCOMPRESSED)[0], k),
        )
        for m in measurements
        for k, metric in enumerate(m.metrics)
    ]


def _sign(metric: Metric) -> float:
    return 1.0 if metric.higher_is_better else -1.0


def _all(point: OperatingPoint, k: int) -> Floats:
    """On the surviving images, the resamples, and without a group of images each."""
    without = point.values_without[:, k] if point.values_without.size else np.empty(0)
    return np.r_[point.values[:, k], without]
