"""The gate on real runs: a worse checkpoint, a faster setting of the codec, the same run twice."""

from pathlib import Path

import pytest
import yaml

from bench.analysis import baseline
from bench.analysis.compare import compare
from bench.cli import main
from bench.codecs.pillow import JpegCodec

IMAGES = 32


def run(out: Path, weights: str, *more: str) -> Path:
    """QA-NPP before JPEG on a few pictures of mini, with a cache of its own."""
    described = {
        "task": "cls",
        "dataset": {"format": "mini"},
        "models": [{"library": "mini", "name": "mini_classifier"}],
        "anchor": "jpeg",
        "methods": {
            "jpeg": {"codec": "jpeg", "qps": [32, 36, 40, 44]},
            "qa-npp+jpeg": {
                "preprocessor": {"name": "qa-npp", "weights": weights},
                "codec": "jpeg",
            },
        },
    }
    config = out.with_suffix(".yaml")
    config.parent.mkdir(exist_ok=True)
    config.write_text(yaml.safe_dump({"experiments": [described]}))
    words = ["--config", config, "--out", out, "--limit", IMAGES, "--device", "cpu", "--quiet"]
    assert main(["--set", "analysis.resamples=20", *map(str, words), *more]) == 0
    return out


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run, and one whose network was trained for another task and whose codec is in a hurry."""
    first = run(tmp_path_factory.mktemp("first") / "run", "qa_npp_mini_cls")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JpegCodec, "settings", JpegCodec.settings | {"optimize": False})
        second = run(tmp_path_factory.mktemp("second") / "run", "qa_npp_mini_det")
    return first, second


def test_a_worse_checkpoint_and_a_faster_setting_are_worse(runs: tuple[Path, Path]) -> None:
    comparison = compare(*runs, threshold=1.0)
    assert [row.verdict for row in comparison.rows] == ["worse", "worse"]
    assert comparison.exit_code == 1
    jpeg, network = comparison.rows
    assert jpeg.own is not None
    assert jpeg.own.low > 1  # the same pixels in more bits: nothing is left to chance
    assert [d.what for d in jpeg.subject] == ["codec's settings"]
    assert [d.what for d in network.subject] == ["codec's settings", "preprocessor's weights"]


def test_the_other_way_round_they_are_better(runs: tuple[Path, Path]) -> None:
    comparison = compare(*runs[::-1], threshold=1.0)
    assert [row.verdict for row in comparison.rows] == ["better", "better"]
    assert comparison.exit_code == 0


def test_two_runs_give_the_same_bytes(runs: tuple[Path, Path], tmp_path: Path) -> None:
    """Without a common cache, with another number of coders."""
    again = run(tmp_path / "again" / "run", "qa_npp_mini_cls", "--jobs", "3")
    for folder, name in ((runs[0], "a"), (again, "b")):
        (tmp_path / name).mkdir()
        baseline.write(folder, tmp_path / name / "base.json")
    written = sorted(p.name for p in (tmp_path / "a").iterdir())
    same = ["base.cls.parquet", "base.images.parquet", "base.json"]
    assert written == sorted([*same, "base.costs.json"])  # which says how long it took
    for name in same:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    comparison = compare(tmp_path / "a" / "base.json", again, 1.0)
    assert [row.verdict for row in comparison.rows] == ["same", "same"]


def test_the_committed_baseline_can_be_read() -> None:
    file = Path(__file__).parents[2] / "results" / "baselines" / "ci.json"
    comparison = compare(file, file, 1.0)
    assert comparison.exit_code == 0
    assert len(comparison.rows) == 4
    size = sum(p.stat().st_size for p in file.parent.glob("ci.*"))
    assert size < 300_000
