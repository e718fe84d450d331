"""A run of what was measured before: what is not made again, and what has to be."""

import json
from pathlib import Path

import pytest
import yaml
from described import experiment
from PIL import Image

from bench.cli import main
from bench.datasets import images, mini
from bench.report import figures
from bench.results import manifest as manifests
from bench.results import reuse
from bench.results.folder import Place, sha256


@pytest.fixture
def again(config: Path, pictures: Path, tmp_path: Path) -> object:
    """Runs with more words of the command line into one results folder, which it returns."""
    few = experiment() | {"methods": {"bpg": {"codec": "bpg", "qps": [33, 39, 45]}}}
    config.write_text(yaml.safe_dump({"experiments": [few], "analysis": {"resamples": 20}}))
    out = tmp_path / "results" / "run"

    def run(*more: str) -> Path:
        words = ["--config", config, "--data-root", pictures, "--out", out, "--device", "cpu"]
        assert main([*map(str, words), *more]) == 0
        return out

    return run


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The figures that are drawn from here on."""
    names: list[str] = []
    plain = figures._write

    def noting(results, drawing):
        names.append(drawing.stem)
        return plain(results, drawing)

    monkeypatch.setattr(figures, "_write", noting)
    return names


def contents(out: Path) -> dict[str, bytes]:
    """Of every file that shows no time."""
    files = (p for p in out.rglob("*") if p.is_file() and p.name != "manifest.json")
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in files if p.suffix != ".html"}


def test_figures_of_the_same_measurements_are_taken_over(again, drawn: list[str]) -> None:
    first = contents(again())
    assert drawn
    drawn.clear()
    page = again() / "report.html"
    assert drawn == []
    assert contents(page.parent) == first
    assert page.stat().st_size > 0


def test_they_are_drawn_again_for_other_settings(again, drawn: list[str]) -> None:
    again()
    drawn.clear()
    again("--set", "analysis.seed=5")
    assert drawn


def test_they_are_drawn_again_after_report_drew_its_own(again, drawn: list[str]) -> None:
    first = contents(again())
    assert main(["report", str(again()), "--style", "paper"]) == 0
    assert contents(again()) == first


def test_they_are_drawn_again_where_one_is_missing(again, drawn: list[str]) -> None:
    out = again()
    first = contents(out)
    next((out / "figures").glob("*.pdf")).unlink()
    drawn.clear()
    assert contents(again()) == first
    assert drawn


def test_known_pictures_are_not_read_again(
    again, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again()
    read: list[str] = []
    plain = images.read_rgb

    def noting(path: Path):
        read.append(path.name)
        return plain(path)

    monkeypatch.setattr(images, "read_rgb", noting)
    before = manifests.read(again() / "manifest.json").experiments[0].dataset_fingerprint
    assert read == []
    # The same name, other pixels: it is read, and the data set is another one.
    rgb, _ = mini.render_classification("test", 30)
    Image.fromarray(rgb).save(pictures / "images" / "00.png")
    after = manifests.read(again() / "manifest.json").experiments[0].dataset_fingerprint
    assert "00.png" in read
    assert before != after


def test_a_picture_that_was_lost_since_is_missed(again, pictures: Path) -> None:
    again()
    (pictures / "images" / "03.png").write_bytes(b"")
    out = again("--max-failures", "10")
    (failure,) = manifests.read(out / "manifest.json").failures
    assert (failure.image, failure.stage) == ("03.png", "load")


@pytest.mark.parametrize("how", ["outside", "link"])
def test_only_files_of_the_folder_are_taken_over(again, tmp_path: Path, how: str) -> None:
    """Whatever a manifest lists."""
    out = again()
    secret = tmp_path / "results" / "secret.txt"
    secret.write_text("mine")
    listed = json.loads((out / "manifest.json").read_text())
    name = "../secret.txt"
    if how == "link":
        name = "figures/secret.txt"
        (out / name).symlink_to(secret)
    listed["files"][name] = sha256(secret)
    manifests.seal(out / "manifest.json", {k: v for k, v in listed.items() if k != "checksum"})
    work = tmp_path / "work"
    work.mkdir()
    assert not reuse.taken_over(Place(out, work), listed["drawn_from"])
    assert list(work.iterdir()) == []
