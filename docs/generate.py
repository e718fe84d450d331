"""Reference pages from the code: options, config keys, columns and the Python interface.

    python -m docs.generate

writes docs/reference/*.md anew. tests/test_docs.py fails where a page is not what this gives.
"""

import argparse
import ast
import inspect
import json
import re
import textwrap
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from itertools import pairwise
from pathlib import Path
from types import ModuleType, NoneType
from typing import Any, get_args

from pydantic import BaseModel

import bench
from bench import cli, config
from bench.codecs.base import Codec
from bench.datasets.base import Dataset, Sample
from bench.models.base import Library, TaskModel
from bench.preprocessors.base import Preprocessor
from bench.results import manifest, rows
from bench.training import learned_proxy, npp, task_model

ROOT = Path(__file__).parents[1]
KINDS = {str: "text", int: "whole number", float: "number", NoneType: "empty"}
TYPES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "array": "list",
    "object": "mapping",
    "null": "null",
}
BOUNDS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "minItems": "{} or more",
    "multipleOf": "a multiple of {}",
}
MADE = "<!-- Made by docs/generate.py; do not edit. -->"


def pages() -> dict[str, str]:
    """File name in docs/reference → its text."""
    made = {
        "cli.md": command_line(),
        "config.md": configs(),
        "python.md": python(),
        "results.md": results(),
    }
    return {name: f"{MADE}\n\n{text.strip()}\n" for name, text in made.items()}


# --- Markdown -------------------------------------------------------------------------------------


def table(head: list[str], lines: Iterable[Iterable[str]]) -> str:
    cells = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(map(cell, line)) + " |" for line in cells)


def cell(text: str) -> str:
    return text_only(" ".join(text.split())).replace("|", "\\|")


def text_only(text: str) -> str:
    """No `<…>` outside code is taken for HTML."""
    parts = text.split("`")
    return "`".join(
        part.replace("<", "&lt;") if i % 2 == 0 else part for i, part in enumerate(parts)
    )


def sentence(text: str) -> str:
    whole = text if text[1:2].isupper() else text[:1].upper() + text[1:]  # dB stays
    return whole + "." if whole and whole[-1] not in ".:" else whole


def paragraphs(*parts: str) -> str:
    return "\n\n".join(part for part in parts if part)


# --- the source -----------------------------------------------------------------------------------


def doc(thing: Any) -> str:
    """Its own docstring as Markdown, whose lists need an empty line before them."""
    node = thing if isinstance(thing, ast.FunctionDef) else syntax(thing)
    return text_only(ast.get_docstring(node) or "").replace("\n- ", "\n\n- ", 1)


def syntax(thing: Any) -> ast.ClassDef | ast.FunctionDef:
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(thing))).body
    assert isinstance(node, ast.ClassDef | ast.FunctionDef)
    return node


def remarks(kind: type) -> dict[str, str]:
    """Field of a class → the string below it."""
    body = syntax(kind).body
    return {
        field.target.id: inspect.cleandoc(str(below.value.value))
        for field, below in pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
    }


# --- the command line -----------------------------------------------------------------------------


def command_line() -> str:
    text = [
        "# Command line",
        "`python run_bench.py COMMAND …` in a checkout. Once installed, `rabench COMMAND …` is the "
        "same from any folder. Without a command it runs: `run_bench.py --tasks det` is "
        "`run_bench.py run --tasks det`.",
        "Exit codes: 0 done; 2 refused or failed, with the reason on stderr; 130 interrupted. "
        "`compare` has codes of its own, see [The gate](../ci.md).",
    ]
    commands: Any = cli.parser()._subparsers._group_actions[0]  # type: ignore[union-attr]
    said = {action.dest: action.help or "" for action in commands._choices_actions}
    for name, command in commands.choices.items():
        text += [f"## {name}", sentence(said[name]), options(command)]
    return paragraphs(*text)


def options(command: argparse.ArgumentParser) -> str:
    lines = []
    for action in command._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        flags, said = ", ".join(action.option_strings), action.help or ""
        values = " ".join(f"`{choice}`" for choice in action.choices or ())
        if flags and action.nargs != 0:
            values = values or str(action.metavar or action.dest.upper())
        given = "" if action.default in (None, False) or "default" in said else action.default
        usual = "needed" if action.required else f"`{given}`" if given != "" else ""
        lines.append([f"`{flags or action.dest.upper()}`", values, usual, sentence(said)])
    return table(["option", "value", "default", "meaning"], lines) if lines else ""


# --- config keys ----------------------------------------------------------------------------------


def configs() -> str:
    return paragraphs(
        "# Config keys",
        "A config is a YAML file. A key that does not exist is refused, and the message says what "
        "is allowed. `--set key=value` changes any key from the command line: list items by their "
        "number from 0, e.g. `--set experiments.0.models.0.weights=FILE`.",
        "## A benchmark",
        "For `run_bench.py --config FILE`. Examples are in `configs/`.",
        *keys(config, config.BenchConfig),
        "## Training a preprocessor",
        "For `train npp`, `train qa-npp` and `train controls`. See the [guide](../training.md).",
        *keys(npp, npp.PreprocessorTraining),
        "## Training a learned proxy",
        "For `train proxy`.",
        *keys(learned_proxy, learned_proxy.ProxyTraining),
        "## Training a task model",
        "For `train task`.",
        *keys(task_model, task_model.TaskTraining),
    )


def keys(module: ModuleType, top: type[BaseModel]) -> list[str]:
    """The keys of a model of the module, then a section for each key that holds another model."""
    schema = top.model_json_schema()
    held = schema.get("$defs", {})
    text, left = [], [("", top.__name__, schema)]
    while left:
        key, name, part = left.pop(0)
        kind = getattr(module, name)
        text += [key and f"### {key}", doc(kind), key_table(part, remarks(kind))]
        inner = [
            (key, name, held[name])
            for key, about in part.get("properties", {}).items()
            for name in re.findall(r"#/\$defs/(\w+)", json.dumps(about))
        ]
        left = inner + left
    return text


