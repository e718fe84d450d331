"""How many images it takes to tell a difference in rate from none."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from bench.analysis.bootstrap import MAX_UNDEFINED
from bench.analysis.curves import Measurement
from bench.analysis.pairs import resampled_bd_rates


@dataclass(frozen=True)
class Power:
    """detectable: the smallest BD-rate, percent, that these images tell from 0; images_needed: for
    the effect asked for. Both None, with a reason, where the resamples give no spread."""

    dataset: str
    model: str
    metric: str
    method: str
    anchor: str
    n_images: int
    detectable: float | None
    images_needed: int | None
    reason: str = ""


def power_table(
    measurements: Sequence[Measurement],
    policy: str,
    interpolation: str,
    effect: float,
    power: float,
) -> list[Power]:
    """A row per method but the anchor and metric.

    effect: percent of BD-rate; power: the share of studies, in (0, 1), that are to find it. A study
    finds an effect if its 95 % interval excludes 0. The standard error of the log of the rate ratio
    is that of the resamples and falls with the root of the number of images, so
    n = n₀ · ((z₀.₉₇₅ + z_power) · SE₀ / ln(1 + effect))². It holds for methods like those measured:
    two that code alike need fewer images than two that do not.
    """
    return [row for m in measurements for row in _rows(m, policy, interpolation, effect, power)]


def images_needed(n_images: int, error: float, effect: float, power: float) -> int:
    """`error` of the log rate ratio on n_images → images for `effect`, percent."""
    return max(2, math.ceil(n_images * (_reach(power) * error / math.log1p(effect / 100)) ** 2))


def _reach(power: float) -> float:
    normal = NormalDist()
    return normal.inv_cdf(0.975) + normal.inv_cdf(power)


def _rows(
    m: Measurement, policy: str, interpolation: str, effect: float, power: float
) -> Iterator[Power]:
    anchor = m.experiment.anchor
    for k, metric in enumerate(m.metrics):
        for method in m.experiment.methods:
            if method == anchor:
                continue
            names = (m.experiment.dataset, m.model.name, metric.name, method, anchor, m.n_images)
            if m.obstacle:
                yield Power(*names, None, None, f"no number: {m.obstacle}")
                continue
            rates = resampled_bd_rates(m, k, method, policy, interpolation)[1:]
            defined = np.log1p(rates[~np.isnan(rates)] / 100)
            undefined = len(rates) - len(defined)
            if len(defined) < 2 or undefined > MAX_UNDEFINED * len(rates):
                reason = f"BD-rate is undefined in {undefined} of {len(rates)} resamples"
                yield Power(*names, None, None, reason)
                continue
            error = float(defined.std(ddof=1))
            detectable = 100 * math.expm1(_reach(power) * error)
            yield Power(*names, detectable, images_needed(m.n_images, error, effect, power))
