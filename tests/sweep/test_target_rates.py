"""`rates:` in place of QPs: every image gets the QP that brings it nearest to the target."""

import json
import math
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from described import N, experiment
from hypothesis import given
from hypothesis import strategies as st

from bench import codecs
from bench import config as configs
from bench.cli import main
from bench.datasets import mini
from bench.errors import ConfigError
from bench.results.names import point_name, rate_label, rate_of
from bench.sweep.plan import plan
from bench.sweep.rates import NEAR, away, nearest

RATES = [0.5, 1.2, 2.0]
METHODS: dict[str, Any] = {
    "bpg": {"codec": "bpg", "rates": RATES},
    "jpeg": {"codec": "jpeg"},
    "qa-npp+bpg": {
        "codec": "bpg",
        "preprocessor": {"name": "qa-npp", "weights": "qa_npp_mini_cls"},
    },
}


# --- the search -----------------------------------------------------------------------------------


@given(
    st.lists(st.floats(0.001, 30), min_size=1, max_size=70, unique=True),
    st.floats(0.001, 30),
    st.integers(0, 20),
)
def test_where_bits_fall_with_the_qp_the_nearest_of_all_is_found(
    rates: list[float], target: float, first: int
) -> None:
    falling = sorted(rates, reverse=True)
    qps = range(first, first + len(falling))
    asked: list[int] = []

    def bpp(qp: int) -> float:
        asked.append(qp)
        return falling[qp - first]

    found = nearest(bpp, qps, target)
    assert away(falling[found - first], target) == min(away(rate, target) for rate in falling)
    assert len(asked) <= math.floor(math.log2(len(falling))) + 1


def test_a_small_rise_costs_no_more_than_it_is() -> None:
    """Once in four QPs the file is 2 % larger than at the QP before."""
    rates = {qp: 8 * 0.88**qp * (1.16 if qp % 4 == 3 else 1) for qp in range(52)}
    for target in np.geomspace(0.02, 8, 200):
        found = nearest(rates.__getitem__, range(52), float(target))
        best = min(away(rate, target) for rate in rates.values())
        assert away(rates[found], target) <= best + 0.05


@pytest.mark.parametrize(("target", "qp"), [(100.0, 30), (0.001, 33), (2.0, 31)])
def test_a_target_out_of_reach_takes_the_end_and_of_two_the_finer_wins(
    target: float, qp: int
) -> None:
    rates = {30: 4.0, 31: 2.5, 32: 1.5, 33: 1.0}
    assert nearest(rates.__getitem__, list(rates), target) == qp


# --- labels ---------------------------------------------------------------------------------------


@given(st.integers(1, 24_000))
def test_a_label_is_the_rate_in_thousandths_below_zero(thousandths: int) -> None:
    rate = thousandths / 1000
    assert rate_of(rate_label(rate)) == rate
    assert rate_label(rate) < 0


def test_labels_are_named() -> None:
    assert [point_name(label) for label in (37, 0, -250, -60)] == [
        "QP 37", "QP 0", "0.25 bpp", "0.06 bpp"
    ]  # fmt: skip
    assert rate_of(37) is None


# --- configs --------------------------------------------------------------------------------------


def described(**methods: Any) -> dict[str, Any]:
    return {"experiments": [experiment() | {"methods": METHODS | methods}]}


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ({"codec": "bpg", "rates": []}, "methods.bpg.rates: List should have at least 1 item"),
        ({"codec": "bpg", "rates": [0.5, 0.5]}, "0.5 stands twice"),
        ({"codec": "bpg", "rates": [0.1234]}, "0.1234 bpp: rates in whole thousandths"),
        ({"codec": "bpg", "rates": [0]}, "greater than or equal to 0.001"),
        ({"codec": "bpg", "rates": [25]}, "less than or equal to 24"),
        ({"codec": "bpg", "rates": "auto"}, "Input should be a valid list"),
        ({"codec": "bpg", "rates": [0.5], "qps": [37]}, "qps and rates: a method has one of them"),
        ({"codec": "bpg"}, "the anchor needs its list of QPs, or auto, or a list of rates"),
    ],
)
def test_what_is_no_list_of_rates_is_refused(method: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said.replace(".", r"\.")):
        configs.validate(described(bpg=method), "of the test")


