"""`dataset check`: every planted fault is named, and nothing where there is none."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.cli import main
from bench.datasets.base import DATASETS
from bench.datasets.check import Findings, check, guess
from bench.errors import ConfigError, DataError


def run(root: Path, format: str, deep: bool = False, **options: str) -> Findings:
    return check(root, format, options, deep, lambda what, n: lambda steps: None)


def kinds(cases: dict[str, list[str]]) -> dict[str, int]:
    return {kind: len(found) for kind, found in cases.items() if found}


def picture(path: Path, seed: int = 0, size: tuple[int, int] = (20, 30)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)


def coco(root: Path, n: int = 4) -> dict[str, Any]:
    for i in range(n):
        picture(root / "images" / f"{i}.jpg", i)
    return {
        "images": [
            {"id": i, "file_name": f"{i}.jpg", "height": 20, "width": 30} for i in range(n)
        ],
        "categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "car"}],
        "annotations": [
            {"id": 10 + i, "image_id": i, "category_id": 1 + i % 2, "bbox": [1, 2, 9, 8],
             "area": 72}
            for i in range(n)
        ],
    }  # fmt: skip


def write(root: Path, document: dict[str, Any]) -> Path:
    (root / "instances.json").write_text(json.dumps(document))
    return root


def test_a_good_coco_set(tmp_path: Path) -> None:
    found = run(write(tmp_path, coco(tmp_path)), "coco", deep=True)
    assert kinds(found.faults) == kinds(found.remarks) == {}
    assert found.facts["images"] == found.facts["objects"] == "4"
    assert found.facts["categories"] == "2 of 2 have objects"
    assert found.facts["width×height"] == "30×20 … 30×20, median 30×20"


def test_faults_planted_in_coco(tmp_path: Path) -> None:
    content = coco(tmp_path, 12)
    images, objects = content["images"], content["annotations"]
    (tmp_path / "images" / "0.jpg").unlink()
    (tmp_path / "images" / "1.jpg").write_text("not a picture")
    cut = tmp_path / "images" / "2.jpg"
    cut.write_bytes(cut.read_bytes()[:-300])
    images[3]["width"] = 31
    shutil.copy(tmp_path / "images" / "4.jpg", tmp_path / "images" / "5.jpg")
    picture(tmp_path / "images" / "extra" / "new.png")
    images[6]["id"] = 7
    images[8]["file_name"] = "9.jpg"
    content["categories"] += [{"id": 3, "name": "Dog"}, {"id": 2, "name": "again"}]
    objects[4]["bbox"] = [1, 2, 0, 8]
    objects[5]["bbox"] = [25, 2, 9, 8]
    objects[7]["category_id"] = 99
    objects[9]["bbox"] = [1, 2, -3, 4]
    objects[10]["id"] = "10"
    objects.append(objects[11] | {"id": 900})
    objects.append({"id": 901, "image_id": 777, "category_id": 1, "bbox": [1, 1, 2, 2]})
    found = run(write(tmp_path, content), "coco")
    assert kinds(found.faults) == {
        "image files missing": 1,
        "images that cannot be read": 2,
        "images of another size than annotated": 1,
        "ids used twice": 2,
        "ids that are no integers": 1,
        "file names of more than one image": 1,
        "categories of one name": 1,
        "boxes of no area": 1,
        "boxes that reach out of the image": 1,
        "annotations of unknown categories": 1,
        "annotations of unknown images": 2,  # 777, and 6, whose image has a wrong id
        "unusable boxes": 1,
    }
    assert kinds(found.remarks) == {
        "the same image more than once": 1,
        "image files that no annotation names": 3,
        "images without an object": 3,
        "categories without an object": 1,
        "objects annotated twice": 1,
    }
    assert found.faults["boxes that reach out of the image"] == [
        "5.jpg: annotation 15 (car): 25 2 34 10 of 30×20"
    ]
    assert any("2.jpg: not readable" in case for case in found.faults["images that cannot be read"])


def test_malformed_and_misplaced(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "instances.json").write_text("{")
    (case,) = run(tmp_path, "coco").faults["the data set cannot be read"]
    assert "malformed JSON" in case
    with pytest.raises(ConfigError, match="annotations, images"):
        run(tmp_path, "coco", split="val")
    assert "no such folder" in run(tmp_path / "gone", "folder").faults.popitem()[1][0]


def test_boxes_a_fraction_outside_are_let_pass(tmp_path: Path) -> None:
    content = coco(tmp_path)
    content["annotations"][0]["bbox"] = [-0.4, 0, 31, 20.5]
    assert kinds(run(write(tmp_path, content), "coco").faults) == {}


def test_faults_planted_in_labels_csv(tmp_path: Path) -> None:
    for i in range(5):
        picture(tmp_path / "images" / f"{i}.png", i)
    shutil.copy(tmp_path / "images" / "0.png", tmp_path / "images" / "1.png")
    rows = ["file,class_index", "0.png,3", "1.png,4", "2.png,x", "2.png,1", "2.png,1", "gone.png,2"]
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    found = run(tmp_path, "imagenet")
    assert kinds(found.faults) == {
        "labels that cannot be used": 2,
        "image files missing": 1,
        "the same image under different labels": 1,
    }
    assert found.remarks["images without a label"] == ["3.png", "4.png"]
    assert found.facts["class indices"] == "1 … 4"
    assert found.facts["images per class"] == "1 … 1, median 1"


def test_class_folders(tmp_path: Path) -> None:
    for i in range(3):
        picture(tmp_path / "cat" / f"{i}.jpg", i)
    (tmp_path / "dog").mkdir()
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (30, 20)).save(tmp_path / "cat" / "turned.jpg", exif=turned)
    found = run(tmp_path, "imagenet")
    assert kinds(found.faults) == {}
    assert found.remarks["class folders without an image"] == ["dog"]
    assert kinds(found.remarks)["EXIF asks to turn the image, which is not done"] == 1


def test_faults_planted_in_voc(tmp_path: Path) -> None:
    def annotate(name: str, category: str, box: tuple[int, ...], width: int = 30) -> None:
        (tmp_path / "Annotations").mkdir(exist_ok=True)
        corners = "".join(f"<{k}>{v}</{k}>" for k, v in zip(
            ("xmin", "ymin", "xmax", "ymax"), box, strict=False))  # fmt: skip
        (tmp_path / "Annotations" / f"{name}.xml").write_text(
            f"<annotation><size><width>{width}</width><height>20</height></size><object><name>"
            f"{category}</name><bndbox>{corners}</bndbox></object></annotation>"
        )

    for i, name in enumerate(("a", "b", "c", "d", "e", "new")):
        picture(tmp_path / "JPEGImages" / f"{name}.jpg", i)
    annotate("a", "dog", (1, 1, 30, 20))
    annotate("b", "dgo", (1, 1, 30, 25))
    annotate("c", "dog", (1, 1, 30))
    annotate("d", "dog", (1, 1, 5, 5), width=40)
    (tmp_path / "Annotations" / "e.xml").write_text("<annotation/>")
    annotate("f", "dog", (1, 1, 5, 5))
    found = run(tmp_path, "voc")
    assert kinds(found.faults) == {
        "boxes that reach out of the image": 1,
        "unusable annotations": 1,
        "images of another size than annotated": 1,
        "image files missing": 1,
    }
    assert found.remarks["categories that Pascal VOC does not have"] == ["dgo: 1 objects"]
    assert found.remarks["images without an annotation file"] == ["new.jpg"]
    assert found.remarks["images without an object"] == ["c.jpg", "e.jpg"]


def test_only_deep_sees_damage_in_the_middle(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", size=(200, 200))
    content = bytearray((tmp_path / "a.png").read_bytes())
    content[5000:5100] = bytes(100)
    (tmp_path / "a.png").write_bytes(content)
    assert kinds(run(tmp_path, "folder").faults) == {}
    assert kinds(run(tmp_path, "folder", deep=True).faults) == {"images that cannot be read": 1}


def test_format_by_its_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        guess(tmp_path / "gone")
    for path, format in [
        ("a/instances.json", "coco"),
        ("b/annotations/instances_val2017.json", "coco"),
        ("c/Annotations/x.xml", "voc"),
        ("d/VOC2007/Annotations/x.xml", "voc"),
        ("e/labels.csv", "imagenet"),
        ("f/ILSVRC2012_devkit_t12/readme.txt", "imagenet"),
        ("g/cat/1.jpg", "imagenet"),
        ("h/1.jpg", "folder"),
        ("i/images/1.jpg", "folder"),
        ("j/2019/spring/1.jpg", "folder"),
        ("k/cat/._1.jpg", "folder"),
        ("l/__MACOSX/1.jpg", "folder"),
    ]:
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).touch()
        assert guess(tmp_path / path.split("/")[0]) == format, path


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = coco(tmp_path, 9)
    assert main(["dataset", "check", str(write(tmp_path, content))]) == 0
    printed = capsys.readouterr().out
    assert "coco (by its files)" in printed
    assert "0 faults" in printed
    for record in content["annotations"][:7]:
        record["bbox"] = [1, 2, 0, 0]
    assert main(["dataset", "check", str(write(tmp_path, content)), "--format", "coco"]) == 2
    printed = capsys.readouterr().out
    assert "fault: boxes of no area: 7" in printed
    assert "0.jpg: annotation 10 (dog): 1 2 1 2" in printed
    assert "… and 2 more" in printed


@pytest.mark.parametrize(
    ("name", "images"), [("coco_dev", 155), ("coco_train", 294), ("imagenet_dev", 250)]
)
def test_real_sets_have_no_faults(shared: Path, name: str, images: int) -> None:
    root = shared / "data" / name
    found = run(root, guess(root))
    assert kinds(found.faults) == {}
    assert found.facts["images"] == str(images)


def test_linked_class_folders_are_known_by_their_images(tmp_path: Path) -> None:
    picture(tmp_path / "store" / "cat" / "1.png")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "cat").symlink_to(tmp_path / "store" / "cat")
    assert guess(tmp_path / "set") == "imagenet"
    assert kinds(run(tmp_path / "set", "imagenet").faults) == {}


NOTED: dict[str, tuple[Callable[[Path], None], str]] = {}


def noted(format: str) -> Callable[[Callable[[Path], None]], Callable[[Path], None]]:
    def register(make: Callable[[Path], None]) -> Callable[[Path], None]:
        NOTED[make.__name__] = make, format
        return make

    return register


@noted("coco")
def oddities_of_coco(root: Path) -> None:
    content = coco(root)
    content["annotations"][0] |= {"iscrowd": "false", "id": 0}
    content["annotations"][1] |= {"ignore": "no"}
    del content["annotations"][2]["area"]
    content["images"][0]["file_name"] = "./0.jpg"
    content["categories"].append({"id": 0, "name": "things"})
    for category in content["categories"][:2]:
        category["supercategory"] = "things"
    content["categories"].append({"id": 5})
    picture(root / "images" / "extra.png")
    write(root, content)


@noted("imagenet")
def oddities_of_labels_csv(root: Path) -> None:
    for i in range(3):
        picture(root / "images" / f"{i}.png", i)
    text = " File ;CLASS_INDEX;wnid\n0.png;3.0;n2\n./1.png;5;n1\n"
    (root / "labels.csv").write_text(text)


@noted("imagenet")
def oddities_of_class_folders(root: Path) -> None:
    for i, name in enumerate(("class1", "class2", "class10")):
        picture(root / name / "a.png", i)
    (root / "class1" / "notes.txt").touch()
    (root / "empty").mkdir()


@noted("imagenet")
def numbered_class_folders(root: Path) -> None:
    for i in (3, 20):
        picture(root / f"{i}" / "a.png", i)


@noted("voc")
def oddities_of_voc(root: Path) -> None:
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox>"
    objects = "".join(
        f"<object><name>helmet</name><difficult>{word}</difficult>{box}</object>"
        for word in ("Unspecified", "True", "0")
    )
    for name in ("a", "b"):
        picture(root / "JPEGImages" / f"{name}.png")
    (root / "Annotations").mkdir()
    (root / "Annotations" / "a.xml").write_text(f"<annotation>{objects}</annotation>")
    (root / "Annotations" / "classes.txt").touch()


@noted("folder")
def oddities_of_a_folder(root: Path) -> None:
    picture(root / "a.png")
    (root / "loop").symlink_to(root)
    (root / "notes.txt").touch()
    turned = Image.Exif()
    turned[0x0112] = 3
    Image.new("RGB", (30, 20)).save(root / "turned.jpg", exif=turned)


@pytest.mark.parametrize("name", NOTED)
def test_a_run_and_the_check_say_the_same(tmp_path: Path, name: str) -> None:
    make, format = NOTED[name]
    make(tmp_path)
    found = run(tmp_path, format)
    assert kinds(found.faults) == {}
    task = {"task": "cls"} if format == "folder" else {}
    data = DATASETS.get(format)(tmp_path, **task)
    assert (
        len(data.notes)
        == {
            "oddities_of_coco": 8,
            "oddities_of_labels_csv": 6,
            "oddities_of_class_folders": 3,
            "numbered_class_folders": 1,
            "oddities_of_voc": 5,
            "oddities_of_a_folder": 4,
        }[name]
    )
    for note in data.notes:
        if note not in found.remarks["notes"]:
            kind, _, cases = note.partition(": ")
            assert cases == f"{len(found.remarks[kind])} ({', '.join(found.remarks[kind])})"


@pytest.mark.parametrize("name", NOTED)
def test_undecodable_names_are_passed_over_in_words_that_can_be_written(
    tmp_path: Path, name: str
) -> None:
    make, format = NOTED[name]
    make(tmp_path)
    for folder in [tmp_path, *(p for p in tmp_path.iterdir() if p.is_dir() and p.name != "loop")]:
        for rest in (b"/\xe9\x1b[31m.txt", b"/\xe9.xml" if format != "voc" else b"/\xe8"):
            os.close(os.open(os.fsencode(folder) + rest, os.O_CREAT))
    found = run(tmp_path, format)
    assert kinds(found.faults) == {}
    data = DATASETS.get(format)(tmp_path, **({"task": "cls"} if format == "folder" else {}))
    said = "\n".join([*data.notes, *(case for cases in found.remarks.values() for case in cases)])
    assert "\x1b" not in said
    said.encode()
    if format != "coco" and "csv" not in name:
        assert "\\udce9" in said


def test_what_a_reading_refuses_is_a_fault_in_the_same_words(tmp_path: Path) -> None:
    content = coco(tmp_path, 12)
    for i, change in enumerate(
        [{"iscrowd": "maybe"}, {"bbox": "x"}, {"area": -1}, {"image_id": "0"}, {"id": None}]
    ):
        content["annotations"][i] |= change
    content["images"][9]["file_name"] = "../secret.jpg"
    content["images"][10]["height"] = "20"
    content["categories"][1]["name"] = []
    found = run(write(tmp_path, content), "coco")
    assert kinds(found.faults) == {
        "ids that are no integers": 1,
        "unusable flags": 1,
        "unusable boxes": 1,
        "unusable areas": 1,
        "annotations of unknown images": 1,
        "names that cannot be used": 1,
        "unusable image sizes": 1,
        "unusable categories": 1,
    }
    (first,) = found.faults["ids that are no integers"]
    with pytest.raises(DataError) as refused:
        DATASETS.get("coco")(tmp_path)
    assert str(refused.value) == (f"{tmp_path}/{first} (7 more faults: `dataset check` lists them)")