def key_table(schema: dict[str, Any], said: dict[str, str]) -> str:
    needed = schema.get("required", [])
    lines = [
        [f"`{key}`", value(key, about), default(key, about, needed), sentence(said.get(key, ""))]
        for key, about in schema.get("properties", {}).items()
    ]
    if isinstance(more := schema.get("additionalProperties"), dict):
        lines.append(["any other", value("", more), "", ""])
    return table(["key", "value", "default", "meaning"], lines)


def default(key: str, about: dict[str, Any], needed: list[str]) -> str:
    if key in needed:
        return "needed"
    given = about.get("default")
    filled = isinstance(given, dict) and given  # a section of its own, which says its defaults
    return "" if filled else f"`{json.dumps(given, ensure_ascii=False)}`"


def value(key: str, about: dict[str, Any]) -> str:
    """What a JSON schema lets pass under a key, in words."""
    if "$ref" in about:
        return f"[{key}](#{key})"
    if kinds := about.get("anyOf") or about.get("oneOf"):
        return " or ".join(value(key, kind) for kind in kinds)
    if "const" in about:
        return f"`{about['const']}`"
    if "enum" in about:
        return " or ".join(f"`{choice}`" for choice in about["enum"])
    if "prefixItems" in about:
        return f"[{', '.join(value(key, kind) for kind in about['prefixItems'])}]"
    words = TYPES.get(about.get("type", ""), "anything")
    if "items" in about:
        words = f"list of {value(key, about['items'])}"
    elif isinstance(about.get("additionalProperties"), dict):
        words = f"mapping from name to {value(key, about['additionalProperties'])}"
    bounds = [said.format(about[bound]) for bound, said in BOUNDS.items() if bound in about]
    return ", ".join([words, *bounds])


# --- the results folder ---------------------------------------------------------------------------


def results() -> str:
    """results/README.md, and every column and field after it."""
    page = (ROOT / "results" / "README.md").read_text()
    for link, here in {"../docs/": "../", "../bench/results/rows.py": "#columns"}.items():
        page = page.replace(f"]({link}", f"]({here}")
    text = [page.replace("# Results", "# Results folder", 1), "## Columns"]
    for kind in vars(rows).values():
        if isinstance(kind, type) and is_dataclass(kind) and kind.__name__.endswith("Row"):
            file, _, said = doc(kind).partition(": ")
            text += [f"### {file}", sentence(said), columns(kind)]
    text += ["## manifest.json", *keys(manifest, manifest.Manifest)]
    return paragraphs(*text)


def columns(kind: type) -> str:
    said = remarks(kind)
    lines = [
        [f"`{field.name}`", column(field.type), empty(said.get(field.name, ""))]
        for field in fields(kind)
    ]
    return table(["column", "value", "meaning"], lines)


def empty(said: str) -> str:
    return sentence(said.replace("None", "empty"))


def column(hint: Any) -> str:
    if hint == rows.Status:
        return "`ok` or `undefined`"
    return " or ".join(KINDS[part] for part in get_args(hint) or [hint])


# --- Python ---------------------------------------------------------------------------------------


def python() -> str:
    own = [getattr(bench, name) for name in bench.__all__ if not name.startswith("__")]
    return paragraphs(
        "# Python interface",
        "How to use it, with examples: [From Python](../python.md).",
        "## `import bench`",
        *(section(thing) for thing in sorted(own, key=lambda thing: inspect.isclass(thing))),
        "## What other packages provide",
        "The interfaces behind [codecs, preprocessors, data sets and models of your "
        "own](../extending.md).",
        *map(section, [Codec, Preprocessor, Sample, Dataset, TaskModel, Library]),
    )


def section(thing: Any) -> str:
    name = f"### {thing.__module__}.{thing.__name__}".replace("bench.api.", "bench.")
    node = syntax(thing)
    if isinstance(node, ast.FunctionDef):
        return paragraphs(name, signature(node, thing), doc(node))
    said = remarks(thing)
    attributes = [
        f"- `{part.target.id}: {plain(part.annotation)}`. {said.get(part.target.id, '')}".rstrip(
            ". "
        )
        for part in node.body
        if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name)
    ]
    listed = "\n".join(" ".join(line.split()) for line in attributes)
    methods = [
        paragraphs(signature(part, thing), doc(part))
        for part in node.body
        if isinstance(part, ast.FunctionDef)
        if not part.name.startswith("_") or part.name == "__call__"
    ]
    return paragraphs(name, doc(thing), listed, *methods)


def signature(node: ast.FunctionDef, thing: Any) -> str:
    """As it is written, without `self` and quotes around types."""
    source = textwrap.dedent(inspect.getsource(thing)).splitlines()
    end = max(node.lineno, node.body[0].lineno - 1)
    head = textwrap.dedent("\n".join(source[node.lineno - 1 : end]))
    head = re.sub(r"\(self(, )?", "(", head).removeprefix("def ").rstrip(": .")
    if any(isinstance(by, ast.Name) and by.id == "property" for by in node.decorator_list):
        head = head.replace("()", "")
    return "```python\n" + re.sub(r'(: |-> )"([^"]*)"', r"\1\2", head) + "\n```"


def plain(node: ast.AST) -> str:
    """Without the quotes around names that only a type checker imports."""
    return ast.unparse(node).replace("'", "")


if __name__ == "__main__":
    for file, text in pages().items():
        Path(__file__).with_name("reference").joinpath(file).write_text(text)
