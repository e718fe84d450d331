"""Which QPs spread a curve evenly over accuracies, from what a few of them have shown.

Accuracies are shares of the clean score, and candidates are counted from the finest.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from bench.analysis.interpolation import values

TOP, BOTTOM = 0.99, 2 / 3
"""Shares of the clean score between which curves are to be compared."""
LEVELS = 6
"""Accuracies from TOP to BOTTOM, the same step apart, at each of which a QP is wanted."""
LEAST = 5
"""QPs of a method, where the codec has so many."""
SMOOTH = 0.05
"""Of all candidates, the width over which shares are smoothed: between two and three QPs of BPG."""
NOISE = 0.06
"""Of a share, to which smoothing keeps: the standard error of two thirds on 64 images that each are
right or wrong. A steeper step is no noise."""
NEAR = 1e-9
"""Closer shares are the same."""

Floats = NDArray[np.float64]
Tried = Mapping[int, Floats]
"""Candidate → (n_models,) shares."""


def first(n: int) -> set[int]:
    """Of n candidates, those to try before anything is known: finer ones are dear, and mostly as
    good as no coding."""
    return {n // 2, 3 * n // 4, n - 1}


def further(n: int, tried: Tried) -> set[int]:
    """Those to try next: what would be chosen now, and a finer one where none is near clean."""
    finest = min(tried)
    wanted = set(chosen(n, tried))
    if finest and (tried[finest] < TOP).any():
        wanted.add(finest // 2)
    return wanted - tried.keys()


def chosen(n: int, tried: Tried) -> list[int]:
    """Of n candidates LEAST to LEVELS, or all where there are fewer, ascending.

    With several models the first is the coarsest at which each is near clean, and the last the
    finest at which each is down to BOTTOM. A model that is down there from the start is followed to
    BOTTOM of where it starts.
    """
    finest = min(tried)
    shares = np.stack([_curve(n, tried, model) for model in range(len(tried[finest]))])
    start = shares[:, :1]
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = np.where(start <= BOTTOM, TOP * shares / start, shares)
    seen = np.nan_to_num(shares).clip(BOTTOM, TOP).mean(axis=0)
    ceiling, floor = (np.flatnonzero(side) for side in (seen >= TOP - NEAR, seen <= BOTTOM + NEAR))
    begin = int(ceiling[-1]) if len(ceiling) else finest
    end = int(floor[0]) if len(floor) else n - 1
    return sorted(_filled(_even(seen, begin, max(begin, end)), seen))


def _curve(n: int, tried: Tried, model: int) -> Floats:
    """(n,) a model's shares at all candidates: smoothed and never rising towards coarser ones,
    since those of a few images are noise, and level beyond the ends."""
    x = np.array(sorted(tried), float)
    smooth = _smoothed(x, np.array([tried[int(i)][model] for i in x]), SMOOTH * n)
    y = isotonic_regression(smooth, increasing=False).x
    if len(x) < 2:
        return np.full(n, y[0])
    at = np.arange(n, dtype=float).clip(x[0], x[-1])
    return values(np.tile(x, (n, 1)), np.tile(y, (n, 1)), at, "pchip")


def _smoothed(x: Floats, y: Floats, width: float) -> Floats:
    """Local linear regression (Cleveland, J. Am. Stat. Assoc. 74(368), 1979) with Gaussian weights
    of that width, within NOISE; what stands alone stays as it is."""
    away = x - x[:, None]
    near = np.exp(-0.5 * (away / width) ** 2)
    first, second = (near * away).sum(axis=1), (near * away**2).sum(axis=1)
    weights = near * (second[:, None] - away * first[:, None])
    total = weights.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        smooth = np.where(total > 0, weights @ y / total, y)
    return smooth.clip(y - NOISE, y + NOISE)


def _even(seen: Floats, begin: int, end: int) -> set[int]:
    """Of shares (n,) that never rise, the places from begin to end that are the nearest to even
    steps."""
    between = seen[begin : end + 1]
    levels = np.linspace(between[0], between[-1], LEVELS)
    inner = {begin + int(np.abs(between - level).argmin()) for level in levels[1:-1]}
    return {begin, *inner, end}


def _filled(places: set[int], seen: Floats) -> set[int]:
    """With others up to LEAST: between them where the steps are widest, then finer, then coarser
    ones."""
    begin, end = min(places), max(places)
    places = set(places)

    def away(i: int) -> float:
        return float(min(abs(seen[i] - seen[j]) for j in places))

    while len(places) < LEAST and (inside := [i for i in range(begin, end) if i not in places]):
        places.add(max(inside, key=away))
    outside = [*range(begin - 1, -1, -1), *range(end + 1, len(seen))]
    return places | set(outside[: max(0, LEAST - len(places))])
