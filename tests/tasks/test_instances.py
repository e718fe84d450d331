"""Instance segmentation against pycocotools, on the images themselves and on resampled lists."""

import contextlib
import io
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from bench.datasets import coco_masks
from bench.errors import ConfigError
from bench.tasks import TASKS
from bench.tasks.instances import InstanceSegmentation
from bench.tasks.masks import code_fault, codes_of, encoded, packed
from bench.tasks.records import Instances, MaskedObjects

SIZE = (40, 60)
TASK = InstanceSegmentation()
Segmentation = list[list[float]] | dict[str, Any]


def blob(rng: np.random.Generator, size: tuple[int, int] = SIZE) -> np.ndarray:
    """(height, width) bool: an ellipse somewhere, some reach out of the picture."""
    y, x = np.ogrid[: size[0], : size[1]]
    cy, cx = rng.uniform(0, size[0]), rng.uniform(0, size[1])
    ry, rx = rng.uniform(2, 15, 2)
    return ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1


def polygon(rng: np.random.Generator) -> list[float]:
    angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 9)))
    cx, cy, r = rng.uniform(0, 60), rng.uniform(0, 40), rng.uniform(3, 20)
    return np.column_stack([cx + r * np.cos(angles), cy + r * np.sin(angles)]).ravel().tolist()


def segmentation(rng: np.random.Generator) -> Segmentation:
    """As annotations have it: one polygon or two, run lengths, run lengths compressed."""
    kind = rng.integers(4)
    if kind < 2:
        return [polygon(rng) for _ in range(kind + 1)]
    code = coco_mask.encode(np.asfortranarray(blob(rng), np.uint8))
    if kind == 2:
        return {"size": [*SIZE], "counts": code["counts"].decode()}
    flat = blob(rng).ravel(order="F")
    ends = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.concatenate([[0], ends, [flat.size]])).tolist()
    return {"size": [*SIZE], "counts": [0, *runs] if flat[0] else runs}


def found(masks: Any, scores: Any, labels: Any = 1) -> Instances:
    masks = np.asarray(masks, bool).reshape(-1, *SIZE)
    n = len(masks)
    return Instances(
        np.zeros((n, 4), np.float32),
        np.asarray(scores, np.float32).reshape(-1),
        np.broadcast_to(np.asarray(labels, np.int64), n).copy(),
        **encoded(masks),
    )


def there(
    shapes: list[Segmentation], labels: Any = 1, area: Any = 100.0, iscrowd: Any = False
) -> MaskedObjects:
    n = len(shapes)

    def each(value: Any, kind: type) -> np.ndarray:
        return np.broadcast_to(np.asarray(value, kind), n).copy()

    return MaskedObjects(
        boxes=np.zeros((n, 4)),
        labels=each(labels, np.int64),
        area=each(area, np.float64),
        iscrowd=each(iscrowd, np.bool_),
        ignore=each(False, np.bool_),
        **packed([coco_masks.code(s, SIZE) for s in shapes], SIZE),
    )


def reference(
    predictions: list[Instances],
    targets: list[MaskedObjects],
    shapes: list[list[Segmentation]],
    order: np.ndarray,
) -> list[float]:
    """mAP, AP50, AP75, AP by size and AR by pycocotools on the list of images `order`, copies under
    ids of their own; NaN for its −1."""
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image_id, i in enumerate(order.tolist(), start=1):
        t, p = targets[i], predictions[i]
        for k, shape in enumerate(shapes[i]):
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": image_id, "segmentation": shape,
                    "category_id": int(t.labels[k]), "area": float(t.area[k]),
                    "iscrowd": int(t.iscrowd[k]), "ignore": int(t.ignore[k]),
                }
            )  # fmt: skip
        for k, code in enumerate(codes_of(p)):
            results.append(
                {
                    "image_id": image_id, "segmentation": dict(code),
                    "category_id": int(p.labels[k]), "score": p.scores[k].item(),
                }
            )  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        gt = COCO()
        gt.dataset = {
            "images": [
                {"id": i + 1, "height": SIZE[0], "width": SIZE[1]} for i in range(len(order))
            ],
            "categories": [{"id": c} for c in range(1, 5)],
            "annotations": annotations,
        }
        gt.createIndex()
        dt = gt.loadRes(results) if results else COCO()
        if not results:
            dt.dataset = {**gt.dataset, "annotations": []}
            dt.createIndex()
        evaluation = COCOeval(gt, dt, "segm")
        evaluation.params.maxDets = [100]
        evaluation.evaluate()
        evaluation.accumulate()
    precision, recall = evaluation.eval["precision"], evaluation.eval["recall"]
    every = precision[:, :, :, 0]
    by_size = [precision[:, :, :, size] for size in (1, 2, 3)]
    parts = [every, every[0], every[5], *by_size, recall[:, :, 0]]
    return [part[part > -1].mean() if (part > -1).any() else np.nan for part in parts]


