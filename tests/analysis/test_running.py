"""What is said of a results folder while a run writes it."""

from pathlib import Path

import gated_results as gated
import pytest

from bench.cli import main
from bench.results.folder import writing
from bench.results.manifest import Manifest, write
from bench.results.names import LOCK, MANIFEST

BASELINE = Path(__file__).parents[2] / "results" / "baselines" / "ci.json"
COMMANDS = {
    "report": ["report", "RUN"],
    "power": ["power", "RUN"],
    "baseline": ["baseline", "RUN", "NEW"],
    "compare a run": ["compare", str(BASELINE), "RUN"],
    "compare with a run": ["compare", "RUN", str(BASELINE)],
}


def called(command: str, run: Path) -> int:
    places = {"RUN": str(run), "NEW": str(run.parent / "new.json")}
    return main([places.get(word, word) for word in COMMANDS[command]])


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_that_is_written_for_the_first_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    run = tmp_path / "run"
    with writing(run) as place:
        write(place.work / MANIFEST, Manifest(status="running", experiments=()))
        assert called(command, run) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"{run}: a run is writing this folder for the first time (process" in said


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_whose_run_was_killed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOCK).write_text('{"process": 1}')  # which nobody holds
    assert called(command, tmp_path / "run") == 2
    assert "its run did not finish" in " ".join(capsys.readouterr().err.split())


def test_older_results_are_read_while_new_ones_are_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with writing(tmp_path / "run") as place:
        gated.write(place.work / "copy", n=30)
        for file in (place.work / "copy").iterdir():
            file.rename(place.work / file.name)
        (place.work / "copy").rmdir()
        place.publish()
    with writing(tmp_path / "run") as place:
        write(place.work / MANIFEST, Manifest(status="running", experiments=()))
        assert called("power", tmp_path / "run") == 0
        assert called("baseline", tmp_path / "run") == 0
        assert main(["compare", str(tmp_path / "new.json"), str(tmp_path / "run")]) == 0
        capsys.readouterr()
        assert called("report", tmp_path / "run") == 2  # it would write there
    assert "another run is writing this folder" in " ".join(capsys.readouterr().err.split())
