"""Pascal VOC's XML."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.datasets import voc
from bench.datasets.base import DATASETS
from bench.datasets.categories import ALIASES, common_name
from bench.datasets.voc import load
from bench.errors import DataError

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
    assert two["boxes"].tolist() == [[0, 0, 30, 20], [4, 5, 10, 12]]
    assert two["area"].tolist() == [600, 42]
    assert [data.categories[i] for i in two["labels"]] == ["train", "person"]
    assert two["iscrowd"].tolist() == [False, True]
    assert empty["boxes"].shape == (0, 4)
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
    for key, value in own.items():
        assert np.array_equal(value, same[key]), key
        assert value.dtype == same[key].dtype, key


def test_splits(year: Path) -> None:
    data = load(year, split="val")
    assert data.name == "VOC2007-val"
    assert data.samples[0].target["boxes"].tolist() == [[3.5, 2, 9, 8]]
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


def test_every_category_has_its_name_in_coco() -> None:
    from torchvision.models.detection import FCOS_ResNet50_FPN_Weights

    known = FCOS_ResNet50_FPN_Weights.DEFAULT.meta["categories"]
    assert {common_name(c) for c in voc.CATEGORIES} <= set(known)
    assert set(ALIASES) <= set(voc.CATEGORIES)
    assert common_name("Dining_Table") == common_name("diningtable") == "dining table"
