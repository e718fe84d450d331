"""Pictures kept with a run: chosen by the stated rule, at equal bits, small, and marked rightly."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.analysis.results import load
from bench.cli import main
from bench.results.pictures import read
from bench.sweep import pictures as kept
from bench.tasks import TASKS
from bench.tasks.records import Detections, Label, Logits, Objects


@pytest.fixture
def run(config: Path, pictures: Path, tmp_path: Path) -> Path:
    out = tmp_path / "out"
    words = ["--config", config, "--data-root", pictures, "--out", out, "--quiet"]
    more = ["--device", "cpu", "--set", "analysis.resamples=0"]
    assert main([*map(str, words), *more]) == 0
    return out


def test_the_worst_and_the_median_changes_at_the_nearest_bits(run: Path) -> None:
    results = load(run)
    (experiment,), found = results.manifest.experiments, read(run).kept
    (model,) = experiment.models
    assert [p.rule for p in found] == ["median"] * 6 + ["worst"] * 6
    assert {p.metric for p in found} == {"cross-entropy"}

    qps = experiment.methods["jpeg"]
    bits = np.array([results.rates(experiment, model, "jpeg", qp)[0] for qp in qps])
    at = found[0].anchor.qp
    assert at is not None
    wanted, _ = results.rates(experiment, model, "bpg", at)
    loss = {
        (method, qp): results.statistics(experiment, model, method, qp)["cross_entropy"].to_numpy()
        for method, listed in experiment.methods.items()
        for qp in listed
    }
    nearest = [qps[i] for i in np.abs(np.log(bits / wanted)).argmin(axis=0)]
    change = np.array([loss["bpg", at][i] - loss["jpeg", q][i] for i, q in enumerate(nearest)])
    assert [p.index for p in found[6:]] == np.argsort(change, kind="stable")[:6].tolist()
    for picture in found:
        assert picture.method.qp == nearest[picture.index]
        assert picture.anchor.bits == wanted[picture.index]
        assert picture.method.value == pytest.approx(
            loss["jpeg", picture.method.qp][picture.index], rel=1e-12
        )


def test_files_are_there_and_small_and_survive_a_new_report(run: Path) -> None:
    found = read(run)
    for picture in found.kept:
        for look in (picture.original, picture.anchor, picture.method):
            with Image.open(found.folder / look.file) as image:
                assert (image.format, image.size) == ("WEBP", (96, 96))
        assert picture.removed == ""  # no preprocessor
    before = {p.name: p.read_bytes() for p in found.folder.iterdir()}
    assert main(["report", str(run)]) == 0
    assert {p.name: p.read_bytes() for p in found.folder.iterdir()} == before
    page = (run / "report.html").read_text(encoding="utf-8")
    assert page.count('<figure class="kept">') == len(found.kept) == 12


def test_all_pictures_share_the_room_that_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    made = [{f"{i}.webp": rng.integers(0, 255, (400, 400, 3), np.uint8)} for i in range(4)]
    monkeypatch.setattr(kept, "MOST_BYTES", 400_000)
    kept._encode(tmp_path, made)
    assert 100_000 < sum(p.stat().st_size for p in tmp_path.iterdir()) <= 400_000


def test_marks_of_a_detector() -> None:
    target = Objects(
        boxes=np.array([[0, 0, 10, 10], [20, 20, 40, 40], [50, 50, 60, 60]], float),
        labels=np.array([1, 1, 2]),
        area=np.array([100.0, 400, 100]),
        iscrowd=np.array([False, False, True]),
        ignore=np.zeros(3, bool),
    )
    found = Detections(
        boxes=np.array(
            [[0, 0, 10, 9], [0, 0, 10, 10], [20, 20, 40, 39], [20, 20, 40, 40]], np.float32
        ),
        scores=np.array([0.9, 0.8, 0.7, 0.1], np.float32),
        labels=np.array([1, 1, 2, 1]),
    )
    marks = TASKS.get("det").marks(found, target, {1: "cat", 2: "dog"})
    assert [(m.state, m.text) for m in marks] == [
        ("true", "cat 0.90"),
        ("false", "cat 0.80"),  # its object is taken
        ("false", "dog 0.70"),  # another class; the crowd is elsewhere
        ("missed", "cat"),
    ]
    assert marks[-1].box == (20, 20, 40, 40)


def test_marks_of_a_classifier() -> None:
    said = Logits(np.log(np.array([0.7, 0.2, 0.1], np.float32)))
    task, names = TASKS.get("cls"), {0: "cat", 1: "dog", 2: "owl"}
    assert [(m.state, m.text) for m in task.marks(said, Label(np.array(0)), names)] == [
        ("true", "cat 0.70")
    ]
    assert [(m.state, m.text) for m in task.marks(said, Label(np.array(2)), names)] == [
        ("false", "cat 0.70"),
        ("missed", "owl"),
    ]
