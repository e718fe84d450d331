"""What pictures lose against the original where methods are equally accurate."""

import math
import warnings
from pathlib import Path

import bjontegaard
import gated_results as gated
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.analysis import analyse
from bench.results.rows import FidelityRow

N = 200
PSNR = {"bpg": 45.0, "npp+bpg": 43.5}
"""dB at QP 0, less a third of a dB for each QP."""


def seen(root: Path, psnr: dict[str, float] = PSNR, similar: bool = True) -> list[FidelityRow]:
    """Pictures that differ around these means. → top-1's rows by PCHIP"""
    images = pq.read_table(root / "images.parquet").to_pandas()
    off = images["index"] - images["index"].mean()
    images["psnr"] = images["method"].map(psnr) - images["qp"] / 3 + off / 100
    if similar:
        images["ms_ssim"] = 1 - images["qp"] / 500 - 0.01 * (images["method"] == "npp+bpg")
    pq.write_table(pa.Table.from_pandas(images, preserve_index=False), root / "images.parquet")
    rows = analyse(root).fidelity
    return [r for r in rows if (r.metric, r.interpolation) == ("top1", "pchip")]


def test_a_known_loss(tmp_path: Path) -> None:
    """Equally accurate at 0.7 of the rate, at the same QP, with 1.5 dB less."""
    rows = seen(gated.write(tmp_path / "r", edit=gated.reached, n=N))
    reached = [r for r in rows if r.bpp is not None]
    assert {r.method for r in reached} == {"bpg", "npp+bpg"}
    assert {r.within for r in rows} == {30, 40, 50, 60}
    for row in reached:
        assert row.psnr is not None
        if row.method == "bpg":
            assert row.psnr_change is row.ms_ssim_change is None
        else:
            assert row.psnr_change == pytest.approx(-1.5, abs=1e-3)
            assert row.ms_ssim_change == pytest.approx(-0.01, abs=1e-4)
    assert all(r.psnr is r.psnr_change is None for r in rows if r.bpp is None)


def test_it_lies_on_the_line_between_two_points(tmp_path: Path) -> None:
    root = gated.write(tmp_path / "r", edit=gated.reached, n=N)
    row = next(r for r in seen(root) if r.method == "bpg" and r.bpp is not None)
    images = pq.read_table(root / "images.parquet").to_pandas().query("method == 'bpg'")
    images["bpp"] = images["bits"] / images["width"] / images["height"]
    means = images.groupby("qp")[["bpp", "psnr", "ms_ssim"]].mean().sort_values("bpp")
    for name in ("psnr", "ms_ssim"):
        expected = np.interp(math.log(row.bpp), np.log(means["bpp"]), means[name])  # type: ignore[arg-type]
        assert getattr(row, name) == pytest.approx(expected, rel=1e-12)


def with_lpips(root: Path, missing: bool = False) -> None:
    """0.001 for each QP around this mean, a fifth more with the preprocessor."""
    path = root / "images.parquet"
    images = pq.read_table(path).to_pandas()
    off = 1 + (images["index"] - images["index"].mean()) / 1000
    images["lpips"] = off * images["qp"] / 1000 * (1 + 0.2 * (images["method"] == "npp+bpg"))
    if missing:
        images.loc[images["index"] == 3, "lpips"] = np.nan
    pq.write_table(pa.Table.from_pandas(images, preserve_index=False), path)


def test_lpips_is_the_last_metric_with_curves_and_bd_rates(tmp_path: Path) -> None:
    root = gated.write(tmp_path / "r", edit=gated.reached, n=N)
    with_lpips(root)
    tables = analyse(root)
    points = [r for r in tables.points if r.metric == "LPIPS"]
    assert tables.points[-1].metric == "LPIPS"
    for row in points:
        factor = 1.2 if row.method == "npp+bpg" else 1.0
        assert row.value == pytest.approx(factor * (row.qp or 0) / 1000)
        if row.qp is not None:
            assert row.ci_low is not None
            assert row.ci_low < row.value < row.ci_high  # type: ignore[operator]
    curves = {
        m: sorted((r.bpp, -r.value) for r in points if r.method == m and r.bpp is not None)  # type: ignore[operator]
        for m in ("bpg", "npp+bpg")
    }
    for row in tables.bd:
        if row.metric == "LPIPS":
            args = [list(v) for m in ("bpg", "npp+bpg") for v in zip(*curves[m], strict=True)]
            with warnings.catch_warnings(action="ignore"):
                wanted = bjontegaard.bd_rate(
                    *args, row.interpolation, require_matching_points=False, min_overlap=0
                )
            assert row.bd_rate == pytest.approx(wanted)
            assert row.bd_metric is not None
            assert row.range_bd_rate is None
            assert row.range_reason.startswith("the clean score is 0")
    assert sum(r.metric == "LPIPS" for r in tables.bd) == 2
    assert any(r.metric == "LPIPS" for r in tables.pairs)
    assert not any(r.metric == "LPIPS" for r in tables.equal_accuracy)


def test_lpips_at_equal_accuracy(tmp_path: Path) -> None:
    """Nearer to the original by as much as the curve says."""
    root = gated.write(tmp_path / "r", edit=gated.reached, n=N)
    with_lpips(root)
    rows = [r for r in seen(root) if r.bpp is not None]
    for row in rows:
        assert row.lpips is not None
        change = row.lpips - row.lpips / 1.2  # at the same QP
        wanted = None if row.method == "bpg" else pytest.approx(change, rel=1e-3)
        assert row.lpips_change == wanted
    assert {r.method for r in rows} == {"bpg", "npp+bpg"}


def test_the_other_numbers_are_the_same_without_lpips(tmp_path: Path) -> None:
    root = gated.write(tmp_path / "r", edit=gated.reached, n=N)
    without = analyse(root)
    assert "lpips" not in (root / "fidelity.csv").read_text()
    with_lpips(root)
    tables = analyse(root)
    for name in ("points", "bd", "equal_accuracy", "pairs", "means"):
        others = [r for r in getattr(tables, name) if r.metric != "LPIPS"]
        assert others == getattr(without, name)
    with_lpips(root, missing=True)  # a picture that is too small for it
    assert analyse(root).points == without.points
    assert all(r.lpips is None for r in analyse(root).fidelity)


def test_folders_of_older_versions_have_no_ms_ssim(tmp_path: Path) -> None:
    rows = seen(gated.write(tmp_path / "r", edit=gated.reached, n=N), similar=False)
    assert any(r.psnr_change is not None for r in rows)
    assert all(r.ms_ssim is r.ms_ssim_change is None for r in rows)


def test_pictures_without_loss_have_no_finite_psnr(tmp_path: Path) -> None:
    rows = seen(
        gated.write(tmp_path / "r", edit=gated.reached, n=N), {"bpg": math.inf, "npp+bpg": 40.0}
    )
    assert all(r.psnr is None for r in rows if r.method == "bpg")
    assert all(r.psnr_change is None for r in rows)
    assert any(r.psnr is not None for r in rows)
