"""Runs that were made apart, merged: what equals one run, what is left out and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gated_results as gated
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from gated_results import Method, failure

from bench.analysis import baseline
from bench.cli import main
from bench.results.rows import BDRow, PairRow, PointRow, from_csv

METHODS = {
    "jpeg": {"codec": "jpeg", "qps": [32, 36, 40, 44]},
    "webp": {"codec": "webp", "qps": [30, 34, 38, 42]},
    "denoise+jpeg": {"preprocessor": {"name": "denoise", "h": 3}, "codec": "jpeg"},
}


def merge(out: Path, *sources: Path) -> int:
    return main(["merge", *map(str, sources), "--out", str(out)])


# --- real runs ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One run, its two halves, one half with a picture less, and the whole with a picture less."""
    folder = tmp_path_factory.mktemp("runs")
    described = {
        "task": "cls",
        "dataset": {"format": "mini"},
        "models": [{"library": "mini", "name": "mini_classifier"}],
        "anchor": "jpeg",
        "methods": METHODS,
    }
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump({"experiments": [described]}))
    made = {}
    for name, methods, limit in (
        ("whole", METHODS, 12),
        ("one", ("jpeg", "webp"), 12),
        ("other", ("jpeg", "denoise+jpeg"), 12),
        ("short", ("jpeg", "denoise+jpeg"), 11),
        ("whole-short", METHODS, 11),
    ):
        made[name] = folder / name
        words = ["--config", config, "--out", made[name], "--limit", limit, "--device", "cpu"]
        words += ["--methods", ",".join(methods), "--quiet", "--set", "analysis.resamples=40"]
        assert main(list(map(str, words))) == 0
    return made


