"""What pictures lose against the original where methods are equally accurate."""

import math
from pathlib import Path

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
