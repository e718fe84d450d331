"""Imports point towards the start of the flow; see [tool.importlinter] in pyproject.toml."""

import subprocess
import sys
from pathlib import Path


def test_layers() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [lint], cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
