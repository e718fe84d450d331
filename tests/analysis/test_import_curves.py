"""Published curves: what is taken, what is refused, and that everything says what they are."""

import json
from pathlib import Path

import gated_results as gated
import numpy as np
import pytest

from bench.analysis import baseline
from bench.analysis.baseline import open_side
from bench.cli import main
from bench.errors import DataError
from bench.results.rows import BDRow, EqualAccuracyRow, PairRow, PointRow, from_csv

HEADER = "dataset,model,metric,bpp,accuracy\n"
GOOD = "data,net,top1,0.5,0.31\ndata,net,top1,1.0,0.45\ndata,net,top1,2.0,0.6\n"


def csv(folder: Path, text: str) -> Path:
    path = folder / "curves.csv"
    path.write_text(text)
    return path


def imported(folder: Path, text: str, name: str = "Paper") -> Path:
    out = folder / f"{name}.json"
    assert main(["import", str(csv(folder, text)), "--as", name, "--out", str(out)]) == 0
    return out


def refusal(folder: Path, text: str) -> str:
    from bench.analysis.imported import imported

    with pytest.raises(DataError) as caught:
        imported(csv(folder, text), "Paper", folder / "out.json")
    assert not (folder / "out.json").exists()
    return str(caught.value)


# --- what a file may hold -------------------------------------------------------------------------


def test_a_curve_by_its_rows(tmp_path: Path) -> None:
    """Further columns and other curves do no harm."""
    text = "year,accuracy,bpp,metric,model,dataset\n2024,0.5,1,top1,net,data\n"
    text += "2024,0.6,1.5,top1,net,data\n2024,2.5,1,cross-entropy,net,data\n"
    text += "2024,1.5,2,cross-entropy,net,data\n"
    first, second = open_side(imported(tmp_path, text)).manifest.published
    assert (first.method, first.dataset, first.model) == ("Paper", "data", "net")
    assert (first.metric, first.points) == ("top1", ((1.0, 0.5), (1.5, 0.6)))
    assert (second.metric, second.points) == ("cross-entropy", ((1.0, 2.5), (2.0, 1.5)))
    assert first.source == "curves.csv"


BAD = {
    "missing columns": ("dataset,model,metric,rate\n", ["no column bpp, accuracy", "rate"]),
    "nothing": ("", ["no column dataset", "none"]),
    "no rows": (HEADER, ["no rows"]),
    "one point": (HEADER + "data,net,top1,0.5,0.3\n", ["one row (2)"]),
    "two columns of one name": ("bpp," + HEADER, ["two columns bpp"]),
    "a short row": (HEADER + "data,net,top1,0.5\n", ["row 2", "fewer fields"]),
    "no model": (HEADER + "data,,top1,0.5,0.3\n", ["row 2", "model is empty"]),
    "falling rates": (
        HEADER + "data,net,top1,0.5,0.3\ndata,net,top1,0.4,0.4\n",
        ["rows 2 and 3", "0.5 to 0.4"],
    ),
    "one rate twice": (
        HEADER + "data,net,top1,0.5,0.3\ndata,net,top1,0.50,0.4\n",
        ["rows 2 and 3", "same bpp, 0.5"],
    ),
    "percent": (HEADER + "data,net,top1,0.5,41.5\n", ["row 2", "41.5", "0.415", "0 to 1"]),
    "beyond a share": (HEADER + "data,net,top1,0.5,-0.1\n", ["row 2", "-0.1", "0 to 1"]),
    "a negative loss": (HEADER + "data,net,cross-entropy,0.5,-1\n", ["row 2", "below 0"]),
    "not finite": (HEADER + "data,net,top1,nan,0.3\n", ["row 2", "bpp", "'nan'"]),
    "infinite": (HEADER + "data,net,top1,0.5,inf\n", ["row 2", "accuracy", "'inf'"]),
    "no number": (HEADER + "data,net,top1,0.5,n/a\n", ["row 2", "accuracy", "'n/a'"]),
    "no rate": (HEADER + "data,net,top1,0,0.3\n", ["row 2", "bpp: 0", "above 0"]),
    "kilobits": (HEADER + "data,net,top1,850,0.3\n", ["row 2", "bpp: 850", "48"]),
    "another metric": (HEADER + "data,net,AP,0.5,0.3\n", ["row 2", "'AP'", "mAP"]),
    "a name of two lines": (
        HEADER + '"da\nta",net,top1,0.5,0.3\n"da\nta",net,top1,0.6,0.4\n',
        ["dataset", "control character"],
    ),
}


@pytest.mark.parametrize(("text", "words"), BAD.values(), ids=BAD)
def test_bad_input_is_refused_by_name(tmp_path: Path, text: str, words: list[str]) -> None:
    said = refusal(tmp_path, text)
    for word in (*words, str(tmp_path / "curves.csv")):
        assert word in said


def test_accuracy_that_falls_is_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    imported(tmp_path, HEADER + GOOD + "data,net,top1,3,0.59\n")
    said = " ".join(capsys.readouterr().err.split())
    assert "from 0.6 to 0.59 in rows 4 and 5" in said
    text = "data,net,cross-entropy,1,1.5\ndata,net,cross-entropy,2,1.2\n"
    imported(tmp_path, HEADER + text)  # lower is better
    assert "warning" not in capsys.readouterr().err


