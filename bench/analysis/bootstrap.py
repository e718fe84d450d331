"""Paired bootstrap over images: how far a result would move on other images of the same kind.

Images are drawn with replacement; the same draws serve every method, QP and model of a data set, so
that what two curves share cancels in their difference (Efron and Tibshirani, *An Introduction to
the Bootstrap*, 1993: paired data, chapter 8; bias, chapter 10; percentile interval, chapter 13).
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

QUANTILES = (0.025, 0.975)
"""Of a 95 % interval."""
MAX_UNDEFINED = 0.05
"""Share of resamples without a value above which the interval is withheld."""


@dataclass(frozen=True)
class Interval:
    """NaN at both ends, with a reason, if withheld."""

    low: float
    high: float
    reason: str = ""


def resample_weights(
    surviving: NDArray[np.bool_], resamples: int, seed: int, dataset: str
) -> NDArray[np.int64]:
    """(n_images,) survivors → (1 + resamples, n_images) image weights.

    Row 0 counts each survivor once; each further row is as many draws, with replacement, from the
    survivors. The draws depend on nothing but the arguments: models that share a data set and its
    survivors share the draws.
    """
    survivors = np.flatnonzero(surviving)
    digest = np.frombuffer(hashlib.sha256(dataset.encode()).digest(), "<u4")
    rng = np.random.default_rng(np.random.SeedSequence([seed, *digest.tolist()]))
    weights = np.zeros((1 + resamples, len(surviving)), np.int64)
    weights[0] = surviving
    if len(survivors):
        draws = survivors[rng.integers(0, len(survivors), (resamples, len(survivors)))]
        np.add.at(weights, (np.arange(1, 1 + resamples)[:, None], draws), 1)
    return weights


def interval(values: NDArray[np.float64], around: float | None = None) -> Interval:
    """(resamples,) values, NaN where undefined → percentile interval of what is defined.

    Withheld if more than 5 % of the values are undefined, or if there are none. With `around`, the
    value on the images themselves, the resamples' bias against it is taken off both ends, if it is
    beyond the noise of their mean (three standard errors): mAP over many categories of few images
    is higher on images drawn twice, so much that the plain interval may lie wholly above the value.
    """
    defined = values[~np.isnan(values)]
    undefined = len(values) - len(defined)
    if len(values) == 0:
        return Interval(np.nan, np.nan, "no interval: no resamples")
    if undefined > MAX_UNDEFINED * len(values):
        return Interval(
            np.nan, np.nan, f"no interval: undefined in {undefined} of {len(values)} resamples"
        )
    low, high = np.quantile(defined, QUANTILES)
    if around is not None:
        bias = defined.mean() - around
        if abs(bias) > 3 * defined.std() / np.sqrt(len(defined)):
            low, high = low - bias, high - bias
    return Interval(float(low), float(high))
