"""mIoU, pixel accuracy and cross-entropy against torchmetrics and torch."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from stand_ins import Data, Model, Sample

from bench.errors import ConfigError, DataError
from bench.results.pictures import Mark
from bench.tasks import TASKS
from bench.tasks.outlines import MOST
from bench.tasks.records import IGNORED, LabelMap, PackedRegions, Regions
from bench.tasks.segmentation import Matched

SEG = TASKS.get("seg")
CLASSES = 5

Map = NDArray[np.uint8]


def maps(seed: int, n: int = 6) -> tuple[list[Map], list[Map]]:
    """Ground truth and what is said of it: images of different sizes, ignored pixels, classes that
    only one side has."""
    rng = np.random.default_rng(seed)
    truths, said = [], []
    for i in range(n):
        size = (int(rng.integers(1, 9)), int(rng.integers(1, 9)))
        truth = rng.integers(0, rng.integers(1, CLASSES + 1), size).astype(np.uint8)
        guess = rng.integers(0, CLASSES, size).astype(np.uint8)
        said.append(np.where(rng.random(size) < 0.6, truth, guess))
        truth[rng.random(size) < 0.2 * (i % 3)] = IGNORED
        truths.append(truth)
    return truths, said


def scores(truths: list[Map], said: list[Map], weights: NDArray[np.int64]) -> NDArray[np.float64]:
    table = SEG.statistics([LabelMap(p) for p in said], [Regions(t) for t in truths])
    return SEG.score(table, weights)


def reference(truths: list[Map], said: list[Map]) -> tuple[float, float]:
    """torchmetrics' confusions, and its definitions in float64, where its own are in float32."""
    metrics = pytest.importorskip("torchmetrics.classification")
    truth, guess = (
        torch.from_numpy(np.concatenate([m.ravel() for m in side] or [np.zeros(0, np.uint8)]))
        for side in (truths, said)
    )
    options = {"num_classes": CLASSES, "ignore_index": IGNORED}
    confusions = metrics.MulticlassConfusionMatrix(**options)(guess.long(), truth.long()).double()
    right = confusions.diag()
    either = confusions.sum(0) + confusions.sum(1) - right
    miou = (right[either > 0] / either[either > 0]).mean().item()
    own = metrics.MulticlassJaccardIndex(**options)(guess.long(), truth.long()).item()
    assert miou == pytest.approx(own, abs=1e-6)
    return miou, (right.sum() / confusions.sum()).item()


@pytest.mark.parametrize("seed", range(5))
def test_equals_torchmetrics_under_integer_weights(seed: int) -> None:
    truths, said = maps(seed)
    rng = np.random.default_rng(seed)
    weights = np.vstack([np.ones((1, 6), np.int64), rng.integers(0, 4, (20, 6))])
    for row, found in zip(weights, scores(truths, said, weights), strict=True):
        repeated = [[m for m, w in zip(side, row, strict=True) for _ in range(w)]
                    for side in (truths, said)]  # fmt: skip
        assert found[:2] == pytest.approx(reference(*repeated), abs=1e-12)
        assert np.isnan(found[2])


def test_an_image_without_a_judged_pixel_changes_nothing() -> None:
    truths, said = maps(1)
    nothing, some = np.full((3, 4), IGNORED, np.uint8), np.ones((3, 4), np.uint8)
    ones = np.ones((1, 7), np.int64)
    with_it = scores([*truths, nothing], [*said, some], ones)
    assert with_it[0, :2].tolist() == scores(truths, said, ones[:, :6])[0, :2].tolist()
    assert np.isnan(scores([nothing], [some], ones[:, :1])).all()
    assert np.isnan(SEG.score(SEG.statistics([], []), ones)).all()


def test_a_failed_image_has_no_rows() -> None:
    table = SEG.statistics([None, LabelMap(np.zeros((2, 2), np.uint8))],
                           [Regions(np.zeros((2, 2), np.uint8))] * 2, [4, 7])  # fmt: skip
    assert table.to_pydict() == {
        "image": [7], "truth": [0], "predicted": [0], "pixels": [4], "cross_entropy": [None],
    }  # fmt: skip


