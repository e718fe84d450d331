"""Paired bootstrap over images: how far a result would move on other images of the same kind.

Images are drawn with replacement; the same draws serve every method, QP and model of a data set, so
that what two curves share cancels in their difference (Efron and Tibshirani, *An Introduction to
the Bootstrap*, 1993: paired data, chapter 8; bias, chapter 10; percentile interval, chapter 13;
BCa, chapter 14). docs/statistics.md says how often they cover the truth.
"""

import hashlib
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

QUANTILES = (0.025, 0.975)
"""Of a 95 % interval."""
MAX_UNDEFINED = 0.05
"""Share of resamples without a value above which the interval is withheld."""
MIN_IMAGES = 4
"""Of n images one in nⁿ resamples is n times the first one. With 2 or 3 that is more than the 2.5 %
on either side of an interval: its ends would be single images, whatever was measured."""
MIN_RESAMPLES = 20
"""With fewer the ends of an interval are nothing but the outermost resamples."""

JACKKNIFE_GROUPS = 200
"""Most groups of images left out for the acceleration of BCa, which is a skewness: 200 groups of 25
give that of 5,000 single images to ± 0.003."""

_NORMAL = NormalDist()


@dataclass(frozen=True)
class Interval:
    """NaN at both ends, with a reason, if withheld."""

    low: float
    high: float
    reason: str = ""


NONE = Interval(np.nan, np.nan)
"""Where there is no number that an interval could stand beside."""


def too_few(n_images: int) -> str:
    """Why so many images say nothing of others; empty if they do."""
    if n_images >= MIN_IMAGES:
        return ""
    count = {0: "no image is left", 1: "there is one image"}.get(
        n_images, f"there are {n_images} images"
    )
    return f"{count}, {MIN_IMAGES} are needed"


def obstacle(n_images: int, resamples: int) -> str:
    """Why so many resamples of so many images say nothing; empty if they do."""
    if 0 < resamples < MIN_RESAMPLES:
        return too_few(n_images) or f"{resamples} resamples, {MIN_RESAMPLES} are needed"
    return too_few(n_images) or ("" if resamples else "no resamples")


def generator(seed: int, dataset: str, *purposes: str) -> np.random.Generator:
    """Random numbers that depend on nothing but these."""
    digests = (hashlib.sha256(text.encode()).digest() for text in (dataset, *purposes))
    words = [word for digest in digests for word in np.frombuffer(digest, "<u4").tolist()]
    return np.random.default_rng(np.random.SeedSequence([seed, *words]))


def resample_weights(
    surviving: NDArray[np.bool_], resamples: int, seed: int, dataset: str
) -> NDArray[np.int64]:
    """(n_images,) survivors → (1 + resamples, n_images) image weights.

    Row 0 counts each survivor once; each further row is as many draws, with replacement, from the
    survivors. The draws depend on nothing but the arguments: models that share a data set and its
    survivors share the draws.
    """
    survivors = np.flatnonzero(surviving)
    rng = generator(seed, dataset)
    weights = np.zeros((1 + resamples, len(surviving)), np.int64)
    weights[0] = surviving
    if len(survivors):
        draws = survivors[rng.integers(0, len(survivors), (resamples, len(survivors)))]
        draws += np.arange(1, 1 + resamples)[:, None] * len(surviving)
        weights += np.bincount(draws.ravel(), minlength=weights.size).reshape(weights.shape)
    return weights


def interval(values: NDArray[np.float64], around: float | None = None) -> Interval:
    """(resamples,) values, NaN where undefined → percentile interval of what is defined.

    Withheld if more than 5 % of the values are undefined, or if there are none. With `around`, the
    value on the images themselves, the resamples' bias against it is taken off both ends, if it is
    beyond the noise of their mean (three standard errors).
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


def jackknife_weights(surviving: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(n_images,) survivors → (groups, n_images) weights, row g without the images of group g.

    Groups are of one image each up to `JACKKNIFE_GROUPS` survivors, else of equal size (some have
    one less), spread over the data set. No rows for fewer than two survivors.
    """
    survivors = np.flatnonzero(surviving)
    size = max(1, -(-len(survivors) // JACKKNIFE_GROUPS))
    groups = -(-len(survivors) // size) if len(survivors) > 1 else 0
    weights = np.repeat(surviving.astype(np.int64)[None], groups, axis=0)
    if groups:
        weights[np.arange(len(survivors)) % groups, survivors] = 0
    return weights


def bca(values: NDArray[np.float64], around: float, jackknife: NDArray[np.float64]) -> Interval:
    """(resamples,) values, the value on the images themselves, (groups,) values without a group
    each → bias-corrected and accelerated interval.

    Withheld where `interval` is, where all resamples lie on one side of `around`, and where a value
    without a group is undefined.
    """
    plain = interval(values)
    if plain.reason:
        return plain
    defined = values[~np.isnan(values)]
    below = float(((defined < around).mean() + (defined <= around).mean()) / 2)
    if np.ptp(defined) == 0:
        return plain
    if not 0 < below < 1:
        return Interval(np.nan, np.nan, "no BCa interval: all resamples on one side of the value")
    if len(jackknife) == 0 or np.isnan(jackknife).any():
        return Interval(np.nan, np.nan, "no BCa interval: undefined without some of the images")
    shift = _NORMAL.inv_cdf(below)
    influence = jackknife.mean() - jackknife
    spread = float((influence**2).sum())
    acceleration = float((influence**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0
    shares = []
    for quantile in QUANTILES:
        z = shift + _NORMAL.inv_cdf(quantile)
        shares.append(_NORMAL.cdf(shift + z / max(1 - acceleration * z, 1e-6)))
    low, high = np.quantile(defined, shares)
    return Interval(float(low), float(high))
