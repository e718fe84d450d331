"""Folders of label maps, and Pascal VOC's: what is read, and what is refused before any coding."""

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from bench.cli import main
from bench.datasets import voc
from bench.datasets.base import DATASETS, Dataset, make
from bench.datasets.check import check, guess
from bench.errors import ConfigError, DataError
from bench.tasks.records import IGNORED, Regions

SIZE = (4, 6)


def labels(*values: int) -> np.ndarray:
    """A map of `SIZE` that shows these."""
    return np.resize(np.array(values, np.uint8), SIZE)


def palette(values: np.ndarray) -> Image.Image:
    """As Pascal VOC saves them: the index chooses a colour that means nothing."""
    image = Image.fromarray(values)
    image.putpalette(np.random.default_rng(0).integers(0, 256, 768).tolist())
    return image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "streets"
    for inner in ("images/town", "labels/town"):
        (root / inner).mkdir(parents=True)
    for name in ("b.jpg", "a.png", "town/a.jpg"):
        Image.new("RGB", SIZE[::-1]).save(root / "images" / name)
    palette(labels(0, 2, IGNORED)).save(root / "labels" / "a.png")
    Image.fromarray(labels(1)).save(root / "labels" / "b.png")
    palette(labels(0, 1)).save(root / "labels" / "town" / "a.png", bits=2)
    (root / "classes.txt").write_text("road\nsky\nlitter bin\n\n")
    return root


def load(root: Path) -> Dataset:
    return make("labelmaps", "seg", root, {})


def faults(root: Path, format: str = "labelmaps", task: str | None = None) -> dict[str, list[str]]:
    found = check(root, format, {}, False, lambda what, n: lambda steps: None, task)
    return {kind: cases for kind, cases in found.faults.items() if cases}


def test_a_folder_of_label_maps(folder: Path) -> None:
    data = load(folder)
    assert (data.name, data.task, data.n_classes) == ("streets", "seg", 3)
    assert data.categories == {0: "road", 1: "sky", 2: "litter bin"}
    assert [s.name for s in data.samples] == ["a.png", "b.jpg", "town/a.jpg"]
    for sample, values in zip(data.samples, [(0, 2, IGNORED), (1,), (0, 1)], strict=True):
        assert isinstance(sample.target, Regions)
        assert np.array_equal(sample.target.labels, labels(*values))
        assert sample.load().shape == (*SIZE, 3)
    assert data.notes == []
    assert guess(folder) == "labelmaps"
    assert faults(folder) == {}


def test_without_names_categories_are_numbers(folder: Path) -> None:
    (folder / "classes.txt").unlink()
    Image.fromarray(labels(1, 7)).save(folder / "labels" / "b.png")
    data = load(folder)
    assert data.categories == {0: "0", 1: "1", 2: "2", 7: "7"}
    assert data.n_classes is None
    assert data.notes == ["no classes.txt: categories are called by their numbers"]


def test_the_hash_follows_the_labels(folder: Path) -> None:
    before = load(folder).annotations_sha256
    palette(labels(1)).save(folder / "labels" / "b.png")  # the same labels, in another file
    assert load(folder).annotations_sha256 == before
    Image.fromarray(labels(2)).save(folder / "labels" / "b.png")
    assert load(folder).annotations_sha256 != before


def truncated(file: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 3, SIZE).astype(np.uint8)
    Image.fromarray(noise).save(file)
    file.write_bytes(file.read_bytes()[:-20])


def corrupt(file: Path) -> None:
    Image.fromarray(labels(1)).save(file)
    data = bytearray(file.read_bytes())
    data[data.index(b"IDAT") + 6] ^= 1
    file.write_bytes(data)


def fewer_bits(file: Path) -> None:
    cv2.imwrite(str(file), labels(0, 1), [cv2.IMWRITE_PNG_BILEVEL, 1])


SPOILT: list[tuple[Callable[[Path], object], str]] = [
    (lambda f: Image.new("L", (6, 5)).save(f),
     r"b\.png: 6×5 pixels, but its image b\.jpg has 6×4"),
    (lambda f: Image.new("RGB", (6, 4)).save(f),
     r"b\.png: a picture of colours; label maps hold the class index of each pixel"),
    (lambda f: Image.new("RGBA", (6, 4)).save(f), r"b\.png: a picture of colours"),
    (lambda f: Image.fromarray(labels(1).astype(np.uint16)).save(f), r"b\.png: gray of 16 bits"),
    (fewer_bits, r"b\.png: gray of 1 bits"),
    (lambda f: Image.fromarray(labels(1, 3, 9)).save(f),
     r"b\.png: labels 3, 9; 0 to 2 are expected, the indices of the 3 classes, and 255"),
    (lambda f: Image.new("L", (6, 4)).save(f, "JPEG"), r"b\.png: no PNG file"),
    (lambda f: f.write_bytes(b""), r"b\.png: no PNG file"),
    (truncated, r"b\.png: not readable as an image"),
    (corrupt, r"b\.png: not readable as an image"),
    (lambda f: f.unlink(), r"b\.png: no such file, for image b\.jpg"),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "message"), SPOILT)
def test_label_maps_that_are_refused(
    folder: Path, spoil: Callable[[Path], object], message: str
) -> None:
    spoil(folder / "labels" / "b.png")
    with pytest.raises(DataError, match=message) as refused:
        load(folder)
    ((found,),) = faults(folder).values()
    assert str(refused.value) == f"{folder}/{found}"  # `dataset check` says the same


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("road\n\nsky\n", "line 2: '': the name of a class"),
        ("road\nSky\nsky\n", "lines 2 and 3: 'Sky' and 'sky' are the same"),
        ("", "0 lines; 1 to 255"),
        ("\n".join(map(str, range(256))), "256 lines; 1 to 255"),
    ],
)
def test_lists_of_classes_that_are_refused(folder: Path, text: str, message: str) -> None:
    (folder / "classes.txt").write_text(text)
    with pytest.raises(DataError, match=rf"classes\.txt: {message}"):
        load(folder)


