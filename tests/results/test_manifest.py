"""manifest.json: one class writes and reads it."""

import json
from pathlib import Path
from typing import Any

import pytest
from one_run import WHOLE

from bench.results.files import ResultsError
from bench.results.lock import locked
from bench.results.manifest import (
    Manifest,
    Model,
    Protocol,
    check,
    read,
    seal,
    write,
)
from bench.results.names import LOCK


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


FIRST = WHOLE.failures[0].model_copy(update={"image": "a.png", "index": 0})


def changed(**experiment: Any) -> Manifest:
    return WHOLE.model_copy(
        update={"experiments": (WHOLE.experiments[0].model_copy(update=experiment),)}
    )


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"n_images": 3}, r"n_images: 3, but images lists 2"),
        ({"anchor": "npp"}, r"anchor: 'npp' is none of the methods bpg"),
        ({"methods": {"bpg": ()}}, r"methods\.bpg: \[\], should be one or more different QPs"),
        ({"methods": {"bpg": (31, 31)}}, r"methods\.bpg: \[31, 31\], should be one or more"),
        (
            {"methods": {"bpg": (31,), "uncompressed": (31,)}},
            r"methods\.uncompressed: what the clean score is called",
        ),
        (
            {"models": (Model(name="net", view="model:other"),)},
            r"models\.0\.view: 'model:other', should be native or model",
        ),
    ],
)
def test_parts_of_an_experiment_that_contradict_each_other_are_named(
    parts: dict[str, Any], said: str
) -> None:
    with pytest.raises(ResultsError, match=rf"the file: experiments\.0\.{said}"):
        check(Path("the file"), changed(**parts))


def test_a_data_set_has_the_same_images_everywhere() -> None:
    experiments = WHOLE.experiments + changed(images=("a", "b")).experiments
    with pytest.raises(ResultsError, match=r"f: experiments\.1\.images: .* other images for data"):
        check(Path("f"), WHOLE.model_copy(update={"experiments": experiments}))


@pytest.mark.parametrize(
    "of", [{"index": 2}, {"index": -1}, {"image": "a.png"}, {"dataset": "other"}]
)
def test_a_failure_of_no_image_is_named(of: dict[str, Any]) -> None:
    failures = (FIRST, WHOLE.failures[0].model_copy(update=of))
    with pytest.raises(ResultsError, match=r"f: failures\.1: image '..png' is not at index"):
        check(Path("f"), WHOLE.model_copy(update={"failures": failures}))


def test_failures_at_either_end(tmp_path: Path) -> None:
    check(tmp_path, WHOLE.model_copy(update={"failures": (FIRST, *WHOLE.failures)}))


def test_a_folder_without_a_manifest_says_whether_a_run_has_begun_it(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    with pytest.raises(ResultsError, match=rf"{path}: missing, so {tmp_path} is no results folder"):
        read(path)
    with (
        locked(tmp_path / LOCK),
        pytest.raises(ResultsError, match=rf"{tmp_path}: a run is writing .*\(process \d+ on "),
    ):
        read(path)


def test_a_protocol_says_what_it_was_not_checked_for() -> None:
    protocol = Protocol(name="p", conditions="12ab")
    assert str(protocol) == "Protocol p, conditions 12ab"
    unverified = protocol.model_copy(update={"unverified": ("pixels", "weights")})
    assert str(unverified) == "Protocol p, conditions 12ab (not verified: pixels, weights)"