def test_classes_that_the_data_set_lacks_are_wrong_and_not_in_the_mean() -> None:
    truth, said = np.array([[1, 1, 2, 2]], np.uint8), np.array([[1, IGNORED, 2, 2]], np.uint8)
    found = scores([truth], [said], np.ones((1, 1), np.int64))[0]
    assert found[:2].tolist() == [(1 / 2 + 1) / 2, 3 / 4]


@pytest.mark.parametrize("size", [(60, 83), (15, 20), (7, 9), (1, 1)])
def test_cross_entropy_is_that_of_interpolated_logits(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(3)
    planes = [torch.from_numpy(rng.normal(0, 5, (CLASSES, 15, 20))).float() for _ in range(3)]
    truths = [rng.integers(0, CLASSES, size).astype(np.uint8) for _ in planes]
    for truth in truths[1:]:
        truth[: size[0] // 3] = IGNORED
    answers = [p.log_softmax(0).half().numpy() for p in planes]
    said = [LabelMap(np.zeros(size, np.uint8), a) for a in answers]
    weights = np.array([[1, 1, 1], [0, 3, 1]])
    found = SEG.score(SEG.statistics(said, [Regions(t) for t in truths]), weights)[:, 2]
    sums = []
    for answer, truth in zip(answers, truths, strict=True):
        logits = torch.from_numpy(answer).float()[None]
        wide = torch.nn.functional.interpolate(logits, size, mode="bilinear", align_corners=False)
        wanted = torch.from_numpy(truth).long()[None]
        lost = torch.nn.functional.cross_entropy(wide, wanted, ignore_index=IGNORED,
                                                 reduction="none")  # fmt: skip
        sums.append((lost.double().sum().item(), int((truth != IGNORED).sum())))
    lost, judged = (weights @ np.array(column) for column in zip(*sums, strict=True))
    assert found == pytest.approx(lost / judged, abs=1e-5)


def test_cross_entropy_far_from_the_truth_is_finite() -> None:
    answer = np.array([[[0, -1e4]], [[-1e4, 0]]], np.float16)
    truth = np.array([[1, 1, 0, 0]], np.uint8)
    table = SEG.statistics([LabelMap(truth, answer)], [Regions(truth)])
    found = SEG.score(table, np.ones((1, 1), np.int64))[0, 2]
    assert found == pytest.approx((1e4 + 5e3 + 5e3 + 1e4) / 4, rel=1e-3)


def test_intersections_over_union_of_categories() -> None:
    truths = [np.array([[0, 0, 2]], np.uint8), np.array([[0, 1, 1]], np.uint8)]
    said = [np.array([[0, 1, 2]], np.uint8), np.array([[0, 1, 3]], np.uint8)]
    table = SEG.statistics([LabelMap(p) for p in said], [Regions(t) for t in truths])
    found = {c.category: (c.value, c.n) for c in SEG.by_category(table, np.array([2, 1]))}
    # 3 was predicted and is nowhere in the ground truth.
    assert found == {0: (3 / 5, 3), 1: (1 / 4, 1), 2: (1.0, 2)}


# --- models and data sets -------------------------------------------------------------------------


def data(*labels: int, n_classes: int | None = 3) -> Data:
    target = PackedRegions(np.array([labels], np.uint8))
    return Data([Sample(target)], {0: "background", 1: "sofa", 2: "dog"}, n_classes)


def test_classes_are_matched_by_name() -> None:
    model = Model(["dog", "__background__", "unheard of", "couch"])
    match = SEG.match(model, data(0, 1, 2, IGNORED), "net")  # type: ignore[arg-type]
    said = LabelMap(np.array([[0, 1, 2, 3]], np.uint8), np.zeros((4, 1, 1), np.float16))
    found = match(said)
    assert isinstance(found, Matched)
    assert found.labels.tolist() == [[2, 0, IGNORED, 1]]
    assert found.channels is not None
    assert found.channels.tolist() == [2, 0, IGNORED, 1]
    # All four channels share the probability, whether the data set has them or not.
    table = SEG.statistics([found], [Regions(np.array([[2, 0, 1, 1]], np.uint8))])
    entropy = SEG.score(table, np.ones((1, 1), np.int64))[0, 2]
    assert entropy == pytest.approx(np.log(4))
    (target,) = SEG.training_targets(model, data(0, 1, 2, IGNORED))  # type: ignore[arg-type]
    assert target["regions"].tolist() == [[1, 3, 0, IGNORED]]


def test_two_classes_of_one_category_share_its_probability() -> None:
    match = SEG.match(Model(["sofa", "couch", "dog"]), data(1, 1), "net")  # type: ignore[arg-type]
    answer = np.log([0.5, 0.25, 0.25]).astype(np.float16).reshape(3, 1, 1)
    found = match(LabelMap(np.array([[0, 1]], np.uint8), answer))
    table = SEG.statistics([found], [Regions(np.array([[1, 1]], np.uint8))])
    scored = SEG.score(table, np.ones((1, 1), np.int64))[0]
    assert scored == pytest.approx([1, 1, -np.log(0.75)], abs=1e-3)


def test_without_names_labels_are_category_ids() -> None:
    match = SEG.match(Model(None), data(0, 1), "net")  # type: ignore[arg-type]
    said = LabelMap(np.array([[0, 2, 9]], np.uint8))
    assert match(said).labels.tolist() == [[0, 2, IGNORED]]


@pytest.mark.parametrize(
    ("classes", "labels", "n_classes", "given", "message"),
    [
        (["cat", "background"], (0, 1, 2), 3, 2, "streets has 2 categories that the model does not "
         "know: sofa, dog; the model's 2 classes are cat, background"),
        (["background", "sofa", "dog"], (0,), 3, 4, "net gives 4 classes, but names 3"),
        (None, (0, 1), 3, 4, "streets has 3 classes, but model net, .* gives 4"),
        (None, (0, 2), None, 2, r"streets has class index 2, but model net, .* gives 2 \(0 to 1\)"),
    ],
)  # fmt: skip
def test_models_that_do_not_fit(
    classes: list[str] | None,
    labels: tuple[int, ...],
    n_classes: int | None,
    given: int,
    message: str,
) -> None:
    said = LabelMap(np.zeros((1, 1), np.uint8), np.zeros((given, 1, 1), np.float16))
    with pytest.raises(ConfigError, match=message):
        SEG.match(Model(classes), data(*labels, n_classes=n_classes), "net")(said)  # type: ignore[arg-type]


def test_a_label_map_of_another_size_is_refused() -> None:
    said, truth = LabelMap(np.zeros((2, 3), np.uint8)), Regions(np.zeros((3, 2), np.uint8))
    with pytest.raises(DataError, match=r"image 5: .* 3×2 pixels, the ground truth 2×3"):
        SEG.statistics([said], [truth], [5])


@pytest.mark.parametrize(
    ("labels", "answer", "fault"),
    [
        (np.zeros((2, 3), np.uint8), None, ""),
        (np.zeros((2, 3), np.uint8), np.zeros((4, 1, 1), np.float16), ""),
        (np.zeros((2, 3), np.int64), None, "'labels' of type int64 instead of uint8"),
        (np.zeros((1, 2, 3), np.uint8), None, "'labels' of shape (1, 2, 3)"),
        (np.zeros((2, 3), np.uint8), np.zeros((4, 4), np.float16),
         "'log_probabilities' of shape (4, 4)"),
        (np.zeros((2, 3), np.uint8), np.full((4, 1, 1), -np.inf, np.float16),
         "a value of 'log_probabilities' that is not finite"),
    ],
)  # fmt: skip
def test_faults_of_predictions(labels: Map, answer: NDArray[np.float16], fault: str) -> None:
    assert SEG.fault(LabelMap(labels, answer)) == fault


def test_agreement_is_with_the_clean_label_map() -> None:
    agreement = SEG.agreement
    assert agreement is not None
    truths, said = maps(2)
    clean = [LabelMap(np.where(t == IGNORED, 0, t).astype(np.uint8)) for t in truths]
    references = [agreement.reference(c) for c in clean]
    ones = np.ones((1, 6), np.int64)
    same = agreement.statistics(clean, references)
    assert agreement.score(same, ones).tolist() == [[1, 1]]
    decoded = agreement.statistics([LabelMap(p) for p in said], references)
    wanted = scores([c.labels for c in clean], said, ones)[:, :2]
    assert agreement.score(decoded, ones).tolist() == wanted.tolist()


# --- records --------------------------------------------------------------------------------------


def test_packed_regions_are_the_same() -> None:
    labels = maps(4)[0][2]
    packed, plain = PackedRegions(labels), Regions(labels)
    assert np.array_equal(packed.labels, labels)
    assert packed.present() == plain.present() == set(np.unique(labels).tolist()) - {IGNORED}
    assert packed.to_arrays().keys() == plain.to_arrays().keys()


def test_a_label_map_may_be_without_log_probabilities() -> None:
    assert LabelMap.fits(["labels"])
    assert LabelMap.fits(["labels", "log_probabilities"])
    assert not LabelMap.fits(["log_probabilities"])
    assert not LabelMap.fits(["labels", "scores"])


# --- what is drawn --------------------------------------------------------------------------------


def drawn(truth: Map, said: Map) -> list[Mark]:
    return SEG.marks(LabelMap(said), Regions(truth), {0: "background", 1: "cat", 2: "dog"})


def test_wrong_regions_are_outlined() -> None:
    truth = np.zeros((128, 128), np.uint8)
    truth[20:60, 20:60], truth[80:120, 10:50], truth[:10] = 1, 2, IGNORED
    said = np.where(truth == IGNORED, 2, truth).astype(np.uint8)
    assert drawn(truth, said) == []
    said[20:60, 20:40], said[90:120, 10:40], said[70:90, 100:110] = 2, IGNORED, 1
    marks = drawn(truth, said)
    assert [(m.state, m.text, m.box) for m in marks] == [
        ("false", "another class instead of dog", (10.5, 90.5, 39.5, 119.5)),
        ("false", "dog instead of cat", (20.5, 20.5, 39.5, 59.5)),
        ("false", "cat instead of background", (100.5, 70.5, 109.5, 89.5)),
    ]
    assert set(marks[1].outline) == {(20.5, 20.5), (39.5, 20.5), (39.5, 59.5), (20.5, 59.5)}


def test_a_hole_has_an_outline_and_a_border_of_a_pixel_has_none() -> None:
    truth, said = np.zeros((2, 128, 128), np.uint8)
    truth[40:80, 40:80] = 1
    said[39:81, 39:81] = 1  # a pixel too large all around
    assert drawn(truth, said) == []
    said[20:100, 20:100] = 1
    outer, inner = drawn(truth, said)
    assert outer.box == (20.5, 20.5, 99.5, 99.5)
    assert inner.box == (39.5, 39.5, 80.5, 80.5)


def test_the_largest_outlines_are_drawn() -> None:
    truth, said = np.zeros((2, 256, 256), np.uint8)
    for i in range(6):
        for j in range(6):
            y, x = 40 * i + 1, 40 * j + 1
            said[y : y + 8 + i, x : x + 8 + i] = 1
    marks = drawn(truth, said)
    assert len(marks) == MOST
    sides = [m.box[2] - m.box[0] + 1 for m in marks if m.box]
    assert sides == [13] * 6 + [12] * 6 + [11] * 6 + [10] * 2
