"""Rate–accuracy figures: what is in them, and that the same results give the same bytes."""

import json
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import results_folder
from PIL import Image

from bench.errors import ConfigError
from bench.report.curve_figures import LONGEST, draw
from bench.report.figures import labels, write_figures, write_overviews
from bench.report.names import elided
from bench.report.results import Curves, read
from bench.report.style import ANCHOR, RC, Look, Options, styles
from bench.results.rows import PointRow

Write = Callable[..., Path]


def texts(svg: Path) -> list[str]:
    root = ET.parse(svg).getroot()
    return ["".join(e.itertext()) for e in root.iter("{http://www.w3.org/2000/svg}text")]


def test_every_format_is_written_for_every_metric(make_run: Write) -> None:
    figures = write_figures(read(make_run()))
    names = [path.name for figure in figures for path in figure.files]
    assert names == [
        f"coco_dev_yolox_nano_{m}.{s}"
        for m in ("mAP", "AP50")
        for s in ("pdf", "svg", "png", "caption.tex")
    ]
    for figure in figures:
        assert figure.file("pdf").read_bytes().startswith(b"%PDF-1.4")
        with Image.open(figure.file("png")) as image:
            assert image.size[0] == 1050


def test_svg_keeps_its_text_and_names_methods_and_the_ceiling(make_run: Write) -> None:
    figures = write_figures(read(make_run()))
    found = texts(figures[1].file("svg"))
    for expected in ("bpg", "jpeg  +61.3 % [+50.0, +70.0]", "webp  undefined", "BD-rate vs. bpg",
                     "AP50", "Rate (bpp)", "uncompressed 0.467"):  # fmt: skip
        assert expected in found
    assert found.index("bpg") < found.index(
        "jpeg  +61.3 % [+50.0, +70.0]"
    )  # the anchor leads the legend
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
    assert len(set(paths)) == 16
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
        entries = {method: elided(method, LONGEST) for method in methods}
        return draw(subject, styles(methods, subject.anchor), entries)


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
    assert labels(results, results.curves()[0])["jpeg"] == "jpeg  +64.3 % [+50.0, +70.0]"


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


# --- other figures --------------------------------------------------------------------------------


def test_overviews(make_run: Write) -> None:
    measured = results_folder.points() + results_folder.points("other")
    compared = [
        row | {"range_bd_rate": -5.5, "range_low": -7, "range_high": -2, "overlap": 0.5}
        for model in ("yolox_nano", "other")
        for row in results_folder.bd_rates(model)
    ]
    folder = make_run(measured=measured, compared=compared)
    paths = write_overviews(read(folder))
    stems = ["panel", "forest", "coco_dev_yolox_nano_mAP_saving"]
    assert [path.name for path in paths] == [
        f"{stem}.{suffix}" for stem in stems for suffix in ("pdf", "svg", "png", "caption.tex")
    ]
    with Image.open(folder / "figures/panel.png") as image:
        assert image.size[0] == 2148  # 7.16 inches
    panel, forest, saving = (texts(folder / f"figures/{stem}.svg") for stem in stems)
    assert panel.count("jpeg") == 1  # one legend for both models
    assert {"yolox_nano", "other"} <= set(panel)
    assert "+61.3 [+50.0, +70.0] †" in forest
    assert "−5.5 [−7.0, −2.0]" in forest
    assert {"jpeg", "webp", "Rate vs. bpg (%)"} <= set(saving)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"overlap": 0.5}, "less than 75"),
        ({}, "paired over images"),
        ({"ci_low": "", "ci_high": ""}, "BD-rate against bpg"),
    ],
)
def test_captions_explain_what_is_drawn(
    make_run: Write, change: dict[str, object], said: str
) -> None:
    compared = [row | change for row in results_folder.bd_rates()]
    folder = make_run(compared=compared)
    write_figures(read(folder))
    caption = (folder / "figures/coco_dev_yolox_nano_mAP.caption.tex").read_text()
    assert said in caption
    assert "each point by itself" in caption
    assert ("less than 75" in caption) == ("overlap" in change)
    assert "Hollow" not in caption
    assert r"\label{fig:coco_dev_yolox_nano_mAP}" in caption


