"""Rate–accuracy figures: what is in them, and that the same results give the same bytes."""

import xml.etree.ElementTree as ET
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import results_folder
from PIL import Image

from bench.report.figures import ANCHOR, RC, draw, labels, styles, write_figures
from bench.report.results import Curves, read
from bench.results.rows import PointRow

Write = Callable[..., Path]


def texts(svg: Path) -> list[str]:
    root = ET.parse(svg).getroot()
    return ["".join(e.itertext()) for e in root.iter("{http://www.w3.org/2000/svg}text")]


def test_every_format_is_written_for_every_metric(make_run: Write) -> None:
    figures = write_figures(read(make_run()))
    names = [path.name for figure in figures for path in figure.files]
    assert names == [
        f"coco_dev_yolox_nano_{m}.{s}" for m in ("mAP", "AP50") for s in ("pdf", "svg", "png")
    ]
    for figure in figures:
        assert figure.file("pdf").read_bytes().startswith(b"%PDF-1.4")
        with Image.open(figure.file("png")) as image:
            assert image.size[0] == 1050


def test_svg_keeps_its_text_and_names_methods_and_the_ceiling(make_run: Write) -> None:
    figures = write_figures(read(make_run()))
    found = texts(figures[1].file("svg"))
    for expected in ("bpg", "jpeg  +61.3 %", "webp  undefined", "BD-rate vs. bpg", "AP50",
                     "Rate (bpp)", "uncompressed 0.467"):  # fmt: skip
        assert expected in found
    assert found.index("bpg") < found.index("jpeg  +61.3 %")  # the anchor leads the legend
    assert not any("9876" in text for text in found)


def test_pdf_embeds_truetype_and_no_date(make_run: Write) -> None:
    content = write_figures(read(make_run()))[0].file("pdf").read_bytes()
    assert b"/FontFile2" in content  # TrueType; Type 3 has none
    assert b"/Type3" not in content
    assert b"/CreationDate" not in content


def test_same_results_same_bytes(make_run: Write) -> None:
    one, two = (write_figures(read(make_run(name))) for name in "ab")
    for first, second in zip(one, two, strict=True):
        for a, b in zip(first.files, second.files, strict=True):
            assert a.read_bytes() == b.read_bytes(), a.name


def test_threads_neither_disturb_each_other_nor_leave_settings_behind(make_run: Write) -> None:
    runs = [read(make_run(name)) for name in "abc"]
    before = dict(matplotlib.rcParams)
    with ThreadPoolExecutor(3) as pool:
        figures = list(pool.map(write_figures, runs))
    assert len({f[0].file("svg").read_bytes() for f in figures}) == 1
    assert dict(matplotlib.rcParams) == before


def test_names_that_are_no_file_names_do_not_leave_the_folder(make_run: Write) -> None:
    measured = results_folder.points("../hf-hub:timm/x") + results_folder.points(
        "../hf-hub:timm\\x"
    )
    folder = make_run(measured=measured, compared=[])
    figures = write_figures(read(folder))
    paths = [path for figure in figures for path in figure.files]
    assert len(set(paths)) == 12
    assert all(path.parent == folder / "figures" and path.is_file() for path in paths)
    assert figures[0].files[0].name == "coco_dev_..-hf-hub-timm-x_mAP.pdf"


def test_mathematics_in_names_is_text(make_run: Write) -> None:
    measured = [{**row, "method": row["method"].replace("jpeg", "$\\bad$_&<")} for row in
                results_folder.points()]  # fmt: skip
    figures = write_figures(read(make_run(measured=measured, compared=[])))
    assert "$\\bad$_&<" in texts(figures[0].file("svg"))


def test_the_anchor_looks_the_same_everywhere_and_methods_differ() -> None:
    methods = ["bpg", *(f"m{i}" for i in range(18))]
    looks = styles(methods, "bpg")
    assert looks["bpg"] == ANCHOR
    assert len({(s.colour, s.marker) for s in looks.values()}) == len(methods)
    assert ANCHOR.colour not in {s.colour for m, s in looks.items() if m != "bpg"}
    assert styles(["m0", "x"], "x")["x"] == ANCHOR


def a_point(
    method: str,
    bpp: float | None,
    value: float,
    change: str = "",
    place: tuple[float | None, float | None] = (None, None),
) -> PointRow:
    at = {"curve_bpp": place[0], "curve_value": place[1]}
    shape = dict.fromkeys(("ci_low", "ci_high", "bca_low", "bca_high"))
    where = {"dataset": "d", "task": "det", "model": "m", "metric": "mAP", "method": method}
    rates = {"qp": 1, "bpp": bpp, "bpp_total": bpp}
    return PointRow(
        **where, **rates, **shape, **at, value=value, n_images=9, n_failed=0, change=change
    )


