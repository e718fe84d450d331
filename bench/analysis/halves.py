"""Intervals of mAP: the bootstrap does not see that few objects of a category bias it upwards.

COCO's precision at a recall is the highest from there on, and the highest of a few noisy numbers is
too high. Resamples hardly show it, since an object drawn twice tells nothing new. Halves do: mAP is
higher again on half of the images, which have half of the objects. From the whole and its halves
the bias is extrapolated to ever more images, by a power of the number of objects. The spread is
the jackknife's (Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993, chapter 11), with
the t-distribution's quantile. docs/statistics.md says how often such an interval holds the truth.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from bench.analysis.bootstrap import QUANTILES, Interval, generator

MIN_OBJECTS = 10
"""Of a category at the median. With fewer the power does not hold yet."""
PAIRS = 30
"""Of halves. Their mean is known to 0.07 standard errors of mAP."""
EXPONENT = 2 / 3
"""The bias falls with objects to this power: to 1 where precision falls steeply with recall, as the
maximum of a random walk with a drift does, and to 1/2 where it is flat, as one without. Between
them it is what fits simulations."""
DOUBT = 1 / 3
"""Standard error of the bias, as a share of it: powers of 0.53 and 0.91 make it a third larger and
a third smaller."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Halved:
    """A mean of average precisions on halves of the images."""

    values: Floats
    """(2 · PAIRS,), those of `half_weights`"""
    objects: float
    """Of a category at the median, in all images."""


def half_weights(surviving: NDArray[np.bool_], seed: int, dataset: str) -> NDArray[np.int64]:
    """(n_images,) survivors → (2 · PAIRS, n_images) weights: a random half of them and the others,
    `PAIRS` times. No rows for fewer than two survivors."""
    survivors = np.flatnonzero(surviving)
    rng = generator(seed, dataset, "halves")
    pairs = PAIRS if len(survivors) > 1 else 0
    weights = np.zeros((2 * pairs, len(surviving)), np.int64)
    for pair in range(pairs):
        order = rng.permutation(survivors)
        weights[2 * pair, order[::2]] = 1
        weights[2 * pair + 1, order[1::2]] = 1
    return weights


def extrapolated(value: float, halved: Halved, jackknife: Floats) -> Interval:
    """mAP on the images, on halves of them, and (groups,) without a group of them each → interval
    freed of the bias, within [0, 1].

    Withheld for fewer objects than `MIN_OBJECTS`, and where mAP is undefined on a part.
    """
    if halved.objects < MIN_OBJECTS:
        few = f"a category has {halved.objects:g} objects at the median"
        return _withheld(f"{few}, {MIN_OBJECTS} are needed")
    groups = len(jackknife)
    if groups < 2 or not np.isfinite([*halved.values, *jackknife]).all():
        return _withheld("undefined without some of the images")
    bias = (halved.values.mean() - value) / (2**EXPONENT - 1)
    spread = np.sqrt((groups - 1) * jackknife.var())
    quantile = stats.t.ppf(QUANTILES[1], groups - 1)
    half_width = quantile * np.hypot(spread, DOUBT * bias)
    low, high = np.clip([value - bias - half_width, value - bias + half_width], 0, 1)
    return Interval(float(low), float(high))


def _withheld(why: str) -> Interval:
    return Interval(np.nan, np.nan, f"no interval: {why}")
