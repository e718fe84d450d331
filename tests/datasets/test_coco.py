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
    assert crowd["iscrowd"].tolist() == [True]
    assert crowd["ignore"].tolist() == [False]
    assert two["ignore"].tolist() == [False, True]
    assert two["labels"].tolist() == [18, 3]
    assert two["area"].tolist() == [9.5, 0.0]
    assert empty["boxes"].shape == (0, 4)
    dtypes = {k: v.dtype.name for k, v in empty.items()}
    assert dtypes == {
        "boxes": "float64", "xywh": "float64", "labels": "int64", "area": "float64",
        "iscrowd": "bool", "ignore": "bool",
    }  # fmt: skip
    rgb = data.samples[1].load()
    assert rgb.shape == (20, 30, 3)
    assert rgb.dtype == np.uint8


def test_boxes_are_corners_and_the_annotated_numbers_survive(tmp_path: Path) -> None:
    target = load(make(tmp_path)).samples[1].target
    assert target["xywh"][0].tolist() == [0.1, 0.2, 10.3, 5.7]
    assert target["boxes"][0].tolist() == [0.1, 0.2, 0.1 + 10.3, 0.2 + 5.7]


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
    assert data.samples[0].target["area"].tolist() == [12.0]
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
        assert sample.target["xywh"].tolist() == [a["bbox"] for a in annotations]
        assert sample.target["labels"].tolist() == [a["category_id"] for a in annotations]
        assert sample.target["iscrowd"].tolist() == [bool(a["iscrowd"]) for a in annotations]
        assert sample.target["area"].tolist() == [a["area"] for a in annotations]
        assert sample.load().ndim == 3


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
        ("text.jpg", "no known image format"),
        (".", "it is a folder"),
    ]:
        with pytest.raises(BenchError, match=reason):
            read_rgb(tmp_path / name)
