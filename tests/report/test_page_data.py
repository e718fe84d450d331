"""What the page says in numbers: curves, savings, time and bits."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import page_folder
import pandas as pd
import pytest
import results_folder
from scipy.interpolate import PchipInterpolator

from bench.errors import DataError
from bench.report import html
from bench.report.page import elements, measured, panel
from bench.report.results import read

Write = Callable[..., Path]


def panels(folder: Path) -> list[dict[str, Any]]:
    return json.loads(panel.embedded(panel.content(read(folder))))["panels"]


def test_a_curve_is_what_bd_rate_integrates(tmp_path: Path) -> None:
    (first, *_) = panels(page_folder.write(tmp_path / "run", ["jpeg"]))
    anchor = first["methods"][0]
    quality, rate = (
        [v[q] for q in reversed(page_folder.QPS)] for v in (page_folder.VALUES, page_folder.BPP)
    )
    expected = np.exp(PchipInterpolator(quality, np.log(rate))(anchor["values"]))
    np.testing.assert_allclose(anchor["rates"], expected, rtol=1e-3)
    assert {float(f"{q:.6g}") for q in quality} <= set(anchor["values"])
    assert first["near"] == pytest.approx([0.301 * 0.9, 0.301 * 0.99], abs=1e-6)


def test_savings_are_against_the_anchor_at_equal_accuracy(tmp_path: Path) -> None:
    (first, *_) = panels(page_folder.write(tmp_path / "run", ["jpeg"]))
    anchor, jpeg = first["methods"]
    assert anchor["saving"] == []
    assert {round(change, 3) for _, change in jpeg["saving"]} == {-20.0}
    percents = [p for p, _ in jpeg["saving"]]
    assert percents[0] == 1
    assert percents[-1] == 10
    assert jpeg["levels"][0] == pytest.approx([1.0, 0.32, -20.0, -29.0, -11.0])


def test_a_lower_metric_is_better_where_the_task_says_so(make_run: Write) -> None:
    measured = [row | {"metric": "loss"} for row in results_folder.points()[:16]]
    for row in measured:
        for key in ("value", "ci_low", "ci_high", "curve_value"):
            row[key] = 1 - row[key] if key in row else ""
        if row.get("qp") == 31:  # so that it gets better with every bit
            row["value"] = row["curve_value"] = 0.703
    (only,) = panels(make_run(measured=measured, compared=[], equally=[]))
    assert not only["up"]
    assert only["near"] == pytest.approx([0.699 * 1.1, 0.699 * 1.01], rel=1e-5)
    assert len(only["methods"][0]["rates"]) > 50


def test_a_curve_that_is_no_function_is_its_points(make_run: Write) -> None:
    (first, *_) = panels(make_run())  # at QP 31 it is worse than at QP 37
    assert first["methods"][0]["rates"] == sorted(results_folder.BPP.values())
    assert first["methods"][0]["saving"] == []


def test_methods_on_the_front(tmp_path: Path) -> None:
    methods = [f"m{i}" for i in range(4)]
    (first, *_) = panels(page_folder.write(tmp_path / "run", methods))
    assert first["front"] == [1]  # the first saves a fifth, all others cost more


def test_time_by_stage_is_per_megapixel_and_bits_have_quantiles(tmp_path: Path) -> None:
    folder = page_folder.write(tmp_path / "run", ["jpeg"])
    cost, bits = measured.sections(read(folder))
    assert "1000 ms" in cost  # 0.32 s on 0.32 megapixels
    assert "200 ms" in cost
    assert "Preprocess" not in cost
    images = pd.read_parquet(folder / "images.parquet")
    own = images[(images["method"] == "jpeg") & (images["qp"] == 40)]
    rate = own["bits"] / 320_000
    row = bits[bits.index("jpeg") :]
    row = row[row.index('<td class="n">40</td>') :]
    assert f"{rate.median():.3f}</td>" in row[: row.index("</tr>")]
    assert f"{rate.mean():.3f}</td>" in row[: row.index("</tr>")]


@pytest.mark.parametrize("file", ["images.parquet", "costs.parquet"])
def test_damaged_measurements_are_named(tmp_path: Path, file: str) -> None:
    folder = page_folder.write(tmp_path / "run", ["jpeg"])
    (folder / file).write_bytes(b"PAR1")
    with pytest.raises(DataError, match=file):
        measured.sections(read(folder))


def test_without_measurements_their_sections_are_not_there(make_run: Write) -> None:
    text = html.page(read(make_run()), [])
    assert "<h2>Cost</h2>" not in text
    assert "<h2>Pairs and means</h2>" not in text
    assert "<h2>BD-rate</h2>" in text


def test_no_image_has_bits(tmp_path: Path) -> None:
    folder = page_folder.write(tmp_path / "run", ["jpeg"])
    images = pd.read_parquet(folder / "images.parquet")
    for empty in (images.assign(bits=np.nan), images.assign(width=0), images[:0]):
        empty.to_parquet(folder / "images.parquet")
        assert measured.sections(read(folder))[1] == ""


@pytest.mark.parametrize("methods", [[], ["jpeg"], [f"pre{i}+bpg" for i in range(40)]])
def test_any_number_of_methods(tmp_path: Path, methods: list[str]) -> None:
    folder = page_folder.write(tmp_path / "run", methods)
    text = html.page(read(folder), [])
    assert text.count('<circle class="dot') == 2 * len(methods)
    assert text.count("</td>") == text.count("<td")
    assert ("No BD-rates" in text) == (not methods)


def test_everything_undefined(make_run: Write) -> None:
    compared = [
        {k: v for k, v in row.items() if not k.startswith(("bd_rate", "ci_"))}
        | {"status": "undefined", "reason": "the curves share no accuracy"}
        for row in results_folder.bd_rates()
    ]
    text = html.page(read(make_run(compared=compared)), [])
    assert text.count('title="the curves share no accuracy">undefined') >= 4
    assert '<circle class="dot' not in text


def test_settings_that_are_the_same_are_stated_once(make_run: Write) -> None:
    about = results_folder.manifest()
    (one,) = about["experiments"]
    one["codecs"] = {"bpg": {"x265": "4.1"}, "npp+bpg": {"x265": "4.1"}, "jpeg": {"turbo": "3"}}
    about["experiments"] = [one, one | {"dataset": "other", "dataset_fingerprint": "sha256:0000"}]
    text = html.page(read(make_run(about=about)), [])
    assert text.count("x265 4.1") == 1
    assert "codecs of bpg, npp+bpg" in text
    assert text.count("turbo 3") == 1
    assert text.count("sha256:0000") == 1


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([-18.0, -30.0, -7.0], ["−30", "−20", "−10", "0"]),
        ([400.0, -60.0], ["−50", "−25", "0", "+33", "+100", "+300"]),
        ([], ["−1", "0", "+1"]),
        ([-100.0, 1e9], ["−99", "−95", "−90", "−75", "−50", "−25", "0", "+33", "+100", "+300",
                         "+900", "+4900"]),
    ],
)  # fmt: skip
def test_an_axis_of_savings_has_round_ticks(values: list[float], labels: list[str]) -> None:
    axis = elements.saving_axis(values)
    assert [elements.ratio_label(t) for t in axis.ticks] == labels
    assert all(0 <= axis.place(elements.ratio(v)) <= 100 for v in values)


def test_halving_the_bits_is_as_far_from_nothing_as_doubling_them() -> None:
    axis = elements.saving_axis([400.0, -60.0])
    zero, double, half = (axis.place(elements.ratio(p)) for p in (0, 100, -50))
    assert double - zero == pytest.approx(zero - half)
