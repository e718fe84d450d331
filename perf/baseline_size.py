"""How large a detector's baseline is: 5,000 images, 80 categories, 30 operating points.

    python perf/baseline_size.py              # --images N --points N

The detections are made up: about 35 in an image, most of them faint and false, as a detector leaves
them that drops scores below 0.01. Objects come in groups of a category, one category being much
more frequent than the next. From point to point a detection's score moves, and one in five false
ones is another. Prints what is stored with and without `bench.tasks.reduced`, and checks on some
resamples that the metrics are the same.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.analysis.baseline import together
from bench.results import baseline as files
from bench.results.manifest import Analysis, Machine
from bench.tasks import scored
from bench.tasks.matching import SCHEMA

CATEGORIES, KINDS, OBJECTS, FALSE = 80, 2.9, 7.3, 40.0
"""Categories; mean of them, of objects and of false detections in an image."""
LEAST = 0.01
QPS = 5

Array = NDArray[np.generic]


@dataclass(frozen=True)
class Scene:
    """Objects, and what may be detected falsely: image, category, and how hard or how sure."""

    objects: tuple[Array, Array, Array]
    false: tuple[Array, Array, Array]


def scene(rng: np.random.Generator, images: int) -> Scene:
    share = 1 / np.arange(1, CATEGORIES + 1)
    share /= share.sum()
    kinds = 1 + rng.poisson(KINDS - 1, images)
    image = np.repeat(np.arange(images), kinds)
    category = rng.choice(CATEGORIES, len(image), p=share)
    group = rng.geometric(KINDS / OBJECTS, len(image))
    objects = np.repeat(image, group), np.repeat(category, group), rng.normal(size=group.sum())

    where = np.repeat(np.arange(images), rng.poisson(rng.gamma(2, FALSE / 2, images)))
    first = np.searchsorted(image, np.arange(images))
    own = category[first[where] + (rng.random(len(where)) * kinds[where]).astype(int)]
    any_other = rng.choice(CATEGORIES, len(where), p=share)
    kind = np.where(rng.random(len(where)) < 0.6, own, any_other)
    score = np.minimum(LEAST * np.exp(rng.exponential(1.1, len(where))), 0.95)
    return Scene(objects, (where, kind, np.log(score / (1 - score))))


def point(rng: np.random.Generator, there: Scene, coarseness: float) -> pa.Table:
    """Statistics of an operating point."""
    image, category, hardness = there.objects
    quality = 0.3 - 1.9 * hardness - 0.35 * coarseness + rng.normal(0, 0.5, len(image))
    score = _sigmoid(1.2 * quality - 1.6 + rng.normal(0, 1, len(image)))
    reached = np.clip(np.floor(4.3 + 1.7 * quality + rng.normal(0, 2, len(image))), 0, 10)
    found = (quality > -2) & (score > LEAST)

    where, kind, sureness = there.false
    false_score = _sigmoid(sureness + rng.normal(0, 0.35, len(where)))
    kept = (rng.random(len(where)) < 0.8) & (false_score > LEAST)
    nothing = np.zeros(kept.sum(), np.int64)
    columns = (
        np.concatenate([image[found], where[kept]]),
        np.concatenate([category[found], kind[kept]]),
        np.concatenate([score[found], false_score[kept]]).astype(np.float32).astype(float),
        np.concatenate([(1 << reached[found].astype(int)) - 1, nothing]),
    )
    return _table(columns, image, category)


def _sigmoid(value: Array) -> Array:
    return 1 / (1 + np.exp(-value))


def _table(found: tuple[Array, ...], image: Array, category: Array) -> pa.Table:
    """As `match_detections` leaves it: by image, its detections and then its objects."""
    order = np.lexsort((-found[2], found[1], found[0]))
    where, kind, score, matched = (values[order] for values in found)
    key = where.astype(np.int64) * CATEGORIES + kind
    rank = np.arange(len(key)) - np.searchsorted(key, key)
    is_object = np.repeat([False, True], [len(key), len(image)])
    none = np.zeros(len(image))
    columns = [
        is_object,
        np.concatenate([where, image]),
        np.concatenate([kind, category]),
        *(np.concatenate([values, none]) for values in (score, rank, matched)),
        np.zeros(len(is_object)),
    ]
    order = np.argsort(2 * columns[1] + is_object, kind="stable")
    arrays = [
        pa.array(c[order].astype(f.type.to_pandas_dtype()), mask=is_object[order] & f.nullable)
        for f, c in zip(SCHEMA, columns, strict=True)
    ]
    return pa.table(arrays, schema=SCHEMA)


def bits(rng: np.random.Generator, images: int, points: int) -> Iterator[pa.Table]:
    """The table of images, by operating point."""
    names = [f"{i:012d}.jpg" for i in np.sort(rng.permutation(600_000)[:images])]
    size, width, height = rng.lognormal(10.5, 0.6, images), 640, rng.integers(400, 640, images)
    for p in range(points):
        own = size * np.exp(-(p % QPS) / 2 + rng.normal(0, 0.05, images))
        columns = {"index": np.arange(images), "image": names, "bits": 8 * (own / 8).astype(int)}
        method, qp = at(p)
        about = {"dataset": "coco", "view": "native", "method": method, "qp": qp}
        same = {name: [value] * images for name, value in about.items()}
        yield pa.table(same | columns | {"width": [width] * images, "height": height})


def at(number: int) -> tuple[str, int]:
    return f"method {number // QPS}", 25 + 5 * (number % QPS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--points", type=int, default=30)
    a = parser.parse_args()
    rng, task = np.random.default_rng(0), scored("det")
    there = scene(rng, a.images)
    weights = rng.multinomial(a.images, np.full(a.images, 1 / a.images), 3)
    whole, few = [], []
    for p in range(a.points):
        table = point(rng, there, 0.8 * (p % QPS))
        small = task.reduced(table)
        if p < QPS:
            before, after = task.score(table, weights), task.score(small, weights)
            assert np.array_equal(before, after, equal_nan=True), "the metrics differ"
        for kept, one in ((whole, table), (few, small)):
            kept.append(files.labelled(one, "coco", "detector", *at(p)))
    images = pa.concat_tables(bits(rng, a.images, a.points))
    for text, parts in (("as measured", pa.concat_tables(whole)), ("reduced", together(few, task))):
        report(text, parts, images, a.images * a.points)


def report(text: str, statistics: pa.Table, images: pa.Table, pictures: int) -> None:
    empty = files.Baseline(
        analysis=Analysis(),
        environment=files.Environment(versions={}, device=Machine()),
        experiments=(),
        failures=(),
    )
    with tempfile.TemporaryDirectory() as folder:
        tables = {"images": images, "det": statistics}
        _, bits_file, detections = files.write(Path(folder, "base.json"), empty, tables)
        sizes = [path.stat().st_size for path in (bits_file, detections)]
    found = len(statistics) - pc.sum(statistics["is_object"]).as_py()
    print(
        f"{text}: {sum(sizes) / 1e6:.1f} MB, of these {sizes[0] / 1e6:.2f} MB bits of images; "
        f"{found / pictures:.1f} detections in an image, {sizes[1] / len(statistics):.2f} bytes "
        "for each of them and of the objects"
    )


if __name__ == "__main__":
    main()
