"""Imports point towards the start of the flow; see [tool.importlinter] in pyproject.toml."""

import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import grimp


def test_layers() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [lint], cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_no_modules_import_each_other() -> None:
    """Over however many steps, inside functions too; only what type checkers see may."""
    graph = grimp.build_graph("bench", exclude_type_checking_imports=True, cache_dir=None)
    graph.remove_import(importer="bench", imported="bench.api")  # when its names are asked for
    imports = {m: graph.find_modules_directly_imported_by(m) for m in graph.modules}
    TopologicalSorter(imports).prepare()  # raises CycleError, naming the modules


def test_codecs_are_there_without_torch() -> None:
    """`learned` may import it, but only when one of its codecs is chosen."""
    code = "import sys, bench.codecs; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], check=False)
    assert done.returncode == 0
