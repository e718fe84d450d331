"""COCO-format detection sets."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.datasets.base import DATASETS
from bench.datasets.coco import load
from bench.datasets.images import read_rgb
from bench.errors import BenchError, DataError

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "coco_dev"


def document() -> dict[str, Any]:
    return {
        "images": [
            {"id": 7, "file_name": "b.png", "height": 20, "width": 30},
            {"id": 2, "file_name": "it's a.png", "height": 20, "width": 30},
            {"id": 9, "file_name": "none.png", "height": 20, "width": 30},
        ],
        "categories": [{"id": 18, "name": "dog"}, {"id": 3, "name": "car"}],
        "annotations": [
            {"id": 5, "image_id": 7, "category_id": 18, "bbox": [0.1, 0.2, 10.3, 5.7], "area": 9.5},
            {"id": 4, "image_id": 2, "category_id": 3, "bbox": [1, 2, 3, 4], "area": 12,
             "iscrowd": 1},
            {"id": 6, "image_id": 7, "category_id": 3, "bbox": [1, 1, 0, 4], "area": 0,
             "ignore": 1},
        ],
    }  # fmt: skip


def make(root: Path, content: dict[str, Any] | None = None) -> Path:
    content = document() if content is None else content
    (root / "images").mkdir(parents=True)
    for i, record in enumerate(content["images"]):
        Image.new("RGB", (30, 20), (10 * i, 0, 0)).save(root / "images" / record["file_name"])
    (root / "instances.json").write_text(json.dumps(content))
    return root


def test_samples_are_ordered_by_image_id_and_keep_the_empty_ones(tmp_path: Path) -> None:
    data = DATASETS.get("coco")(make(tmp_path / "toy"))
    assert data.name == "toy"
    assert data.task == "det"
    assert data.categories == {3: "car", 18: "dog"}
    assert [s.name for s in data.samples] == ["it's a.png", "b.png", "none.png"]
    crowd, two, empty = (s.target for s in data.samples)
    assert crowd.iscrowd.tolist() == [True]
    assert crowd.ignore.tolist() == [False]
    assert two.ignore.tolist() == [False, True]
    assert two.labels.tolist() == [18, 3]
    assert two.area.tolist() == [9.5, 0.0]
    assert empty.boxes.shape == (0, 4)
    dtypes = {k: v.dtype.name for k, v in empty.to_arrays().items()}
    assert dtypes == {
        "boxes": "float64", "xywh": "float64", "labels": "int64", "area": "float64",
        "iscrowd": "bool", "ignore": "bool",
    }  # fmt: skip
    rgb = data.samples[1].load()
    assert rgb.shape == (20, 30, 3)
    assert rgb.dtype == np.uint8


def test_boxes_are_corners_and_the_annotated_numbers_survive(tmp_path: Path) -> None:
    target = load(make(tmp_path)).samples[1].target
    assert target.xywh[0].tolist() == [0.1, 0.2, 10.3, 5.7]
    assert target.boxes[0].tolist() == [0.1, 0.2, 0.1 + 10.3, 0.2 + 5.7]


def test_samples_can_be_sent_to_another_process(tmp_path: Path) -> None:
    sample = pickle.loads(pickle.dumps(load(make(tmp_path)).samples[0]))
    assert sample.load().shape == (20, 30, 3)


def test_original_layout_through_explicit_paths(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "annotations").mkdir()
    (tmp_path / "instances.json").rename(tmp_path / "annotations" / "instances_val2017.json")
    (tmp_path / "images").rename(tmp_path / "val2017")
    with pytest.raises(DataError, match=r"set `annotations`.*instances_val2017\.json"):
        load(tmp_path)
    data = load(tmp_path, "val", "annotations/instances_val2017.json", tmp_path / "val2017")
    assert data.name == "val"
    assert len(data.samples) == 3


def test_hash_follows_ground_truth_and_names_only(tmp_path: Path) -> None:
    hashes = [load(make(tmp_path / "a")).annotations_sha256]
    content = document()
    content["images"].reverse()
    content["info"] = {"year": 2017}
    assert load(make(tmp_path / "b", content)).annotations_sha256 == hashes[0]
    content = document()
    content["annotations"][0]["bbox"][2] += 1e-9
    hashes.append(load(make(tmp_path / "c", content)).annotations_sha256)
    content = document()
    content["images"][0]["file_name"] = "c.png"
    hashes.append(load(make(tmp_path / "d", content)).annotations_sha256)
    content = document()
    content["annotations"][0]["ignore"] = 1
    hashes.append(load(make(tmp_path / "e", content)).annotations_sha256)
    assert len(set(hashes)) == 4


def test_layout_errors_say_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent: no such folder.*instances\.json and images/"):
        load(tmp_path / "absent")
    with pytest.raises(DataError, match=r"instances\.json: no such file.*images/"):
        load(tmp_path)
    (tmp_path / "instances.json").write_text("{}")
    with pytest.raises(DataError, match=r"images: no such folder"):
        load(tmp_path)


def test_missing_images_are_counted_and_five_named(tmp_path: Path) -> None:
    content = document()
    content["images"] += [{"id": 100 + i, "file_name": f"x{i}.png"} for i in range(7)]
    make(tmp_path, content)
    for i in range(7):
        (tmp_path / "images" / f"x{i}.png").unlink()
    message = r"7 of 10 images are missing: x0\.png, x1\.png, x2\.png, x3\.png, x4\.png, …"
    with pytest.raises(DataError, match=message):
        load(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"images": [', "malformed JSON at line 1"),
        ("[]", "an object is expected"),
        ('{"images": [], "categories": []}', "`annotations` must be a list"),
        ('{"images": [3], "categories": [], "annotations": []}', "`images` must be a list"),
    ],
)
def test_malformed_files(tmp_path: Path, text: str, message: str) -> None:
    make(tmp_path)
    (tmp_path / "instances.json").write_text(text)
    with pytest.raises(DataError, match=message):
        load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 99}, r"annotation 5: image_id 99 is not"),
        ({"category_id": 1}, r"annotation 5: category_id 1 is not"),
        ({"category_id": None}, r"annotation 5: category_id None is not"),
        ({"bbox": [1, 2, 3]}, r"annotation 5: bbox \[1, 2, 3\]: four"),
        ({"bbox": [1, 2, 3, float("nan")]}, r"annotation 5: bbox .*four finite"),
        ({"bbox": [1, 2, -3, 4]}, r"annotation 5: bbox .*negative"),
        ({"area": "big"}, r"annotation 5: area 'big'"),
        ({"id": 4}, r"annotation id 4 is used twice"),
        ({"id": "4"}, r"annotation with id '4': an integer"),
    ],
)
def test_annotations_that_do_not_fit(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    content = document()
    content["annotations"][0].update(change)
    with pytest.raises(DataError, match=message):
        load(make(tmp_path, content))


def test_image_records_that_do_not_fit(tmp_path: Path) -> None:
    content = document()
    content["images"][1]["file_name"] = "b.png"
    with pytest.raises(DataError, match=r"'b\.png' belongs to more than one"):
        load(make(tmp_path / "twice", content))
    content = document()
    make(tmp_path / "unnamed", content)
    del content["images"][0]["file_name"]
    (tmp_path / "unnamed" / "instances.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="image 7 has no file_name"):
        load(tmp_path / "unnamed")


def test_picture_of_another_size_than_annotated_fails_when_loaded(tmp_path: Path) -> None:
    content = document()
    content["images"][1]["width"] = 60
    data = load(make(tmp_path, content))
    with pytest.raises(DataError, match=r"it's a\.png: 30×20 pixels.*annotated at 60×20"):
        data.samples[0].load()


def test_oddities_are_noted(tmp_path: Path) -> None:
    content = document()
    del content["annotations"][1]["area"]
    content["annotations"][0]["id"] = 0
    data = load(make(tmp_path, content))
    assert data.samples[0].target.area.tolist() == [12.0]
    assert len(data.notes) == 2
    assert "1 annotations have no area" in data.notes[0]
    assert "id 0" in data.notes[1]


@pytest.mark.skipif(not REAL.is_dir(), reason="needs shared/data/coco_dev beside the repository")
def test_real_subset_agrees_with_pycocotools(capsys: pytest.CaptureFixture[str]) -> None:
    from pycocotools.coco import COCO

    data = load(REAL)
    reference = COCO(REAL / "instances.json")
    assert len(data.samples) == 155
    for identifier, sample in zip(sorted(reference.imgs), data.samples, strict=True):
        annotations = reference.imgToAnns[identifier]
        assert sample.name == reference.imgs[identifier]["file_name"]
        assert sample.target.xywh.tolist() == [a["bbox"] for a in annotations]
        assert sample.target.labels.tolist() == [a["category_id"] for a in annotations]
        assert sample.target.iscrowd.tolist() == [bool(a["iscrowd"]) for a in annotations]
        assert sample.target.area.tolist() == [a["area"] for a in annotations]
        assert sample.load().ndim == 3


def changed(root: Path, kind: str, index: int, change: dict[str, Any]) -> Path:
    content = document()
    make(root, content)
    content[kind][index] |= change
    (root / "instances.json").write_text(json.dumps(content))
    return root


@pytest.mark.parametrize("key", ["iscrowd", "ignore"])
@pytest.mark.parametrize(
    ("value", "read", "noted"),
    [(0, 0, 0), (1, 1, 0), (False, 0, 0), (True, 1, 0), (0.0, 0, 0), (1.0, 1, 0), (None, 0, 1),
     ("0", 0, 1), ("false", 0, 1), ("No", 0, 1), ("Unspecified", 0, 1), ("1", 1, 1),
     ("TRUE", 1, 1)],
)  # fmt: skip
def test_flags_in_every_spelling(
    tmp_path: Path, key: str, value: Any, read: int, noted: int
) -> None:
    data = load(changed(tmp_path, "annotations", 0, {key: value}))
    assert data.samples[1].target.to_arrays()[key].tolist()[0] == bool(read)
    notes = [note for note in data.notes if note.startswith(f"{key} written otherwise")]
    assert len(notes) == noted
    assert all(f"{value!r} is read as {read}, 1 times" in note for note in notes)


@pytest.mark.parametrize("key", ["iscrowd", "ignore"])
@pytest.mark.parametrize("value", [2, -1, 0.5, "maybe", "2", [], {}, float("nan"), 10**30])
def test_flags_without_a_meaning(tmp_path: Path, key: str, value: Any) -> None:
    with pytest.raises(DataError, match=rf"annotation 5: {key} .*: 0 or 1, true or false"):
        load(changed(tmp_path, "annotations", 0, {key: value}))


@pytest.mark.parametrize(
    "change",
    [
        {"annotations": []},
        {"annotations": [document()["annotations"][1]]},  # a crowd
        {"annotations": [document()["annotations"][1] | {"iscrowd": "yes"}]},
    ],
)
def test_nothing_to_find_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"instances\.json: .*nothing to find, and mAP would be"):
        load(make(tmp_path, document() | change))


@pytest.mark.parametrize(
    ("kind", "change"),
    [("annotations", {"id": 5.0, "image_id": 7.0, "category_id": 18.0}),
     ("images", {"id": 7.0, "height": 20.0, "width": 30.0}),
     ("categories", {"id": 18.0})],
)  # fmt: skip
def test_whole_numbers_may_be_floats(tmp_path: Path, kind: str, change: dict[str, Any]) -> None:
    reference = load(make(tmp_path / "a"))
    data = load(changed(tmp_path / "b", kind, 0, change))
    assert data.annotations_sha256 == reference.annotations_sha256
    assert data.categories == reference.categories
    assert data.notes == []
    assert data.samples[1].load().shape == (20, 30, 3)


@pytest.mark.parametrize("value", ["7", "7.0", 7.5, True, [7], 2**63, float("inf"), "x"])
@pytest.mark.parametrize(
    ("kind", "key", "message"),
    [
        ("annotations", "image_id", "image_id .* is not among the file's"),
        ("annotations", "category_id", "category_id .* is not among the file's"),
        ("annotations", "id", "annotation with id .*an integer is expected"),
        ("images", "id", "image with id .*an integer is expected"),
        ("categories", "id", "category with id .*an integer is expected"),
        ("images", "height", "image 7: height .*a whole number from 1 is expected"),
        ("images", "width", "image 7: width .*a whole number from 1 is expected"),
    ],
)
def test_other_numbers_are_refused_by_name(
    tmp_path: Path, kind: str, key: str, message: str, value: Any
) -> None:
    if value == 2**63 and key in ("height", "width"):
        value = 0
    with pytest.raises(DataError, match=message):
        load(changed(tmp_path, kind, 0, {key: value}))


def test_a_size_of_floats_is_held_against_the_picture(tmp_path: Path) -> None:
    data = load(changed(tmp_path, "images", 0, {"width": 640.0, "height": 480.0}))
    with pytest.raises(DataError, match="annotated at 640×480"):
        data.samples[1].load()


@pytest.mark.parametrize(
    "box",
    [["1", 2, 3, 4], [1, 2, 3, True], [1, 2, 3, 4, 5], "1 2 3 4", None, {}, [1e308, 0, 1e308, 1],
     [0, 0, 1e200, 1e200], [-1e300, 0, 1, 1], [10**400, 0, 1, 1], [0, 0, -0.1, 1], [[1], 2, 3, 4],
     [0, 0, 1e6, 1e6]],
)  # fmt: skip
@pytest.mark.parametrize("area", [9.5, None])
def test_unusable_boxes(tmp_path: Path, box: Any, area: float | None) -> None:
    with pytest.raises(DataError, match="annotation 5: bbox "):
        load(changed(tmp_path, "annotations", 0, {"bbox": box, "area": area}))


@pytest.mark.parametrize("area", [-1, 1.1e10, True, "9.5", float("nan"), 10**400, []])
def test_unusable_areas(tmp_path: Path, area: Any) -> None:
    with pytest.raises(DataError, match=r"annotation 5: area .*from 0 to 1e\+10"):
        load(changed(tmp_path, "annotations", 0, {"area": area}))


@pytest.mark.parametrize("name", ["../a.png", "/etc/passwd", "a\0.png", "\ud800.png", "."])
def test_names_that_cannot_be_used(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="image 7: the file name ") as refused:
        load(changed(tmp_path, "images", 0, {"file_name": name}))
    str(refused.value).encode()


@pytest.mark.parametrize("name", [7, None, "", [], True])
def test_images_without_a_name(tmp_path: Path, name: Any) -> None:
    with pytest.raises(DataError, match="image 7 has no file_name"):
        load(changed(tmp_path, "images", 0, {"file_name": name}))


def test_names_of_one_file_in_two_forms(tmp_path: Path) -> None:
    data = load(changed(tmp_path, "images", 0, {"file_name": "../images/./b.png"}))
    assert [s.name for s in data.samples] == ["it's a.png", "b.png", "none.png"]
    assert data.notes == ["file names taken in a shorter form: 1 (../images/./b.png as b.png)"]
    content = document()
    content["images"][0]["file_name"] = "./none.png"
    (tmp_path / "instances.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"'none\.png' belongs to more than one image"):
        load(tmp_path)


@pytest.mark.parametrize(("name", "read"), [("[red] dog", "[red] dog"), (5, "5"), (None, "18")])
def test_names_of_categories(tmp_path: Path, name: Any, read: str) -> None:
    assert load(changed(tmp_path, "categories", 0, {"name": name})).categories[18] == read


@pytest.mark.parametrize("name", ["", "  ", [], {}, True, 1.5, "\ud800", "a\0"])
def test_unusable_names_of_categories(tmp_path: Path, name: Any) -> None:
    with pytest.raises(DataError, match=r"category 18: name .*: a text is expected"):
        load(changed(tmp_path, "categories", 0, {"name": name}))


@pytest.mark.parametrize("root", ["things", "dog", "car"])
def test_a_category_that_only_stands_above_others_is_left_out(tmp_path: Path, root: str) -> None:
    content = document()
    content["categories"] = [
        {"id": 0, "name": root, "supercategory": "none"},
        *({**category, "supercategory": root} for category in content["categories"]),
    ]
    data = load(make(tmp_path, content))
    assert data.categories == {3: "car", 18: "dog"}
    assert data.notes == [f"supercategories without objects, left out: 1 ({root} (id 0))"]


@pytest.mark.parametrize(
    "extra",
    [
        {"id": 0, "name": "things", "supercategory": "things"},  # names itself alone
        {"id": 0, "name": "cat", "supercategory": "animal"},
        {"id": 0, "name": "None"},
        {"id": 0, "name": "dog"},
        {"id": 0, "name": "[]", "supercategory": []},
    ],
)
def test_other_categories_without_objects_stay(tmp_path: Path, extra: dict[str, Any]) -> None:
    content = document()
    content["categories"].append(extra)
    assert load(make(tmp_path, content)).categories[0] == extra["name"]


def test_a_supercategory_with_objects_stays(tmp_path: Path) -> None:
    content = document()
    content["categories"][0]["supercategory"] = "car"
    data = load(make(tmp_path, content))
    assert data.categories == {3: "car", 18: "dog"}
    assert data.notes == []


def test_byte_order_marks(tmp_path: Path) -> None:
    make(tmp_path)
    file = tmp_path / "instances.json"
    reference, text = load(tmp_path), file.read_text()
    file.write_bytes(text.encode("utf-8-sig"))
    assert load(tmp_path).annotations_sha256 == reference.annotations_sha256
    for encoding in ("utf-16", "utf-32"):
        file.write_bytes(text.encode(encoding))
        with pytest.raises(DataError, match=r"instances\.json: .*UTF-16.*save it as UTF-8"):
            load(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('"categories": [', '"images": [], "categories": [', "images"),
        ('"id": 7', '"id": 8, "id": 7', "id"),
        ('"bbox": [0.1', '"bbox": [], "bbox": [0.1', "bbox"),
    ],
)
def test_keys_that_stand_twice(tmp_path: Path, old: str, new: str, key: str) -> None:
    make(tmp_path)
    file = tmp_path / "instances.json"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=rf"instances\.json: .*key '{key}' stands twice"):
        load(tmp_path)


def test_numbers_that_nothing_reads_may_be_anything(tmp_path: Path) -> None:
    content = document()
    content["annotations"][0]["score"] = float("nan")
    content["info"] = {"version": float("inf")}
    assert len(load(make(tmp_path, content)).samples) == 3


@pytest.mark.parametrize("link", ["gone.png", "b.png"])
def test_images_that_are_links(tmp_path: Path, link: str) -> None:
    make(tmp_path / "set")
    (tmp_path / "set" / "images").rename(tmp_path / "store")
    (tmp_path / "set" / "images").symlink_to(tmp_path / "store")
    assert load(tmp_path / "set").samples[0].load().shape == (20, 30, 3)
    (tmp_path / "store" / "b.png").rename(tmp_path / "b.png")
    (tmp_path / "store" / "b.png").symlink_to(tmp_path / link)
    if link == "b.png":
        assert load(tmp_path / "set").samples[1].load().shape == (20, 30, 3)
    else:
        with pytest.raises(DataError, match=r"1 of 3 images are missing: b\.png"):
            load(tmp_path / "set")


def test_images_that_nothing_names_are_said(tmp_path: Path) -> None:
    make(tmp_path)
    for name in ("more.png", "._b.png", "Thumbs.db"):
        (tmp_path / "images" / name).touch()
    assert load(tmp_path).notes == ["image files that no annotation names: 1 (more.png)"]


# Pixels of a file


def save(path: Path, array: np.ndarray, mode: str | None = None) -> Path:
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path)
    return path


def test_modes_become_rgb(tmp_path: Path) -> None:
    gray = np.arange(48, dtype=np.uint8).reshape(6, 8)
    rgb = np.stack([gray, gray + 1, gray + 2], axis=2)
    assert np.array_equal(read_rgb(save(tmp_path / "rgb.png", rgb)), rgb)
    three = np.repeat(gray[:, :, None], 3, axis=2)
    assert np.array_equal(read_rgb(save(tmp_path / "l.png", gray)), three)
    assert np.array_equal(read_rgb(save(tmp_path / "p.png", rgb, "P")).shape, (6, 8, 3))
    assert np.array_equal(read_rgb(save(tmp_path / "rgba.png", rgb, "RGBA")), rgb)
    assert set(np.unique(read_rgb(save(tmp_path / "1.png", gray, "1")))) <= {0, 255}
    cmyk = read_rgb(save(tmp_path / "cmyk.tif", rgb, "CMYK"))
    assert np.abs(cmyk.astype(int) - rgb).max() <= 1


def test_sixteen_bit_gray_keeps_the_high_byte(tmp_path: Path) -> None:
    wide = (np.arange(48, dtype=np.uint16) * 1365).reshape(6, 8)
    for name in ("w.png", "w.tif"):
        rgb = read_rgb(save(tmp_path / name, wide))
        assert np.array_equal(rgb[:, :, 1], (wide >> 8).astype(np.uint8))
        assert rgb.shape == (6, 8, 3)


def test_values_without_an_8_bit_range_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"f\.tif: .*floating-point"):
        read_rgb(save(tmp_path / "f.tif", np.zeros((4, 4), np.float32)))
    with pytest.raises(DataError, match=r"i\.tif: .*0–65535"):
        read_rgb(save(tmp_path / "i.tif", np.full((4, 4), 70000, np.int32)))


def test_orientation_is_not_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 20)).save(tmp_path / "o.jpg", exif=exif)
    assert read_rgb(tmp_path / "o.jpg").shape == (20, 30, 3)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "tif"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_truncated_pictures_are_refused_by_name(tmp_path: Path, suffix: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    path = save(tmp_path / f"cut.{suffix}", noise)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(DataError, match=rf"cut\.{suffix}: not readable"):
        read_rgb(path)


def test_truncated_pictures_are_refused_even_if_someone_asked_pillow_to_fill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("PIL.ImageFile.LOAD_TRUNCATED_IMAGES", True)
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    path = save(tmp_path / "cut.jpg", noise)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(DataError, match="truncated"):
        read_rgb(path)


def test_unreadable_files_say_why(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("not a picture")
    for name, reason in [
        ("absent.jpg", "no such image file"),
        ("empty.jpg", "the file is empty"),
        ("text.jpg", "none of the image formats that are read"),
        (".", "it is a folder"),
    ]:
        with pytest.raises(BenchError, match=reason):
            read_rgb(tmp_path / name)
