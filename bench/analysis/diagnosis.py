"""What a curve can tell, in words: where accuracy is at its ceiling, and where it falls."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.analysis.bootstrap import QUANTILES
from bench.results.names import point_name

Floats = NDArray[np.float64]

_NUMBERS = ("", "", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def within_noise(difference: Floats) -> bool:
    """(1 + resamples,) paired differences → whether their 95 % interval holds zero. Without
    resamples nothing is known, and nothing is within noise."""
    drawn = difference[1:]
    drawn = drawn[~np.isnan(drawn)]
    if len(drawn) == 0:
        return False
    low, high = np.quantile(drawn, QUANTILES)
    return bool(low <= 0 <= high)


def saturation(method: str, qps: Sequence[int | None], qualities: Floats, clean: Floats) -> str:
    """Two or more of the finest QPs whose loss against the clean pictures is noise; else empty.

    qps finest first; qualities (1 + resamples, n) in that order and clean (1 + resamples,), higher
    meaning better, paired row by row. A point that is better than clean beyond noise is at the
    ceiling, too.
    """
    n = 0
    while n < len(qps):
        loss = clean - qualities[:, n]
        if not (within_noise(loss) or loss[0] < 0):
            break
        n += 1
    if n < 2:
        return ""
    if n == len(qps):
        return (
            f"all QPs of {method} are within noise of the ceiling: BD-rate carries no information"
        )
    count = _NUMBERS[n] if n < len(_NUMBERS) else str(n)
    return (
        f"the {count} finest QPs of {method} are within noise of the ceiling: BD-rate below "
        f"{point_name(qps[n - 1] or 0)} carries no information"
    )


def falls(method: str, qps: Sequence[int | None], qualities: Floats) -> str:
    """Where accuracy falls from one QP to the next finer one, and whether by more than noise; empty
    if nowhere. Arguments as those of `saturation`."""
    said, named = [], [point_name(qp or 0) for qp in qps]
    for fine in range(len(qps) - 1, 0, -1):
        gain = qualities[:, fine - 1] - qualities[:, fine]
        if gain[0] < 0:
            how = "within noise" if within_noise(gain) else "beyond noise"
            said.append(f"from {named[fine]} to {named[fine - 1]} ({how})")
    return f"accuracy of {method} falls {', '.join(said)}" if said else ""
