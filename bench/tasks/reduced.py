"""What average precision needs of detections that were matched, and no more.

Precision counts at the true positives alone. So of the scores only the order counts, of false
positives between two true positives only in which image they are, and those below a category's last
true positive change nothing. This holds for any weights of the images, as each true positive may be
the last one of a resample.
"""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bench.tasks.matching import ALL_IOUS, SCHEMA

GROUND_TRUTH = "is_object"
"""The column of objects."""

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def reduced(statistics: pa.Table) -> pa.Table:
    """Table of `matching.SCHEMA` → one whose average precisions and recalls are the same, digit for
    digit, for any weights and order of the images; rows with a loss stay.

    `score` is 0 for the best of a category and falls by one from level to level: the scores of true
    positives are levels, and what lies between two of them is one. `rank` orders detections of one
    image with the score of a true positive, else it is 0. Scores of two tables do not compare.
    """
    has_loss = _has_loss(statistics)
    matches = statistics.filter(~has_loss)
    is_object = matches[GROUND_TRUTH].to_numpy()
    objects = matches.filter(is_object).sort_by([(n, "ascending") for n in ("category", "image")])
    counting = objects.filter(objects["ignored"].to_numpy() == 0)["category"].to_numpy()
    found = matches.filter(~is_object & np.isin(matches["category"].to_numpy(), counting))
    parts = [_detections(found), objects, statistics.filter(has_loss)]
    whole = pa.concat_tables(parts, promote_options="default")
    return whole.select(statistics.column_names).cast(statistics.schema)


def _has_loss(statistics: pa.Table) -> Bools:
    """(n,) rows that are no detection and no object, see `Detection.with_losses`."""
    if "loss" not in statistics.column_names:
        return np.zeros(len(statistics), bool)
    return statistics["loss"].is_valid().to_numpy()


def _detections(found: pa.Table) -> pa.Table:
    """Those that count, the true positives behind the others, which compresses best."""
    image, category, score, rank, matched, ignored = (
        found[f.name].to_numpy() for f in SCHEMA if f.name != GROUND_TRUTH
    )
    order = np.lexsort((rank, image, -score, category))
    image, category, score, matched, ignored = (
        values[order] for values in (image, category, score, matched, ignored)
    )
    matched = matched & ~ignored
    level, is_level_hit = _levels(category, score, matched > 0)
    # What counts nowhere goes too, but not beside a hit of its score: copies of an image are summed
    # one by one there, and another number of them would round otherwise.
    kept = is_level_hit | (ignored != ALL_IOUS)
    # What follows the last hit of its category changes nothing.
    last = dict(zip(category[is_level_hit].tolist(), level[is_level_hit].tolist(), strict=True))
    kept &= level <= np.array([last.get(c, -1) for c in category.tolist()], np.int64)
    level, image, category, matched, ignored, is_level_hit = (
        values[kept] for values in (level, image, category, matched, ignored, is_level_hit)
    )
    level = np.cumsum(_starts(level))  # without gaps
    rank = np.where(is_level_hit, _places(category, level, image), 0)
    score = _firsts(category, level) - level
    columns = [np.zeros(len(level), bool), image, category, score, rank, matched, ignored]
    order = np.lexsort((image, level, category, matched > 0))
    arrays = [
        pa.array(values[order].astype(field.type.to_pandas_dtype()))
        for field, values in zip(SCHEMA, columns, strict=True)
    ]
    return pa.table(arrays, schema=SCHEMA)


def _levels(category: Ints, score: NDArray[np.float64], hit: Bools) -> tuple[Ints, Bools]:
    """Of rows in the order of category and falling score → (n,) level, rising, and whether it has a
    hit. Equal scores are one level, and so are all scores between two levels with hits."""
    new = _starts(category, score)
    each = np.cumsum(new) - 1
    has_hit = np.bincount(each, hit, minlength=1) > 0
    there = category[new]
    apart = np.ones(len(there), bool)
    apart[1:] = has_hit[1:] | has_hit[:-1] | (there[1:] != there[:-1])
    level = np.cumsum(apart)[each] - 1 if len(each) else each
    return level, has_hit[each]


def _starts(*columns: NDArray[np.generic]) -> Bools:
    """(n,) whether a row differs from the one before it."""
    starts = np.zeros(len(columns[0]), bool)
    starts[:1] = True
    for values in columns:
        starts[1:] |= values[1:] != values[:-1]
    return starts


def _places(*columns: NDArray[np.generic]) -> Ints:
    """(n,) how many rows before it are equal."""
    starts = np.flatnonzero(_starts(*columns))
    run = np.cumsum(_starts(*columns)) - 1
    places: Ints = np.arange(len(run)) - starts[run]
    return places


def _firsts(category: Ints, level: Ints) -> Ints:
    """(n,) the first level of each row's category."""
    starts = _starts(category)
    firsts: Ints = level[starts][np.cumsum(starts) - 1]
    return firsts
