"""Pascal VOC's XML."""

import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.datasets import voc
from bench.datasets.base import DATASETS
from bench.datasets.check import check
from bench.datasets.voc import load
from bench.errors import DataError
from bench.tasks.categories import ALIASES, common_name

# As in the development kit: parts of a person have boxes of their own, which are no objects.
OBJECT = """<object><name>{name}</name><pose>Left</pose><truncated>0</truncated>
<difficult>{difficult}</difficult>
<bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin><xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox>
<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>
</object>"""


def write(root: Path, identifier: str, *objects: tuple[str, tuple, int], size: str = "") -> None:
    for folder in ("Annotations", "JPEGImages"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    size = size or "<size><width>30</width><height>20</height><depth>3</depth></size>"
    body = "".join(OBJECT.format(name=n, box=b, difficult=d) for n, b, d in objects)
    text = f"<annotation><filename>{identifier}.jpg</filename>{size}{body}</annotation>"
    (root / "Annotations" / f"{identifier}.xml").write_text(text)
    Image.new("RGB", (30, 20)).save(root / "JPEGImages" / f"{identifier}.jpg")


def split(root: Path, name: str, *identifiers: str) -> None:
    lists = root / "ImageSets" / "Main"
    lists.mkdir(parents=True, exist_ok=True)
    (lists / f"{name}.txt").write_text("\n".join(identifiers) + "\n")


@pytest.fixture
def year(tmp_path: Path) -> Path:
    root = tmp_path / "VOCdevkit" / "VOC2007"
    write(root, "000002", ("train", (1, 1, 30, 20), 0), ("person", (5, 6, 10, 12), 1))
    write(root, "000001", ("sofa", ("4.5", 3, 9, 8), 0))
    write(root, "000003")
    split(root, "test", "000002", "000003")
    split(root, "val", "000001")
    split(root, "dog_test", "000002 -1", "000003  1")
    return root


def test_boxes_categories_and_order(year: Path) -> None:
    data = DATASETS.get("voc")(year)
    assert data.name == "VOC2007-test"
    assert list(data.categories.values()) == list(voc.CATEGORIES)
    assert list(data.categories) == list(range(1, 21))
    assert [s.name for s in data.samples] == ["000002.jpg", "000003.jpg"]
    two, empty = (s.target for s in data.samples)
    # (1, 1, W, H) covers the whole image.
    assert two.boxes.tolist() == [[0, 0, 30, 20], [4, 5, 10, 12]]
    assert two.area.tolist() == [600, 42]
    assert [data.categories[i] for i in two.labels] == ["train", "person"]
    assert two.iscrowd.tolist() == [False, True]
    assert empty.boxes.shape == (0, 4)
    assert data.notes == ["1 objects are marked difficult and ignored as crowds are"]
    assert data.samples[0].load().shape == (20, 30, 3)


def test_arrays_are_those_of_the_same_set_in_cocos_format(year: Path, tmp_path: Path) -> None:
    import json

    from bench.datasets import coco

    document = {
        "images": [{"id": 1, "file_name": "000002.jpg", "height": 20, "width": 30}],
        "categories": [{"id": 19, "name": "train"}, {"id": 15, "name": "person"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 19, "bbox": [0, 0, 30, 20]},
            {"id": 2, "image_id": 1, "category_id": 15, "bbox": [4, 5, 6, 7], "iscrowd": 1},
        ],
    }
    (tmp_path / "instances.json").write_text(json.dumps(document))
    same = coco.load(tmp_path, images=year / "JPEGImages").samples[0].target
    own = load(year).samples[0].target
    for key, value in own.to_arrays().items():
        assert np.array_equal(value, same.to_arrays()[key]), key
        assert value.dtype == same.to_arrays()[key].dtype, key


def test_splits(year: Path) -> None:
    data = load(year, split="val")
    assert data.name == "VOC2007-val"
    assert data.samples[0].target.boxes.tolist() == [[3.5, 2, 9, 8]]
    with pytest.raises(DataError, match=r"no list train; set `split` to one of: test, val"):
        load(year, split="train")
    (year / "ImageSets" / "Main" / "test.txt").unlink()
    assert load(year).name == "VOC2007-val"
    split(year, "val", "000001", "000001")
    with pytest.raises(DataError, match="000001 twice"):
        load(year)


def test_without_lists_and_with_categories_of_its_own(tmp_path: Path) -> None:
    write(tmp_path, "b", ("helmet", (1, 1, 2, 2), 0))
    write(tmp_path, "a", ("head", (1, 1, 2, 2), 0), ("car", (1, 1, 2, 2), 0), size="<size/>")
    data = load(tmp_path, name="given")
    assert data.name == "given"
    assert [s.name for s in data.samples] == ["a.jpg", "b.jpg"]
    assert data.categories == {1: "car", 2: "head", 3: "helmet"}
    assert data.samples[0].load().shape == (20, 30, 3)


def test_what_is_refused(year: Path) -> None:
    with pytest.raises(DataError, match=r"it holds VOC2007: give one of them"):
        load(year.parent)
    with pytest.raises(DataError, match=r"no such folder; a Pascal VOC"):
        load(year / "absent")
    (year / "JPEGImages" / "000003.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 2 images are missing: 000003"):
        load(year)
    (year / "Annotations" / "000003.xml").unlink()
    with pytest.raises(DataError, match=r"000003\.xml: no such file"):
        load(year)
    (year / "Annotations" / "000002.xml").write_text("<annotation><object>")
    with pytest.raises(DataError, match=r"000002\.xml: malformed XML"):
        load(year)
    for box, message in [(("x", 1, 2, 2), "finite numbers"), ((9, 1, 2, 2), "less than")]:
        write(year, "000002", ("dog", box, 0))
        with pytest.raises(DataError, match=rf"000002\.xml: object 1 \(dog\): .*{message}"):
            load(year)
    write(year, "000002", ("dog", (1, 1, 2, 2), 0),
          size="<size><width>31</width><height>20</height></size>")  # fmt: skip
    split(year, "test", "000002")
    with pytest.raises(DataError, match="annotated at 31×20"):
        load(year).samples[0].load()


def flagged(root: Path, *words: str) -> Path:
    """A set of one image with a plain object and one of each word in `difficult`."""
    write(root, "a", ("dog", (1, 1, 9, 9), 0), *(("cat", (1, 1, 5, 5), word) for word in words))
    return root


@pytest.mark.parametrize(
    ("word", "read", "noted"),
    [("0", 0, 0), ("1", 1, 0), ("", 0, 0), (" 1 ", 1, 0), ("0.0", 0, 1), ("False", 0, 1),
     ("false", 0, 1), ("no", 0, 1), ("Unspecified", 0, 1), ("None", 0, 1), ("1.0", 1, 1),
     ("True", 1, 1), ("YES", 1, 1)],
)  # fmt: skip
def test_difficult_in_every_spelling(tmp_path: Path, word: str, read: int, noted: int) -> None:
    data = load(flagged(tmp_path, word, word))
    assert data.samples[0].target.iscrowd.tolist() == [False, bool(read), bool(read)]
    notes = [note for note in data.notes if "written otherwise" in note]
    assert len(notes) == noted
    assert all(f"{word!r} is read as {read}, 2 times" in note for note in notes)


@pytest.mark.parametrize("word", ["2", "-1", "maybe", "0 1", "nan", "٠"])
def test_difficult_without_a_meaning(tmp_path: Path, word: str) -> None:
    message = rf"a\.xml: object 2 \(cat\): difficult '{word}': 0 or 1"
    with pytest.raises(DataError, match=message):
        load(flagged(tmp_path, word))


@pytest.mark.parametrize("objects", [(), (("dog", (1, 1, 5, 5), 1),)])
def test_nothing_to_find_is_refused(tmp_path: Path, objects: tuple) -> None:
    write(tmp_path, "a", *objects)
    with pytest.raises(DataError, match="nothing to find, and mAP would be undefined"):
        load(tmp_path)


@pytest.mark.parametrize(
    "box",
    [("nan", 1, 2, 2), (1, 1, "inf", 2), (1, 1, "1e400", 2), ("1_0", 1, 20, 20), ("٣", 1, 20, 20),
     (1, 1, "", 2), ("1,5", 1, 20, 20), ("0x1", 1, 20, 20), (1, 1, 1e300, 1e300), (1, 1, 1e6, 1e6),
     (5, 1, 4, 9), (1, 9, 9, 8)],
)  # fmt: skip
def test_unusable_boxes(tmp_path: Path, box: tuple) -> None:
    write(tmp_path, "a", ("dog", box, 0))
    with pytest.raises(DataError, match=r"a\.xml: object 1 \(dog\): "):
        load(tmp_path)


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [("30.0", "20.", None), (" 30 ", "020", None), ("31.0", "20", "31×20"), ("", "20", None)],
)
def test_sizes_are_held_against_the_picture(
    tmp_path: Path, width: str, height: str, size: str | None
) -> None:
    text = f"<size><width>{width}</width><height>{height}</height></size>"
    write(tmp_path, "a", ("dog", (1, 1, 5, 5), 0), size=text)
    sample = load(tmp_path).samples[0]
    if size:
        with pytest.raises(DataError, match=f"annotated at {size}"):
            sample.load()
    else:
        assert sample.load().shape == (20, 30, 3)