def test_who_has_neither_takes_the_anchors_rates_and_qps_of_ones_own_stay() -> None:
    own = {"codec": "jpeg", "qps": [33, 39]}
    (e,) = configs.validate(described(own=own), "of the test").experiments
    assert (e.rates("jpeg"), e.qps("jpeg")) == (RATES, [])
    assert (e.rates("own"), e.qps("own")) == ([], [33, 39])


def test_a_list_on_the_command_line_takes_the_place_of_rates() -> None:
    config = configs.validate(described(), "of the test")
    (e,) = configs.narrowed(config, qps=[33, 39]).experiments
    assert {m: e.qps(m) for m in ("bpg", "jpeg")} == {"bpg": [33, 39], "jpeg": [33, 39]}
    assert e.rates("bpg") == []


def planned(methods: dict[str, Any]) -> Any:
    told = experiment() | {"dataset": {"format": "mini"}, "methods": methods}
    config = configs.validate({"experiments": [told]}, "of the test")
    return plan(config, torch.device("cpu"), 2)[0]


def test_the_plan_has_a_point_for_each_rate_the_finest_first() -> None:
    with pytest.warns(UserWarning, match="was trained for QP 27…47; a target rate may take"):
        found = planned(METHODS)
    assert found.grid()["jpeg"] == [-2000, -1200, -500]
    point = found.points[0]
    assert (point.rate, point.tries) == (2.0, tuple(range(52)))
    assert (point.at(37).qp, point.at(37).rate) == (37, None)


def test_a_codec_with_qps_below_zero_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(codecs.make("jpeg")), "qps", range(-3, 40))
    with pytest.raises(ConfigError, match=r"methods\.jpeg\.codec: 'jpeg' has QPs from -3"):
        planned({"bpg": {"codec": "bpg", "qps": [37]}, "jpeg": {"codec": "jpeg", "qps": [37]}})


# --- whole runs -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of 6 of mini's pictures."""
    folder = tmp_path_factory.mktemp("rates")
    told = described()
    told["experiments"][0]["dataset"] = {"format": "mini"}
    (folder / "config.yaml").write_text(yaml.safe_dump(told))
    run(folder)
    return folder


def run(folder: Path, *more: str) -> Path:
    out = folder / "results" / "run"
    words = ["run", "--config", folder / "config.yaml", "--out", out, "--limit", 6, *more]
    with warnings.catch_warnings(action="ignore"):
        assert main([*map(str, words), "--device", "cpu"]) == 0
    return out


def manifest(folder: Path) -> Any:
    return json.loads((folder / "results" / "run" / "manifest.json").read_text())


def test_every_image_is_near_its_target_or_named(ran: Path) -> None:
    rates = pd.read_csv(ran / "results" / "run" / "rates.csv")
    assert len(rates) == 6 * len(RATES) * len(METHODS)
    near = (rates["bpp"] / rates["target"] - 1).abs() <= NEAR
    assert (near == (rates["within"] == "yes")).all()
    assert 0 < near.sum() < len(rates)
    key = ["image", "method", "target"]
    named = {tuple(row[k] for k in key) for row in manifest(ran)["off_target"]}
    assert named == set(rates[~near][key].itertuples(index=False, name=None))


