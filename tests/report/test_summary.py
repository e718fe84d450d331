"""What is said first: the acceptable range, the whole overlap, and what the saving costs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.report.results import Results
from bench.report.summary import Summary, filtering, summaries
from bench.results.files import ResultsError
from bench.results.manifest import Experiment, Manifest, Model
from bench.results.rows import BDRow, FidelityRow, PairRow, PointRow, columns

WHERE = {
    "dataset": "data", "task": "det", "model": "net", "metric": "mAP", "anchor": "bpg",
    "interpolation": "pchip", "policy": "pareto",
}  # fmt: skip
RANGE = "1–10 % below clean"
NOT_COVERED = "the curves cover 30 % of the range, 50 % are needed"


def bd_row(method: str = "npp", **values: Any) -> BDRow:
    given: dict[str, Any] = dict.fromkeys(columns(BDRow)) | WHERE | {"method": method}
    given |= {"bd_rate": -34.6, "ci_low": -39.0, "ci_high": -30.0, "overlap": 0.92}
    given |= {"range_bd_rate": -20.3, "range_low": -29.5, "range_high": -12.1, "range": RANGE}
    return BDRow(**(given | {"status": "ok", "reason": "", "range_reason": ""} | values))


def pair_row(method: str, against: str, **values: Any) -> PairRow:
    given: dict[str, Any] = dict.fromkeys(columns(PairRow)) | WHERE
    del given["anchor"]
    given |= {"method": method, "against": against, "range_reason": "", "reason": ""}
    return PairRow(**(given | values))


def fidelity_row(within: float, **values: Any) -> FidelityRow:
    given: dict[str, Any] = dict.fromkeys(columns(FidelityRow)) | WHERE | {"method": "npp"}
    return FidelityRow(**(given | {"within": within} | values))


def results(
    bd: Sequence[BDRow],
    pairs: Sequence[PairRow] = (),
    fidelity: Sequence[FidelityRow] = (),
    folder: Path = Path("nowhere"),
) -> Results:
    point: dict[str, Any] = dict.fromkeys(columns(PointRow)) | {"method": "bpg", "n_images": 9}
    names = ("dataset", "task", "model", "metric")
    points = [PointRow(**(point | {name: WHERE[name] for name in names}))]
    manifest = Manifest(
        experiments=(
            Experiment(
                task="det", dataset="data", n_images=2, images=("a", "b"), anchor="bpg",
                models=(Model(name="net", view="native"),),
                methods={"bpg": (37,), "npp": (37,), "qa": (37,)},
            ),
        )
    )  # fmt: skip
    return Results(
        folder, manifest, points, list(bd), [], pairs=list(pairs), fidelity=list(fidelity)
    )


def summary(*bd: BDRow, **more: Any) -> Summary:
    (only,) = summaries(results(bd, **more))
    return only


def test_the_acceptable_range_comes_first() -> None:
    said = summary(bd_row())
    assert said.text == (
        "net on data, mAP, against bpg. npp: 20.3 % fewer bits at 1–10 % below clean (95 % "
        "interval 12.1 to 29.5 %); 34.6 % fewer bits over all accuracies that both curves reach "
        "(95 % interval 30.0 to 39.0 %; 92 % of those that they span)."
    )
    (method,) = said.methods
    assert said.text.index(method.near) < said.text.index(method.whole)


@pytest.mark.parametrize(
    ("values", "near"),
    [
        (
            {"range_bd_rate": 8.04, "range_low": 5.0, "range_high": 11.0},
            "8.0 % more bits at 1–10 % below clean (95 % interval 5.0 to 11.0 %)",
        ),
        (
            {"range_bd_rate": -5.0, "range_low": -12.0, "range_high": 3.0},
            "5.0 % fewer bits at 1–10 % below clean, which may be chance "
            "(95 % interval −12.0 to +3.0 %)",
        ),
        (
            {"range_bd_rate": 0.0, "range_low": 0.0, "range_high": 0.0},
            "as many bits at 1–10 % below clean, which may be chance (95 % interval 0.0 to 0.0 %)",
        ),
        (
            {"range_bd_rate": None, "range_reason": NOT_COVERED},
            f"no BD-rate at 1–10 % below clean ({NOT_COVERED})",
        ),
        (
            {
                "range_low": None,
                "range_high": None,
                "range_reason": "rests on 64 % of the range; no interval: undefined in 80 of 1000",
            },
            "20.3 % fewer bits at 1–10 % below clean "
            "(no interval: undefined in 80 of 1000; rests on 64 % of the range)",
        ),
    ],
    ids=["loss", "interval over zero", "nothing", "range not covered", "withheld"],
)
def test_what_is_said_of_the_range(values: dict[str, Any], near: str) -> None:
    assert summary(bd_row(**values)).methods[0].near == near


@pytest.mark.parametrize(
    ("values", "whole"),
    [
        (
            {"bd_rate": None, "status": "undefined", "reason": "no accuracy is shared; npp tied"},
            "no BD-rate over all accuracies that both curves reach (no accuracy is shared)",
        ),
        (
            {"ci_low": None, "ci_high": None, "reason": "npp tied; no interval: no resamples"},
            "34.6 % fewer bits over all accuracies that both curves reach "
            "(no interval: no resamples; 92 % of those that they span)",
        ),
    ],
    ids=["undefined", "withheld"],
)
def test_what_is_said_of_the_whole_overlap(values: dict[str, Any], whole: str) -> None:
    assert summary(bd_row(**values)).methods[0].whole == whole


def test_the_best_is_first_and_told_from_the_second_or_not() -> None:
    rows = [
        bd_row("none", range_bd_rate=None, range_reason=NOT_COVERED),
        bd_row("npp"),
        bd_row("qa", range_bd_rate=-21.2),
        bd_row("npp", metric="AP50", range_bd_rate=-99.0),
        bd_row("npp", interpolation="akima", range_bd_rate=-99.0),
    ]
    about = {"range_bd_rate": -1.1, "range_low": -9.0, "range_high": 8.2}
    pairs = [
        pair_row("npp", "qa", range_bd_rate=50.0),
        pair_row("qa", "npp", interpolation="akima", range_bd_rate=-99.0),
        pair_row("qa", "npp", **about),
    ]
    said = summary(*rows, pairs=pairs)
    assert [m.method for m in said.methods] == ["qa", "npp", "none"]
    assert said.lead == (
        "Against npp, the next: 1.1 % fewer bits there, which may be chance "
        "(95 % interval −9.0 to +8.2 %)."
    )
    assert said.text.index("qa: ") < said.text.index("Against") < said.text.index("npp: ")
    assert summary(*rows).lead == ""  # a folder of an older version
    assert summary(*rows[:2], pairs=pairs).lead == ""


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ([(-3.14, -0.01), (-4.9, -0.02), (None, None)],
         "3.1 to 4.9 dB less PSNR and 0.010 to 0.020 less MS-SSIM"),
        ([(-3.11, None), (-3.14, None)], "3.1 dB less PSNR"),
        ([(-0.3, None), (0.2, None)], "from 0.3 dB less to 0.2 dB more PSNR"),
        ([(0.5, 0.004)], "0.5 dB more PSNR and 0.004 more MS-SSIM"),
        ([(-3.14, -0.01, 0.021)], "3.1 dB less PSNR, 0.010 less MS-SSIM and 0.021 more LPIPS"),
        ([(-3.14, None, -0.1), (-3.14, None, -0.2)],
         "3.1 dB less PSNR and 0.100 to 0.200 less LPIPS"),
    ],
)  # fmt: skip
def test_what_pictures_lose(changes: list[tuple[float | None, ...]], said: str) -> None:
    names = ("psnr_change", "ms_ssim_change", "lpips_change")
    rows = [
        fidelity_row(i, **dict(zip(names, values, strict=False)))
        for i, values in enumerate(changes)
    ]
    strangers = [
        fidelity_row(9, psnr_change=-50.0, interpolation="akima"),
        fidelity_row(9, psnr_change=-50.0, method="qa"),
    ]
    made = summary(bd_row(), fidelity=[*strangers, *rows])
    assert made.methods[0].fidelity == f"its pictures with {said} at equal accuracy"
    assert made.text.endswith("at equal accuracy.")


def test_no_pictures_were_compared() -> None:
    assert summary(bd_row(), fidelity=[fidelity_row(1)]).methods[0].fidelity == ""


def test_nothing_but_the_anchor() -> None:
    assert summary().text == "net on data, mAP: no method stands beside an anchor."


# --- time of the filters -------------------------------------------------------------------------


def write_costs(
    folder: Path, seconds: list[float | None], stages: Sequence[str] = ("preprocess",)
) -> None:
    """Two pictures of 2 and 4 megapixels, filtered at `stages`, and steps that are no filters'."""
    picture = {"dataset": "data", "method": "npp", "qp": 37}
    sizes = [
        picture | {"view": "native", "index": i, "width": 2000, "height": 1000 * (1 + i)}
        for i in range(2)
    ]
    step = picture | {"of": "native"}
    steps = [
        step | {"index": i, "stage": stage, "seconds": each}
        for stage in stages
        for i, each in enumerate(seconds)
    ]
    steps += [
        step | {"index": 0, "stage": "encode", "seconds": 9.0},
        step | {"index": 0, "of": "net", "stage": "predict", "seconds": 9.0},
        step | {"index": 0, "of": "net", "method": "uncompressed", "qp": None, "stage": "predict",
                "seconds": 9.0},
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(sizes), folder / "images.parquet")
    pq.write_table(pa.Table.from_pylist(steps), folder / "costs.parquet")


