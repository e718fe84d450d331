"""What a task asks of a model and a data set, gives to a training, and shows on a picture."""

from typing import Any

import numpy as np
import pytest
from stand_ins import Data, Model, Sample

from bench.errors import ConfigError
from bench.tasks import TASKS
from bench.tasks.records import Detections, Label, Logits, Objects


def label(i: int) -> Label:
    return Label(np.array(i, np.int64))


def logits(*values: float) -> Logits:
    return Logits(np.array(values, np.float32))


def objects(boxes: list[list[float]], labels: list[int], crowd: list[bool]) -> Objects:
    of = np.array(boxes, np.float64).reshape(-1, 4)
    area, crowds = np.prod(of[:, 2:] - of[:, :2], axis=1), np.array(crowd, bool)
    return Objects(of, np.array(labels, np.int64), area, crowds, crowds)


def detections(boxes: list[list[float]], scores: list[float], labels: list[int]) -> Detections:
    of = np.array(boxes, np.float32).reshape(-1, 4)
    return Detections(of, np.array(scores, np.float32), np.array(labels, np.int64))


# --- classification -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_classes", "largest", "said"),
    [
        (3, 2, None),
        (None, 2, None),
        (None, 1, None),
        (4, 2, "data set streets has 4 classes, but model net gives 3: the class numbers"),
        (None, 3, r"streets has class index 3, but model net gives 3 classes \(0 to 2\)"),
    ],
)
def test_classes_are_known_by_their_number(
    n_classes: int | None, largest: int, said: str | None
) -> None:
    data = Data([Sample(label(0))], {0: "a", largest: "b"}, n_classes)
    answer = logits(1, 2, 3)
    matched = TASKS.get("cls").match(Model(), data, "net")
    if said is None:
        assert matched(answer) is answer
        return
    with pytest.raises(ConfigError, match=said):
        matched(answer)
    data.labelled = False
    assert TASKS.get("cls").match(Model(), data, "net")(answer) is answer


@pytest.mark.parametrize(
    ("values", "said"),
    [([1.0, 2.0], ""), ([[1.0]], "logits"), ([1.0, np.nan], "logits"), ([True], "logits")],
)
def test_logits_are_numbers_in_a_row(values: list[Any], said: str) -> None:
    fault = TASKS.get("cls").fault(Logits(np.array(values)))
    assert (said in fault) if said else not fault


def test_a_classifier_is_trained_on_labels_and_a_picture_shows_its_answer() -> None:
    task = TASKS.get("cls")
    data = Data([Sample(label(2)), Sample(label(0))], {})
    assert [t["label"].tolist() for t in task.training_targets(Model(), data)] == [2, 0]

    names = {0: "cat", 1: "dog"}
    answer = logits(0, np.log(3), -50)
    (right,) = task.marks(answer, label(1), names)
    assert (right.state, right.text, right.box) == ("true", "dog 0.75", None)
    wrong, missed = task.marks(answer, label(2), names)
    assert (wrong.state, wrong.text) == ("false", "dog 0.75")
    assert (missed.state, missed.text) == ("missed", "2")
    assert task.marks(logits(-50, 0, np.log(3)), label(1), names)[0].text == "2 0.75"


def test_top1_of_each_class_that_has_images() -> None:
    task = TASKS.get("cls")
    answers = [logits(2, 1, 0), logits(2, 1, 0), logits(0, 1, 2), logits(0, 1, 2)]
    statistics = task.statistics(answers, [label(0), label(1), label(2), label(1)])
    found = task.by_category(statistics, np.array([3, 1, 0, 2]))
    assert [(c.category, c.value, c.n) for c in found] == [(0, 1.0, 3), (1, 0.0, 3)]


# --- detection ------------------------------------------------------------------------------------


def test_detections_become_those_of_the_data_sets_categories() -> None:
    data = Data([], {7: "cat", 9: "dog"})
    found = detections([[0, 0, 1, 1], [0, 0, 2, 2], [0, 0, 3, 3]], [0.9, 0.8, 0.7], [2, 1, 0])
    matched = TASKS.get("det").match(Model(["dog", "bird", "cat"]), data, "net")(found)
    assert matched.labels.tolist() == [7, 9]  # birds are not of this data set
    assert matched.boxes.tolist() == [[0, 0, 1, 1], [0, 0, 3, 3]]
    assert matched.scores.tolist() == pytest.approx([0.9, 0.7])