def test_no_other_qp_comes_nearer(ran: Path) -> None:
    rates = pd.read_csv(ran / "results" / "run" / "rates.csv")
    codec = codecs.make("jpeg")
    for i in range(6):
        rgb, _ = mini.render_classification("test", i)
        pixels = rgb.shape[0] * rgb.shape[1]
        bpp = {qp: 8 * len(codec.encode(rgb, qp)) / pixels for qp in codec.qps}
        own = rates[(rates["image"] == f"test-{i:05d}") & (rates["method"] == "jpeg")]
        for row in own.itertuples():
            assert row.bpp == bpp[row.qp]
            assert away(row.bpp, row.target) == min(away(b, row.target) for b in bpp.values())


def test_preprocessor_and_codec_are_given_the_same_qp(ran: Path) -> None:
    from bench import preprocessors

    rates = pd.read_csv(ran / "results" / "run" / "rates.csv")
    codec = codecs.make("bpg")
    with warnings.catch_warnings(action="ignore"):
        options = METHODS["qa-npp+bpg"]["preprocessor"]
        filtered = preprocessors.make(options, list(codec.qps), torch.device("cpu"))
    torch.set_num_threads(1)
    for row in rates[rates["method"] == "qa-npp+bpg"].itertuples():
        rgb, _ = mini.render_classification("test", int(row.image.removeprefix("test-")))
        data = codec.encode(filtered(rgb, row.qp), row.qp)
        assert 8 * len(data) / (rgb.shape[0] * rgb.shape[1]) == row.bpp


def test_points_have_the_target_as_label_and_the_rate_that_was_measured(ran: Path) -> None:
    results = ran / "results" / "run"
    points, rates = pd.read_csv(results / "points.csv"), pd.read_csv(results / "rates.csv")
    own = points[(points["metric"] == "top1") & points["qp"].notna()]
    wanted = rates.groupby(["method", "target"])["bpp"].mean()
    assert len(own) == len(wanted)
    for row in own.itertuples():
        assert row.bpp == pytest.approx(wanted[row.method, -row.qp / 1000])
    page = (results / "report.html").read_text()
    assert "1.2 bpp" in page
    assert "QP -1200" not in page


def test_a_second_run_codes_nothing_and_gives_the_same(ran: Path) -> None:
    out = ran / "results" / "run"
    before = {name: (out / name).read_bytes() for name in ("rates.csv", "points.csv", "bd.csv")}
    run(ran)
    assert manifest(ran)["computed"] == {"coded": 0, "predicted": 0}
    assert before == {name: (out / name).read_bytes() for name in before}


def test_the_report_made_again_keeps_the_list(ran: Path) -> None:
    before = (ran / "results" / "run" / "rates.csv").read_bytes()
    assert main(["report", str(ran / "results" / "run")]) == 0
    assert (ran / "results" / "run" / "rates.csv").read_bytes() == before
    assert "rates.csv" in manifest(ran)["files"]


def test_how_many_are_off_is_said(ran: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(ran)
    missed = len(manifest(ran)["off_target"])
    assert f"{missed} codings by " in capsys.readouterr().err


def test_a_dry_run_says_what_a_search_takes(ran: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(ran, "--dry-run")
    assert "a target rate takes up to 6 tries" in capsys.readouterr().err


def test_processes_give_the_same(ran: Path) -> None:
    out = ran / "results" / "run"
    before = (out / "rates.csv").read_bytes()
    run(ran, "--backend", "loky", "--jobs", "2", "--cache", str(ran / "another"))
    assert (out / "rates.csv").read_bytes() == before


def test_a_pictures_failure_names_the_rate(
    pictures: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    told = {"experiments": [experiment() | {"methods": {"bpg": METHODS["bpg"]}}]}
    config.write_text(yaml.safe_dump(told))

    def broken(*_: Any) -> bytes:
        raise ValueError("no")

    monkeypatch.setattr(type(codecs.make("bpg")), "encode", broken)
    words = ["--config", config, "--data-root", pictures, "--out", tmp_path / "run"]
    assert main(["run", *map(str, words), "--device", "cpu"]) == 2
    said = capsys.readouterr().err
    assert re.search(rf"bpg at [\d.]+ bpp: all of {min(N, 16)} images failed", said)
