"""The gate against changes of known size, and against input that must not pass it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import gated_results as gated
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gated_results import Method, failure

from bench.analysis import baseline, fingerprints, judge
from bench.analysis.compare import Comparison, compare
from bench.analysis.curves import Curve
from bench.atomic import checksum
from bench.cli import main
from bench.report.verdicts import render
from bench.results.files import ResultsError

Methods = dict[str, Method]
Change = Callable[[Methods], Any]


@pytest.fixture(scope="session")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A baseline file with its statistics. Not to be written to."""
    folder = tmp_path_factory.mktemp("gate")
    baseline.write(gated.write(folder / "run"), folder / "base.json")
    return folder / "base.json"


def verdicts(comparison: Comparison) -> dict[str, str]:
    return {row.method: row.verdict for row in comparison.rows}


def code(before: Path, run: Path, *more: str) -> int:
    return main(["compare", str(before), str(run), *more])


def gate(
    before: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> tuple[dict[str, str], int, list[dict[str, Any]]]:
    """Verdicts, exit code and rows, through the command line."""
    exit_code = code(before, run, "--format", "json")
    content = json.loads(capsys.readouterr().out)
    assert content["exit_code"] == exit_code
    return {row["method"]: row["verdict"] for row in content["rows"]}, exit_code, content["rows"]


def both(**values: Any) -> Change:
    def change(methods: Methods) -> None:
        for method in methods.values():
            for key, value in values.items():
                setattr(method, key, value * getattr(method, key))

    return change


def npp(**values: Any) -> Change:
    def change(methods: Methods) -> None:
        for key, value in values.items():
            setattr(methods["npp+bpg"], key, value)

    return change


OTHER_WEIGHTS = {"preprocessor": "npp", "weights": "bbbb", "code": "1", "torch": "2.12"}

PLANTED: dict[str, tuple[Change, dict[str, str], int]] = {
    "nothing": (lambda m: None, {"bpg": "same", "npp+bpg": "same"}, 0),
    "3 % more bits": (npp(rate=0.7 * 1.03), {"bpg": "same", "npp+bpg": "worse"}, 1),
    "3 % more bits of the anchor too": (
        both(rate=1.03),
        {"bpg": "worse", "npp+bpg": "worse"},
        1,
    ),
    "accuracy worth 3 % of rate": (npp(worth=1 / 1.03), {"bpg": "same", "npp+bpg": "worse"}, 1),
    "0.5 % more bits": (npp(rate=0.7 * 1.005), {"bpg": "same", "npp+bpg": "same"}, 0),
    "a better checkpoint": (
        npp(worth=1.06, preprocessor=OTHER_WEIGHTS),
        {"bpg": "same", "npp+bpg": "better"},
        0,
    ),
    "a worse checkpoint": (
        npp(worth=1 / 1.06, preprocessor=OTHER_WEIGHTS),
        {"bpg": "same", "npp+bpg": "worse"},
        1,
    ),
    "a better anchor": (
        lambda m: setattr(m["bpg"], "rate", 0.9),
        {"bpg": "better", "npp+bpg": "same"},
        0,
    ),
    "a worse anchor": (
        lambda m: setattr(m["bpg"], "rate", 1.1),
        {"bpg": "worse", "npp+bpg": "same"},
        1,
    ),
    "a deleted curve": (lambda m: m.pop("npp+bpg"), {"bpg": "same", "npp+bpg": "missing"}, 1),
    "another curve": (
        lambda m: m.update(blur=Method()),
        {"bpg": "same", "npp+bpg": "same", "blur": "new"},
        0,
    ),
    "accuracy gone": (npp(worth=0.02), {"bpg": "same", "npp+bpg": "failed"}, 1),
}


@pytest.mark.parametrize(("change", "expected", "exit_code"), PLANTED.values(), ids=PLANTED)
def test_planted_changes(
    before: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: Change,
    expected: dict[str, str],
    exit_code: int,
) -> None:
    run = gated.write(tmp_path / "run", change)
    found = gate(before, run, capsys)
    assert found[:2] == (expected, exit_code)


def test_size_of_a_change_and_its_interval(before: Path, tmp_path: Path) -> None:
    bits = compare(before, gated.write(tmp_path / "a", npp(rate=0.7 * 1.03)), 2.9).rows[1]
    assert bits.verdict == "worse"
    assert bits.own is not None
    np.testing.assert_allclose([bits.own.percent, bits.own.low, bits.own.high], 3, atol=0.01)
    accuracy = compare(before, gated.write(tmp_path / "b", npp(worth=1 / 1.03)), 1.0).rows[1]
    assert accuracy.own is not None
    assert accuracy.own.percent == pytest.approx(3, abs=0.5)
    assert 0 < accuracy.own.low < accuracy.own.percent < accuracy.own.high < 6
    assert accuracy.anchor == "bpg"
    assert accuracy.before == pytest.approx(-30, abs=0.5)
    assert accuracy.after == pytest.approx(100 * (0.7 * 1.03 - 1), abs=0.5)


def test_threshold(before: Path, tmp_path: Path) -> None:
    run = gated.write(tmp_path / "run", npp(rate=0.7 * 1.03))
    assert code(before, run, "--threshold", "5") == 0


def test_a_change_within_chance_is_the_same(tmp_path: Path) -> None:
    """Five per cent by the point estimate, on forty images that say nothing so fine."""
    a = gated.write(tmp_path / "a", n=40)
    b = gated.write(tmp_path / "b", npp(worth=1 / 1.08), n=40)
    row = compare(a, b, 1.0).rows[1]
    assert row.own is not None
    assert row.own.percent > 1
    assert row.own.low <= 0 <= row.own.high
    assert row.verdict == "same"
    assert "not told from chance" in row.reasons[0]


def test_chance_alone_changes_nothing(tmp_path: Path) -> None:
    """The same scenes again, everything a little off: perf/gate_null.py does it with pictures."""
    folders = [gated.write(tmp_path / f"{k}", n=300, noise=k) for k in range(8)]
    found = [
        row
        for before, after in zip(folders[::2], folders[1::2], strict=True)
        for row in compare(before, after, 1.0).rows
    ]
    moved = [row.own.percent for row in found if row.own is not None]
    assert len(moved) == 8
    assert max(map(abs, moved)) > 1
    assert sum(row.verdict != "same" for row in found) <= 1


def test_a_loss_where_it_meets_the_anchor_counts(tmp_path: Path) -> None:
    """Half of the curve got dearer: under the threshold for all of it, over it for the half that is
    compared with the anchor."""
    far = npp(worth=np.e)
    before, run = gated.write(tmp_path / "a", far, n=300), gated.write(tmp_path / "b", far, n=300)
    table = pq.read_table(run / "images.parquet")
    dearer = [
        round(bits * 1.015) if method == "npp+bpg" and qp >= 39 else bits
        for method, qp, bits in zip(
            *(table[c].to_pylist() for c in ("method", "qp", "bits")), strict=True
        )
    ]
    column = table.column_names.index("bits")
    pq.write_table(table.set_column(column, "bits", pa.array(dearer)), run / "images.parquet")
    row = compare(before, run, 1.0).rows[1]
    assert row.own is not None
    assert 0 < row.own.percent < 1
    assert row.verdict == "worse"
    assert row.reasons[0].startswith("against the anchor, which did not move, +1.")


def test_subject_is_named(before: Path, tmp_path: Path) -> None:
    codec = {"codec": "bpg", "x265": "4.2"}
    run = gated.write(tmp_path / "run", npp(rate=0.75, codec=codec, preprocessor=OTHER_WEIGHTS))
    row = compare(before, run, 1.0).rows[1]
    assert [str(d) for d in row.subject] == [
        "codec's x265: 4.1 → 4.2",
        "preprocessor's weights: aaaa → bbbb",
    ]
    unnamed = compare(before, gated.write(tmp_path / "b", npp(rate=0.75)), 1.0).rows[1]
    assert unnamed.verdict == "worse"
    assert unnamed.subject == ()
    assert "no fingerprint of the method changed, the bits did" in unnamed.reasons[0]


def test_a_filter_after_the_codec_is_a_part_of_the_subject(before: Path, tmp_path: Path) -> None:
    blur = {"preprocessor": "blur", "strength": "1", "torch": "2.13"}
    run = gated.write(tmp_path / "run", npp(rate=0.75, postprocessor=blur))
    row = compare(before, run, 1.0).rows[1]
    assert row.verdict == "worse"
    assert [str(d) for d in row.subject] == [
        "postprocessor's name: none → blur",
        "postprocessor's strength: none → 1",
    ]


def experiment(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda m: m["experiments"][0].update({key: value})


def model(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda m: m["experiments"][0]["models"][0].update({key: value})


def other_metric(manifest: dict[str, Any]) -> None:
    manifest["experiments"][0]["metrics"]["top1"] = "higher is better, version 2"


CONDITIONS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "images": (
        experiment("dataset_fingerprint", "sha256:9"),
        "images and ground truth: sha256:1234 → sha256:9",
    ),
    "task model": (
        model("fingerprint", {"library": "mini", "weights": "eeee", "torch": "2.12"}),
        "task model's weights: ffff → eeee",
    ),
    "metric": (other_metric, "metric top1: higher is better, version 1 → higher is better, ver"),
    "anchor": (experiment("anchor", "npp+bpg"), "anchor: bpg → npp+bpg"),
    "failing clean image": (
        lambda m: m["failures"].append(failure(3, None)),
        "images without a clean result: none → 0003.png",
    ),
}


@pytest.mark.parametrize(("edit", "reason"), CONDITIONS.values(), ids=CONDITIONS)
def test_other_conditions_are_not_comparable(
    before: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    edit: Callable[[dict[str, Any]], Any],
    reason: str,
) -> None:
    run = gated.write(tmp_path / "run", edit=edit)
    found, exit_code, rows = gate(before, run, capsys)
    assert found == {"bpg": "not comparable", "npp+bpg": "not comparable"}
    assert all(reason in row["reasons"][0] for row in rows)
    assert exit_code == 2


def test_another_view_is_not_comparable(before: Path, tmp_path: Path) -> None:
    run = gated.write(tmp_path / "run", edit=model("view", "model"))
    table = pq.read_table(run / "images.parquet")
    table = table.set_column(
        table.column_names.index("view"), "view", pa.array(["model:net"] * len(table))
    )
    pq.write_table(table, run / "images.parquet")
    comparison = compare(before, run, 1.0)
    assert comparison.rows[0].reasons == ("view: native → model",)
    assert comparison.exit_code == 2


def test_other_qps_are_not_comparable(before: Path, tmp_path: Path) -> None:
    grids = {"bpg": list(gated.QPS), "npp+bpg": list(gated.QPS[:3])}
    run = gated.write(tmp_path / "a", edit=experiment("methods", grids))
    comparison = compare(before, run, 1.0)
    assert verdicts(comparison) == {"bpg": "same", "npp+bpg": "not comparable"}
    assert comparison.rows[1].reasons == ("QPs of npp+bpg: 31, 35, 39, 43 → 31, 35, 39",)
    assert comparison.exit_code == 2
    grids = {"bpg": list(gated.QPS[:3]), "npp+bpg": list(gated.QPS)}
    run = gated.write(tmp_path / "b", edit=experiment("methods", grids))
    assert set(verdicts(compare(before, run, 1.0)).values()) == {"not comparable"}


def test_worse_outweighs_not_comparable(before: Path, tmp_path: Path) -> None:
    grids = {"bpg": list(gated.QPS), "npp+bpg": list(gated.QPS[:3])}
    run = gated.write(
        tmp_path / "run", lambda m: setattr(m["bpg"], "rate", 1.1), experiment("methods", grids)
    )
    comparison = compare(before, run, 1.0)
    assert verdicts(comparison) == {"bpg": "worse", "npp+bpg": "not comparable"}
    assert comparison.exit_code == 1


# --- failing images -------------------------------------------------------------------------------


def drop(root: Path, index: int, method: str, qp: int) -> None:
    table = pq.read_table(root / "images.parquet")
    gone = [
        (m, q, i) == (method, qp, index)
        for m, q, i in zip(*(table[c].to_pylist() for c in ("method", "qp", "index")), strict=True)
    ]
    pq.write_table(table.filter(pa.array([not g for g in gone])), root / "images.parquet")


def test_an_image_that_newly_fails(before: Path, tmp_path: Path) -> None:
    """The method on which it fails has failed; the others are judged without that image."""
    run = gated.write(
        tmp_path / "run", edit=lambda m: m["failures"].append(failure(7, "npp+bpg", 39))
    )
    drop(run, 7, "npp+bpg", 39)
    comparison = compare(before, run, 1.0)
    assert verdicts(comparison) == {"bpg": "same", "npp+bpg": "failed"}
    assert comparison.rows[1].reasons[0] == "newly fails on 0007.png"
    assert comparison.exit_code == 1
    # The other way round the curve is whole again.
    baseline.write(run, tmp_path / "failing.json")
    again = compare(tmp_path / "failing.json", gated.write(tmp_path / "b"), 1.0)
    assert verdicts(again) == {"bpg": "same", "npp+bpg": "same"}


def test_nothing_left_is_not_the_same(tmp_path: Path) -> None:
    """Two runs in which every image failed are equal to the last digit, and say nothing."""
    failures = [failure(i, "bpg") for i in range(50)]
    run = gated.write(tmp_path / "run", edit=lambda m: m.update(failures=failures), n=50)
    comparison = compare(run, run, 1.0)
    assert set(verdicts(comparison).values()) == {"not comparable"}
    assert comparison.rows[0].reasons == ("the baseline has no value at QP 31, 35, 39, 43",)
    whole = gated.write(tmp_path / "whole", n=50)
    assert compare(whole, run, 1.0).exit_code == 1


# --- environment ----------------------------------------------------------------------------------


def flip(root: Path, points: dict[tuple[str, int | None], int]) -> None:
    """As many images more are wrong at those points."""
    for (method, qp), count in points.items():
        path = gated.statistics(root, method, qp)
        table = pq.read_table(path)
        rank = table["rank"].to_numpy().copy()
        rank[np.flatnonzero(rank == 0)[:count]] = 3
        pq.write_table(table.set_column(2, table.schema.field("rank"), pa.array(rank)), path)


def elsewhere(manifest: dict[str, Any]) -> None:
    manifest["versions"]["torch"] = "2.13"
    manifest["experiments"][0]["models"][0]["fingerprint"]["torch"] = "2.13"


def test_another_machine_is_let_an_image_and_no_more(tmp_path: Path) -> None:
    """With the bits equal, accuracy may differ by the tolerance that the baseline states."""
    n = 100
    folder = gated.write(tmp_path / "a", n=n)
    base = tmp_path / "base.json"
    baseline.write(folder, base)
    assert json.loads(base.read_text())["experiments"][0]["tolerance"] == {
        "cross-entropy": 0.002,
        "top1": 0.01,
        "top5": 0.01,
    }
    one_each = {("npp+bpg", qp): 1 for qp in gated.QPS}
    run = gated.write(tmp_path / "b", edit=elsewhere, n=n)
    flip(run, one_each)
    comparison = compare(base, run, 1.0)
    assert verdicts(comparison) == {"bpg": "same", "npp+bpg": "same"}
    assert "torch: 2.12 → 2.13" in comparison.notes[0]
    # A library that changes what the model sees moves the clean score as well.
    flip(run, {("uncompressed", None): 2})
    comparison = compare(base, run, 1.0)
    assert set(verdicts(comparison).values()) == {"not comparable"}
    assert "clean top1: 0.9700 → 0.9500, more than the tolerance" in comparison.rows[0].reasons[0]
    assert comparison.exit_code == 2


def test_a_metric_that_was_redefined(
    before: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its version was not raised, but the baseline's own statistics give another number now."""
    run = gated.write(tmp_path / "run")
    plain = type(gated.TASKS.get("cls")).score
    monkeypatch.setattr(type(gated.TASKS.get("cls")), "score", lambda *a: plain(*a) * 0.999)
    comparison = compare(before, run, 1.0)
    assert set(verdicts(comparison).values()) == {"not comparable"}
    assert "metric top1: its definition changed" in comparison.rows[0].reasons[0]


# --- baseline files -------------------------------------------------------------------------------


def copied(before: Path, folder: Path) -> Path:
    for path in before.parent.glob("base.*"):
        shutil.copy(path, folder)
    return folder / before.name


def test_a_baseline_judges_like_its_folder(before: Path, tmp_path: Path) -> None:
    run = gated.write(tmp_path / "run", npp(worth=1 / 1.03))
    assert compare(before, run, 1.0).rows == compare(before.parent / "run", run, 1.0).rows


def test_a_baseline_is_stable_and_small(before: Path, tmp_path: Path) -> None:
    baseline.write(before.parent / "run", tmp_path / "base.json")
    for path in before.parent.glob("base.*"):
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()
    assert before.stat().st_size < 8000
    lines = set(before.read_text().splitlines())
    baseline.write(gated.write(tmp_path / "b", npp(rate=0.75)), tmp_path / "moved.json")
    changed = set((tmp_path / "moved.json").read_text().splitlines()) - lines
    # The four points that moved, the checksums and the names of the files.
    assert len(changed) <= 4 + 1 + 2


def test_without_statistics_points_are_judged_and_it_is_said(before: Path, tmp_path: Path) -> None:
    base = copied(before, tmp_path)
    base.with_suffix(".cls.parquet").unlink()
    comparison = compare(base, gated.write(tmp_path / "a", npp(rate=0.7 * 1.03)), 1.0)
    assert verdicts(comparison) == {"bpg": "same", "npp+bpg": "worse"}
    assert "base.cls.parquet is missing: point estimates are judged alone" in comparison.notes[0]
    row = comparison.rows[1]
    assert row.own is not None
    assert row.own.percent == pytest.approx(3, abs=0.01)
    assert np.isnan(row.own.low)
    assert any("point estimates alone" in reason for reason in row.reasons)
    assert compare(base, gated.write(tmp_path / "b"), 1.0).exit_code == 0


def edited(base: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads(base.read_text())
    change(content)
    base.write_text(json.dumps(content))


def nan_bits(run: Path) -> None:
    table = pq.read_table(run / "images.parquet")
    bits = table["bits"].to_numpy().astype(float)
    bits[5] = np.nan
    column = table.column_names.index("bits")
    pq.write_table(table.set_column(column, "bits", pa.array(bits)), run / "images.parquet")


def nan_statistics(run: Path) -> None:
    path = gated.statistics(run, "npp+bpg", 39)
    table = pq.read_table(path)
    values = table["cross_entropy"].to_numpy().copy()
    values[5] = np.nan
    field = table.schema.field("cross_entropy")
    pq.write_table(table.set_column(3, field, pa.array(values, from_pandas=False)), path)


def manifest_edit(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    return lambda run: edited(run / "manifest.json", change)


BAD_RUNS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "another schema": (manifest_edit(lambda m: m.update(schema=9)), "manifest.json: schema is 9"),
    "half-written": (lambda r: (r / "manifest.json").unlink(), "manifest.json: missing"),
    "a point not written": (
        lambda r: gated.statistics(r, "npp+bpg", 39).unlink(),
        "39.parquet: missing",
    ),
    "NaN bits": (nan_bits, "images.parquet: no bits or no size for 1 images"),
    "NaN statistics": (
        nan_statistics,
        "39.parquet: column cross_entropy is NaN or infinite in 1 rows",
    ),
    "no fingerprint": (
        manifest_edit(lambda m: m["experiments"][0].pop("dataset_fingerprint")),
        "manifest.json: experiments.0.dataset_fingerprint: missing",
    ),
    "no codec": (
        manifest_edit(lambda m: m["experiments"][0]["codecs"].pop("bpg")),
        "manifest.json: experiments.0.codecs.bpg: missing",
    ),
    "nothing in common": (
        manifest_edit(lambda m: m["experiments"][0]["models"][0].update(name="net2")),
        "experiments: nothing in common with",
    ),
    "no experiments": (manifest_edit(lambda m: m.update(experiments=[])), "nothing in common"),
}


@pytest.mark.parametrize(("damage", "message"), BAD_RUNS.values(), ids=BAD_RUNS)
def test_a_bad_run_names_file_and_field(
    before: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[Path], Any],
    message: str,
) -> None:
    run = gated.write(tmp_path / "run", n=gated.N if "NaN" in message else 200)
    damage(run)
    # Whatever else differs, what cannot be read is refused before anything is judged.
    other = gated.write(tmp_path / "other", n=200)
    against = before if "NaN" in message else other
    assert code(against, run) == 2
    printed = capsys.readouterr()
    assert message in printed.err.replace("\n", " ") or message in printed.err.replace("\n", "")
    assert printed.out == ""


BAD_BASELINES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "edited": (
        lambda b: edited(b, lambda c: c["experiments"][0]["models"][0]["clean"].update(top1=0.9)),
        "checksum: it does not fit",
    ),
    "another version": (lambda b: edited(b, lambda c: c.update(version=7)), "version: 7"),
    "another file": (lambda b: b.write_text("{}"), "format: this is no baseline"),
    "half": (lambda b: b.write_text(b.read_text()[:500]), "cannot be read as a baseline"),
    "none": (lambda b: b.unlink(), "there is no such baseline"),
    "other statistics": (
        lambda b: b.with_suffix(".images.parquet").write_bytes(
            b.with_suffix(".cls.parquet").read_bytes()
        ),
        "statistics.base.images.parquet:",
    ),
    "a field too few": (
        lambda b: resealed(b, lambda c: c["experiments"][0].pop("anchor")),
        "experiments.0.anchor: Field required",
    ),
}


def resealed(base: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    edited(base, change)
    edited(base, lambda c: c.update(checksum=checksum(c)))


@pytest.mark.parametrize(("damage", "message"), BAD_BASELINES.values(), ids=BAD_BASELINES)
def test_a_bad_baseline_names_file_and_field(
    before: Path, tmp_path: Path, damage: Callable[[Path], Any], message: str
) -> None:
    base = copied(before, tmp_path)
    damage(base)
    with pytest.raises(ResultsError) as caught:
        compare(base, before.parent / "run", 1.0)
    assert message in str(caught.value)
    assert str(base) in str(caught.value)
    assert code(base, before.parent / "run") == 2


def test_a_baseline_is_not_made_of_what_cannot_be_compared(tmp_path: Path) -> None:
    failures = [failure(i, "bpg") for i in range(50)]
    run = gated.write(tmp_path / "run", edit=lambda m: m.update(failures=failures), n=50)
    with pytest.raises(ResultsError, match="top1 of data, net, bpg, QP 31 is undefined"):
        baseline.write(run, tmp_path / "base.json")
    assert main(["baseline", str(run), str(tmp_path / "base.txt")]) == 2


# --- formats --------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def mixed(before: Path, tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """Worse, not comparable, missing and new in one."""

    def change(methods: Methods) -> None:
        methods["bpg"].rate = 1.1
        methods["blur|bpg"] = Method()

    grids = {"bpg": list(gated.QPS), "npp+bpg": [31, 35], "blur|bpg": list(gated.QPS)}
    run = gated.write(
        tmp_path_factory.mktemp("mixed") / "run", change, experiment("methods", grids)
    )
    return compare(before, run, 1.0)


def test_text(mixed: Comparison) -> None:
    text = render(mixed, "text")
    assert "WORSE           data, net, bpg (top1): rate at equal accuracy +10.00 %" in text
    assert "QPs of npp+bpg: 31, 35, 39, 43 → 31, 35" in text
    assert text.endswith("worse: 1 new, 1 not comparable, 1 worse\n")


def test_markdown_is_one_table(mixed: Comparison) -> None:
    table = [line for line in render(mixed, "markdown").splitlines() if line.startswith("|")]
    assert len(table) == 2 + 3
    assert all(line.replace("\\|", "").count("|") == 8 for line in table)
    assert "blur\\|bpg" in table[4]


def test_json_has_no_nan(mixed: Comparison) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    content = json.loads(render(mixed, "json"), parse_constant=refuse)
    assert content["exit_code"] == 1
    assert [r["verdict"] for r in content["rows"]] == ["worse", "not comparable", "new"]
    assert content["rows"][0]["own"]["percent"] == pytest.approx(10, abs=0.01)


def test_junit_counts(mixed: Comparison) -> None:
    suite = ElementTree.fromstring(render(mixed, "junit"))
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "1", "1")
    assert [len(case.findall("failure")) for case in suite] == [1, 0, 0]
    assert [len(case.findall("error")) for case in suite] == [0, 1, 0]


# --- below the fingerprints -----------------------------------------------------------------------


def curve(rate: float = 1.0, quality: float = 0.0) -> Curve:
    return Curve(np.array([1.0, 2, 4, 8]) * rate, np.array([0.3, 0.5, 0.6, 0.65]) + quality)


def test_curves_that_share_no_accuracy_are_judged_at_equal_rate() -> None:
    lost = judge.own_change([curve()], [curve(quality=-0.5)], "pchip")
    assert not lost.defined
    at_rate = judge.accuracy_change([curve()] * 9, [curve(quality=-0.5)] * 9, "pchip")
    assert at_rate.percent == pytest.approx(0.5)
    assert judge.beyond(at_rate, 0) == "worse"


def test_an_interval_is_withheld_where_resamples_are_undefined() -> None:
    broken = Curve(np.array([1.0]), np.array([0.5]))
    change = judge.own_change([curve()] * 10, [curve(1.1)] * 5 + [broken] * 5, "pchip")
    assert change.percent == pytest.approx(10)
    assert np.isnan(change.low)
    assert "undefined in 5 of 9" in change.reason
    assert judge.beyond(change, 1.0) == "unclear"
    assert judge.beyond(change, 20.0) == "same"


def test_relative_change_is_one_of_rate() -> None:
    change = judge.relative_change(([curve()], [curve(0.7)]), ([curve()], [curve(0.72)]), "pchip")
    assert change.before == pytest.approx(-30)
    assert change.after == pytest.approx(-28)
    assert change.change.percent == pytest.approx(100 * (72 / 70 - 1))


def test_long_differences_are_cut_to_where_they_differ() -> None:
    a, b = "preset=veryslow:" * 5 + "x=1", "preset=veryslow:" * 5 + "x=2"
    (difference,) = fingerprints.differences({"codec's settings": a}, {"codec's settings": b})
    assert str(difference) == "codec's settings: …=veryslow:x=1 → …=veryslow:x=2"