@pytest.mark.parametrize("name", ["uncompressed", " ", "a\nb"])
def test_a_bad_name_is_refused(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = csv(tmp_path, HEADER + GOOD)
    assert main(["import", str(path), "--as", name, "--out", str(tmp_path / "a.json")]) == 2
    assert "--as" in capsys.readouterr().err


# --- beside what was measured ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def merged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, and its anchor's own curve at four fifths of the rate as if it had been published."""
    folder = tmp_path_factory.mktemp("published")
    run = gated.write(folder / "run", edit=gated.reached, n=200)
    assert main(["merge", str(run), str(run), "--out", str(folder / "measured")]) == 0
    rows = from_csv(PointRow, folder / "measured" / "points.csv")
    own = [r for r in rows if (r.method, r.metric) == ("bpg", "top1")]
    text = HEADER + "".join(
        f"data,net,top1,{0.8 * (r.bpp or 0)!r},{r.value!r}\n"
        for r in sorted(own, key=lambda r: r.bpp or 0)
    )
    text += "data,another,top1,0.5,0.3\ndata,another,top1,0.6,0.4\n"
    paper = imported(folder, text)
    assert main(["merge", str(run), str(paper), "--out", str(folder / "merged")]) == 0
    return folder / "merged"


def test_bd_rate_without_an_interval(merged: Path) -> None:
    rows = [r for r in from_csv(BDRow, merged / "bd.csv") if r.method == "Paper"]
    assert {(r.metric, r.interpolation) for r in rows} == {("top1", "pchip"), ("top1", "akima")}
    for row in rows:
        assert row.bd_rate == pytest.approx(-20, abs=1e-6)
        assert row.range_bd_rate == pytest.approx(-20, abs=1e-6)
        ends = (row.ci_low, row.ci_high, row.bca_low, row.range_low, row.range_high, row.wins)
        assert ends == (None,) * 6
        assert "no interval: a published curve" in row.reason
        assert "no interval: a published curve" in row.range_reason
    equal = from_csv(EqualAccuracyRow, merged / "equal_accuracy.csv")
    changes = {r.change for r in equal if r.method == "Paper" and r.change is not None}
    assert np.allclose(list(changes), -20)
    assert not [r for r in from_csv(PairRow, merged / "pairs.csv") if r.method == "Paper"]


def test_measured_numbers_stay_what_they_were(merged: Path) -> None:
    for name, kind in (("points.csv", PointRow), ("bd.csv", BDRow)):
        found, expected = (
            from_csv(kind, folder / name) for folder in (merged, merged.parent / "measured")
        )
        assert [row for row in found if row.method != "Paper"] == expected


def test_points_are_hollow_and_say_so(merged: Path) -> None:
    rows = [r for r in from_csv(PointRow, merged / "points.csv") if r.method == "Paper"]
    assert {r.change for r in rows} == {"published"}
    assert all(r.published for r in rows)
    assert [(r.qp, r.curve_bpp) for r in rows] == [(4 - i, r.bpp) for i, r in enumerate(rows)]
    assert {(r.ci_low, r.ci_high, r.n_images) for r in rows} == {(None, None, 0)}
    caption = (merged / "figures" / "data_net_top1.caption.tex").read_text()
    assert "Hollow all along: published curves" in caption
    page = (merged / "report.html").read_text()
    assert "curves that are hollow all along were published, without intervals" in page
    for table in ("bd.md", "points.md", "bd.tex"):
        assert "published" in (merged / "tables" / table).read_text()


def test_the_console_says_so(merged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sources = [str(merged.parent / "run"), str(merged.parent / "Paper.json")]
    assert main(["merge", *sources, "--out", str(merged.parent / "again")]) == 0
    printed = capsys.readouterr()
    said = " ".join(printed.out.split())
    assert "Paper: published (curves.csv), top1 of net on data: drawn hollow" in said
    assert "no interval: a published curve" in said
    left = " ".join(printed.err.split())
    assert "Paper, published, left out: top1 of another on data was not measured" in left


def test_it_travels_in_a_baseline(merged: Path, tmp_path: Path) -> None:
    baseline.write(merged, tmp_path / "base.json")
    run = merged.parent / "run"
    assert main(["merge", str(tmp_path / "base.json"), str(run), "--out", str(tmp_path / "m")]) == 0
    assert (tmp_path / "m" / "bd.csv").read_bytes() == (merged / "bd.csv").read_bytes()
    assert main(["compare", str(run), str(merged)]) == 0


def test_names_that_clash_are_refused(
    merged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(merged.parent / "run")
    measured = imported(tmp_path, HEADER + GOOD, "npp+bpg")
    assert main(["merge", run, str(measured), "--out", str(tmp_path / "m")]) == 2
    assert "import the curve --as another" in " ".join(capsys.readouterr().err.split())
    other = imported(tmp_path, HEADER + GOOD, "Paper")
    sources = [run, str(merged.parent / "Paper.json"), str(other)]
    assert main(["merge", *sources, "--out", str(tmp_path / "m")]) == 2
    assert "two published curves of this name" in " ".join(capsys.readouterr().err.split())
    assert main(["merge", str(other), "--out", str(tmp_path / "m")]) == 2
    assert "published curves alone" in " ".join(capsys.readouterr().err.split())


def test_a_baseline_of_curves_alone_judges_nothing(
    merged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paper = merged.parent / "Paper.json"
    assert json.loads(paper.read_text())["experiments"] == []
    assert main(["compare", str(paper), str(merged.parent / "run")]) == 2
    assert "nothing in common" in " ".join(capsys.readouterr().err.split())


def test_another_file_is_not_written_over(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out, source = tmp_path / "instances.json", csv(tmp_path, HEADER + GOOD)
    words = ["import", str(source), "--as", "Paper", "--out", str(out)]
    for held in ('{"images": []}', "no JSON", "[1]"):
        out.write_text(held)
        assert main(words) == 2
        assert "it is no baseline" in " ".join(capsys.readouterr().err.split())
        assert out.read_text() == held
    out.unlink()
    assert main(words) == 0
    assert main(words) == 0  # its own may be