@pytest.mark.parametrize("width", ["0", "-30", "30px", "²", "30.5", "nan", "9" * 5000])
def test_sizes_that_are_no_whole_numbers(tmp_path: Path, width: str) -> None:
    write(tmp_path, "a", size=f"<size><width>{width}</width><height>20</height></size>")
    with pytest.raises(DataError, match=r"a\.xml: size: .*a whole number from 1 is expected"):
        load(tmp_path)


OBJECTS = OBJECT.format(name="{name}", difficult=0, box=(1, 1, 9, 9))


def encoded(root: Path, encoding: str, name: str, head: str = "") -> None:
    write(root, "a")
    declaration = f'<?xml version="1.0" encoding="{encoding}"?>\n'
    text = f"{head or declaration}<annotation>{OBJECTS.format(name=name)}</annotation>"
    (root / "Annotations" / "a.xml").write_bytes(text.encode(encoding))


@pytest.mark.parametrize(
    ("encoding", "name"),
    [
        *(
            (e, "汽车")
            for e in ("gb2312", "gbk", "GB18030", "utf8", "utf-8", "utf-8-sig", "utf-16")
        ),
        *((e, "車") for e in ("big5", "shift_jis", "euc-jp", "euc-kr")),
        *((e, "Fußgänger") for e in ("iso-8859-1", "windows-1252", "latin1")),
        ("cp866", "машина"),
        ("us-ascii", "car"),
    ],
)
def test_encodings_are_the_declared_ones(tmp_path: Path, encoding: str, name: str) -> None:
    encoded(tmp_path, encoding, name)
    data = load(tmp_path)
    assert [data.categories[i] for i in data.samples[0].target.labels] == [name]


