"""The page in a browser: what is clicked, typed and pointed at, and who can use it."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import page_folder
import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
AXE = Path(__file__).with_name("axe") / "axe.min.js"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")

Open = Callable[..., Any]


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page") / "few"
    methods, models = ["npp+bpg", "jpeg"], ["fcos", "yolox"]
    return page_folder.report(page_folder.write(folder, methods, models, categories=30))


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page") / "many"
    methods = [f"pre{i}+bpg" for i in range(11)]
    return page_folder.report(page_folder.write(folder, methods, categories=80))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=CHROMIUM)
        yield running
        running.close()


@pytest.fixture
def visit(browser: Any) -> Iterator[Open]:
    """Opens a page; at the end it must have had nothing to complain of."""
    contexts, said = [], []

    def visit(path: Path, address: str = "", width: int = 1280, **options: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda r: r.url.startswith("file:") or said.append(r.url[:80]))
        page.goto(f"{path.as_uri()}{address}")
        return page

    yield visit
    for context in contexts:
        context.close()
    assert [s for s in said if not s.startswith("data:image/")] == []


def order(page: Any) -> list[str]:
    return page.locator("#matrix table.rates tbody th").all_inner_texts()


def sorted_by(page: Any) -> list[str]:
    heads = page.locator("#matrix table.rates th[data-sort]").all()
    return [head.get_attribute("aria-sort") for head in heads]


# --- pictures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_the_slider_shows_more_of_one_picture(visit: Open, few: Path, by: str) -> None:
    page = visit(few)
    slider, over = page.locator(".kept input").first, page.locator(".kept .over").first
    assert "bpg, QP 37" in (slider.get_attribute("aria-label") or "")
    before = over.evaluate("e => e.style.clipPath")
    slider.scroll_into_view_if_needed()
    if by == "mouse":
        box = slider.bounding_box()
        page.mouse.click(box["x"] + 0.9 * box["width"], box["y"] + box["height"] / 2)
    else:
        slider.focus()
        for _ in range(30):
            page.keyboard.press("ArrowRight")
    after = over.evaluate("e => e.style.clipPath")
    assert before == "inset(0px 0px 0px 50%)"
    assert float(after.rpartition(" ")[2].rstrip("%)")) >= 80
    states = [r.get_attribute("class") for r in page.locator(".kept .look polygon").all()]
    assert {"mark-true", "mark-false", "mark-missed"} == set(states)


# --- tables ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_the_matrix_sorts_and_its_order_is_in_the_address(visit: Open, many: Path, by: str) -> None:
    page = visit(many)
    as_configured = order(page)
    button = page.locator("#matrix table.rates th[data-sort='1'] button")
    for direction, last in (("ascending", "pre10+bpg"), ("descending", "pre0+bpg")):
        if by == "mouse":
            button.click()
        else:
            button.focus()
            page.keyboard.press("Enter")
        assert sorted_by(page) == ["none", direction, "none"]
        assert order(page)[-1] == last
    assert order(page) == as_configured[::-1]
    again = visit(many, page.url[page.url.index("#") :])
    assert order(again) == as_configured[::-1]
    assert sorted_by(again) == ["none", "descending", "none"]


def categories(page: Any) -> list[str]:
    return page.locator("#parts .tall table").first.locator("tbody th").all_inner_texts()


def test_categories_sort_with_the_keyboard_and_come_back_as_written(visit: Open, few: Path) -> None:
    page = visit(few)
    as_written = categories(page)
    assert as_written[0] == "category 30"
    table = page.locator("#parts .tall table").first
    wanted = {
        "0": sorted(as_written),
        "1": [f"category {k}" for k in range(1, 31)],
        "3": [*(f"category {k}" for k in range(30, 1, -1)), "category 1"],  # undefined: last
    }
    for column, expected in wanted.items():
        table.locator(f"th[data-sort='{column}'] button").focus()
        page.keyboard.press("Enter")
        assert categories(page) == expected
    again = visit(few, page.url[page.url.index("#") :])
    assert categories(again) == wanted["3"]
    again.evaluate("location.hash = '#sort='")
    assert categories(again) == as_written


def test_the_head_of_many_categories_stays_in_sight_and_paper_has_them_all(
    visit: Open, many: Path
) -> None:
    page = visit(many)
    box = page.locator("#parts .tall").first
    head = box.locator("thead")
    box.evaluate("e => { e.scrollTop = 600; }")
    assert head.bounding_box()["y"] == pytest.approx(box.bounding_box()["y"], abs=1)
    assert box.bounding_box()["height"] < 600
    page.emulate_media(media="print")
    assert box.bounding_box()["height"] > 80 * 10
    assert box.evaluate("e => getComputedStyle(e).overflowY") == "visible"


# --- curves ---------------------------------------------------------------------------------------


def curves(page: Any) -> int:
    return page.locator("#curve path.curve").count()


def test_a_point_under_the_pointer_tells_its_numbers(visit: Open, few: Path) -> None:
    page = visit(few)
    tip = page.locator("#curve .tip")
    assert tip.is_hidden()
    page.locator("#curve .point").last.hover(force=True)
    assert "bpp" in tip.inner_text()
    assert "mAP" in tip.inner_text()
    page.mouse.move(1, 1)
    assert tip.is_hidden()


def test_arrow_keys_go_from_point_to_point(visit: Open, few: Path) -> None:
    page = visit(few)
    tip = page.locator("#curve .tip")
    page.locator("#curve > svg").focus()
    said = []
    for key in ("ArrowRight", "ArrowRight", "ArrowUp", "ArrowLeft"):
        page.keyboard.press(key)
        said.append(tip.inner_text().split("\n")[:2])
    assert len({tuple(lines) for lines in said}) == 4
    assert said[0][0] == said[1][0] != said[2][0] == said[3][0]
    page.keyboard.press("Escape")
    assert tip.is_hidden()


@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_methods_come_and_go(visit: Open, few: Path, by: str) -> None:
    page = visit(few)
    assert curves(page) == 3
    box = page.get_by_label("jpeg", exact=True)
    if by == "mouse":
        box.click()
    else:
        box.focus()
        page.keyboard.press("Space")
    assert curves(page) == 2
    assert page.locator("#savings path.curve").count() == 1
    again = visit(few, page.url[page.url.index("#") :])
    assert curves(again) == 2
    assert not again.get_by_label("jpeg", exact=True).is_checked()
    box.click()
    assert curves(page) == 3


def test_what_is_chosen_is_in_the_address_and_comes_back(visit: Open, few: Path) -> None:
    page = visit(few)
    page.locator("#group").select_option(label="yolox on coco_dev")
    page.locator("#metric").select_option("AP50")
    page.locator("#scale").select_option("linear")
    page.locator("#shade-2").check()
    page.locator("#theme").click()
    address = page.url[page.url.index("#") :]
    again = visit(few, address)
    for tab in (page, again):
        assert (
            tab.locator("#group").evaluate("e => e.selectedOptions[0].text") == "yolox on coco_dev"
        )
        assert tab.locator("#metric").input_value() == "AP50"
        assert tab.locator("#scale").input_value() == "linear"
        assert tab.locator("#shade-2").is_checked()
        assert (
            tab.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
        )
        assert "AP50" in tab.locator("#curve > svg").get_attribute("aria-label")
    page.locator("nav a", has_text="Files").click()
    assert page.locator("#files h2").is_visible()
    assert "metric=AP50" in page.url


def test_an_address_that_names_nothing_is_no_fault(visit: Open, few: Path) -> None:
    page = visit(
        few, "#dataset=gone&model=x&metric=&sort=9.9.up&hide=nobody&section=%3Cb%3E&theme=z"
    )
    assert curves(page) == 3


def test_the_line_is_the_interpolation_and_the_shaded_area_lies_in_between(
    visit: Open, few: Path
) -> None:
    page = visit(few)
    content = json.loads(page.locator("#data").text_content())
    drawn = page.locator("#curve path.curve").first.get_attribute("d")
    assert drawn.count("L") == len(content["panels"][0]["methods"][-1]["rates"]) - 1 > 4 * 10
    areas = page.locator("#curve path.between")
    assert areas.count() == 2
    assert all(len(a.get_attribute("d")) > 100 for a in areas.all())


def test_above_eight_methods_only_those_that_matter_have_a_colour(visit: Open, many: Path) -> None:
    page = visit(many)
    grey = page.locator("#curve path.curve.grey")
    assert curves(page) == 12
    before = grey.count()
    assert 8 <= before <= 10  # neither the anchor nor the cheapest
    page.get_by_label("Colour pre5+bpg").check()
    assert grey.count() == before - 1
    assert "pin=pre5" in page.url


# --- everywhere -----------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_everybody_can_use_it(visit: Open, few: Path, width: int, scheme: str) -> None:
    page = visit(few, width=width, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach((d) => (d.open = true))")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    grave = [v for v in found if v["impact"] in ("serious", "critical")]
    assert [(v["id"], [n["html"] for n in v["nodes"]][:3]) for v in grave] == []


def test_nothing_is_wider_than_a_phone(visit: Open, many: Path) -> None:
    page = visit(many, width=390)
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_without_scripts_there_are_figures_and_tables(visit: Open, few: Path) -> None:
    page = visit(few, java_script_enabled=False)
    assert page.locator("figure img").first.is_visible()
    assert page.locator("#matrix table").first.is_visible()
    assert page.locator("#parts table").first.is_visible()
    assert categories(page)[0] == "category 30"
    assert not page.locator("#controls").is_visible()
    assert not page.locator("#theme").is_visible()


def test_on_paper_there_are_the_figures_and_everything_is_unfolded(visit: Open, few: Path) -> None:
    page = visit(few)
    assert not page.locator("figure img").first.is_visible()
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("figure img").first.is_visible()
    assert not page.locator("#controls").is_visible()
    assert page.locator("details:not([open])").count() == 0
    left = {box["x"] for box in (f.bounding_box() for f in page.locator("figure").all())}
    assert len(left) == 2
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details:not([open])").count() > 0


EVIL = ['"><script>alert(1)</script>', "\u202eRTL שלום", "x" * 200, "naïve 漢字 😀", "a,b&c=d#e%2B"]


@pytest.mark.filterwarnings("ignore:Glyph")
def test_any_name_is_a_name(visit: Open, tmp_path: Path) -> None:
    path = page_folder.report(page_folder.write(tmp_path / "run", EVIL, ["m" * 150], 12))
    page = visit(path, width=390)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert curves(page) == 6
    for number in range(1, 6):
        page.locator(f"#show-{number}").uncheck()
    again = visit(path, page.url[page.url.index("#") :])
    assert curves(again) == 1
    assert page.locator("#legend bdi[title]").get_attribute("title") == "x" * 200