def test_of_many_methods_the_best_stand_out_and_the_rest_is_grey() -> None:
    names = [f"m{i}" for i in range(40)]
    coded = {
        name: [a_point(name, r, v + (0.1 if i == 7 else -i / 1000))
               for r, v in ((0.2, 0.5), (0.6, 0.7), (1.1, 0.8))]
        for i, name in enumerate(names)
    }  # fmt: skip
    axes = drawn(Curves("d", "det", "m", "mAP", "m3", coded, None)).axes[0]
    entries = axes.get_legend_handles_labels()[1]
    assert entries == ["m3", "m7", "38 others"]
    assert len(axes.lines) == 40


def test_one_point_has_an_error_bar_inside_the_axes() -> None:
    row = a_point("bpg", 0.5, 0.6)
    point = PointRow(**(row.__dict__ | {"ci_low": 0.2, "ci_high": 0.9}))
    axes = drawn(Curves("d", "det", "m", "mAP", "bpg", {"bpg": [point]}, None)).axes[0]
    (bar,) = axes.collections
    assert bar.get_segments()[0].tolist() == pytest.approx(np.array([[0.5, 0.2], [0.5, 0.9]]))
    low, high = axes.get_ylim()
    assert low < 0.2
    assert high > 0.9


@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.parametrize("letter", ["m", "i", "漢"])
def test_a_name_of_300_characters_loses_its_middle_and_fits(letter: str) -> None:
    figure = drawn(curves([0.2, 0.6, 1.1], [0.5, 0.7, 0.8], 3, letter * 300))
    figure.draw_without_rendering()
    legend = figure.axes[0].get_legend() or figure.legends[0]
    assert all("…" in text.get_text() for text in legend.get_texts())
    assert figure.bbox.x0 <= legend.get_window_extent().x0
    assert legend.get_window_extent().x1 <= figure.bbox.x1


def test_names_without_a_font_are_warned_of_once(make_run: Write) -> None:
    unassigned = "\U000e0fff"
    measured = [
        row | {"method": row["method"].replace("jpeg", f"odd{unassigned}")}
        for row in results_folder.points()
    ]
    folder = make_run(measured=measured, compared=[])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        write_figures(read(folder))
        write_overviews(read(folder))
    (warning,) = (str(w.message) for w in caught)
    assert f"odd{unassigned}: figures show boxes" in warning


def test_styles_and_fonts(make_run: Write) -> None:
    results = read(make_run())
    plain = write_figures(results)[0].file("svg").read_text()
    paper = write_figures(results, Options(Look("paper", "serif")))[0].file("svg").read_text()
    assert "STIXGeneral" not in plain
    assert "STIXGeneral" in paper


def test_other_runs_stand_beside_as_bars(make_run: Write) -> None:
    one, two = make_run("one"), make_run("two")
    write_overviews(read(one), Options(beside=(two,)))
    found = texts(one / "figures/ablation.svg")
    for expected in ("jpeg, a run", "jpeg, two", "webp, a run", "webp, two", "BD-rate (%)"):
        assert expected in found
    assert not (two / "figures").exists()


def test_runs_of_other_images_are_not_compared(make_run: Write) -> None:
    about = results_folder.manifest()
    about["experiments"][0] |= {"n_images": 1, "images": ["0.jpg"]}
    about["failures"] = []
    one, other = make_run("one"), make_run("other", about=about)
    with pytest.raises(ConfigError, match="other images of coco_dev"):
        write_overviews(read(one), Options(beside=(other,)))
    about["experiments"][0]["dataset"] = "elsewhere"
    (other / "manifest.json").write_text(json.dumps(about))
    with pytest.raises(ConfigError, match="name runs of the same data sets"):
        write_overviews(read(one), Options(beside=(other,)))
