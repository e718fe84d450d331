"""What is particular to a task is in bench/tasks; nothing else asks which task it has."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.tasks import scored_names

BENCH = Path(__file__).parents[1] / "bench"
MAY = ("tasks/", "datasets/mini.py", "models/mini.py")
"""The tasks themselves, and what is rendered and trained for each of them."""


def names_in(node: ast.AST) -> Iterator[str]:
    """Of tasks, wherever they stand below a node."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Constant) and inner.value in scored_names():
            yield str(inner.value)


def branches(source: str) -> list[str]:
    """Lines on which a program asks for a task by its name: comparisons, dictionaries and what is
    taken out of them, patterns, and types of literals."""
    found = []
    for node in ast.walk(ast.parse(source)):
        asked: list[ast.AST | None] = []
        if isinstance(node, ast.Compare):
            asked = [node.left, *node.comparators]
        elif isinstance(node, ast.Dict):
            asked = [*node.keys]
        elif isinstance(node, ast.Subscript):
            asked = [node.slice]
        elif isinstance(node, ast.match_case):
            asked = [node.pattern]
        found += [
            f"line {part.lineno}: {name!r}"  # type: ignore[attr-defined]
            for part in asked
            if part is not None
            for name in names_in(part)
        ]
    return found


def modules() -> list[Path]:
    paths = sorted(BENCH.rglob("*.py"))
    return [p for p in paths if not p.relative_to(BENCH).as_posix().startswith(MAY)]


@pytest.mark.parametrize("path", modules(), ids=lambda p: p.relative_to(BENCH).as_posix())
def test_no_module_branches_on_the_name_of_a_task(path: Path) -> None:
    found = branches(path.read_text())
    assert not found, (
        f"{path}: {'; '.join(found)}: what differs from task to task belongs to bench/tasks, as an "
        "attribute or a method that every task has"
    )


@pytest.mark.parametrize(
    "line",
    [
        'x = task == "det"',
        'x = "cls" != model.task',
        'x = task in ("det", "cls")',
        'x = {"det": "boxes"}[task]',
        'x = {**others, ("cls", "test"): 480}',
        "x = TASKS['det-agreement']",
        'task: Literal["det", "cls"]',
        'match task:\n    case "det" | "cls":\n        pass',
    ],
)
def test_such_a_branch_is_seen(line: str) -> None:
    assert branches(line)


@pytest.mark.parametrize("line", ['task: str = "det"', 'contents = Contents("x", "cls", root)'])
def test_saying_what_something_holds_is_no_branch(line: str) -> None:
    assert not branches(line)
