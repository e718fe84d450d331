"""`qps: auto`: a pilot on closed-form accuracies, and whole runs with it."""

import json
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from described import N, experiment

from bench import config as configs
from bench import preprocessors
from bench.cli import main
from bench.codecs.mapped import MappedCodec
from bench.errors import BenchError, ConfigError
from bench.results import manifest as manifests
from bench.sweep import pilot
from bench.sweep.coding import Picture
from bench.sweep.plan import Answer, Experiment, plan
from bench.sweep.uncompressed import Views
from bench.sweep.unit import Unit, UnitResult
from bench.tasks.records import Logits

METHODS = {"bpg": {"codec": "bpg", "qps": "auto"}, "jpeg": {"codec": "jpeg"}}
QA_NPP = {"name": "qa-npp", "weights": "qa_npp_mini_cls"}

Accuracy = Callable[[str, int], float]
"""Of a method at a QP, a share of the images."""


def planned(**change: Any) -> Experiment:
    """On mini's 480 pictures, none of which is rendered."""
    described = experiment() | {"dataset": {"format": "mini"}, "methods": METHODS} | change
    config = configs.validate({"experiments": [described]}, "of the test")
    return plan(config, torch.device("cpu"), None)[0]


# --- closed-form accuracies -----------------------------------------------------------------------


class Told:
    """In place of a run: of the images of a pilot a stated share is right at each point."""

    def __init__(self, planned: Experiment, accuracy: Accuracy) -> None:
        self.experiments = [planned]
        self.failures: list[manifests.Failure] = []
        self.asked: Counter[str] = Counter()
        self._accuracy = accuracy
        seen = pilot.chunks(len(planned.dataset.samples))
        self._order = [i for start, stop in seen for i in range(start, stop)]

    def units(self, units: list[Unit], what: str) -> Iterator[UnitResult]:
        for unit in reversed(units):  # results come in any order
            result = UnitResult(unit)
            for place in unit.points:
                point = self.experiments[0].points[place]
                self.asked[point.method] += unit.stop - unit.start
                table = self.table(
                    range(unit.start, unit.stop), self._accuracy(point.method, point.qp)
                )
                result.statistics["mini_classifier", point.method, point.qp] = table
            yield result

    def table(self, images: range, accuracy: float) -> Any:
        right = self._order[: round(accuracy * len(self._order))]
        samples = self.experiments[0].dataset.samples
        targets = [samples[i].target for i in images]
        logits = [
            np.eye(12, dtype=np.float32)[(int(t.label) + (i not in right)) % 12]
            for i, t in zip(images, targets, strict=True)
        ]
        answers = [Answer(Logits(said), None, None) for said in logits]
        return self.experiments[0].statistics(answers, targets, list(images))

    def choose(self, clean: float = 1.0) -> tuple[Experiment, list[str]]:
        n, said = len(self.experiments[0].dataset.samples), list[str]()
        views: list[Views | None] = [{"native": Picture("", 96, 96)} for _ in range(n)]
        table = self.table(range(n), clean)
        pilot.choose(self, [views], lambda _n, _m: table, said.append)  # type: ignore[arg-type]
        return self.experiments[0], said


def falling(middle: dict[str, float], width: float = 3.5) -> Accuracy:
    return lambda method, qp: float(1 / (1 + np.exp((qp - middle[method]) / width)))


def test_two_shifted_methods_get_lists_of_their_own_that_overlap() -> None:
    accuracy = falling({"bpg": 34, "jpeg": 40})
    told = Told(planned(), accuracy)
    found, said = told.choose()
    grid = found.grid()
    seen = {m: [accuracy(m, qp) for qp in qps] for m, qps in grid.items()}
    shared = min(v[0] for v in seen.values()) - max(v[-1] for v in seen.values())
    spanned = max(v[0] for v in seen.values()) - min(v[-1] for v in seen.values())
    assert shared / spanned >= 0.8
    assert np.subtract(grid["jpeg"], grid["bpg"]).tolist() == pytest.approx([6] * 6, abs=2)
    for values in seen.values():
        assert all(0.02 < a - b < 0.12 for a, b in pairwise(values))
    (line,) = said
    assert line.startswith("mini-cls: a pilot chose QPs for bpg: ")
    assert "; jpeg: " in line
    assert found.points == told.experiments[0].points  # the plan that units know is the same
    assert max(told.asked.values()) <= 1.5 * pilot.USUAL * pilot.IMAGES