@pytest.mark.parametrize(
    ("seconds", "stages", "speed", "said"),
    [
        ([0.1, 0.11], ["preprocess"], 35.0, "preprocessing took 35 ms/megapixel"),
        ([None, 0.016], ["preprocess"], 4.0, "preprocessing took 4.0 ms/megapixel"),
        ([0.1, 0.11], ["postprocess"], 35.0, "postprocessing took 35 ms/megapixel"),
        (
            [0.1, 0.11],
            ["postprocess", "preprocess"],
            35.0,
            "preprocessing took 35 ms/megapixel and postprocessing took 35 ms/megapixel",
        ),
    ],
)
def test_time_of_filters(
    tmp_path: Path, seconds: list[float | None], stages: list[str], speed: float, said: str
) -> None:
    write_costs(tmp_path, seconds, stages)
    found = filtering(results([], folder=tmp_path))
    assert found == {("data", "net", "npp"): dict.fromkeys(stages, pytest.approx(speed))}
    made = summary(bd_row("npp"), bd_row("qa"), folder=tmp_path)
    assert [m.cost for m in made.methods] == [said, ""]


def test_folders_without_times(tmp_path: Path) -> None:
    assert filtering(results([], folder=tmp_path)) == {}
    write_costs(tmp_path, [None])
    assert filtering(results([], folder=tmp_path)) == {}


def test_a_damaged_table_of_times_is_named(tmp_path: Path) -> None:
    write_costs(tmp_path, [0.1])
    (tmp_path / "costs.parquet").write_bytes(b"PAR1")
    with pytest.raises(ResultsError, match=r"costs\.parquet: cannot be read"):
        filtering(results([], folder=tmp_path))
