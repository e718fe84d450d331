"""manifest.json: one class writes and reads it."""

import json
from pathlib import Path

import pytest

from bench.results.files import ResultsError
from bench.results.manifest import (
    Device,
    Experiment,
    Failure,
    Git,
    Manifest,
    Model,
    read,
    seal,
    write,
)

WHOLE = Manifest(
    name="a run",
    experiments=(
        Experiment(
            task="cls",
            dataset="data",
            notes=("a note",),
            n_images=2,
            images=("a.png", "b.png"),
            models=(Model(name="net", view="model", fingerprint={"weights": "1"}),),
            anchor="bpg",
            methods={"bpg": (31, 37)},
        ),
    ),
    config={"experiments": [{"sigma": {"39": 0, "45": 1.5}}]},
    git=Git(revision="0f3c", dirty=True),
    device=Device(kind="cpu", name="x86_64", cpus=2),
    computed={"coded": 4},
    failures=(
        Failure(
            dataset="data",
            model=None,
            method=None,
            qp=None,
            image="b.png",
            index=1,
            stage="load",
            error="cut",
        ),
    ),
    timings={"points": 1.25},
)


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    write(tmp_path / "manifest.json", WHOLE)
    assert read(tmp_path / "manifest.json") == WHOLE
    content = json.loads((tmp_path / "manifest.json").read_text())
    assert list(content)[:3] == ["schema", "status", "name"]
    assert "files" not in content


def test_folders_of_other_versions(tmp_path: Path) -> None:
    """Older ones say nothing of a status, newer ones what nobody knows here."""
    path = tmp_path / "manifest.json"
    seal(path, {"schema": 1, "experiments": [], "moon": {"phase": 0.5}})
    assert read(path) == Manifest(experiments=())
    assert read(path).status == "complete"


def test_beginnings_are_no_results(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    write(path, WHOLE.model_copy(update={"status": "running"}))
    with pytest.raises(ResultsError, match=r"manifest\.json: status is running"):
        read(path)
