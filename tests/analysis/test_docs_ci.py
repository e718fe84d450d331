"""The workflow in docs/ci.md: valid, and its verdict is the gate's."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import gated_results as gated
import pytest
import yaml

from bench.analysis import baseline
from bench.cli import parser

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def steps() -> list[dict[str, Any]]:
    text = (ROOT / "docs" / "ci.md").read_text()
    (workflow,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    found: list[dict[str, Any]] = yaml.safe_load(workflow)["jobs"]["gate"]["steps"]
    return found


def test_commands_are_known(steps: list[dict[str, Any]]) -> None:
    """Of the documents and of .ci/run alike."""
    texts = [(ROOT / name).read_text() for name in ("docs/ci.md", ".ci/run", "README.md")]
    commands = re.findall(
        r"python run_bench\.py ((?:compare|baseline|--config configs/ci)[^\n&>`]*)",
        "\n".join(texts),
    )
    assert len(commands) >= 8
    for command in commands:
        words = command.partition("#")[0].partition(" [")[0].partition(" ||")[0].split()
        if words[0].startswith("--"):
            words.insert(0, "run")
        parser().parse_args(words)
    assert (ROOT / "configs" / "ci.yaml").exists()


def judged(
    steps: list[dict[str, Any]], folder: Path, base: Path, run: Path
) -> tuple[int, str, str]:
    """The step `judge` as GitHub runs it → exit code, the job's summary and the JUnit file."""
    (script,) = [step["run"] for step in steps if step.get("name") == "judge"]
    folder.mkdir()
    shutil.copy(ROOT / "run_bench.py", folder)
    shutil.copytree(base, folder / "results" / "baselines")
    shutil.copytree(run, folder / "results" / "ci")
    summary = folder / "summary.md"
    done = subprocess.run(
        ["bash", "-e", "-c", script],
        cwd=folder,
        env=os.environ
        | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "GITHUB_STEP_SUMMARY": str(summary),
        },
        check=False,
    )
    return done.returncode, summary.read_text(), (folder / "gate.xml").read_text()


def test_the_judge_step_passes_on_the_verdict(steps: list[dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "half").mkdir()
    base = tmp_path / "base"
    same = gated.write(tmp_path / "same", n=100)
    worse = gated.write(tmp_path / "worse", lambda m: setattr(m["bpg"], "rate", 1.1), n=100)
    baseline.write(same, base / "ci.json")
    code, summary, junit = judged(steps, tmp_path / "1", base, worse)
    assert code == 1
    assert "| **worse** | data | net | bpg |" in summary
    assert 'failures="1"' in junit
    assert judged(steps, tmp_path / "2", base, tmp_path / "half")[0] == 2