@pytest.mark.parametrize("encoding", ["ansi", "utf8mb4", "hex", "rot13", "undefined", "x y", ""])
def test_encodings_that_are_not_known(tmp_path: Path, encoding: str) -> None:
    encoded(tmp_path, "utf-8", "car", head=f'<?xml version="1.0" encoding="{encoding}"?>')
    with pytest.raises(DataError, match=r"a\.xml: ") as refused:
        load(tmp_path)
    assert encoding in str(refused.value)
    found = check(tmp_path, "voc", {}, False, lambda what, n: lambda steps: None)
    assert len(found.faults["unusable annotations"]) == 1


def test_text_that_is_not_in_the_declared_encoding(tmp_path: Path) -> None:
    write(tmp_path, "a")
    for encoding in ("gb2312", "utf-8", "ascii"):
        text = f'<?xml version="1.0" encoding="{encoding}"?><annotation>'.encode()
        (tmp_path / "Annotations" / "a.xml").write_bytes(text + b"\xff\xfe</annotation>")
        with pytest.raises(DataError, match=r"a\.xml: .*declares.*save it as UTF-8"):
            load(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotations/>", "directly in one element <annotation>"),
        ("<annotation><objects>{0}</objects></annotation>", "directly in one element <annotation>"),
        ('<annotation xmlns="urn:x">{0}</annotation>', "directly in one element <annotation>"),
        ("<annotation>{0}{0}", "malformed XML"),
        (
            "<annotation><object><name>a</name><name>b</name></object></annotation>",
            "2 elements name",
        ),
        ("<annotation><object><name> </name></object></annotation>", "name '': a text is expected"),
        ("<annotation><object><name>a</name></object></annotation>", "bndbox needs finite numbers"),
        (
            "<annotation><size><width>1</width><width>2</width></size></annotation>",
            "2 elements size/width",
        ),
    ],
)
def test_other_structures_are_refused(tmp_path: Path, text: str, message: str) -> None:
    write(tmp_path, "a")
    body = OBJECTS.format(name="car")
    (tmp_path / "Annotations" / "a.xml").write_text(text.format(body))
    with pytest.raises(DataError, match=message):
        load(tmp_path)


