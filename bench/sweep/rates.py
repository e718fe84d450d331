"""The QP at which a picture takes nearest to a target rate."""

from collections.abc import Callable, Sequence

NEAR = 0.03
"""How far from its target a rate may be, as a share of it."""


def nearest(bpp: Callable[[int], float], qps: Sequence[int], target: float) -> int:
    """By bisection: of the ascending `qps` that were tried, the one whose rate is nearest to the
    target as a share of it; the finer of two. Bits fall as the QP rises, so that the QPs next to
    the target on both sides are among those tried; where they once rise, by a little, the choice
    may be off by as little."""
    tried: dict[int, float] = {}
    low, high = 0, len(qps)  # the first QP at or below the target is in between
    while low < high:
        middle = (low + high) // 2
        tried[qps[middle]] = rate = bpp(qps[middle])
        if rate > target:
            low = middle + 1
        else:
            high = middle
    return min(tried, key=lambda qp: (away(tried[qp], target), qp))


def away(bpp: float, target: float) -> float:
    """The difference as a share of the target."""
    return abs(bpp / target - 1)
