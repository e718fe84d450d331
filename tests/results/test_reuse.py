"""What tables and figures are made from, and when they are taken over."""

from pathlib import Path

import pytest
from one_run import WHOLE

from bench.results import reuse
from bench.results.folder import Place, record
from bench.results.manifest import Analysis, Manifest, write
from bench.results.reuse import drawn_from, taken_over

PROGRAM = {"rabench": "1"}


def filled(folder: Path, manifest: Manifest = WHOLE, **changed: str) -> Path:
    """Measurements, what they took, and what was drawn from them."""
    contents = {
        "images.parquet": "i", "statistics/cls/a.parquet": "s", "costs.parquet": "c",
        "points.csv": "p", "figures/a.svg": "f",
    } | changed  # fmt: skip
    for name, text in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    write(folder / "manifest.json", manifest)
    return folder


def test_measurements_settings_and_versions_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = drawn_from(filled(tmp_path / "a"), PROGRAM)
    assert known.startswith("sha256:")

    same = WHOLE.model_copy(update={"timings": {}, "device": None})
    again = filled(tmp_path / "b", same, **{"costs.parquet": "other", "points.csv": "other"})
    assert drawn_from(again, PROGRAM) == known

    experiment = WHOLE.experiments[0]
    others = [
        filled(tmp_path / "c", **{"images.parquet": "other"}),
        filled(tmp_path / "d", **{"statistics/cls/b.parquet": "more"}),
        filled(tmp_path / "e", WHOLE.model_copy(update={"name": "another"})),
        filled(tmp_path / "f", WHOLE.model_copy(update={"analysis": Analysis(seed=1)})),
        filled(
            tmp_path / "g",
            WHOLE.model_copy(
                update={"experiments": (experiment.model_copy(update={"notes": ("another",)}),)}
            ),
        ),
        filled(tmp_path / "h", WHOLE.model_copy(update={"random_weights": ("net",)})),
    ]
    found = [drawn_from(folder, PROGRAM) for folder in others]
    found += [drawn_from(tmp_path / "a", {"rabench": "2"})]
    monkeypatch.setattr(reuse, "version", lambda name: "another")
    found += [drawn_from(tmp_path / "a", PROGRAM)]
    assert len({known, *found}) == 1 + len(found)


def published(root: Path) -> Place:
    """Results, and a folder with the same measurements beside them."""
    filled(root)
    record(root, "sha256:1")
    work = root / ".rabench.unfinished"
    for name in ("images.parquet", "statistics/cls/a.parquet", "costs.parquet"):
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text("new")
    return Place(root, work)


def test_what_was_drawn_is_taken_over_and_measurements_are_not(tmp_path: Path) -> None:
    place = published(tmp_path)
    assert taken_over(place, "sha256:1")
    assert (place.work / "points.csv").read_text() == "p"
    assert (place.work / "figures" / "a.svg").read_text() == "f"
    assert (place.work / "costs.parquet").read_text() == "new"


@pytest.mark.parametrize("name", ["points.csv", "figures/a.svg"])
@pytest.mark.parametrize("damage", ["edited", "gone", "a link"])
def test_what_is_not_whole_is_drawn_again(tmp_path: Path, name: str, damage: str) -> None:
    place = published(tmp_path)
    if damage == "edited":
        (tmp_path / name).write_text("mine")
    else:
        moved = (tmp_path / name).rename(tmp_path / "moved")
        if damage == "a link":
            (tmp_path / name).symlink_to(moved)
    assert not taken_over(place, "sha256:1")
    assert not (place.work / "points.csv").exists()


def test_what_was_drawn_from_something_else_is_drawn_again(tmp_path: Path) -> None:
    place = published(tmp_path)
    assert not taken_over(place, "sha256:2")
    write(tmp_path / "manifest.json", WHOLE.model_copy(update={"drawn_from": "sha256:1"}))
    assert not taken_over(place, "sha256:1")  # it lists no files
    (tmp_path / "manifest.json").unlink()
    assert not taken_over(place, "sha256:1")
