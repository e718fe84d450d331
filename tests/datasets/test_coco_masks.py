"""COCO's masks as ground truth: of instances, and drawn as label maps."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from bench.datasets.base import make
from bench.datasets.check import check
from bench.datasets.coco import load
from bench.errors import ConfigError, DataError
from bench.tasks.masks import codes_of
from bench.tasks.records import IGNORED, MaskedObjects

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "coco_dev"
HEIGHT, WIDTH = 20, 30


def square(x: float, y: float, side: float) -> list[list[float]]:
    return [[x, y, x + side, y, x + side, y + side, x, y + side]]


def runs(*counts: int) -> dict[str, Any]:
    return {"size": [HEIGHT, WIDTH], "counts": list(counts)}


def document() -> dict[str, Any]:
    """A large airplane under a small bicycle, a crowd of both's columns, and an apple."""
    compressed = coco_mask.frPyObjects(runs(210, 30, 360), HEIGHT, WIDTH)["counts"].decode()
    shapes: list[tuple[int, Any, int]] = [
        (1, square(2, 2, 4), 0),
        (5, square(0, 0, 10), 0),
        (5, runs(0, 200, 400), 1),
        (8, {"size": [HEIGHT, WIDTH], "counts": compressed}, 0),
    ]
    return {
        "images": [
            {"id": i, "file_name": f"{i}.png", "height": HEIGHT, "width": WIDTH} for i in range(2)
        ],
        "categories": [
            {"id": 1, "name": "bicycle"}, {"id": 5, "name": "airplane"}, {"id": 8, "name": "apple"}
        ],
        "annotations": [
            {"id": 10 + k, "image_id": 0, "category_id": category, "bbox": [1, 2, 9, 8],
             "area": 50, "iscrowd": crowd, "segmentation": shape}
            for k, (category, shape, crowd) in enumerate(shapes)
        ],
    }  # fmt: skip


def write(root: Path, content: dict[str, Any]) -> Path:
    (root / "images").mkdir(parents=True)
    for record in content["images"]:
        Image.new("RGB", (WIDTH, HEIGHT)).save(root / "images" / record["file_name"])
    (root / "instances.json").write_text(json.dumps(content))
    return root


def faults(root: Path, task: str) -> list[str]:
    found = check(root, "coco", {}, False, lambda what, n: lambda steps: None, task)
    return [line for lines in found.faults.values() for line in lines]


def test_masks_are_those_of_pycocotools(tmp_path: Path) -> None:
    write(tmp_path, document())
    data = make("coco", "ins", tmp_path, {})
    reference = COCO(tmp_path / "instances.json")
    first, second = (sample.target for sample in data.samples)
    assert isinstance(first, MaskedObjects)
    masks = [coco_mask.decode(dict(code)) for code in codes_of(first)]
    for mask, record in zip(masks, reference.imgToAnns[0], strict=True):
        assert (mask == reference.annToMask(record)).all()
    assert first.labels.tolist() == [1, 5, 5, 8]
    assert first.iscrowd.tolist() == [False, False, True, False]
    assert len(second.ends) == len(second.boxes) == 0
    assert second.size.tolist() == [HEIGHT, WIDTH]
    assert data.name == f"{tmp_path.name}-ins"
    assert faults(tmp_path, "ins") == []


def test_boxes_alone_do_not_look_at_masks(tmp_path: Path) -> None:
    content = document()
    content["annotations"][0]["segmentation"] = "none"
    write(tmp_path, content)
    assert not isinstance(load(tmp_path).samples[0].target, MaskedObjects)
    assert faults(tmp_path, "det") == []


