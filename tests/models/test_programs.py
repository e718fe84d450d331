"""A model's config that is a program runs only where the user said so."""

from pathlib import Path
from typing import Any

import pytest
import yaml

import bench
from bench.cli import main
from bench.errors import ConfigError
from bench.models import mmlab
from bench.models.base import LIBRARIES, Library
from bench.models.programs import require_trusted
from bench.registry import existing_file

RAN = "open({!r}, 'w').close()\nmodel = None\n"
"""A config that leaves a file where it is run, and describes no model."""


def never(*_: Any) -> Any:
    raise AssertionError("it was built")


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> str:
    """One that takes any file for a program."""
    made = Library(never, list, never, program=existing_file)
    monkeypatch.setitem(LIBRARIES._items, "programs", made)
    return "programs"


def test_a_file_is_refused_and_named(library: str, tmp_path: Path) -> None:
    file = tmp_path / "net.py"
    file.touch()
    with pytest.raises(ConfigError, match=r"is a Python program.* Nothing of it was run") as error:
        require_trusted([("mini", "mini_fcos"), (library, str(file))])
    assert f"--trust {file}" in str(error.value)
    assert f"trust=['{file}']" in str(error.value)
    with pytest.raises(ConfigError, match=r"net\.py is a Python program"):
        require_trusted([(library, str(file))], [tmp_path])  # a folder is no consent


def test_a_trusted_file_may_be_named_in_any_way(
    library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "net.py"
    file.touch()
    (tmp_path / "link.py").symlink_to(file)
    monkeypatch.chdir(tmp_path)
    for name in (file, "net.py", "./net.py", "link.py"):
        require_trusted([(library, str(file)), (library, "link.py")], [name])


@pytest.mark.parametrize("package", ["mmdet", "mmpretrain"])
def test_names_and_the_packages_own_files_need_no_trust(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mmlab, "_folder", lambda package: tmp_path / "own")
    (tmp_path / "own").mkdir()
    inside, outside = tmp_path / "own" / "a.py", tmp_path / "a.py"
    for file in (inside, outside):
        file.touch()
    require_trusted([(package, "yolox_nano_8xb8-300e_coco"), (package, str(inside))])
    for name in (outside, tmp_path / "own" / ".." / "a.py"):
        with pytest.raises(ConfigError, match=f"--trust .*{outside.name}"):
            require_trusted([(package, str(name))])
    (tmp_path / "own" / "link.py").symlink_to(outside)
    with pytest.raises(ConfigError, match=r"link\.py is a Python program"):
        require_trusted([(package, str(tmp_path / "own" / "link.py"))])


@pytest.fixture
def configs(tmp_path: Path) -> dict[str, Path]:
    """Of a run and of a training, with a model whose config leaves the file `ran`."""
    program = tmp_path / "net.py"
    program.write_text(RAN.format(str(tmp_path / "ran")))
    model = {"library": "mmdet", "name": str(program), "weights": "random"}
    run = {
        "experiments": [
            {
                "task": "det",
                "dataset": {"format": "mini"},
                "models": [model],
                "anchor": "bpg",
                "methods": {"bpg": {"codec": "bpg", "qps": [40]}},
            }
        ]
    }
    harmless = {"library": "mini", "name": "mini_fcos"}
    contents = {
        "run": run,
        "train": {"model": model},
        "others": {"model": harmless, "others": [{"model": harmless}, {"model": model}]},
    }
    for name, content in contents.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content))
    return {name: tmp_path / f"{name}.yaml" for name in contents}


def test_every_way_in_asks_before_anything_is_run(
    configs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, train, others = (str(configs[name]) for name in ("run", "train", "others"))
    out = ["--out", str(tmp_path / "out")]
    for words in (
        ["run", "--config", run, *out],
        ["run", "--config", run, *out, "--dry-run"],
        ["cost", run],
        ["train", "npp", "--config", train, *out],
        ["train", "qa-npp", "--config", others, *out],
    ):
        assert main(words) == 2
        assert "--trust" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="--trust"):
        bench.run(run, out=tmp_path / "out")
    assert not (tmp_path / "ran").exists()


def test_a_trusted_one_is_run(
    configs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("mmdet", reason="the extra mmlab is not installed")
    pytest.importorskip("mmcv.ops", reason="the extra mmlab is not installed")
    program = str(tmp_path / "net.py")
    words = ["run", "--config", str(configs["run"]), "--out", str(tmp_path / "out")]
    assert main([*words, "--trust", program]) == 2
    assert "it has no 'model'" in " ".join(capsys.readouterr().err.split())
    assert (tmp_path / "ran").exists()
    (tmp_path / "ran").unlink()
    with pytest.raises(ConfigError, match="it has no 'model'"):
        bench.run(configs["run"], out=tmp_path / "out", trust=program)
    assert (tmp_path / "ran").exists()
