"""The same figures whatever is set for matplotlib, and files that are whole at any time."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import pytest
import results_folder

import bench.report
from bench.errors import BenchError
from bench.report import figures
from bench.report.results import read
from bench.report.tables import points_tables

Write = Callable[..., Path]
ROOT = Path(__file__).parents[2]


move = Path.replace


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*")}


def reported(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """`report.write` in a process of its own; what it has left in MPLBACKEND is printed."""
    code = (
        "import sys, os, pathlib, bench.report; bench.report.write(pathlib.Path(sys.argv[1]));"
        "print(os.environ.get('MPLBACKEND'))"
    )
    return subprocess.run(
        [sys.executable, "-c", code, folder],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "backend", ["module://matplotlib_inline.backend_inline", "nonsense", "tkagg"]
)
def test_a_backend_in_the_environment_is_not_ours(make_run: Write, backend: str) -> None:
    folder, ours = make_run("run"), make_run("ours")
    bench.report.write(ours)
    (folder / "manifest.json").write_bytes((ours / "manifest.json").read_bytes())
    done = reported(folder, MPLBACKEND=backend)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{backend}\n", "")
    assert files(folder) == files(ours)


@pytest.mark.parametrize(
    "settings",
    [
        "text.usetex: True\nfont.size: 30\nsavefig.bbox: tight\nsvg.fonttype: path\ngarbage",
        "backend: nonsense\nlines.linewidth: x\npath.sketch: 1, 100, 2\nsavefig.dpi: 20",
    ],
)
def test_a_users_settings_file_is_not_ours(make_run: Write, tmp_path: Path, settings: str) -> None:
    folder, ours = make_run("run"), make_run("ours")
    bench.report.write(ours)
    (tmp_path / "matplotlibrc").write_text(settings)
    done = reported(folder, MATPLOTLIBRC=str(tmp_path / "matplotlibrc"), PATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert files(folder) == files(ours)


def test_a_settings_file_that_is_no_text_is_named(make_run: Write, tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_bytes(b"\xff\xfe\x00")
    done = reported(make_run(), MATPLOTLIBRC=str(tmp_path / "matplotlibrc"))
    assert "ConfigError: matplotlib cannot be imported" in done.stderr.splitlines()[-1]


def test_settings_of_the_process_are_not_ours_and_stay(make_run: Write) -> None:
    one, two = make_run("one"), make_run("two")
    bench.report.write(one)
    with matplotlib.rc_context({"font.size": 30, "axes.grid": True, "lines.linewidth": 9}):
        before = dict(matplotlib.rcParams)
        bench.report.write(two)
        assert dict(matplotlib.rcParams) == before
    assert files(one) == files(two)


# --- files ----------------------------------------------------------------------------------------


def test_every_file_is_whole_at_any_time(make_run: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """A report that fails while it writes any of its files leaves whole files, old or new."""
    rows = [row for row in results_folder.points() if row["metric"] == "mAP"]
    folder, other = make_run("run", measured=rows), make_run("other", measured=rows[:9])
    bench.report.write(folder)
    old = files(folder)
    bench.report.write(other)
    new = files(other)
    for name in ("points.csv", "manifest.json"):
        (folder / name).write_bytes(new[name])
    written = len([name for name in new if name not in ("points.csv", "manifest.json")])

    def failing(after: int) -> Callable[[Path], Any]:
        left = iter(range(after))

        def replace(self: Path, target: Path) -> None:
            if next(left, None) is None:
                raise OSError("no space")
            move(self, target)

        return replace

    for after in range(0, written, 4):
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", failing(after))
            with pytest.raises(OSError, match="no space"):
                bench.report.write(folder)
        for name, content in files(folder).items():
            assert content in (old.get(name), new.get(name)), name
    assert not list(folder.rglob(".*"))


def test_all_files_are_written_beside_their_place(
    make_run: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_run()
    moved = []

    def replace(self: Path, target: Path) -> None:
        moved.append(target)
        move(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    assert bench.report.write(folder) == moved


# --- what is read ---------------------------------------------------------------------------------


def withheld(**values: Any) -> list[dict[str, Any]]:
    return [row | {"ci_low": "", "ci_high": ""} | values for row in results_folder.points()]


@pytest.mark.parametrize(
    ("n_images", "resamples", "reason"),
    [
        (1, 200, "no interval: there is one image, 4 are needed"),
        (3, 0, "no interval: there are 3 images, 4 are needed"),
        (153, 0, "no interval: no resamples"),
        (153, 5, "no interval: 5 resamples, 20 are needed"),
        (153, 200, "no interval: the resamples have no value, or are all the same"),
    ],
)
def test_why_a_point_has_no_interval(
    make_run: Write, n_images: int, resamples: int, reason: str
) -> None:
    about = results_folder.manifest()
    about["analysis"]["resamples"] = resamples
    measured = withheld(n_images=n_images)
    measured[3] |= {"change": "dominated"}
    folder = make_run(about=about, measured=measured)
    (table,) = points_tables(read(folder))
    assert {note for _, note in table.notes} == {
        reason,
        f"a cheaper point is better: left out of BD-rates; {reason}",
    }
    assert "intervals" not in table.caption
    bench.report.write(folder)
    for name in ("tables/points.md", "tables/points.tex", "report.html"):
        assert reason in (folder / name).read_text(encoding="utf-8")


def test_with_an_interval_there_is_no_reason(make_run: Write) -> None:
    (table,) = points_tables(read(make_run()))
    assert table.notes == []


@pytest.mark.parametrize(
    "change",
    [
        {"experiments": 5}, {"experiments": [5]}, {"experiments": [{"models": 5}]},
        {"experiments": [{"models": [{"name": 5}]}]}, {"experiments": [{"methods": ["bpg"]}]},
        {"experiments": [{"methods": {"bpg": 5}}]}, {"experiments": [{"anchor": None}]},
        {"experiments": [{"dataset": ["x"]}]}, {"analysis": []}, {"analysis": {"resamples": "5"}},
        {"failures": {}}, {"failures": [5]}, {"random_weights": [5]}, {"name": 5},
        {"x": float("nan")}, {"x": 10**40}, {"x": "\ud800"},
    ],
)  # fmt: skip
def test_a_manifest_of_other_types_is_named(make_run: Write, change: dict[str, Any]) -> None:
    with pytest.raises(BenchError, match=r"manifest\.json: "):
        bench.report.write(make_run(about=results_folder.manifest() | change))


def test_manifests_too_deep(make_run: Write) -> None:
    folder = make_run()
    for levels in (60, 100_000):
        (folder / "manifest.json").write_text('{"x": ' + "[" * levels + "]" * levels + "}")
        with pytest.raises(BenchError, match=r"manifest\.json: cannot be read"):
            bench.report.write(folder)


@pytest.mark.parametrize("name", ["points.csv", "bd.csv", "equal_accuracy.csv"])
def test_a_table_that_was_cut(make_run: Write, name: str) -> None:
    folder = make_run()
    text = (folder / name).read_text()
    whole = text[: len(text) // 2].rpartition("\n")[0]
    for cut in (whole + "\ncoco", whole + "\n" + text.splitlines()[1] + ",1"):
        (folder / name).write_text(cut)
        with pytest.raises(BenchError, match=rf"{name}, line \d+: as many fields as"):
            bench.report.write(folder)


@pytest.mark.parametrize("name", ["manifest.json", "points.csv", "bd.csv", "equal_accuracy.csv"])
@pytest.mark.parametrize("content", [b"\xff\xfe", b"a,\0b\n1,2\n", b"x" * 200_000])
def test_files_that_are_no_text(make_run: Write, name: str, content: bytes) -> None:
    folder = make_run()
    (folder / name).write_bytes(content)
    with pytest.raises(BenchError, match=name):
        bench.report.write(folder)


@pytest.mark.parametrize("value", ["1e308", "-1e308", "5e-324", "1e99"])
@pytest.mark.parametrize("column", ["bpp", "value", "ci_high", "curve_bpp", "curve_value"])
def test_numbers_that_nobody_measured_are_drawn_or_left_out(
    make_run: Write, monkeypatch: pytest.MonkeyPatch, value: str, column: str
) -> None:
    monkeypatch.setattr(figures, "FORMATS", ("svg",))
    measured = [row for row in results_folder.points() if row["metric"] == "mAP"]
    measured[3] |= {column: value, "change": "pooled"}
    folder = make_run(measured=measured, compared=[], equally=[])
    (figure,) = figures.write_figures(read(folder))
    assert "</svg>" in figure.file("svg").read_text()