def test_a_detector_is_trained_on_its_own_class_indices() -> None:
    there = objects(
        [[0, 0, 4, 4], [1, 1, 9, 1.5], [2, 2, 3, 9], [0, 0, 8, 8]], [7, 7, 9, 9],
        [False, False, False, True],
    )  # fmt: skip
    data = Data([Sample(there), Sample(objects([], [], []))], {7: "cat", 9: "dog"})
    task = TASKS.get("det")
    first, second = task.training_targets(Model(["dog", "bird", "cat"]), data)
    assert first["boxes"].tolist() == [[0, 0, 4, 4], [2, 2, 3, 9]]  # no sliver and no crowd
    assert (first["boxes"].dtype, first["labels"].dtype) == (np.float32, np.int64)
    assert first["labels"].tolist() == [2, 0]
    assert second["boxes"].shape == (0, 4)
    assert second["labels"].tolist() == []
    first, _ = task.training_targets(Model(), data)
    assert first["labels"].tolist() == [7, 9]
    with pytest.raises(ConfigError, match=r"has 1 categories that the model does not know: dog"):
        task.training_targets(Model(["cat"]), data)


def test_two_categories_that_a_model_cannot_tell_apart() -> None:
    data = Data([Sample(objects([[0, 0, 4, 4]], [7], [False]))], {7: "cat", 9: "Cat"})
    assert TASKS.get("det").training_targets(Model(["cat"]), data)[0]["labels"].tolist() == [0]
    data.samples.append(Sample(objects([[0, 0, 4, 4]], [9], [False])))
    with pytest.raises(ConfigError, match=r"streets: categories 'cat' and 'Cat' are the same"):
        TASKS.get("det").training_targets(Model(["cat"]), data)


def test_a_picture_shows_what_was_found_missed_and_made_up() -> None:
    there = objects(
        [[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]], [1, 1, 2], [False, False, True]
    )
    found = detections(
        [[0, 0, 10, 9], [0, 0, 10, 10], [20, 0, 30, 4], [0, 0, 10, 10], [1, 1, 2, 2]],
        [0.8, 0.9, 0.7, 0.6, 0.1],
        [1, 1, 1, 3, 1],
    )
    marks = TASKS.get("det").marks(found, there, {1: "cat", 2: "dog"})
    assert [(m.state, m.text, m.box) for m in marks] == [
        ("true", "cat 0.90", (0, 0, 10, 10)),
        ("false", "cat 0.80", (0, 0, 10, 9)),  # its object is taken
        ("false", "cat 0.70", (20, 0, 30, 4)),
        ("false", "3 0.60", (0, 0, 10, 10)),
        ("missed", "cat", (20, 0, 30, 10)),
    ]


def test_labels_of_images_and_what_is_regarded() -> None:
    det, cls = TASKS.get("det"), TASKS.get("cls")
    assert det.labels_of(objects([[0, 0, 1, 1]] * 3, [1, 2, 1], [False] * 3)) == 3
    assert cls.labels_of(label(4)) == 1
    seen = det.regarded(detections([[0, 0, 1, 1], [0, 0, 2, 2]], [0.001, 0.9], [1, 2]))
    assert seen["boxes"].tolist() == [[0, 0, 2, 2]]
    assert seen["scores"].tolist() == pytest.approx([0.9])
    assert cls.regarded(logits(1, 2)) == {}


def test_a_task_without_losses_says_so() -> None:
    cls = TASKS.get("cls")
    statistics = cls.statistics([logits(1, 2)], [label(0)])
    with pytest.raises(ConfigError, match="task cls has no metric of a model's own loss"):
        cls.with_losses(statistics, [(0, 1.0)])


def test_a_whole_set_is_known_by_its_size() -> None:
    (whole,) = [s for s in TASKS.get("cls").full_sets if s.name == "imagenet"]
    data = Data([Sample(label(0))] * whole.images, dict.fromkeys(range(whole.categories), ""))
    assert TASKS.get("cls").is_full_set("imagenet", data)
    assert not TASKS.get("cls").is_full_set("other", data)
    data.samples.pop()
    assert not TASKS.get("cls").is_full_set("imagenet", data)