def assert_equals_coco(
    predictions: list[Instances],
    targets: list[MaskedObjects],
    shapes: list[list[Segmentation]],
    draws: Any = (),
) -> np.ndarray:
    assert not [fault for p in predictions if (fault := TASK.fault(p))]
    n = len(targets)
    orders = [np.arange(n), *map(np.sort, draws)]
    weights = np.array([np.bincount(o, minlength=n) for o in orders], np.int64)
    wider = TASK.wider()
    ours = wider.score(wider.statistics(predictions, targets), weights)
    theirs = [reference(predictions, targets, shapes, order) for order in orders]
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9)
    narrow = TASK.score(TASK.statistics(predictions, targets), weights)
    np.testing.assert_array_equal(narrow, ours[:, :2])
    assert len(TASK.metrics) == 2
    assert len(wider.metrics) == ours.shape[1]
    return ours


def random_case(
    seed: int, n_images: int, levels: int
) -> tuple[list[Instances], list[MaskedObjects], list[list[Segmentation]]]:
    """Shifted and eroded copies of the objects among other blobs; scores that tie."""
    rng = np.random.default_rng(seed)
    predictions, targets, all_shapes = [], [], []
    for _ in range(n_images):
        n, m = int(rng.integers(0, 6)), int(rng.integers(0, 16))
        shapes = [segmentation(rng) for _ in range(n)]
        target = there(
            shapes,
            rng.integers(1, 4, n),
            rng.choice([2e10, 100.0, 32**2, 5000.0, 96**2, 1e5], n),
            rng.random(n) < 0.2,
        )
        target = replace(target, ignore=rng.random(n) < 0.2)
        masks, labels = [], rng.integers(1, 4, m)
        for k in range(m):
            source = int(rng.integers(0, n)) if n and rng.random() < 0.8 else None
            if source is None:
                masks.append(blob(rng))
                continue
            labels[k] = target.labels[source]
            mask = coco_mask.decode(codes_of(target)[source]).astype(bool)
            masks.append(np.roll(mask, tuple(rng.integers(-3, 4, 2)), (0, 1)))
        predictions.append(found(masks, rng.integers(0, levels, m) / levels, labels))
        targets.append(target)
        all_shapes.append(shapes)
    return predictions, targets, all_shapes


@pytest.mark.parametrize("levels", [3, 10**6])
@pytest.mark.parametrize("seed", range(2))
def test_equals_pycocotools_on_twenty_resamples(seed: int, levels: int) -> None:
    predictions, targets, shapes = random_case(seed, 15, levels)
    draws = np.random.default_rng(seed).integers(0, 15, (20, 15))
    ours = assert_equals_coco(predictions, targets, shapes, draws)
    assert 0.01 < ours[0, 0] < ours[0, 1] < 1
    assert ours[1:, 0].std() > 0.005


RNG = np.random.default_rng(1)
DISC, OTHER = blob(RNG), blob(RNG)
NOTHING = np.zeros(SIZE, bool)
SQUARE: Segmentation = [[5, 5, 25, 5, 25, 25, 5, 25]]


def of(mask: np.ndarray) -> Segmentation:
    code = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": [*SIZE], "counts": code["counts"].decode()}


@pytest.mark.parametrize(
    ("prediction", "shapes", "crowds", "expected"),
    [
        pytest.param(found([], []), [], False, np.nan, id="nothing at all"),
        pytest.param(found([DISC], [0.5]), [], False, np.nan, id="no objects"),
        pytest.param(found([], []), [SQUARE], False, 0.0, id="nothing found"),
        pytest.param(found([DISC], [0.5]), [of(DISC)], True, np.nan, id="only a crowd"),
        pytest.param(found([DISC], [0.5]), [of(DISC)], False, 1.0, id="found"),
        pytest.param(
            found([DISC, DISC, OTHER], [0.9, 0.8, 0.5]),
            [of(DISC), of(OTHER)],
            [True, False],
            1.0,
            id="a crowd is found many times",
        ),
        pytest.param(found([NOTHING], [0.5]), [of(NOTHING)], False, 0.0, id="without a pixel"),
        pytest.param(found([OTHER, DISC], [0.9, 0.5]), [of(DISC)], False, 0.5, id="half right"),
    ],
)
def test_degenerate_cases(
    prediction: Instances, shapes: list[Segmentation], crowds: Any, expected: float
) -> None:
    ours = assert_equals_coco([prediction], [there(shapes, iscrowd=crowds)], [shapes])
    assert ours[0, 0] == pytest.approx(expected, abs=1e-3, nan_ok=True)


def test_of_a_category_a_hundred_instances_count() -> None:
    rng = np.random.default_rng(3)
    shapes = [segmentation(rng) for _ in range(3)]
    target = there(shapes)
    masks = [*(blob(rng) for _ in range(120)), *map(coco_mask.decode, codes_of(target))]
    scores = [*np.linspace(0.9, 0.3, 120), 0.95, 0.5, 0.1]
    assert_equals_coco([found(masks, scores)], [target], [shapes])
    assert len(TASK.statistics([found(masks, scores)], [target])) == 103