def test_what_a_pilot_saw_is_recorded() -> None:
    accuracy = falling({"bpg": 34, "jpeg": 40})
    found, _ = Told(planned(), accuracy).choose()
    record = found.pilot
    assert record is not None
    assert (record.metric, record.top, record.bottom) == ("top1", 0.99, 0.6667)
    assert len(record.images) == pilot.IMAGES
    assert list(record.shares) == ["bpg", "jpeg"]
    for method, shares in record.shares.items():
        for qp, share in shares.items():
            assert share == pytest.approx(accuracy(method, qp), abs=0.5 / pilot.IMAGES + 1e-4)
    again = manifests.Pilot.model_validate_json(record.model_dump_json())
    assert again == record


def test_accuracies_are_shares_of_what_the_clean_pictures_give() -> None:
    half = falling({"bpg": 34, "jpeg": 40})
    found, _ = Told(planned(), half).choose()
    scaled, _ = Told(planned(), lambda m, qp: 0.5 * half(m, qp)).choose(clean=0.5)
    pairs = zip(found.grid()["bpg"], scaled.grid()["bpg"], strict=True)
    assert all(abs(a - b) <= 2 for a, b in pairs)  # on half as many images that can be lost


def test_a_method_with_a_list_keeps_it() -> None:
    methods = METHODS | {"jpeg": {"codec": "jpeg", "qps": [20, 30]}}
    told = Told(planned(methods=methods), falling({"bpg": 34, "jpeg": 40}))
    found, _ = told.choose()
    assert found.grid()["jpeg"] == [20, 30]
    assert list(told.asked) == ["bpg"]
    assert found.pilot is not None
    assert list(found.pilot.shares) == ["bpg"]


def test_a_method_that_is_never_near_clean_is_warned_of() -> None:
    told = Told(planned(), lambda m, qp: 0.3 if m == "jpeg" else 1 - qp / 60)
    with pytest.warns(UserWarning, match=r"jpeg leaves model mini_classifier at most 30 % of its"):
        told.choose()


def test_a_clean_score_of_zero_is_refused_in_a_sentence() -> None:
    told = Told(planned(), lambda *_: 0.0)
    with pytest.raises(BenchError, match=r"top1 of model mini_classifier is 0 on the 64 .*lists"):
        told.choose(clean=0.0)
    assert not told.asked


def test_images_that_failed_are_left_out() -> None:
    told = Told(planned(), falling({"bpg": 34, "jpeg": 40}))
    images = [i for start, stop in pilot.chunks(480) for i in range(start, stop)]
    failed = manifests.Failure(
        dataset="mini-cls", model=None, method=None, qp=None,
        image="x", index=images[0], stage="load", error="",
    )  # fmt: skip
    coarse = failed.model_copy(update={"index": images[1], "method": "bpg", "qp": 51})
    told.failures = [failed, coarse]
    found, _ = told.choose()
    assert found.pilot is not None
    assert found.pilot.images == tuple(images[2:])
    assert told.failures == [failed]  # the run finds out about its own points itself