def curves(
    rates: list[float], values: list[float], methods: int = 1, prefix: str = "method"
) -> Curves:
    coded = {
        f"{prefix}-{i}": [
            a_point(f"{prefix}-{i}", r, v) for r, v in zip(rates, values, strict=True)
        ]
        for i in range(methods)
    }
    clean = a_point("uncompressed", None, 0.9)
    return Curves("d", "det", "m", "mAP", f"{prefix}-0", coded, clean)


def drawn(subject: Curves) -> matplotlib.figure.Figure:
    with matplotlib.rc_context(RC):
        methods = list(subject.methods)
        return draw(subject, styles(methods, subject.anchor), {m: m for m in methods})


@pytest.mark.parametrize(
    ("rates", "scale"), [([0.3, 0.6, 1.2], "linear"), ([0.05, 0.3, 1.2], "log")]
)
def test_rates_are_logarithmic_when_they_span_more_than_tenfold(
    rates: list[float], scale: str
) -> None:
    axes = drawn(curves(rates, [0.5, 0.7, 0.8])).axes[0]
    assert axes.get_xscale() == scale
    low, high = axes.get_xlim()
    ticks = [t for t in axes.get_xticks() if low <= t <= high]
    assert 3 <= len(ticks) <= 8
    if scale == "log":
        assert np.allclose(np.diff(np.log2(ticks)), 1)
        assert axes.xaxis.get_major_formatter()(ticks[0], 0) == f"{ticks[0]:.4g}"
    else:
        assert low == 0


@pytest.mark.parametrize("values", [[0.5, 0.7, 0.8], [0.8, 0.7, 0.5], [0.7, 0.7, 0.7]])
@pytest.mark.parametrize("methods", [1, 4, 14])
@pytest.mark.parametrize("prefix", ["m", "a-long-preprocessor+bpg"])
def test_the_legend_covers_no_curve(values: list[float], methods: int, prefix: str) -> None:
    figure = drawn(curves([0.2, 0.6, 1.1], values, methods, prefix))
    figure.draw_without_rendering()
    axes = figure.axes[0]
    legend = axes.get_legend() or figure.legends[0]
    box = legend.get_window_extent()
    for line in axes.lines:
        assert box.count_contains(line.get_transform().transform(line.get_xydata())) == 0
    assert figure.bbox.x0 <= box.x0
    assert box.x1 <= figure.bbox.x1
    assert box.y0 >= figure.bbox.y0


def test_one_point_no_interval_no_clean_score(make_run: Write) -> None:
    row = results_folder.points()[1] | {"ci_low": "", "ci_high": "nan"}
    figures = write_figures(
        read(make_run(measured=[row], compared=[], about=results_folder.says_nothing()))
    )
    assert len(figures) == 1
    assert not any("uncompressed" in text for text in texts(figures[0].file("svg")))


def test_nothing_coded_draws_nothing(make_run: Write) -> None:
    folder = make_run(measured=results_folder.points()[:1], compared=[])
    assert write_figures(read(folder)) == []


def test_labels_take_the_interpolation_of_the_manifest(make_run: Write) -> None:
    about = results_folder.manifest()
    about["analysis"]["interpolation"] = "akima"
    results = read(make_run(about=about))
    assert labels(results, results.curves()[0])["jpeg"] == "jpeg  +64.3 %"


def test_points_that_bd_rates_do_not_see_stand_hollow_beside_the_line() -> None:
    pool = (2.4, 0.315)
    points = [
        a_point("bpg", 1.0, 0.2, place=(1.0, 0.2)),
        a_point("bpg", 2.0, 0.32, "pooled", pool),
        a_point("bpg", 3.0, 0.31, "pooled", pool),
        a_point("bpg", 4.0, 0.4, place=(4.0, 0.4)),
        a_point("bpg", 5.0, 0.35, "dominated"),
    ]
    subject = Curves("d", "det", "m", "mAP", "bpg", {"bpg": points}, None)
    with matplotlib.rc_context(RC):
        line, hollow = draw(subject, styles(["bpg"], "bpg"), {"bpg": "bpg"}).axes[0].lines
    np.testing.assert_array_equal(line.get_xydata(), [[1, 0.2], pool, [4, 0.4]])
    assert line.get_markevery() == [0, 2]
    np.testing.assert_array_equal(hollow.get_xydata(), [[2, 0.32], [3, 0.31], [5, 0.35]])
    assert hollow.get_markerfacecolor() == "white"
    assert hollow.get_linestyle() == "None"
