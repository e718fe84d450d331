"""report.html: self-contained, escaped, complete; and the whole report at once."""

import base64
import hashlib
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import results_folder

import bench.report
from bench.errors import BenchError, ConfigError, DataError
from bench.report import page as parts

Write = Callable[..., Path]

VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """Collects attributes and text, and checks that elements nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data


def page(folder: Path) -> Page:
    bench.report.write(folder)
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def data(folder: Path) -> Any:
    """What the page gives to its script."""
    text = (folder / "report.html").read_text(encoding="utf-8")
    (inner,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text)
    assert not set("<>&\u2028\u2029") & set(inner)
    return json.loads(inner)


def test_write_names_what_it_wrote(make_run: Write) -> None:
    folder = make_run()
    before = set(folder.rglob("*.*"))
    paths = bench.report.write(folder)
    assert len(paths) > 6 + 9
    assert sorted(paths) == sorted(set(folder.rglob("*.*")) - before)
    assert paths[-1] == folder / "report.html"


def test_page_needs_nothing_outside_itself(make_run: Write) -> None:
    found = page(folder := make_run())
    sources = [v for _, name, v in found.attributes if name in ("src", "srcset")]
    assert len(sources) == 2
    assert all(source.startswith("data:image/svg+xml;base64,") for source in sources)
    assert not {"link", "iframe", "object", "base"} & set(found.tags)
    for text in (parts.style(), parts.script()):
        assert not re.search(
            r"url\(|@import|\bimport\b|fetch\(|https?://(?!www\.w3\.org/2000/svg)", text
        )
    links = [v for tag, name, v in found.attributes if (tag, name) == ("a", "href")]
    sections = [v for tag, name, v in found.attributes if (tag, name) == ("section", "id")]
    assert [link[1:] for link in links if link.startswith("#")] == sections
    files = [link for link in links if not link.startswith("#")]
    assert {"points.csv", "tables/bd.tex", "figures/coco_dev_yolox_nano_mAP.pdf"} <= set(files)
    assert all((folder / file).is_file() for file in files)


def test_the_policy_lets_nothing_else_run(make_run: Write) -> None:
    bench.report.write(folder := make_run())
    text = (folder / "report.html").read_text(encoding="utf-8")
    policy = next(v for _, name, v in Page(text).attributes if name == "content")
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    found = {
        kind: re.findall(rf"<{kind}>(.*?)</{kind}>", text, re.DOTALL)
        for kind in ("script", "style")
    }
    for kind, (inner,) in found.items():
        digest = base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert not re.search(r"<[^>]+\s(style|on\w+)=", text)


def test_figures_are_inside_and_described(make_run: Write) -> None:
    found = page(make_run())
    images = [v for tag, name, v in found.attributes if (tag, name) == ("img", "src")]
    for image in images:
        ET.fromstring(base64.b64decode(image.split(",", 1)[1]))
    alts = [v for tag, name, v in found.attributes if (tag, name) == ("img", "alt")]
    expected = "mAP against rate, yolox_nano on coco_dev, view native: bpg, jpeg, webp"
    assert alts[0] == expected


def test_page_tells_the_results_and_how_they_were_made(make_run: Write) -> None:
    text = page(make_run()).text.replace("\N{NO-BREAK SPACE}", " ")
    for expected in (
        "a run", "+61.3 [+50.0, +70.0]", "undefined", "12 % of the range_is shared", "0.9070",
        "2 images failed", "3.jpg", "<b>broken</b>", "2.12.1", "0f3c2d1", "dirty", "pareto",
        "task: det", "Akima", "sha256:5e1f", "a note", "x265 4.1", "model yolox_nano", "w1",
        "the first of the data set", "positive is better",
    ):  # fmt: skip
        assert expected in text
    assert "9876" not in text


def test_whatever_the_results_say_is_text(make_run: Write, tmp_path: Path) -> None:
    evil = '"><script>alert(1)</script>&amp;'
    about = {
        **results_folder.manifest(),
        "name": evil,
        "git": {"revision": evil, "dirty": True},
        "config": {evil: [evil]},
    }
    about["failures"][0] |= {"error": evil, "image": evil}
    about["experiments"][0]["images"][3] = evil
    measured = [{**row, "method": row["method"].replace("jpeg", evil)} for row in
                results_folder.points(evil)]  # fmt: skip
    compared = [{**row, "reason": evil} for row in results_folder.bd_rates(evil)]
    found = page(make_run(about=about, measured=measured, compared=compared))
    assert found.tags.count("script") == 2
    assert evil in found.text
    embedded = data(tmp_path / "run")
    assert evil in embedded["methods"]
    assert embedded["panels"][0]["model"] == evil


def test_same_results_same_page(make_run: Write) -> None:
    pages = []
    for name in "ab":
        folder = make_run(name)
        pages += [p.read_bytes() for p in bench.report.write(folder) if p.suffix == ".html"]
        bench.report.write(folder)  # again, over what is there
        pages.append((folder / "report.html").read_bytes())
    assert len(set(pages)) == 1


def test_a_manifest_that_says_little_is_enough(make_run: Write) -> None:
    text = page(make_run(about=results_folder.says_nothing())).text
    assert "says nothing" in text
    assert "2 images failed" in text
    assert "run" in text


def test_a_picture_that_fails_before_any_model_fails_for_all(make_run: Write) -> None:
    about = results_folder.manifest()
    about["failures"][0]["model"] = None
    bench.report.write(folder := make_run(about=about))
    assert "<td>all</td>" in (folder / "report.html").read_text(encoding="utf-8")


def test_a_run_without_failures_says_so(make_run: Write) -> None:
    measured = [{**row, "n_failed": 0} for row in results_folder.points()]
    about = {**results_folder.manifest(), "failures": []}
    assert "No image failed." in page(make_run(about=about, measured=measured)).text


def test_a_flood_of_failures_is_cut(make_run: Write) -> None:
    about = results_folder.manifest()
    about["failures"] *= 1000
    found = page(make_run(about=about))
    assert found.text.count("3.jpg") == 200
    assert "800 more, in manifest.json" in found.text


def test_only_the_clean_score(make_run: Write) -> None:
    text = page(make_run(measured=results_folder.points()[:1], compared=[])).text
    assert "No operating points to draw." in text
    assert "No BD-rates" in text
    assert "no coded methods" in text


def test_nothing_at_all(make_run: Write) -> None:
    about = results_folder.says_nothing()
    text = page(make_run(about=about, measured=[], compared=[], equally=[])).text
    for expected in ("Nothing measured.", "No BD-rates", "No operating points.", "says nothing"):
        assert expected in text


@pytest.mark.parametrize("name", ["points.csv", "bd.csv", "equal_accuracy.csv"])
def test_missing_tables_are_named(make_run: Write, name: str) -> None:
    folder = make_run()
    (folder / name).unlink()
    with pytest.raises(ConfigError, match=f"no {name}"):
        bench.report.write(folder)


def test_what_is_no_results_folder_is_named(make_run: Write, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="absent: there is no such folder"):
        bench.report.write(tmp_path / "absent")
    folder = make_run()
    (folder / "manifest.json").unlink()
    with pytest.raises(DataError, match=r"manifest\.json: missing"):
        bench.report.write(folder)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("manifest.json", "{", r"manifest\.json: cannot be read"),
        ("manifest.json", "[]", r"manifest\.json: an object"),
        ("points.csv", "dataset,task\na,b\n", r"points\.csv: no column 'model'"),
        ("bd.csv", "dataset\na\n", r"bd\.csv: no column"),
    ],
)
def test_malformed_files_are_named(make_run: Write, name: str, text: str, message: str) -> None:
    folder = make_run()
    (folder / name).write_text(text)
    with pytest.raises(DataError, match=message):
        bench.report.write(folder)


def test_values_that_are_no_numbers_are_named_by_line(make_run: Write) -> None:
    measured = results_folder.points()
    measured[2]["bpp"] = "much"
    with pytest.raises(BenchError, match=r"points\.csv, line 4: .*'much'"):
        bench.report.write(make_run("a", measured=measured))
    measured[2] |= {"bpp": 1.0, "qp": 31.5}
    with pytest.raises(BenchError, match=r"points\.csv, line 4: '31\.5': an integer"):
        bench.report.write(make_run("b", measured=measured))
    measured[2]["qp"] = "37.0"  # as written by a data frame whose column also has empty cells
    bench.report.write(make_run("c", measured=measured))


def test_report_needs_neither_torch_nor_pyplot() -> None:
    code = "import sys, bench.report; assert not {'torch', 'matplotlib.pyplot'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
