"""The files around the program: one version, workflows and an image that run what is there, forms,
and promises of SECURITY.md that no other test holds."""

import ast
import os
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import bench
from bench.cli import parser
from bench.datasets.images import read_rgb
from bench.errors import DataError
from bench.models.mmlab import INSTALL

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PAGES = ("CHANGELOG.md", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "SECURITY.md")
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def loaded(name: str | Path) -> Any:
    return yaml.safe_load((ROOT / name).read_text())


def steps(workflow: Path) -> list[dict[str, Any]]:
    return [step for job in loaded(workflow)["jobs"].values() for step in job.get("steps", [])]


def test_the_changelog_begins_with_this_version_below_what_is_unreleased() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    first, *heads = re.findall(r"^## (.*)$", text, re.M)
    assert first == "[Unreleased]"
    released = [re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)", head) for head in heads]
    assert all(released)
    versions = [head[1] for head in released if head]
    numbers = [tuple(map(int, version.split("."))) for version in versions]
    assert numbers == sorted(set(numbers), reverse=True)
    assert versions[0] == bench.__version__


def test_the_citation_names_this_version() -> None:
    citation = loaded("CITATION.cff")
    assert citation["version"] == bench.__version__
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert f"[{bench.__version__}] - {citation['date-released']}" in changes
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert citation["license"] == project["license"]
    assert citation["title"] == project["name"]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_runs_what_is_there(workflow: Path) -> None:
    content = loaded(workflow)
    assert content[True], "`on` is a truth value to YAML"
    assert content["permissions"] == {"contents": "read"}
    for job in content["jobs"].values():
        assert "uses" in job or job["timeout-minutes"]
        assert (ROOT / job.get("uses", ".")).exists()
    commands = "\n".join(step.get("run", "") for step in steps(workflow))
    for script in re.findall(r"(?:^|\s)(\.ci/\w+)", commands):
        assert os.access(ROOT / script, os.X_OK), script
    for extras in re.findall(r"-e '\.\[([\w,]+)\]'", commands):
        assert set(extras.split(",")) <= set(EXTRAS)
    for command in re.findall(r"run_bench\.py (.*?) *(?:>|$)", commands, re.M):
        parser().parse_args(command.split())


def test_workflows_and_ci_run_the_same_scripts() -> None:
    called = set(re.findall(r"^\.ci/\w+$", (ROOT / ".ci" / "run").read_text(), re.M))
    assert called == {".ci/test", ".ci/lint", ".ci/docs", ".ci/gate"}
    everywhere = [step.get("run", "") for workflow in WORKFLOWS for step in steps(workflow)]
    assert called <= set(everywhere)


def test_the_code_of_a_pull_request_runs_without_a_right_to_write() -> None:
    for workflow in WORKFLOWS:
        for name, job in loaded(workflow)["jobs"].items():
            given = job.get("permissions", {})
            if "write" in given.values():
                used = [step.get("uses", "") for step in job["steps"]]
                assert not any("checkout" in action for action in used), f"{workflow.name}: {name}"
        assert "pull_request_target" not in workflow.read_text()


def test_the_image_installs_extras_that_there_are() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    (extras,) = re.findall(r"^ARG EXTRAS=(\S+)$", dockerfile, re.M)
    assert set(extras.split(",")) <= set(EXTRAS)
    assert INSTALL[1] in dockerfile  # mmengine and mmcv as the README has them
    (python,) = re.findall(r"^ARG PYTHON=(\S+)$", dockerfile, re.M)
    assert python in ("3.11", "3.12")


def test_the_image_is_given_what_it_copies() -> None:
    copied = re.findall(r"^COPY (?!--)(.*) \S+$", (ROOT / "Dockerfile").read_text(), re.M)
    allowed = re.findall(r"^!(.*)$", (ROOT / ".dockerignore").read_text(), re.M)
    assert sorted(" ".join(copied).split()) == sorted(allowed)
    assert all((ROOT / name).exists() for name in allowed)


def test_issue_forms_ask_for_something() -> None:
    folder = ROOT / ".github" / "ISSUE_TEMPLATE"
    forms = [path for path in folder.glob("*.yml") if path.name != "config.yml"]
    assert {"bug.yml", "idea.yml", "number.yml"} == {path.name for path in forms}
    for path in forms:
        form = loaded(path)
        assert form["name"]
        assert form["description"]
        asked = [part for part in form["body"] if part["type"] != "markdown"]
        assert len({part["id"] for part in asked}) == len(asked)
        assert any(part.get("validations", {}).get("required") for part in asked)
    assert (ROOT / ".github" / "PULL_REQUEST_TEMPLATE.md").is_file()


def test_hooks_before_a_commit_use_the_tools_of_the_lint_script() -> None:
    hooks = [hook for repo in loaded(".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]
    own = [hook["entry"].split()[0] for hook in hooks if hook["language"] == "system"]
    assert set(own) == set(re.findall(r"^\.venv/bin/(\w+)", (ROOT / ".ci/lint").read_text(), re.M))


@pytest.mark.parametrize("page", PAGES)
def test_pages_of_the_project_name_files_that_there_are(page: str) -> None:
    text = (ROOT / page).read_text()
    links = re.findall(r"\]\((?!https://)([^)#\s]+)", text)
    links += re.findall(r"^\[[^]]+\]: (?!https://)([^#\s]+)", text, re.M)
    code = re.findall(r"`((?:bench|tests|docs|perf|\.ci|\.github)/[\w./-]*\w)(?: FILE)?`", text)
    for name in [*links, *code]:
        assert (ROOT / name).exists() or "NAME" in name, name


def calls() -> list[tuple[Path, ast.Call]]:
    return [
        (path, node)
        for path in sorted((ROOT / "bench").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
    ]


def test_no_file_that_is_read_can_run_code() -> None:
    """Pickle behind whichever function, and YAML that builds objects."""
    for path, call in calls():
        called = ast.unparse(call.func)
        given = {word.arg: ast.unparse(word.value) for word in call.keywords}
        where = f"{path.relative_to(ROOT)}:{call.lineno}"
        if called == "torch.load":
            assert given["weights_only"] == "True", where
        if called == "yaml.load":
            assert ast.unparse(call.args[1]) in ("_Loader", "yaml.CSafeLoader"), where
        assert called not in ("eval", "exec", "joblib.load", "pd.read_pickle", "os.system"), where
        assert not called.startswith(("pickle.", "marshal.", "shelve.")), where
        assert not {"allow_pickle", "shell"} & set(given), where


def test_a_picture_starts_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ghostscript = tmp_path / "gs"
    ghostscript.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    picture = tmp_path / "photo.jpg"
    picture.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n%%EOF\n")
    with pytest.raises(DataError, match=r"photo\.jpg: not readable as an image"):
        read_rgb(picture)
    assert not (tmp_path / "started").exists()
