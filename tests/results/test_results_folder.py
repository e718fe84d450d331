"""Who may write into a results folder, and what may be deleted there."""

import contextlib
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.errors import ConfigError
from bench.results import folder, lock
from bench.results.folder import check, complete, updating, writing
from bench.results.manifest import Manifest, write
from bench.results.names import FINISHED, LOCK, UNFINISHED


def fill(work: Path, text: str = "new") -> None:
    """What a run writes, in small."""
    for name in ("statistics/det/a.parquet", "points.csv", "figures/a.svg"):
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text(text)
    write(work / "manifest.json", Manifest(experiments=(), name=text))


def published(out: Path, text: str = "new") -> Path:
    with writing(out) as place:
        fill(place.work, text)
        place.publish()
    return out


def tree(root: Path) -> set[str]:
    return {p.relative_to(root).as_posix() for p in root.rglob("*") if not p.is_dir()}


RESULTS = {"manifest.json", "statistics/det/a.parquet", "points.csv", "figures/a.svg"}


def test_results_appear_whole_and_nothing_else_is_left(tmp_path: Path) -> None:
    out = published(tmp_path / "deep" / "run")
    assert tree(tmp_path) == {f"deep/run/{name}" for name in RESULTS}
    listed = json.loads((out / "manifest.json").read_text())["files"]
    assert set(listed) == RESULTS - {"manifest.json"}
    assert listed["points.csv"] == folder.sha256(out / "points.csv")


def test_a_second_run_replaces_the_first(tmp_path: Path) -> None:
    out = published(tmp_path / "run", "old")
    with writing(out) as place:
        fill(place.work)
        (place.work / "points.csv").rename(place.work / "bd.csv")
        assert (out / "points.csv").read_text() == "old"
        place.publish()
    assert tree(out) == RESULTS - {"points.csv"} | {"bd.csv"}
    assert (out / "figures/a.svg").read_text() == "new"


def test_a_second_run_replaces_whatever_the_first_listed(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with writing(out) as place:
        fill(place.work)
        (place.work / "points.csv").rename(place.work / "kept-elsewhere.bin")
        place.publish()
    assert tree(out) == RESULTS - {"points.csv"} | {"kept-elsewhere.bin"}
    published(out)
    assert tree(out) == RESULTS


def test_a_run_that_fails_changes_nothing(tmp_path: Path) -> None:
    out = published(tmp_path / "run", "old")
    with pytest.raises(ZeroDivisionError), writing(out) as place:  # noqa: PT012
        fill(place.work)
        raise ZeroDivisionError
    assert tree(out) == RESULTS
    with pytest.raises(KeyboardInterrupt), writing(tmp_path / "new" / "run"):
        raise KeyboardInterrupt
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "files",
    [
        {"thesis.tex": "x"},
        {"manifest.json": '{"name": "my web app", "start_url": "/"}', "src/app.js": "x"},
        {"manifest.json": '{"manifest_version": 3}'},
        {"manifest.json": '{"schema": 1}', "points.csv": "x"},
        {"manifest.json": '{"schema": "1", "experiments": []}', "points.csv": "x"},
        {"manifest.json": "not JSON", "a": "x"},
        {"manifest.json": "[" * 100_000, "a": "x"},
        {".git/HEAD": "ref"},
        {"figures/a.svg": "x"},
        {"run.partial/draft.txt": "x"},
    ],
)
def test_a_folder_with_anything_of_somebody_else_is_refused(
    tmp_path: Path, files: dict[str, str]
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    before = tree(tmp_path)
    for attempt in (check, published):
        with pytest.raises(ConfigError, match=f"--out .*{min(files)}"):
            attempt(tmp_path)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("name", ["notes.md", "figures/mine.svg", "statistics/det/b.parquet"])
def test_what_its_owner_added_is_kept(tmp_path: Path, name: str) -> None:
    out = published(tmp_path / "run", "old")
    (out / name).write_text("mine")
    with pytest.raises(ConfigError, match=name):
        published(out)
    assert (out / name).read_text() == "mine"
    assert (out / "points.csv").read_text() == "old"


def test_what_its_owner_edited_is_kept(tmp_path: Path) -> None:
    out = published(tmp_path / "run", "old")
    (out / "points.csv").write_text("with a column of mine")
    with pytest.raises(ConfigError, match=r"changed since: points\.csv"):
        published(out)


def test_what_its_owner_added_while_it_ran_is_kept(tmp_path: Path) -> None:
    out = published(tmp_path / "run", "old")
    with writing(out) as place:
        fill(place.work)
        (out / "notes.md").write_text("mine")
        place.publish()
    assert tree(out) == RESULTS | {"notes.md"}


def test_damaged_measurements_can_be_measured_again(tmp_path: Path) -> None:
    out = published(tmp_path / "run", "old")
    (out / "statistics/det/a.parquet").write_text("flipped")
    published(out)
    assert (out / "statistics/det/a.parquet").read_text() == "new"


def test_results_of_before_files_were_listed_are_replaced(tmp_path: Path) -> None:
    fill(tmp_path, "old")
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "bd.tex").write_text("old")
    published(tmp_path)
    assert tree(tmp_path) == RESULTS
    fill(tmp_path)
    (tmp_path / "notes.md").write_text("mine")
    with pytest.raises(ConfigError, match=r"notes\.md"):
        published(tmp_path)


