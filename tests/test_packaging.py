"""The wheel: all that a run takes is inside, and it works from any folder."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = (
    *("bench", "configs", "pyproject.toml", "setup.py", "MANIFEST.in", "README.md"),
    *("LICENSE", "NOTICE"),
)
ELSEWHERE = "import sys; from bench.cli import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built of a copy, so that nothing is left in the checkout."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, source / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, source)
    words = ["-m", "pip", "wheel", "-q", "--no-index", "--no-deps", "--no-build-isolation", "-w"]
    subprocess.run([sys.executable, *words, out, source], check=True)
    (built,) = out.glob("rabench-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    site = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return site


def program(installed: Path, where: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run in the folder `where`, from which no checkout can be seen."""
    return subprocess.run(
        [sys.executable, "-c", ELSEWHERE, *words],
        cwd=where,
        env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_everything_is_inside(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        entry_points = next(n for n in names if n.endswith("/entry_points.txt"))
        assert "rabench = bench.cli:entry" in archive.read(entry_points).decode()
    wanted = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "bench").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    wanted |= {f"bench/{p.relative_to(ROOT).as_posix()}" for p in ROOT.glob("configs/**/*.yaml")}
    assert "bench/py.typed" in wanted
    assert "bench/configs/train/mini_det.yaml" in wanted
    assert wanted <= names
    assert {"LICENSE", "NOTICE"} <= {Path(name).name for name in names}
    assert {name.split("/")[0].split("-")[0] for name in names} == {"bench", "rabench"}


def test_it_runs_the_built_in_set_from_any_folder(installed: Path, tmp_path: Path) -> None:
    words = ["--tasks", "cls", "--methods", "bpg", "--qps", "33,41", "--limit", "4"]
    done = program(installed, tmp_path, *words, "--set", "analysis.resamples=0")
    assert done.returncode == 0, done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["results"]
    assert (tmp_path / "results" / "mini" / "report.html").is_file()
    assert (tmp_path / "results" / ".cache").is_dir()


@pytest.mark.parametrize("config", ["mini", "imagenet_codecs", "paper"])
def test_configs_that_ship_are_known_by_name(installed: Path, tmp_path: Path, config: str) -> None:
    done = program(installed, tmp_path, "list", "methods", "--config", config)
    assert done.returncode == 0, done.stderr
    assert "bpg  QP" in done.stdout
    own = tmp_path / config
    own.write_text("- a list")
    done = program(installed, tmp_path, "list", "methods", "--config", config)
    assert f"config {config}: expected a mapping" in done.stderr  # a file there comes first
