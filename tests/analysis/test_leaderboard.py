"""The leaderboard: places, ties, sets of conditions, and the page."""

import base64
import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import gated_results as gated
import pytest
from gated_results import Method, failure

from bench.analysis import baseline
from bench.analysis.leaderboard import Leaderboard, leaderboard
from bench.cli import main
from bench.errors import ConfigError
from bench.report.leaderboard import page as page_of
from bench.report.leaderboard import write

N = 300


def entry(folder: Path, name: str, edit: Any = gated.reached, **own: Method) -> Path:
    """A baseline of the anchor and these methods, whose names have _ for +."""

    def change(methods: dict[str, Method]) -> None:
        del methods["npp+bpg"]
        methods |= {method.replace("_", "+"): about for method, about in own.items()}

    run = gated.write(folder / "runs" / name, change, edit, n=N)
    (folder / "entries").mkdir(exist_ok=True)
    baseline.write(run, folder / "entries" / f"{name}.json")
    return folder / "entries" / f"{name}.json"


def curve(folder: Path) -> None:
    path = folder / "curves.csv"
    rows = "".join(f"data,net,top1,{bpp},{score}\n" for bpp, score in ((1, 0.32), (4, 0.55)))
    path.write_text("dataset,model,metric,bpp,accuracy\n" + rows)
    out = folder / "entries" / "paper.json"
    assert main(["import", str(path), "--as", "Paper", "--out", str(out)]) == 0


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Leaderboard]:
    folder = tmp_path_factory.mktemp("board")
    entry(folder, "a", good_bpg=Method(0.7), bad_bpg=Method(1.2))
    # Worth as much as the other lab's, as far as 300 images can tell.
    entry(folder, "b", same_bpg=Method(0.7001), good_bpg=Method(0.9))

    def another_network(manifest: dict[str, Any]) -> None:
        gated.reached(manifest)
        manifest["experiments"][0]["models"][0]["fingerprint"]["weights"] = "eeee"

    entry(folder, "c", another_network, other_bpg=Method(0.8))
    entry(folder, "d", faulty_bpg=Method(0.5)).with_suffix(".cls.parquet").unlink()
    (folder / "entries" / "e.json").write_text("{}")
    (folder / "entries" / "note.txt").write_text("not one of ours")
    curve(folder)
    return folder, leaderboard(folder / "entries")


def test_places(found: tuple[Path, Leaderboard]) -> None:
    """By the saving near the clean score; a name that two use is told apart by the entry."""
    first, second = found[1].boards
    assert (first.anchor, second.anchor) == ("bpg", "bpg")
    places = {row.method: row for row in first.places if not row.published}
    savings = {method: round(row.near.value or 0) for method, row in places.items()}
    assert savings == {
        "good+bpg": -30, "same+bpg": -30, "good+bpg (b)": -10, "bpg": 0, "bad+bpg": 20
    }  # fmt: skip
    assert list(savings.values()) == sorted(savings.values())
    assert [row.place for row in places.values()] == [1, 2, 3, 4, 5]
    assert {m: row.entry and row.entry.name for m, row in places.items()} == {
        "good+bpg": "a", "bad+bpg": "a", "same+bpg": "b", "good+bpg (b)": "b", "bpg": "a"
    }  # fmt: skip


def test_a_paired_interval_that_holds_zero_is_a_tie(tmp_path: Path) -> None:
    """Both are clearly better than the anchor; between them the images decide nothing."""
    entry(tmp_path, "a", one_bpg=Method(0.7))
    noisy = gated.write(
        tmp_path / "runs" / "noisy",
        lambda m: (m.pop("npp+bpg"), m.update({"two+bpg": Method(0.7)})),
        gated.reached,
        n=N,
        noise=1,
    )
    for qp in gated.QPS:  # the anchor is the first one's again
        ours, theirs = (
            gated.statistics(folder, "bpg", qp) for folder in (tmp_path / "runs" / "a", noisy)
        )
        theirs.write_bytes(ours.read_bytes())
    import pandas as pd

    rows = {f: pd.read_parquet(f / "images.parquet") for f in (tmp_path / "runs" / "a", noisy)}
    ours, theirs = (
        frame[frame["method"] == m]
        for frame, m in zip(rows.values(), ("bpg", "two+bpg"), strict=True)
    )
    pd.concat([ours, theirs]).to_parquet(noisy / "images.parquet", index=False)
    baseline.write(noisy, tmp_path / "entries" / "noisy.json")
    (board,) = leaderboard(tmp_path / "entries").boards
    rows_of = {row.method: row for row in board.places}
    assert rows_of["one+bpg"].tied == ("two+bpg",)
    assert rows_of["two+bpg"].tied == ("one+bpg",)
    assert {m: row.place for m, row in rows_of.items()} == {"one+bpg": 1, "two+bpg": 1, "bpg": 3}


def test_without_an_interval_of_its_own_there_is_no_place(tmp_path: Path) -> None:
    """Nor is anybody tied with it."""

    def few(manifest: dict[str, Any]) -> None:
        gated.reached(manifest)
        manifest["analysis"]["resamples"] = 0

    entry(tmp_path, "a", few, good_bpg=Method(0.7))
    found = leaderboard(tmp_path / "entries")
    rows = {row.method: row for row in found.boards[0].places}
    assert rows["good+bpg"].near.value == pytest.approx(-30, abs=1)
    assert (rows["good+bpg"].place, rows["good+bpg"].tied) == (None, ())
    assert (rows["bpg"].place, rows["bpg"].tied) == (1, ())
    text = page_of(found, {})
    assert "no interval, so no place" in text
    assert "<bdi>good+bpg</bdi>, near the clean score: " in text


