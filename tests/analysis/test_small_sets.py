"""Too few images, too few resamples, images all alike: numbers without intervals, and why."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gated_results as gated
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gated_results import failure

from bench.analysis import analyse, baseline
from bench.analysis.bootstrap import MIN_IMAGES, MIN_RESAMPLES, obstacle, too_few
from bench.analysis.compare import compare
from bench.analysis.curves import measure
from bench.analysis.power import Power, power_table
from bench.analysis.results import load
from bench.report.verdicts import render
from bench.results.rows import BDRow, EqualAccuracyRow, PointRow, frame

ENDS = [
    "ci_low", "ci_high", "bca_low", "bca_high", "bd_metric_low", "bd_metric_high",
    "bd_metric_bca_low", "bd_metric_bca_high", "range_low", "range_high", "change_low",
    "change_high",
]  # fmt: skip


def tables(root: Path) -> list[pd.DataFrame]:
    rows = analyse(root)
    return [
        frame(PointRow, rows.points),
        frame(BDRow, rows.bd),
        frame(EqualAccuracyRow, rows.equal_accuracy),
    ]


def ends(table: pd.DataFrame) -> pd.DataFrame:
    return table[[name for name in ENDS if name in table]]


def powers(root: Path) -> list[Power]:
    results = load(root)
    (experiment,) = results.manifest.experiments
    measured = [measure(results, experiment, model) for model in experiment.models]
    return power_table(measured, "pareto", "pchip", 5.0, 0.8)


def alike(root: Path) -> None:
    """Every image becomes the first one."""
    for path in root.rglob("*.parquet"):
        table = pq.read_table(path)
        for name in set(table.column_names) & {"bits", "label", "rank", "cross_entropy"}:
            values = table[name].to_numpy()
            if name == "bits":
                values = np.repeat(values[:: len(values) // 8], len(values) // 8)
            elif name == "cross_entropy":
                # Falls with the rate, unlike the rank of one image.
                values = np.full(len(values), values.mean())
            else:
                values = np.full(len(values), values[0])
            field = table.schema.field(name)
            position = table.column_names.index(name)
            table = table.set_column(position, field, pa.array(values, field.type))
        pq.write_table(table, path)


def resamples(count: int) -> Callable[[dict[str, Any]], None]:
    return lambda manifest: manifest["analysis"].update(resamples=count)


CASES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "one image": (lambda r: gated.write(r, n=1), "there is one image, 4 are needed"),
    "two images": (lambda r: gated.write(r, n=2), "there are 2 images, 4 are needed"),
    "three images": (lambda r: gated.write(r, n=3), "there are 3 images, 4 are needed"),
    "one that is left": (
        lambda r: gated.write(
            r, edit=lambda m: m.update(failures=[failure(i, "bpg") for i in range(1, 9)]), n=9
        ),
        "there is one image",
    ),
    "all alike": (
        lambda r: (gated.write(r, n=12), alike(r), r)[-1],
        "all images give the same numbers",
    ),
    "one resample": (lambda r: gated.write(r, edit=resamples(1), n=60), "1 resamples, 20 are"),
    "a few resamples": (lambda r: gated.write(r, edit=resamples(19), n=60), "19 resamples, 20"),
    "no resamples": (lambda r: gated.write(r, edit=resamples(0), n=60), "no resamples"),
}


@pytest.mark.parametrize(("make", "reason"), CASES.values(), ids=CASES)
def test_no_interval_and_the_reason(
    tmp_path: Path, make: Callable[[Path], Path], reason: str
) -> None:
    points, bd, equal = tables(make(tmp_path / "run"))
    for table in (points, bd, equal):
        assert ends(table).isna().all(axis=None)
    assert points["value"].notna().all()
    assert points.reason.str.contains(f"no interval: {reason}").all()
    defined = bd[bd.status == "ok"]
    assert defined.reason.str.contains(f"no interval: {reason}").all()
    assert bd[["wins", "undefined"]].isna().all(axis=None)
    ranged = bd[bd.range_bd_rate.notna()]
    assert ranged.range_reason.str.contains(f"no interval: {reason}").all()
    assert equal[equal.bpp.notna()].reason.str.contains(f"no interval: {reason}").all()


@pytest.mark.parametrize(("make", "reason"), CASES.values(), ids=CASES)
def test_no_number_of_images_that_would_do(
    tmp_path: Path, make: Callable[[Path], Path], reason: str
) -> None:
    for row in powers(make(tmp_path / "run")):
        assert row.detectable is row.images_needed is None
        assert reason in row.reason


def test_the_least_that_has_an_interval(tmp_path: Path) -> None:
    """Defined numbers have intervals of some width again, and shares of resamples."""
    run = gated.write(tmp_path / "run", edit=resamples(MIN_RESAMPLES), n=MIN_IMAGES)
    points, bd, _ = tables(run)
    entropy = points[(points.metric == "cross-entropy") & points.bpp.notna()]
    assert (entropy.ci_low < entropy.ci_high).any()
    assert bd.undefined.notna().all()


def test_nothing_is_left(tmp_path: Path) -> None:
    failures = [failure(i, "bpg") for i in range(5)]
    run = gated.write(tmp_path / "run", edit=lambda m: m.update(failures=failures), n=5)
    points, bd, equal = tables(run)
    assert points[["value", "bpp", "ci_low"]].isna().all(axis=None)
    assert (bd.status == "undefined").all()
    assert bd[["bd_rate", "ci_low", "wins", "undefined"]].isna().all(axis=None)
    assert equal.bpp.isna().all()
    assert all(row.reason == "no number: no image is left, 4 are needed" for row in powers(run))


@pytest.mark.parametrize("n", range(5))
@pytest.mark.parametrize("count", [0, 1, 19, 20, 1000])
def test_obstacles(n: int, count: int) -> None:
    said = obstacle(n, count)
    assert bool(said) == (n < 4 or count < 20)
    assert said.startswith(too_few(n))


# --- the gate -------------------------------------------------------------------------------------


def dearer(factor: float) -> Callable[[dict[str, gated.Method]], None]:
    return lambda methods: setattr(methods["bpg"], "rate", factor)


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("with_statistics", [True, False])
def test_few_images_prove_no_change(tmp_path: Path, n: int, with_statistics: bool) -> None:
    """Unchanged they are the same; what moved is not told from chance, whatever its size."""
    before = gated.write(tmp_path / "before", n=n)
    base = tmp_path / "base.json"
    baseline.write(before, base)
    if not with_statistics:
        base.with_suffix(".cls.parquet").unlink()
    assert compare(base, before, 1.0).exit_code == 0
    comparison = compare(base, gated.write(tmp_path / "after", dearer(1.5), n=n), 1.0)
    row = comparison.rows[0]
    assert row.verdict == "not comparable"
    assert row.own is None or np.isnan(row.own.low)
    assert "4 are needed" in render(comparison, "text")
    assert comparison.exit_code == 2


def test_images_all_alike_prove_no_change(tmp_path: Path) -> None:
    """Thirty times one image is one image: an interval without width would be certainty."""
    runs = [
        gated.write(tmp_path / name, dearer(rate), n=30)
        for name, rate in (("before", 1.0), ("after", 1.5))
    ]
    for run in runs:
        alike(run)
    first, second = compare(*runs, 1.0).rows
    assert (first.verdict, second.verdict) == ("not comparable", "same")
    assert first.reasons == ("not told from chance: all images give the same numbers",)