def tables(folder: Path) -> dict[str, bytes]:
    """What analysis made of a folder, byte for byte."""
    files = [*folder.glob("*.csv"), *folder.glob("tables/*")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_two_halves_equal_one_run(runs: dict[str, Path], tmp_path: Path) -> None:
    assert merge(tmp_path / "merged", runs["one"], runs["other"]) == 0
    assert tables(tmp_path / "merged") == tables(runs["whole"])
    statistics = [p.relative_to(runs["whole"]) for p in runs["whole"].rglob("*/**/*.parquet")]
    for name in [Path("images.parquet"), *statistics]:
        assert pq.read_table(tmp_path / "merged" / name).equals(pq.read_table(runs["whole"] / name))


def test_two_baselines_equal_one_run(runs: dict[str, Path], tmp_path: Path) -> None:
    """But for PSNR and MS-SSIM, which they do not keep."""
    for name in ("one", "other"):
        baseline.write(runs[name], tmp_path / f"{name}.json")
    assert merge(tmp_path / "merged", tmp_path / "one.json", tmp_path / "other.json") == 0
    found, expected = tables(tmp_path / "merged"), tables(runs["whole"])
    del found["fidelity.csv"], expected["fidelity.csv"]
    assert found == expected


def test_a_picture_that_one_lacks_is_left_out_of_both(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert merge(tmp_path / "merged", runs["one"], runs["short"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert f"1 of the images of {runs['one']} left out, which {runs['short']} lacks" in said
    assert tables(tmp_path / "merged") == tables(runs["whole-short"])
    manifest = json.loads((tmp_path / "merged" / "manifest.json").read_text())
    assert "left out" in manifest["experiments"][0]["notes"][-1]


def test_a_merged_folder_is_a_results_folder(runs: dict[str, Path], tmp_path: Path) -> None:
    merged = tmp_path / "merged"
    assert merge(merged, runs["one"], runs["other"]) == 0
    before = tables(merged)
    assert main(["report", str(merged)]) == 0
    assert tables(merged) == before
    assert main(["compare", str(runs["whole"]), str(merged)]) == 0
    assert main(["compare", str(merged), str(runs["whole"])]) == 0
    costs = pd.read_parquet(merged / "costs.parquet")
    assert set(costs["method"]) == {"uncompressed", *METHODS}
    assert not costs.duplicated(["dataset", "index", "of", "method", "qp", "stage"]).any()


# --- planted differences --------------------------------------------------------------------------

N = 200


def blur(methods: dict[str, Method]) -> None:
    """Another lab's method in place of the first one's."""
    del methods["npp+bpg"]
    methods["blur+bpg"] = Method(0.8, preprocessor={"preprocessor": "blur", "code": "1"})


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    ours = gated.write(tmp_path / "ours", edit=gated.reached, n=N)
    return ours, gated.write(tmp_path / "theirs", blur, gated.reached, n=N)


def methods_of(folder: Path) -> set[str]:
    return {row.method for row in from_csv(BDRow, folder / "bd.csv")}


def without_image(folder: Path, index: int) -> Path:
    """A folder as if the image had never been there; those behind it move up."""
    for path in folder.rglob("*.parquet"):
        column = "index" if path.name == "images.parquet" else "image"
        table = pq.read_table(path)
        kept = table.filter(pa.compute.not_equal(table[column], index))
        places = kept[column].to_numpy() - (kept[column].to_numpy() > index)
        moved = pa.array(places).cast(table.schema.field(column).type)
        at = table.column_names.index(column)
        pq.write_table(kept.set_column(at, table.schema.field(column), moved), path)
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    experiment = manifest["experiments"][0]
    del experiment["images"][index]
    experiment |= {"n_images": N - 1, "dataset_fingerprint": "sha256:of one less"}
    path.write_text(json.dumps(manifest))
    return folder


@pytest.mark.parametrize("swapped", [False, True])
def test_places_of_images_follow_their_names(
    pair: tuple[Path, Path], tmp_path: Path, swapped: bool
) -> None:
    """An image in the midst that one lacks is as one that failed there."""
    ours, theirs = pair
    failed = {"failures": [failure(57, "blur+bpg")]}
    same = gated.write(tmp_path / "same", blur, lambda m: (gated.reached(m), m.update(failed)), N)
    assert merge(tmp_path / "failed", ours, same) == 0
    without_image(theirs, 57)
    assert merge(tmp_path / "lacking", *((theirs, ours) if swapped else (ours, theirs))) == 0
    expected, found = (
        {
            (r.method, r.qp, r.metric): (r.bpp, r.value, r.n_images)
            for r in from_csv(PointRow, tmp_path / name / "points.csv")
        }
        for name in ("failed", "lacking")
    )
    assert found.keys() == expected.keys()
    assert {n for *_, n in found.values()} == {N - 1}
    for key, (bpp, value, _) in found.items():
        assert value == pytest.approx(expected[key][1], rel=1e-12)
        assert bpp == (expected[key][0] and pytest.approx(expected[key][0], rel=1e-12))


def test_intervals_between_the_two_methods_are_paired(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    """The accuracies are the same on every image, and the bits a fixed ratio but for rounding."""
    assert merge(tmp_path / "merged", *pair) == 0
    rows = from_csv(PairRow, tmp_path / "merged" / "pairs.csv")
    (row,) = (
        r
        for r in rows
        if (r.method, r.against, r.metric, r.interpolation)
        == ("npp+bpg", "blur+bpg", "top1", "pchip")
    )
    assert row.bd_rate == pytest.approx(100 * (0.7 / 0.8 - 1), abs=0.01)
    assert row.ci_high is not None
    assert row.ci_low is not None
    assert row.ci_high - row.ci_low < 0.01


CONDITIONS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "ground truth": (
        lambda e: e.update(dataset_fingerprint="sha256:9"),
        "images and ground truth: sha256:1234 → sha256:9",
    ),
    "view": (lambda e: e["models"][0].update(view="model"), "view: native → model"),
    "weights": (
        lambda e: e["models"][0]["fingerprint"].update(weights="eeee"),
        "task model's weights: ffff → eeee",
    ),
    "metric": (lambda e: e["metrics"].update(top1="another"), "metric top1"),
    "anchor's QPs": (
        lambda e: e["methods"].update(bpg=[31, 35, 39]),
        "QPs of bpg: 31, 35, 39, 43 → 31, 35, 39",
    ),
}


@pytest.mark.parametrize(("change", "reason"), CONDITIONS.values(), ids=CONDITIONS)
def test_other_conditions_are_left_out_and_said(
    pair: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[dict[str, Any]], Any],
    reason: str,
) -> None:
    def edit(manifest: dict[str, Any]) -> None:
        gated.reached(manifest)
        change(manifest["experiments"][0])

    def third(methods: dict[str, Method]) -> None:
        methods["third+bpg"] = methods.pop("npp+bpg")

    odd = gated.write(tmp_path / "odd", third, edit, n=N)
    assert merge(tmp_path / "merged", *pair, odd) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert f"left out: net on data (cls): {reason}" in said
    assert f"(from {pair[0]} to {odd})" in said
    assert methods_of(tmp_path / "merged") == {"npp+bpg", "blur+bpg"}
    # Where nothing is left to merge, nothing is written.
    assert merge(tmp_path / "nothing", pair[0], odd) == 2
    assert reason in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "nothing").exists()


def test_what_only_one_has_measured_is_taken(pair: tuple[Path, Path], tmp_path: Path) -> None:
    def another_data_set(manifest: dict[str, Any]) -> None:
        manifest["experiments"][0] |= {"dataset": "more", "dataset_fingerprint": "sha256:5"}

    more = gated.write(tmp_path / "more", edit=another_data_set, n=N)
    (more / "statistics" / "cls" / "data").rename(more / "statistics" / "cls" / "more")
    images = pd.read_parquet(more / "images.parquet").assign(dataset="more")
    images.to_parquet(more / "images.parquet", index=False)
    assert merge(tmp_path / "merged", *pair, more) == 0
    rows = from_csv(BDRow, tmp_path / "merged" / "bd.csv")
    assert {(r.dataset, r.method) for r in rows} == {
        ("data", "npp+bpg"),
        ("data", "blur+bpg"),
        ("more", "npp+bpg"),
    }


@pytest.mark.parametrize("fingerprint", ["sha256:1234", "sha256:9"])
def test_another_model_is_taken_where_it_saw_the_same_pictures(
    pair: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], fingerprint: str
) -> None:
    def another_model(manifest: dict[str, Any]) -> None:
        gated.reached(manifest)
        (experiment,) = manifest["experiments"]
        experiment["models"][0]["name"] = "other"
        experiment["dataset_fingerprint"] = fingerprint

    other = gated.write(tmp_path / "other", edit=another_model, n=N)
    (folder,) = (other / "statistics").rglob("net")
    folder.rename(folder.with_name("other"))
    assert merge(tmp_path / "merged", *pair, other) == 0
    models = {row.model for row in from_csv(BDRow, tmp_path / "merged" / "bd.csv")}
    said = " ".join(capsys.readouterr().err.split())
    same = fingerprint == "sha256:1234"
    assert models == ({"net", "other"} if same else {"net"})
    assert ("left out: other on data (cls): images and ground truth" in said) != same


def with_lpips(folder: Path, weights: str) -> None:
    images = pd.read_parquet(folder / "images.parquet")
    images.assign(lpips=images["qp"] / 1000).to_parquet(folder / "images.parquet", index=False)
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"lpips": {"weights": weights}}))