def test_other_conditions_are_another_table(found: tuple[Path, Leaderboard]) -> None:
    first, second = found[1].boards
    assert [e.name for e in first.entries] == ["a", "b"]
    assert [e.name for e in second.entries] == ["c"]
    assert {row.method for row in second.places} == {"bpg", "other+bpg", "Paper"}
    assert "task model's weights: ffff → eeee" in second.differs
    assert first.differs == ""


def test_other_images_are_another_table(tmp_path: Path) -> None:
    """Nobody's entry takes images from the others'."""
    entry(tmp_path, "a", good_bpg=Method(0.7))

    def fails(manifest: dict[str, Any]) -> None:
        gated.reached(manifest)
        manifest["experiments"][0]["dataset_fingerprint"] = "sha256:one unreadable"
        manifest["failures"] = [failure(3, None)]

    entry(tmp_path, "b", fails, fine_bpg=Method(0.8))
    boards = leaderboard(tmp_path / "entries").boards
    assert [board.n_images for board in boards] == [N, N - 1]


def test_what_cannot_be_read_is_said(found: tuple[Path, Leaderboard]) -> None:
    notes = "\n".join(found[1].notes)
    assert "e.json: format: this is no baseline" in notes
    assert "d.cls.parquet is missing" in notes
    assert "note.txt" not in notes


def test_published_curves_have_no_place(found: tuple[Path, Leaderboard]) -> None:
    for board in found[1].boards:
        (row,) = (row for row in board.places if row.published)
        assert (row.method, row.place, row.near.low, row.entry) == ("Paper", None, None, None)
        assert "published" in row.whole.reason


def test_nothing_to_rank_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no baselines with measured methods"):
        leaderboard(tmp_path)
    with pytest.raises(ConfigError, match="cannot be read"):
        leaderboard(tmp_path / "nowhere")


# --- the page -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page(found: tuple[Path, Leaderboard]) -> Path:
    folder, board = found
    write(board, folder / "out")
    return folder / "out" / "index.html"


def test_links_lead_to_how_each_was_measured(page: Path) -> None:
    links = set(re.findall(r'<a href="([^"#]+)"', page.read_text()))
    assert links == {f"entries/{name}.json" for name in "abc"}
    for link in links:
        manifest = json.loads((page.parent / link).read_text())
        assert manifest["experiments"][0]["models"][0]["fingerprint"]


def test_only_its_own_script_and_style_run(page: Path) -> None:
    text = page.read_text()
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    for tag in ("script", "style"):
        (body,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.S)
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_places_ties_and_curves_are_told_in_words(page: Path) -> None:
    text = page.read_text()
    assert "published curve, no interval" in text
    assert '<circle class="dot hollow"' in text
    assert "conditions 2" in text
    assert "e.json: format" in text


def test_names_are_escaped(tmp_path: Path) -> None:
    entry(tmp_path, "a", **{"<b>x</b>_bpg": Method(0.7)})
    assert main(["leaderboard", str(tmp_path / "entries"), "--out", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "index.html").read_text()
    assert "<b>x</b>" not in text
    assert "&lt;b&gt;x&lt;/b&gt;+bpg" in text


# --- in a browser ---------------------------------------------------------------------------------

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
AXE = Path(__file__).parents[1] / "report" / "axe" / "axe.min.js"


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light")])
def test_the_page_in_a_browser(page: Path, width: int, scheme: str) -> None:
    """Fits, is sorted with the keyboard, and has nothing that hinders a reader."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM)
        window = {"width": width, "height": 900}
        context = browser.new_context(viewport=window, color_scheme=scheme)
        seen, said = context.new_page(), []
        seen.on("console", lambda message: said.append(message.text))
        seen.on("pageerror", lambda error: said.append(str(error)))
        seen.goto(page.as_uri())
        assert seen.evaluate("document.documentElement.scrollWidth") == width
        names = "#board-0 tbody th bdi"
        before = seen.locator(names).all_inner_texts()
        seen.locator("#board-0 th[data-sort='3'] button").focus()
        seen.keyboard.press("Enter")
        seen.keyboard.press("Enter")
        after = seen.locator(names).all_inner_texts()
        assert after[-1] != before[-1]
        assert sorted(after) == sorted(before)
        seen.evaluate(AXE.read_text(encoding="utf-8"))
        found = seen.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
        grave = [v for v in found if v["impact"] in ("serious", "critical")]
        assert [(v["id"], [n["html"] for n in v["nodes"]][:3]) for v in grave] == []
        browser.close()
    assert said == []


def test_another_page_is_not_written_over(found: tuple[Path, Leaderboard], tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<h1>My page</h1>")
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"index\.html.* that no leaderboard wrote"):
            write(found[1], tmp_path)
        (tmp_path / "entries").mkdir(exist_ok=True)
    assert (tmp_path / "index.html").read_text() == "<h1>My page</h1>"
    board = tmp_path / "board"
    assert write(found[1], board) == write(found[1], board)