@pytest.mark.parametrize("n", [1, 15, 16, 17, 63, 64, 65, 120, 480, 5000])
def test_chunks_are_whole_and_spread(n: int) -> None:
    seen = pilot.chunks(n)
    assert all(start % 16 == 0 and start < stop <= min(start + 16, n) for start, stop in seen)
    assert len(seen) == len(set(seen)) == min(4, -(-n // 16))
    assert sum(stop - start for start, stop in seen) <= pilot.IMAGES
    starts = [start for start, _ in seen]
    if n >= 480:
        assert np.ptp(np.diff(starts)) <= 16
        assert abs(starts[0] - (n - seen[-1][1])) <= 32


# --- the plan -------------------------------------------------------------------------------------


def test_a_network_is_tried_at_the_qps_that_it_was_trained_for() -> None:
    filtered = {"preprocessor": QA_NPP, "codec": "bpg"}
    levels = {30: "npp_mini_cls_30", 37: "npp_mini_cls_37"}
    held = {"preprocessor": {"name": "npp", "weights": levels}, "codec": "bpg"}
    with warnings.catch_warnings(action="error"):
        grid = planned(methods=METHODS | {"qa": filtered, "held": held}).grid()
    assert (grid["bpg"][0], grid["bpg"][-1]) == (0, 51)
    assert (grid["qa"][0], grid["qa"][-1]) == (27, 47)
    assert (grid["held"][0], grid["held"][-1]) == (27, 40)


def test_a_codec_without_the_qps_of_a_network_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Elsewhere:
        trained = range(60, 70)

    monkeypatch.setattr(preprocessors, "make", lambda *_: Elsewhere())
    with pytest.raises(ConfigError, match=r"methods\.x\.qps: auto: .*60…69, none .*'bpg'.*0…51"):
        planned(methods=METHODS | {"x": {"preprocessor": QA_NPP, "codec": "bpg"}})


def test_a_codec_with_too_many_qps_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MappedCodec, "qps", range(10**9))
    with pytest.raises(ConfigError, match=r"methods\.jpeg\.qps: auto .*at most 1000 .*give a list"):
        planned()


# --- whole runs -----------------------------------------------------------------------------------


@pytest.fixture
def open_config(tmp_path: Path) -> Path:
    path = tmp_path / "open.yaml"
    path.write_text(yaml.safe_dump({"experiments": [experiment() | {"methods": METHODS}]}))
    return path


def run(config: Path, pictures: Path, out: Path, *more: str) -> dict[str, Any]:
    words = ["--config", config, "--data-root", pictures, "--out", out, "--device", "cpu", *more]
    assert main(["--set", "analysis.resamples=20", *map(str, words)]) == 0
    said: dict[str, Any] = json.loads((out / "manifest.json").read_text())
    return said


def tables(out: Path) -> dict[str, bytes]:
    names = ("points.csv", "bd.csv", "images.parquet")
    return {name: (out / name).read_bytes() for name in names}


def test_a_run_is_of_what_its_pilot_chose_and_others_like_it_compute_nothing(
    open_config: Path, pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "results" / "run"
    done = run(open_config, pictures, out)
    (described,) = done["experiments"]
    assert described["pilot"]["metric"] == "top1"
    assert described["pilot"]["images"] == list(range(N))
    assert done["config"]["experiments"][0]["methods"]["bpg"]["qps"] == "auto"
    assert list(done["timings"]) == ["uncompressed", "pilot", "points"]
    points = pd.read_csv(out / "points.csv")
    for method, qps in described["methods"].items():
        assert 5 <= len(qps) <= 6
        own = points[(points.method == method) & (points.metric == "top1")]
        assert sorted(own.qp) == qps
    reused = sum(len(v) for v in described["methods"].values()) * N - done["cached"]["coded"]
    assert reused <= 6 * N  # most were measured by the pilot, too

    first = tables(out)
    again = run(open_config, pictures, out)
    assert again["computed"]["coded"] == again["computed"]["predicted"] == 0
    assert again["experiments"] == done["experiments"]
    assert tables(out) == first

    listed = tmp_path / "results" / "listed"
    sets = [
        word
        for method, qps in described["methods"].items()
        for word in ("--set", f"experiments.0.methods.{method}.qps={qps}")
    ]
    same = run(open_config, pictures, listed, *sets)
    assert same["experiments"][0] == described | {"pilot": None}
    assert same["computed"]["coded"] == 0
    assert tables(listed) == first


def test_processes_and_threads_choose_the_same(
    open_config: Path, pictures: Path, tmp_path: Path
) -> None:
    threads, processes = tmp_path / "a" / "run", tmp_path / "b" / "run"
    one = run(open_config, pictures, threads, "--jobs", "3")
    other = run(open_config, pictures, processes, "--jobs", "2", "--backend", "loky")
    assert one["experiments"] == other["experiments"]
    assert tables(threads) == tables(processes)


def test_pictures_without_labels(open_config: Path, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "results" / "run"
    described = experiment() | {"dataset": {"format": "folder"}, "methods": METHODS}
    open_config.write_text(yaml.safe_dump({"experiments": [described]}))
    done = run(open_config, pictures / "images", out)
    assert done["experiments"][0]["task"] == "cls-agreement"
    assert done["experiments"][0]["pilot"]["metric"] == "agreement"


def test_the_option_is_for_every_method_and_a_dry_run_says_what_it_takes(
    config: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--config", config, "--data-root", pictures, "--out", tmp_path / "run", "--dry-run"]
    assert main([*map(str, words), "--qps", "auto"]) == 0
    said = capsys.readouterr().err
    assert said.count("auto, within 0…51") == 2
    assert f"about {N * 12}" in said
    assert f"pilot before it, of which the run reuses a part: pictures, {N} images" in said
    assert f"{N * 2 * pilot.USUAL} encodes" in said
    assert not (tmp_path / "run").exists()


def test_estimates_know_no_more_qps_than_there_are() -> None:
    five = planned()
    few = replace(five, points=[p for p in five.points if p.qp < 3])
    assert pilot.typical(few).grid() == {"bpg": [0, 1, 2], "jpeg": [0, 1, 2]}
    assert [len(qps) for qps in pilot.typical(five).grid().values()] == [6, 6]
