"""Intervals of mAP: freed of the bias of few objects, or withheld."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from test_analyse import MODELS, N, analyse, write_folder

from bench import analysis
from bench.analysis import halves
from bench.analysis.bootstrap import resample_weights
from bench.analysis.halves import EXPONENT, MIN_OBJECTS, Halved, extrapolated, half_weights
from bench.report.results import read
from bench.report.tables import points_tables
from bench.results.rows import Tables

PRECISIONS = ("mAP", "AP50")


def parts(value: float, bias: float, spread: float, objects: float) -> tuple[Halved, np.ndarray]:
    """Halves and groups left out of a metric whose bias falls with a power of the objects."""
    more = bias * (2**EXPONENT - 1)
    without = value + np.tile([1.0, -1.0], 50) * spread / np.sqrt(99)
    return Halved(value + more + np.tile([0.01, -0.01], 30), objects), without


def test_the_bias_is_taken_off_and_the_spread_is_the_jackknifes() -> None:
    bounds = extrapolated(0.4, *parts(0.4, bias=0.0, spread=0.02, objects=20))
    half_width = stats.t.ppf(0.975, 99) * 0.02
    assert (bounds.low, bounds.high) == pytest.approx((0.4 - half_width, 0.4 + half_width))
    shifted = extrapolated(0.4, *parts(0.4, bias=0.03, spread=0.02, objects=20))
    assert (shifted.low + shifted.high) / 2 == pytest.approx(0.37)
    # A third of the bias is doubted.
    assert shifted.high - shifted.low == pytest.approx(
        2 * stats.t.ppf(0.975, 99) * np.hypot(0.02, 0.01)
    )


@given(st.floats(0, 1), st.floats(-0.2, 0.2), st.floats(0, 0.3))
def test_it_lies_within_the_metrics_range(value: float, bias: float, spread: float) -> None:
    bounds = extrapolated(value, *parts(value, bias, spread, 50))
    assert 0 <= bounds.low <= bounds.high <= 1


def test_withheld_for_few_objects() -> None:
    enough = extrapolated(0.4, *parts(0.4, 0.03, 0.02, MIN_OBJECTS))
    assert enough.reason == ""
    few = extrapolated(0.4, *parts(0.4, 0.03, 0.02, 7.5))
    assert np.isnan([few.low, few.high]).all()
    assert few.reason == "no interval: a category has 7.5 objects at the median, 10 are needed"


def test_withheld_where_a_part_has_no_value() -> None:
    halved, without = parts(0.4, 0.03, 0.02, 20)
    halved.values[3] = np.nan
    assert "undefined without some of the images" in extrapolated(0.4, halved, without).reason


def test_halves_and_the_others() -> None:
    surviving = np.array([True, False, True, True, True, True])
    weights = half_weights(surviving, 0, "coco_dev")
    np.testing.assert_array_equal(weights[::2] + weights[1::2], np.tile(surviving, (30, 1)))
    assert set(weights.sum(axis=1)) == {2, 3}
    assert len(np.unique(weights, axis=0)) > 10
    np.testing.assert_array_equal(weights, half_weights(surviving, 0, "coco_dev"))
    assert (weights != half_weights(surviving, 1, "coco_dev")).any()
    assert (weights != half_weights(surviving, 0, "voc")).any()
    assert half_weights(np.array([True, False]), 0, "a").shape == (0, 2)


def test_resamples_are_those_of_before() -> None:
    """Intervals of BD-rates rest on them: they must not move."""
    drawn = resample_weights(np.ones(6, bool), 2, 0, "coco_dev")[1:]
    np.testing.assert_array_equal(drawn, [[0, 1, 2, 1, 1, 1], [1, 3, 0, 2, 0, 0]])


# --- a folder -------------------------------------------------------------------------------------


def test_mean_precisions_have_an_interval_of_their_own(tmp_path: Path) -> None:
    points, _ = analyse(write_folder(tmp_path, "det"))
    assert set(points.metric) == set(PRECISIONS)
    assert points[["ci_low", "ci_high"]].notna().all(axis=None)
    assert points[["bca_low", "bca_high"]].isna().all(axis=None)
    assert (points.reason == "").all()


def test_other_metrics_keep_theirs(tmp_path: Path) -> None:
    points, _ = analyse(write_folder(tmp_path, "cls"))
    assert points[["ci_low", "bca_low"]].notna().all(axis=None)
    assert (points.reason == "").all()


def test_why_a_point_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 80 objects in 3 categories a median one has 13."""
    root = write_folder(tmp_path, "det")
    before, bd = analyse(root)
    monkeypatch.setattr(halves, "MIN_OBJECTS", 14)
    points, same = analyse(root)
    assert points[["ci_low", "ci_high", "bca_low"]].isna().all(axis=None)
    reason = "no interval: a category has 13 objects at the median, 14 are needed"
    assert set(points.reason) == {reason}
    pd.testing.assert_frame_equal(points[["value", "bpp"]], before[["value", "bpp"]])
    pd.testing.assert_frame_equal(bd, same)


def test_the_report_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_folder(tmp_path, "det")
    monkeypatch.setattr(halves, "MIN_OBJECTS", N)
    analysis.analyse(root).write(root)
    assert {row.reason for row in Tables.read(root).points} != {""}
    table = points_tables(read(root))[0]
    assert any("13 objects at the median, 40 are needed" in note for _, note in table.notes)
    assert len(points_tables(read(root))) == len(MODELS)