@pytest.mark.parametrize("theirs", ["a", "b", None])
def test_lpips_comes_along_where_it_was_measured_by_the_same_weights(
    pair: tuple[Path, Path], tmp_path: Path, theirs: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    with_lpips(pair[0], "a")
    if theirs:
        with_lpips(pair[1], theirs)
    assert merge(tmp_path / "merged", *pair) == 0
    found = pd.read_parquet(tmp_path / "merged" / "images.parquet").groupby("method")["lpips"]
    kept = {"bpg", "npp+bpg"} | ({"blur+bpg"} if theirs == "a" else set())
    assert {m for m, n in found.count().items() if n} == kept
    assert json.loads((tmp_path / "merged" / "manifest.json").read_text())["lpips"] == {
        "weights": "a"
    }
    said = " ".join(capsys.readouterr().err.split())
    assert ("is left out: it was measured with other weights" in said) == (theirs == "b")
    rows = from_csv(BDRow, tmp_path / "merged" / "bd.csv")
    assert {r.method for r in rows if r.metric == "LPIPS" and r.status == "ok"} < kept | {"bpg"}


def test_a_method_with_equal_rows_is_there_once(pair: tuple[Path, Path], tmp_path: Path) -> None:
    assert merge(tmp_path / "once", pair[0], pair[1], pair[0]) == 0
    assert merge(tmp_path / "merged", *pair) == 0
    assert tables(tmp_path / "once") == tables(tmp_path / "merged")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda m: setattr(m["npp+bpg"], "rate", 0.71),
            ["npp+bpg on net on data", "0000.png at QP 31 takes", "bits in"],
        ),
        (
            lambda m: setattr(m["npp+bpg"], "worth", 1.06),
            ["npp+bpg on net on data", "QP 31: top1 is"],
        ),
        (lambda m: setattr(m["bpg"], "rate", 1.01), ["bpg on net on data", "bits in"]),
        (
            lambda m: m["npp+bpg"].__init__(0.71, 1.0, preprocessor={"weights": "bbbb"}),  # type: ignore[misc]
            ["preprocessor's weights: aaaa → bbbb"],
        ),
        (
            lambda m: m["npp+bpg"].__init__(0.71, 1.0, postprocessor={"preprocessor": "blur"}),  # type: ignore[misc]
            ["postprocessor's name: none → blur"],
        ),
    ],
)
def test_a_method_with_other_numbers_is_refused(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[dict[str, Method]], Any],
    words: list[str],
) -> None:
    ours = gated.write(tmp_path / "ours", n=N)
    theirs = gated.write(tmp_path / "theirs", change, n=N)
    assert merge(tmp_path / "merged", ours, theirs) == 2
    said = " ".join(capsys.readouterr().err.split())
    for word in (*words, str(ours), str(theirs)):
        assert word in said
    assert not (tmp_path / "merged").exists()