def test_folders_that_are_refused(folder: Path) -> None:
    shutil.copy(folder / "images" / "b.jpg", folder / "images" / "b.webp")
    with pytest.raises(DataError, match=r"b\.jpg and b\.webp are both b; keep one"):
        load(folder)
    (folder / "images" / "b.webp").unlink()
    for file in (folder / "labels").rglob("*.png"):
        Image.fromarray(labels(IGNORED)).save(file)
    with pytest.raises(DataError, match="every pixel is labelled 255"):
        load(folder)
    shutil.rmtree(folder / "labels")
    with pytest.raises(DataError, match=r"labels: no such folder; a data set of label maps is"):
        load(folder)


def test_what_is_left_out_is_said(folder: Path) -> None:
    Image.fromarray(labels(1)).save(folder / "labels" / "z.png")
    (folder / "labels" / "notes.txt").touch()
    assert load(folder).notes == [
        "files of labels that are not taken for images: 1 (notes.txt)",
        "label maps without an image: 1 (z.png)",
    ]


# --- Pascal VOC -----------------------------------------------------------------------------------


@pytest.fixture
def year(tmp_path: Path) -> Path:
    root = tmp_path / "VOC2012"
    for inner in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / inner).mkdir(parents=True)
    for name, value in {"2007_1": 20, "2007_2": 0, "2007_3": 15}.items():
        Image.new("RGB", SIZE[::-1]).save(root / "JPEGImages" / f"{name}.jpg")
        palette(labels(value, IGNORED)).save(root / "SegmentationClass" / f"{name}.png")
    (root / "ImageSets" / "Segmentation" / "val.txt").write_text("2007_3\n2007_1\n")
    return root


def test_pascal_voc(year: Path) -> None:
    data = make("voc", "seg", year, {})
    assert (data.name, data.task, data.n_classes) == ("VOC2012-seg-val", "seg", 21)
    assert data.categories[0] == "background"
    assert (data.categories[15], data.categories[20]) == ("person", "tvmonitor")
    assert [s.name for s in data.samples] == ["2007_3.jpg", "2007_1.jpg"]
    assert np.array_equal(data.samples[0].target.labels, labels(15, IGNORED))
    assert faults(year, "voc", "seg") == {}
    (year / "ImageSets" / "Segmentation" / "val.txt").unlink()
    assert len(make("voc", "seg", year, {}).samples) == 3
    with pytest.raises(DataError, match=r"Segmentation: no list train; set `split` to one of"):
        make("voc", "seg", year, {"split": "train"})


def annotate(year: Path) -> None:
    (year / "Annotations").mkdir()
    text = """<annotation><object><name>dog</name><bndbox><xmin>1</xmin><ymin>1</ymin>
    <xmax>3</xmax><ymax>3</ymax></bndbox></object></annotation>"""
    for name in ("2007_1", "2007_2", "2007_3"):
        (year / "Annotations" / f"{name}.xml").write_text(text)


def no_boxes(year: Path) -> None:
    pass


def no_annotations(year: Path) -> None:
    annotate(year)
    for file in (year / "Annotations").iterdir():
        file.unlink()


def lists_of_label_maps_alone(year: Path) -> None:
    annotate(year)


def lists_of_both(year: Path) -> None:
    annotate(year)
    (year / "ImageSets" / "Main").mkdir()
    (year / "ImageSets" / "Main" / "val.txt").write_text("2007_1\n")


def no_lists(year: Path) -> None:
    annotate(year)
    shutil.rmtree(year / "ImageSets")


@pytest.mark.parametrize(
    ("made", "task"),
    [
        (no_boxes, "seg"),
        (no_annotations, "seg"),
        (lists_of_label_maps_alone, "seg"),
        (lists_of_both, "det"),
        (no_lists, "det"),
    ],
)
def test_what_a_pascal_voc_tree_is_for(
    year: Path, made: Callable[[Path], None], task: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made(year)
    assert guess(year) == guess(year.parent) == "voc"
    assert main(["dataset", "check", str(year)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"{task} (by its files)" in said
    assert ("have pixels" in said) == (task == "seg")
    with pytest.raises(DataError, match=r"it holds VOC2012: give one of them"):
        voc.read(year.parent)


def test_pascal_voc_is_refused_as_label_maps_are(year: Path) -> None:
    file = year / "SegmentationClass" / "2007_3.png"
    palette(labels(21)).save(file)
    with pytest.raises(DataError, match=r"2007_3\.png: labels 21; 0 to 20 are expected"):
        make("voc", "seg", year, {})
    assert [*faults(year, "voc", "seg")] == ["label maps that cannot be used"]
    file.unlink()
    with pytest.raises(DataError, match=r"2007_3\.png: no such file"):
        make("voc", "seg", year, {})
    shutil.rmtree(year / "SegmentationClass")
    with pytest.raises(DataError, match=r"SegmentationClass: no such folder; a Pascal VOC"):
        make("voc", "seg", year, {})


def test_formats_are_for_their_tasks(folder: Path) -> None:
    with pytest.raises(ConfigError, match="labelmaps is for seg, not for det"):
        make("labelmaps", "det", folder, {})
    with pytest.raises(ConfigError, match="--task det: format labelmaps is for seg"):
        faults(folder, "labelmaps", "det")
    assert DATASETS.get("labelmaps")(folder).task == "seg"