def test_links_and_dots_lead_to_the_folder_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    (tmp_path / "dead").symlink_to(tmp_path / "later")
    published(tmp_path / "link")
    published(tmp_path / "dead")
    assert (tmp_path / "link").is_symlink()
    assert tree(tmp_path / "disk") == tree(tmp_path / "later") == RESULTS
    (tmp_path / "here" / "sub").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    published(Path())
    published(Path("sub/.."))
    assert tree(tmp_path / "here") == RESULTS
    with pytest.raises(ConfigError, match="disk/figures"):
        published(Path(".."))


def test_a_link_inside_is_not_followed_and_not_deleted(tmp_path: Path) -> None:
    out = published(tmp_path / "run")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.svg").write_text("mine")
    (out / "tables").symlink_to(tmp_path / "mine")
    with pytest.raises(ConfigError, match="tables"):
        published(out)
    assert (tmp_path / "mine" / "a.svg").read_text() == "mine"


def test_a_cache_inside_is_left_alone(tmp_path: Path) -> None:
    cache = tmp_path / "run" / ".cache"
    (cache / "ab").mkdir(parents=True)
    (cache / "ab" / "entry").write_text("x")
    for _ in range(2):
        with writing(tmp_path / "run", cache) as place:
            fill(place.work)
            place.publish()
    assert (cache / "ab" / "entry").read_text() == "x"


@pytest.mark.parametrize("name", ["x" * 300, "nul\0", "file", "file/below", "loop"])
def test_what_cannot_be_written_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(ConfigError, match="--out"):
        published(tmp_path / name)
    assert (tmp_path / "file").read_text() == "x"


def test_images_below_the_data_sets_own_folder(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    roots = [("folder", str(tmp_path / "photos")), ("coco", str(tmp_path))]
    with pytest.raises(ConfigError, match="photos"):
        folder.require_outside(tmp_path / "photos" / "results", roots)
    folder.require_outside(tmp_path / "results", roots)


HOLD = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    from bench.results.folder import writing
    with writing(Path(sys.argv[1])):
        print("held", flush=True)
        time.sleep(60)
    """
)


def test_a_second_run_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    out = published(tmp_path / "run", "old")
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(out)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    for attempt in (writing, updating):
        with pytest.raises(ConfigError, match=f"process {holder.pid} on"), attempt(out):
            pass
    assert (out / UNFINISHED).is_dir()
    holder.kill()
    holder.wait()
    published(out)
    assert tree(out) == RESULTS


def test_a_file_system_without_locks_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "fcntl", None)
    with pytest.warns(UserWarning, match=rf"{tmp_path} cannot be locked \(no locks on this system"):
        published(tmp_path)
    assert tree(tmp_path) == RESULTS
    assert lock.holder(tmp_path / LOCK) is None


@pytest.mark.parametrize("steps", range(14))
def test_publishing_cut_short_anywhere_is_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    out = published(tmp_path / "run", "old")
    ready = out / FINISHED
    ready.mkdir()
    fill(ready)
    (ready / "points.csv").rename(ready / "bd.csv")
    folder.record(ready)
    done = 0

    def counted(plain: Callable[..., object]) -> Callable[..., object]:
        def step(*words: object, **more: object) -> object:
            nonlocal done
            if done == steps:
                raise KeyboardInterrupt
            done += 1
            return plain(*words, **more)

        return step

    for name in ("replace", "unlink", "rmdir", "mkdir"):
        monkeypatch.setattr(Path, name, counted(getattr(Path, name)))
    with contextlib.suppress(KeyboardInterrupt):
        folder._settle(out)
    monkeypatch.undo()
    complete(out)
    assert tree(out) == RESULTS - {"points.csv"} | {"bd.csv"}
    assert {(out / name).read_text() for name in RESULTS & tree(out) - {"manifest.json"}} == {"new"}
    assert not ready.exists()


def test_measurements_stay_while_tables_are_made_again(tmp_path: Path) -> None:
    out = published(tmp_path / "run", "old")
    (out / "notes.md").write_text("mine")
    with updating(out) as place:
        assert tree(place.work) == {"manifest.json", "statistics/det/a.parquet"}
        (place.work / "points.csv").write_text("new")
        place.publish()
    assert tree(out) == {"manifest.json", "statistics/det/a.parquet", "points.csv", "notes.md"}
    assert (out / "points.csv").read_text() == "new"


def test_only_folders_of_its_own_are_removed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not this package's"):
        folder._remove(tmp_path)