def test_a_method_with_other_qps_is_left_out(
    pair: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def coarser(manifest: dict[str, Any]) -> None:
        manifest["experiments"][0]["methods"]["npp+bpg"] = [35, 39, 43]

    fewer = gated.write(tmp_path / "fewer", edit=coarser, n=N)
    assert merge(tmp_path / "merged", *pair, fewer) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert f"npp+bpg on net on data (cls): QP 31, 35, 39, 43 in {pair[0]} and QP 35" in said
    assert methods_of(tmp_path / "merged") == {"npp+bpg", "blur+bpg"}


def test_another_machine_is_let_its_rounding(
    pair: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Equal bits, and one image of 200 seen another way: within the tolerance across machines."""
    ours, theirs = pair
    path = gated.statistics(theirs, "bpg", 39)
    table = pq.read_table(path)
    rank = table["rank"].to_numpy().copy()
    rank[np.flatnonzero(rank > 0)[0]] = 0
    at = table.column_names.index("rank")
    pq.write_table(
        table.set_column(at, table.schema.field("rank"), pa.array(rank, pa.int32())), path
    )
    assert merge(tmp_path / "refused", ours, theirs) == 2
    assert "QP 39: top1 is" in " ".join(capsys.readouterr().err.split())
    about = json.loads((theirs / "manifest.json").read_text())
    about["versions"]["torch"] = "2.13"
    (theirs / "manifest.json").write_text(json.dumps(about))
    assert merge(tmp_path / "merged", ours, theirs) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert f"the numbers are those of {ours}" in said
    assert "differ: torch: 2.12 → 2.13" in said


def test_an_image_that_failed_on_one_side_is_left_out(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    edit = {"failures": [failure(3, "blur+bpg"), failure(4, "bpg")]}
    theirs = gated.write(tmp_path / "failing", blur, lambda m: m.update(edit), n=N)
    assert merge(tmp_path / "merged", pair[0], theirs) == 0
    rows = from_csv(PointRow, tmp_path / "merged" / "points.csv")
    # The anchor is the first one's, which has image 4.
    assert {(r.n_images, r.n_failed) for r in rows} == {(N - 1, 1)}


def test_what_cannot_be_merged_is_refused(
    pair: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tmp_path / "base.json"
    baseline.write(pair[0], base)
    base.with_suffix(".cls.parquet").unlink()
    assert merge(tmp_path / "merged", base, pair[1]) == 2
    assert "base.cls.parquet is missing" in " ".join(capsys.readouterr().err.split())
    assert merge(pair[0], *pair) == 2
    assert "one of those that are merged" in " ".join(capsys.readouterr().err.split())
    assert merge(tmp_path / "merged", pair[0], tmp_path / "no.json") == 2
    assert not (tmp_path / "merged").exists()
