"""The results folder that the report's tests read."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from results_folder import BD, EQUAL, POINTS, bd_rates, equal, manifest, points, write_csv


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Writes a results folder; what is not given is as in results_folder."""

    def make(
        name: str = "run",
        about: dict[str, Any] | None = None,
        measured: list[dict[str, Any]] | None = None,
        compared: list[dict[str, Any]] | None = None,
        equally: list[dict[str, Any]] | None = None,
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "manifest.json").write_text(json.dumps(manifest() if about is None else about))
        write_csv(folder / "points.csv", POINTS, points() if measured is None else measured)
        write_csv(folder / "bd.csv", BD, bd_rates() if compared is None else compared)
        write_csv(folder / "equal_accuracy.csv", EQUAL, equal() if equally is None else equally)
        return folder

    return make
