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


def test_codecs_are_there_without_torch() -> None:
    """`learned` may import it, but only when one of its codecs is chosen."""
    code = "import sys, bench.codecs; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], check=False)
    assert done.returncode == 0
