"""The documentation: reference pages as the code says, links that lead somewhere, commands that are
understood, and the site itself where the extra `docs` is installed."""

import re
import shlex
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from bench.cli import COMMANDS, parser
from docs import generate

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
FENCE = re.compile(r"^( *)```.*?^\1```$", re.M | re.S)


@pytest.fixture(scope="module")
def generated() -> dict[str, str]:
    return generate.pages()


@pytest.mark.parametrize("name", ["cli.md", "config.md", "python.md", "results.md"])
def test_a_reference_page_is_what_the_code_says(generated: dict[str, str], name: str) -> None:
    written = (DOCS / "reference" / name).read_text()
    assert written == generated[name], f"docs/reference/{name}: run python -m docs.generate"


def test_the_reference_names_every_option_and_column(generated: dict[str, str]) -> None:
    assert set(re.findall(r"^## (\S+)", generated["cli.md"], re.M)) == set(COMMANDS)
    assert {"`--max-failures`", "`--dry-run`"} <= set(re.findall("`[^`]*`", generated["cli.md"]))
    assert "| `curve_bpp` | number or empty |" in generated["results.md"]
    assert "| `resamples` | whole number, ≥ 0, ≤ 10000 | `1000` |" in generated["config.md"]
    assert "bd_rate(\n    anchor: ArrayLike | pd.DataFrame," in generated["python.md"]


def anchors(page: Path) -> set[str]:
    """Of the headings, as the site names them."""
    heads = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text()), re.M)
    plain = [re.sub(r"[^\w\s-]", "", head).strip().lower() for head in heads]
    return {re.sub(r"[\s-]+", "-", head) for head in plain}


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    page = DOCS / name
    for link in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", page.read_text())):
        if link.startswith("https://"):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.is_file(), f"{name}: {link}"
        assert target.is_relative_to(DOCS), f"{name}: {link} is not on the site"
        assert not anchor or anchor in anchors(target), f"{name}: {link}"


def test_every_page_is_in_the_navigation() -> None:
    text = (ROOT / "mkdocs.yml").read_text()
    assert sorted(re.findall(r"\S+\.md$", text.partition("nav:")[2], re.M)) == PAGES
    assert yaml.safe_load(text)["site_dir"].startswith("build/")  # which git ignores


def commands(page: str) -> list[str]:
    """Whatever follows `run_bench.py` on a line of a block, without the comment."""
    found = re.findall(r"run_bench\.py +([^\n]*)", "\n".join(blocks(page)))
    return [re.split(r"  +#|&&|\|\||>|\\$", line)[0] for line in found]


def blocks(page: str) -> list[str]:
    text = (DOCS / page).read_text()
    indented = re.findall(r"^    \S.*$", FENCE.sub("", text), re.M)
    return [found.group() for found in FENCE.finditer(text)] + indented


@pytest.mark.parametrize("name", [page for page in PAGES if commands(page)])
def test_commands_are_understood(name: str) -> None:
    for command in commands(name):
        words = shlex.split(re.sub(r"\[.*\]$", "", command))
        parser().parse_args(words if words[0] in COMMANDS else ["run", *words])


def test_configs_that_are_named_are_there() -> None:
    for name in PAGES:
        for path in re.findall(r"\bconfigs/[\w/]+\.yaml", (DOCS / name).read_text()):
            assert (ROOT / path).is_file(), f"{name}: {path}"


@pytest.mark.skipif(
    not find_spec("zensical"), reason="the site is built by zensical: pip install '.[docs]'"
)
def test_the_site_builds_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    config = tmp_path / "mkdocs.yml"
    config.write_text((ROOT / "mkdocs.yml").read_text().replace("build/site", "site"))
    shutil.copytree(DOCS, tmp_path / "docs")
    for page in ROOT.glob("*.md"):  # docs/project has them
        shutil.copy(page, tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    built = list((tmp_path / "site").rglob("*.html"))
    assert len(built) == len(PAGES) + 1  # and 404.html
    for page in built:
        text = page.read_text()
        assert not re.search(r"<(script|img|iframe)[^>]*src=\"?(https?:)?//", text), page.name
        assert not re.search(r"<link[^>]*rel=\"?stylesheet[^>]*href=\"?(https?:)?//", text)
