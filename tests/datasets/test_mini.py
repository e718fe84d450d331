"""mini is frozen: the same bytes everywhere, and no scene in two splits."""

import hashlib
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from bench.datasets import mini
from bench.errors import ConfigError
from bench.tasks.masks import codes_of

# Of the first twenty pictures and targets of each part and split. A failure here means another
# data set: results on it cannot be compared with those published on mini.
CHECKSUM = "b6c6876a780ea8db6ede3264d273d1a5017461be8799e1e149cb5e32c4cfd867"


def test_pictures_and_targets_are_the_same_to_the_byte() -> None:
    digest = hashlib.sha256()
    for render in (mini.render_detection, mini.render_classification):
        for split in ("train", "test"):
            for i in range(20):
                picture, target = render(split, i)
                digest.update(picture.tobytes())
                arrays = target.to_arrays()
                for key in sorted(arrays):
                    digest.update(arrays[key].tobytes())
    assert digest.hexdigest() == CHECKSUM


@pytest.mark.parametrize("picture", range(8))
def test_a_label_map_shows_the_objects_that_are_to_be_detected(picture: int) -> None:
    scene, objects = mini.render_detection("test", picture)
    same, regions = mini.render_segmentation("test", picture)
    np.testing.assert_array_equal(same, scene)
    pixels = np.bincount(regions.labels.ravel(), minlength=1 + len(mini.CLASSES))
    areas = np.bincount(objects.labels + 1, objects.area, 1 + len(mini.CLASSES))
    np.testing.assert_array_equal(pixels[1:], areas[1:])
    for label in np.unique(objects.labels):
        ys, xs = np.nonzero(regions.labels == label + 1)
        x0, y0, x1, y1 = objects.boxes[(objects.labels == label) & (objects.area > 0)].T
        assert (xs.min(), ys.min()) == (x0.min(), y0.min())
        assert (xs.max() + 1, ys.max() + 1) == (x1.max(), y1.max())


@pytest.mark.parametrize("picture", range(8))
def test_masks_are_of_the_objects_that_are_to_be_detected(picture: int) -> None:
    scene, objects = mini.render_detection("test", picture)
    same, masked = mini.render_instances("test", picture)
    np.testing.assert_array_equal(same, scene)
    for name, array in objects.to_arrays().items():
        np.testing.assert_array_equal(masked[name], array)
    codes = codes_of(masked)
    assert masked.size.tolist() == [*scene.shape[:2]]
    assert coco_mask.area(codes).tolist() == objects.area.tolist()
    x, y, w, h = coco_mask.toBbox(codes).T
    np.testing.assert_array_equal(np.stack([x, y, x + w, y + h], axis=1), objects.boxes)


@pytest.mark.parametrize("picture", range(8))
def test_masks_together_are_the_label_map(picture: int) -> None:
    _, regions = mini.render_segmentation("test", picture)
    _, masked = mini.render_instances("test", picture)
    masks = coco_mask.decode(codes_of(masked))
    assert masks.sum(axis=2).max() == 1  # each pixel is of one object at most
    np.testing.assert_array_equal(masks @ (masked.labels + 1), regions.labels)


def test_one_set_of_scenes_for_every_question() -> None:
    by_task = {task: mini.load(task).first(3) for task in ("det", "seg", "ins")}
    names = {tuple(s.name for s in data.samples) for data in by_task.values()}
    assert len(names) == 1
    assert by_task["ins"].name == "mini-ins"
    assert by_task["ins"].categories == by_task["det"].categories
    assert len({d.annotations_sha256 for d in by_task.values()}) == 3


@pytest.mark.parametrize(
    ("task", "render"),
    [
        ("det", mini.render_detection),
        ("cls", mini.render_classification),
        ("seg", mini.render_segmentation),
        ("ins", mini.render_instances),
    ],
)
def test_ground_truth_without_pictures_is_that_of_the_pictures(
    task: str, render: Callable[..., Any]
) -> None:
    for i, sample in enumerate(mini.load(task).first(12).samples):
        picture, target = render("test", i)
        np.testing.assert_array_equal(sample.load(), picture)
        for key, values in target.to_arrays().items():
            np.testing.assert_array_equal(sample.target.to_arrays()[key], values)


@pytest.mark.parametrize("render", [mini.render_detection, mini.render_classification])
def test_fresh_noise_is_the_same_scene(render: Callable[..., Any]) -> None:
    for i in range(5):
        (picture, target), (a, same), (b, _) = (render("test", i, noise) for noise in (0, 1, 2))
        for key, values in target.to_arrays().items():
            np.testing.assert_array_equal(values, same.to_arrays()[key])
        off = [abs(x.astype(int) - y).mean() for x, y in ((picture, a), (a, b))]
        assert all(0.5 < level < 6 for level in off)  # two noises of 1 to 4 levels each


def test_splits_and_pictures_differ() -> None:
    seen = {
        render(split, i)[0].tobytes()
        for render in (mini.render_detection, mini.render_classification)
        for split in ("train", "test")
        for i in range(30)
    }
    assert len(seen) == 2 * 2 * 30


def test_boxes_are_inside_and_tight_around_something() -> None:
    for i in range(50):
        picture, target = mini.render_detection("test", i)
        x0, y0, x1, y1 = target.boxes.T
        assert (x0 >= 0).all()
        assert (y0 >= 0).all()
        assert (x1 <= picture.shape[1]).all()
        assert (y1 <= picture.shape[0]).all()
        assert (target.area > 0).all()
        assert (target.area <= (x1 - x0) * (y1 - y0)).all()


def test_spectrum_falls_like_a_photograph() -> None:
    """Power against frequency on log axes has a slope near −2.5; photographs have −1.5 to −3."""
    side = mini.SIZES["det"]
    window = np.hanning(side)[:, None] * np.hanning(side)
    power = np.zeros((side, side))
    for i in range(20):
        gray = mini.render_detection("test", i)[0].mean(axis=2)
        power += np.abs(np.fft.fft2((gray - gray.mean()) * window)) ** 2
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side)))
    edges = np.geomspace(0.01, 0.4, 10)
    mean = [power[(a <= frequency) & (frequency < b)].mean() for a, b in pairwise(edges)]
    slope = np.polyfit(np.log(np.sqrt(edges[1:] * edges[:-1])), np.log(mean), 1)[0]
    assert -3.0 < slope < -1.5


def test_unknown_split_is_refused() -> None:
    with pytest.raises(ConfigError, match="validation"):
        mini.load("det", "validation")