@pytest.mark.parametrize(
    ("segmentation", "said"),
    [
        ([[1, 2, 3, 4, 5]], r"a polygon of 5 numbers"),
        ([[1, 2, 3, 4]], r"a polygon of 4 numbers"),
        ([[1, 2, 3, 4, 5, 6, 7]], r"a polygon of 7 numbers"),
        ([*square(0, 0, 5), []], r"a polygon of 0 numbers"),
        ([1, 2, 3, 4, 5, 6], r"a list of polygons, or run lengths"),
        ([[1, 2, 3, 4, 5, float("nan")]], r"have to be finite"),
        ([[1, 2, 3, 4, 5, 1e9]], r"from −1e\+06 to 1e\+06"),
        ([[1, 2, 3, 4, 5, "6"]], r"have to be finite"),
        ("0 1 2", r"a list of polygons, or run lengths"),
        ({"counts": [600]}, r"size None \(height, width\) is not the image's \[20, 30\]"),
        ({"size": [30, 20], "counts": [600]}, r"size \[30, 20\] .* is not the image's \[20, 30\]"),
        (runs(100, 100), r"its runs are 200 pixels long, 600 are expected"),
        (runs(700, -100), r"no whole numbers from 0"),
        ({"size": [HEIGHT, WIDTH], "counts": "h0"}, r"pixels long, 30×20 are expected"),
        ({"size": [HEIGHT, WIDTH], "counts": "hé"}, r"no run-length code"),
        ({"size": [HEIGHT, WIDTH], "counts": None}, r"a list of polygons, or run lengths"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("task", ["ins", "seg"])
def test_unusable_masks_are_refused(
    tmp_path: Path, task: str, segmentation: Any, said: str
) -> None:
    content = document()
    content["annotations"][1]["segmentation"] = segmentation
    write(tmp_path, content)
    message = rf"instances\.json: annotation 11: segmentation .*{said}"
    with pytest.raises(DataError, match=message) as refused:
        make("coco", task, tmp_path, {})
    assert f"{refused.value}" in [f"{tmp_path}/{line}" for line in faults(tmp_path, task)]


def test_masks_need_the_size_of_their_image(tmp_path: Path) -> None:
    content = document()
    del content["images"][0]["height"]
    with pytest.raises(DataError, match="image 0: height and width are expected"):
        make("coco", "ins", write(tmp_path, content), {})


def test_an_image_too_large_for_masks(tmp_path: Path) -> None:
    content = document()
    content["images"][0] |= {"height": 10**9, "width": 10**9}
    with pytest.raises(DataError, match="image 0: 1000000000×1000000000 pixels: at most"):
        make("coco", "seg", write(tmp_path, content), {})


def test_objects_without_a_mask(tmp_path: Path) -> None:
    """Their box is ignored; an image that has no other objects is left out."""
    content = document()
    content["annotations"][1]["segmentation"] = []
    for record in content["annotations"][2:]:
        record["image_id"], record["segmentation"] = 1, None
    data = make("coco", "ins", write(tmp_path, content), {})
    assert [s.name for s in data.samples] == ["0.png"]
    assert "1 of 2 images have objects, but no mask" in data.notes[0]
    assert "1 objects have no mask" in data.notes[1]
    target = data.samples[0].target
    assert target.iscrowd.tolist() == [False, True]
    box = coco_mask.decode(dict(codes_of(target)[1]))
    assert box[2:10, 1:10].all()
    assert box.sum() == 72
    for record in content["annotations"]:
        del record["segmentation"]
    with pytest.raises(DataError, match="no annotation has a mask"):
        make("coco", "ins", write(tmp_path / "bare", content), {})


def test_label_maps_have_the_smaller_on_top_and_crowds_below(tmp_path: Path) -> None:
    data = make("coco", "seg", write(tmp_path, document()), {"classes": ["aeroplane", "bicycle"]})
    assert data.categories == {0: "background", 1: "aeroplane", 2: "bicycle"}
    assert data.n_classes == 3
    labels = data.samples[0].target.labels
    wanted = np.zeros((HEIGHT, WIDTH), np.uint8)
    wanted[:, :10] = IGNORED
    wanted[:10, :10] = 1
    wanted[2:6, 2:6] = 2
    assert labels.dtype == np.uint8
    assert (labels == wanted).all()  # the apple is background
    assert not data.samples[1].target.labels.any()
    assert faults(tmp_path, "seg") == []


def test_label_maps_of_all_categories_count_from_one(tmp_path: Path) -> None:
    data = make("coco", "seg", write(tmp_path, document()), {})
    assert data.categories == {0: "background", 1: "bicycle", 2: "airplane", 3: "apple"}
    assert data.samples[0].target.present() == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("task", "classes", "said"),
    [
        ("seg", ["apple", "pear"], r"'pear' is none of the categories of .*: bicycle, airplane"),
        ("seg", "vocc", r"a list of names, or voc, is expected"),
        ("seg", [], r"names that differ are expected"),
        ("seg", ["airplane", "aeroplane"], r"names that differ are expected"),
        ("seg", [1], r"a list of names, or voc"),
        ("ins", "voc", r"leave it out for ins"),
        ("cls", None, r"coco is for det, ins, seg, not for cls"),
    ],
)
def test_classes_and_tasks_that_do_not_fit(
    tmp_path: Path, task: str, classes: Any, said: str
) -> None:
    write(tmp_path, document())
    with pytest.raises(ConfigError, match=rf"^dataset\.(classes|format): .*{said}"):
        make("coco", task, tmp_path, {} if classes is None else {"classes": classes})


@pytest.mark.skipif(not REAL.is_dir(), reason="needs shared/data/coco_dev beside the repository")
def test_real_masks(capsys: pytest.CaptureFixture[str]) -> None:
    reference = COCO(REAL / "instances.json")
    by_name = {record["file_name"]: i for i, record in reference.imgs.items()}
    data = make("coco", "ins", REAL, {})
    assert len(data.samples) == 142
    for sample in data.samples:
        records = reference.imgToAnns[by_name[sample.name]]
        for code, record in zip(codes_of(sample.target), records, strict=True):
            if record["segmentation"]:
                theirs = reference.annToRLE(record)["counts"]
                assert code["counts"] == (theirs if isinstance(theirs, bytes) else theirs.encode())
    labels = make("coco", "seg", REAL, {"classes": "voc"})
    assert len(labels.samples) == 142
    assert labels.categories[20] == "tvmonitor"
    assert all(s.target.labels.shape == s.load().shape[:2] for s in labels.samples[:5])
