"""The choice of QPs against curves in closed form."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.sweep import spacing
from bench.sweep.pilot import ROUNDS
from bench.sweep.spacing import BOTTOM, LEAST, LEVELS, TOP

N = 52
Shares = Callable[[int], list[float]]
"""Candidate → share of the clean score of each model."""


def falling(middle: float, width: float, at_best: float = 1.0) -> Callable[[float], float]:
    """A logistic curve: half of its best at `middle`."""
    return lambda qp: float(at_best / (1 + np.exp((qp - middle) / width)))


def searched(n: int, shares: Shares) -> list[int]:
    """As a pilot does."""
    tried: dict[int, np.ndarray] = {}
    for _ in range(ROUNDS):
        wanted = spacing.further(n, tried) if tried else spacing.first(n)
        tried |= {i: np.array(shares(i)) for i in wanted}
    return spacing.chosen(n, tried)


@given(st.floats(25, 45), st.floats(2.5, 6))
def test_steps_are_even_to_within_what_whole_qps_allow(middle: float, width: float) -> None:
    curve = falling(middle, width)
    found = [curve(i) for i in searched(N, lambda i: [curve(i)])]
    one_qp = max(curve(i) - curve(i + 1) for i in range(N - 1))
    assert found[0] >= TOP - one_qp
    assert found[-1] <= max(BOTTOM, curve(N - 1)) + one_qp
    wanted = (found[0] - found[-1]) / (LEVELS - 1)
    assert np.abs(-np.diff(found) - wanted).max() <= one_qp + 0.03


@given(st.floats(28, 36), st.floats(-6, 6), st.floats(4, 6), st.floats(0.9, 1.1))
def test_shifted_curves_overlap(middle: float, shift: float, width: float, steeper: float) -> None:
    curves = [falling(middle, width), falling(middle + shift, width * steeper)]
    ends = [
        (curve(found[0]), curve(found[-1]))
        for curve in curves
        for found in [searched(N, lambda i, curve=curve: [curve(i)])]
    ]
    shared = min(top for top, _ in ends) - max(bottom for _, bottom in ends)
    spanned = max(top for top, _ in ends) - min(bottom for _, bottom in ends)
    assert shared / spanned >= 0.8


def test_one_that_never_falls_so_far_ends_at_its_coarsest() -> None:
    curve = falling(60, 8)
    assert curve(N - 1) > BOTTOM
    found = searched(N, lambda i: [curve(i)])
    assert found[-1] == N - 1
    assert LEAST <= len(found) <= LEVELS


def test_one_that_does_not_fall_at_all_has_its_coarsest() -> None:
    assert searched(N, lambda _: [1.0]) == [N - LEAST + i for i in range(LEAST)]


def test_one_that_is_down_there_at_its_finest_is_followed_from_there() -> None:
    curve = falling(35, 3, at_best=0.5)
    found = searched(N, lambda i: [curve(i)])
    assert curve(found[0]) > 0.45
    assert curve(found[-1]) == pytest.approx(0.5 * BOTTOM / TOP, abs=0.05)


def test_one_without_any_accuracy_has_qps_all_the_same() -> None:
    assert len(searched(N, lambda _: [0.0])) == LEAST


@pytest.mark.parametrize("n", range(1, LEAST + 1))
def test_a_codec_with_few_qps_gives_them_all(n: int) -> None:
    curve = falling(n / 2, 0.5)
    assert searched(n, lambda i: [curve(i)]) == list(range(n))


def test_a_codec_with_steep_steps_gives_neighbours() -> None:
    found = searched(N, lambda i: [1.0 if i < 30 else 0.1])
    assert {29, 30} < set(found)
    assert len(found) == LEAST


def test_two_models_are_both_served() -> None:
    robust, fragile = falling(44, 2), falling(32, 2)
    found = searched(N, lambda i: [robust(i), fragile(i)])
    assert fragile(found[0]) >= TOP - 0.06
    assert robust(found[-1]) <= BOTTOM + 0.06
    assert len(found) == LEVELS


@given(
    st.integers(1, 60).flatmap(
        lambda n: st.tuples(
            st.just(n),
            st.dictionaries(st.integers(0, n - 1), st.floats(0, 1.2), min_size=1, max_size=20),
        )
    )
)
def test_whatever_was_seen_a_list_of_qps_comes_out(case: tuple[int, dict[int, float]]) -> None:
    n, seen = case
    tried = {i: np.array([share]) for i, share in seen.items()}
    found = spacing.chosen(n, tried)
    assert found == sorted(set(found))
    assert set(found) <= set(range(n))
    assert min(n, LEAST) <= len(found) <= max(LEVELS, LEAST)
    assert not spacing.further(n, tried) & tried.keys()
