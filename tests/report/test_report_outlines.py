"""Regions that are labelled wrongly, on the page and in captions."""

from bench.report import captions
from bench.report.page.pictures import _boxes
from bench.results.pictures import KeptPicture, Look, Mark

OUTLINED = Mark(
    state="false",
    text="dog instead of <cat>",
    box=(1, 2, 5, 8),
    outline=((1, 2), (5, 4), (3, 8)),
)
BOXED = Mark(state="true", text="dog 0.90", box=(1, 2, 5, 8))


def picture(*marks: Mark) -> KeptPicture:
    look = Look(method="bpg", qp=37, bits=9, value=None, file="a.webp", marks=marks)
    return KeptPicture(
        dataset="d", model="m", image="i", index=0, rule="worst", metric="mIoU",
        width=8, height=9, original=look, anchor=look, method=look, removed="",
    )  # fmt: skip


def test_on_the_page_a_mark_is_the_line_around_it() -> None:
    shown = picture(OUTLINED, BOXED)
    svg = _boxes(shown, shown.anchor)
    assert 'viewBox="0 0 8 9"' in svg
    assert '<polygon class="mark-false" points="1.0,2.0 5.0,4.0 3.0,8.0">' in svg
    assert "<title>dog instead of &lt;cat&gt;: false</title>" in svg
    assert '<polygon class="mark-true" points="1.0,2.0 5.0,2.0 5.0,8.0 1.0,8.0">' in svg


def test_captions_say_what_lines_mean() -> None:
    outlined, boxed, bare = (
        " ".join(captions.of_pictures([picture(*marks)])) for marks in ([OUTLINED], [BOXED], [])
    )
    assert "Outlined in orange is what is labelled wrongly." in outlined
    assert "boxes" not in outlined
    assert "Solid boxes are detections" in boxed
    assert "orange" not in bare