def named(root: Path, *names: str) -> Path:
    for name in names:
        write(root, name, ("dog", (1, 1, 5, 5), 0))
    return root


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("my image 1\nmy image\n", ["my image 1", "my image"]),
        ("my image 1\r\n", ["my image 1"]),
        ("my image 1  1\nmy image -1\nplain  0\n", ["my image 1", "my image", "plain"]),
        ("plain\t1\n\n  \nmy image   -1  \n", ["plain", "my image"]),
        ("\ufeffplain\r\nmy image 1 \r\n", ["plain", "my image 1"]),
        ("my image\nmy image 1\nmy image 0\n", ["my image", "my image 1", "my image 0"]),
        ("plain 1\nmy image 2\n", ["plain", "my image 2"]),
    ],
)
def test_lists_of_names_with_blanks_and_flags(tmp_path: Path, text: str, names: list[str]) -> None:
    named(tmp_path, "my image", "my image 1", "my image 0", "my image 2", "plain")
    split(tmp_path, "test")
    (tmp_path / "ImageSets" / "Main" / "test.txt").write_bytes(text.encode())
    if text == "my image 1\r\n":
        (tmp_path / "Annotations" / "my image.xml").unlink()
    assert [s.name for s in load(tmp_path).samples] == [f"{name}.jpg" for name in names]


def test_lists_that_can_be_read_in_two_ways(tmp_path: Path) -> None:
    named(tmp_path, "my image", "my image 1")
    split(tmp_path, "test", "my image 1")
    with pytest.raises(DataError, match=r"test\.txt: 'my image 1' may be .* 'my image' and a flag"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("absent", r"absent\.xml: no such file"),
        ("absent 1", r"absent\.xml: no such file"),
        ("a.jpg", r"a\.jpg\.xml: no such file"),
        ("../a", "the file name '../a.jpg' leaves the folder"),
        ("/etc/passwd", "leaves the folder"),
    ],
)
def test_lists_of_images_that_are_not_there(tmp_path: Path, line: str, message: str) -> None:
    named(tmp_path / "set", "a")
    named(tmp_path, "a")
    split(tmp_path / "set", "test", line)
    with pytest.raises(DataError, match=message):
        load(tmp_path / "set")


def test_long_lists_are_read_in_no_time(tmp_path: Path) -> None:
    named(tmp_path, "a")
    split(tmp_path, "test", *map(str, range(50_000)), "7")
    started = time.monotonic()
    with pytest.raises(DataError, match="7 twice"):
        load(tmp_path)
    assert time.monotonic() - started < 5


def test_two_files_of_one_image(tmp_path: Path) -> None:
    named(tmp_path, "a")
    Image.new("RGB", (30, 20)).save(tmp_path / "JPEGImages" / "a.png")
    with pytest.raises(DataError, match=r"a\.jpg and a\.png are both a; keep one"):
        load(tmp_path)


def test_what_is_passed_over(tmp_path: Path) -> None:
    named(tmp_path, "a")
    for name in ("Annotations/._a.xml", "JPEGImages/._a.jpg", "JPEGImages/.DS_Store",
                 "Annotations/Thumbs.db", "Annotations/classes.txt"):  # fmt: skip
        (tmp_path / name).touch()
    (tmp_path / "Annotations" / "a.xml").rename(tmp_path / "Annotations" / "a.XML")
    (tmp_path / "JPEGImages" / "b.jpg").touch()
    data = load(tmp_path)
    assert [s.name for s in data.samples] == ["a.jpg"]
    assert data.notes == [
        "entries of Annotations that are not .xml, left out: 1 (classes.txt)",
        "images without an annotation file: 1 (b.jpg)",
    ]


def test_annotation_files_that_cannot_be_read(tmp_path: Path) -> None:
    named(tmp_path, "a")
    (tmp_path / "Annotations" / "b.xml").symlink_to(tmp_path / "gone.xml")
    with pytest.raises(DataError, match=r"b\.xml: cannot be read: No such file"):
        load(tmp_path)
    (tmp_path / "Annotations" / "b.xml").unlink()
    (tmp_path / "Annotations" / "b.xml").mkdir()
    with pytest.raises(DataError, match=r"b\.xml: cannot be read: Is a directory"):
        load(tmp_path)


def test_every_category_has_its_name_in_coco() -> None:
    from torchvision.models.detection import FCOS_ResNet50_FPN_Weights

    known = FCOS_ResNet50_FPN_Weights.DEFAULT.meta["categories"]
    assert {common_name(c) for c in voc.CATEGORIES} <= set(known)
    assert set(ALIASES) <= set(voc.CATEGORIES)
    assert common_name("Dining_Table") == common_name("diningtable") == "dining table"
