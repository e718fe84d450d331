"""Pictures of the run: the original, the anchor and the best method at about equal bits."""

import base64
from html import escape

from bench.report.page.elements import name
from bench.report.results import Results
from bench.report.text import metric_label, number
from bench.results.names import point_name
from bench.results.pictures import KeptPicture, Look, Pictures, read

RULE = (
    "The method is the one that saves most near the clean score. The anchor is shown where its "
    "score is nearest to nine tenths of the clean one, the method at the bits nearest to the "
    "anchor's. Of the images those are shown whose change from anchor to method is nearest to the "
    "median, and the worst. What is right is drawn in green, what is wrong in orange, what is "
    "missed dashed."
)
RULES = {"median": "nearest to the median change", "worst": "among the worst changes"}


def section(results: Results) -> str:
    """Raises ResultsError where the list of pictures is damaged."""
    kept = read(results.folder)
    if not kept.kept:
        return ""
    figures = "".join(_figure(kept, picture) for picture in kept.kept)
    return f'<p class="caption">{escape(RULE)}</p><div class="album">{figures}</div>'


def _figure(kept: Pictures, picture: KeptPicture) -> str:
    looks = "".join(
        _look(kept, picture, look, title)
        for look, title in (
            (picture.original, "Original"),
            (picture.anchor, _title(picture.anchor)),
            (picture.method, _title(picture.method)),
        )
    )
    if picture.removed:
        looks += (
            '<div class="look"><div class="frame">'
            f"{_image(kept, picture.removed, 'what the preprocessor removed')}</div>"
            "<small>Removed by the preprocessor, enlarged 4 times</small></div>"
        )
    return (
        f'<figure class="kept"><figcaption>{name(picture.image)} of {name(picture.dataset)}, '
        f"{name(picture.model)}: {RULES[picture.rule]}</figcaption>"
        f'<div class="looks">{looks}</div></figure>'
    )


def _title(look: Look) -> str:
    return f"{look.method}, {point_name(look.qp or 0)}"


def _look(kept: Pictures, picture: KeptPicture, look: Look, title: str) -> str:
    rate = f", {(look.bits or 0) / (picture.width * picture.height):.3f} bpp" if look.bits else ""
    value = (
        "" if look.value is None else f", {metric_label(picture.metric)} {number(look.value, 3)}"
    )
    whole = "".join(
        f'<span class="mark-{mark.state}">{escape(mark.text)}</span>'
        for mark in look.marks
        if mark.box is None
    )
    return (
        f'<div class="look"><div class="frame">{_image(kept, look.file, title)}'
        f"{_boxes(picture, look)}</div>"
        f"<small>{name(title)}{rate}{escape(value)} {whole}</small></div>"
    )


def _image(kept: Pictures, file: str, alt: str) -> str:
    data = base64.b64encode(kept.data(file)).decode("ascii")
    return f'<img alt="{escape(alt)}" src="data:image/webp;base64,{data}">'


def _boxes(picture: KeptPicture, look: Look) -> str:
    drawn = "".join(
        f'<polygon class="mark-{m.state}" points="'
        f'{" ".join(f"{x:.1f},{y:.1f}" for x, y in m.corners())}">'
        f"<title>{escape(m.text)}: {m.state}</title></polygon>"
        for m in sorted(look.marks, key=lambda m: m.state)  # what is true lies on top
        if m.box is not None
    )
    if not drawn:
        return ""
    size = f"0 0 {picture.width} {picture.height}"
    return f'<svg aria-hidden="true" viewBox="{size}" preserveAspectRatio="none">{drawn}</svg>'