def test_masks_of_another_size_than_the_image_are_refused() -> None:
    small = replace(found([], []), size=np.array([20, 30]))
    with pytest.raises(ConfigError, match="masks of 30×20 pixels for an image of 60×40"):
        TASK.statistics([small], [there([SQUARE])])


def test_codes_survive_packing_and_are_told_from_damaged_ones() -> None:
    rng = np.random.default_rng(0)
    for density in (0, 0.001, 0.1, 0.5, 0.999, 1):
        masks = rng.random((3, 70, 90)) < density
        record = Instances(*[np.zeros(0)] * 3, **encoded(masks))
        for mask, code in zip(masks, codes_of(record), strict=True):
            assert (coco_mask.decode(dict(code)) == mask).all()
            assert code_fault(code["counts"], (70, 90)) == ""
            assert "pixels long, 89×70" in code_fault(code["counts"], (70, 89))
    (cut,) = (code["counts"][:-1] for code in codes_of(found([DISC], [1])))
    assert code_fault(cut, SIZE)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (b"", "no run-length code"),
        (b"P", "no run-length code"),  # goes on where nothing follows
        (b"\x01", "no run-length code"),
        (b"ooooooo0", "no picture has"),
        (b"h2O", "negative"),
        (b"1", "1 pixels long"),
    ],
)
def test_codes_that_pycocotools_would_read_beyond(code: bytes, said: str) -> None:
    assert said in code_fault(code, SIZE)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ends": np.array([1, 2])}, "'ends' of shape"),
        ({"ends": np.array([1])}, "do not fit"),
        ({"size": np.array([40])}, "'size' of shape"),
        ({"size": np.array([40, 61])}, "an unusable mask: its runs are 2400 pixels long, 61×40"),
        ({"scores": np.array([np.nan])}, "'scores' that is not finite"),
        ({"labels": np.array([-1])}, "no class indices"),
        ({"boxes": np.zeros((1, 5))}, "'boxes' of shape"),
    ],
)
def test_unusable_predictions(change: dict[str, Any], said: str) -> None:
    assert TASK.fault(found([DISC], [0.5])) == ""
    assert said in TASK.fault(replace(found([DISC], [0.5]), **change))


KNOWN = SimpleNamespace(
    name="set",
    labelled=True,
    samples=[],
    categories={7: "dog", 9: "tv"},
    classes=("cat", "dog", "tvmonitor"),
)
"""A model and a data set."""


def test_classes_become_categories_and_masks_stay_with_theirs() -> None:
    match = TASK.match(KNOWN, KNOWN, "net")
    given = found([DISC, OTHER, DISC | OTHER], [0.9, 0.8, 0.7], [2, 0, 1])
    matched = match(given)
    assert matched.labels.tolist() == [9, 7]
    assert matched.scores.tolist() == given.scores[[0, 2]].tolist()
    masks = [coco_mask.decode(dict(code)).astype(bool) for code in codes_of(matched)]
    assert (masks[0] == DISC).all()
    assert (masks[1] == (DISC | OTHER)).all()
    with pytest.raises(ConfigError, match="model net gives class index 3, but names 3 classes"):
        match(found([DISC], [0.5], 3))


def test_agreement_is_one_on_the_same_and_less_on_others() -> None:
    agreement = TASKS.get("ins").agreement
    assert agreement is not None
    clean = found([DISC, OTHER, NOTHING, DISC], [0.9, 0.5, 0.95, 0.2], [1, 2, 1, 1])
    wanted = agreement.reference(clean)
    assert wanted.labels.tolist() == [1, 2]  # neither the empty one nor the faint one
    assert wanted.area.tolist() == [DISC.sum(), OTHER.sum()]
    worse = found([np.roll(DISC, 2, 0), OTHER], [0.9, 0.5], [1, 2])
    ones = np.ones((1, 1), np.int64)
    same = agreement.score(agreement.statistics([clean], [wanted]), ones)[0, :2]
    less = agreement.score(agreement.statistics([worse], [wanted]), ones)[0, :2]
    assert same.tolist() == pytest.approx([1, 1])
    assert 0.5 < less[0] < 1


def test_marks_and_regarded_are_of_boxes() -> None:
    box = np.array([[10, 10, 30, 30]], np.float32)
    prediction = replace(found([DISC], [0.9]), boxes=box)
    target = replace(there([of(DISC), SQUARE]), boxes=np.array([[11.0, 10, 30, 30], [0, 0, 5, 5]]))
    marks = TASK.marks(prediction, target, {1: "dog"})
    assert [(m.state, m.text) for m in marks] == [("true", "dog 0.90"), ("missed", "dog")]
    assert TASK.regarded(prediction)["boxes"].tolist() == box.tolist()
