"""Average precision by the size of objects and AR@100: what COCOeval says besides mAP and AP50.

Objects outside a range of areas are ignored there, and detections outside it that match none. So
each range is matched by itself, and has columns of its own beside those of all objects.
"""

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from bench.tasks.average_precision import (
    Floats,
    Ints,
    average_precisions,
    average_recall,
    objects_by_category,
)
from bench.tasks.base import Metric
from bench.tasks.matching import AREA_RANGE

Area = tuple[float, float]

SIZES: dict[str, Area] = {
    "small": (AREA_RANGE[0], 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, AREA_RANGE[1]),
}
"""Square pixels; an object of exactly 32² or 96² is in both ranges, as in COCOeval."""
_MATCHES = ("matched", "ignored")


def size_metrics(prefix: str = "") -> tuple[Metric, ...]:
    """What `size_scores` gives; a data set may have no object of a size."""
    by_size = (Metric(f"{prefix}AP-{size}", True, optional=True) for size in SIZES)
    return (*by_size, Metric(f"{prefix}AR100", True))


def with_sizes(statistics: pa.Table, match: Callable[[Area], pa.Table]) -> pa.Table:
    """`statistics` of `match_detections`, and matched and ignored of each size, e.g. matched_small,
    from `match`, which does the same within a range of areas. Of an image's objects of one
    category, which of the rows is which object may differ from size to size."""
    for size, area in SIZES.items():
        of_size = match(area)
        for name in _MATCHES:
            # May be empty: rows of a detector's own loss have neither.
            field = pa.field(f"{name}_{size}", pa.uint16())
            statistics = statistics.append_column(field, of_size[name])
    return statistics


def size_scores(statistics: pa.Table, weights: Ints) -> Floats:
    """Statistics of `with_sizes`, and (B, n_images) image weights → (B, 4): AP of small, medium and
    large objects, and AR@100 of all. NaN where no such object that counts is left."""
    by_size = [average_precisions(_of_size(statistics, size), weights)[:, 0] for size in SIZES]
    return np.column_stack([*by_size, average_recall(statistics, weights)])


def size_objects(statistics: pa.Table, weights: Ints, prefix: str = "") -> dict[str, Ints]:
    """(n_images,) image weights → of the AP of each size, `objects_by_category`."""
    return {
        f"{prefix}AP-{size}": objects_by_category(_of_size(statistics, size), weights)
        for size in SIZES
    }


def _of_size(statistics: pa.Table, size: str) -> pa.Table:
    for name in _MATCHES:
        place = statistics.schema.get_field_index(name)
        statistics = statistics.set_column(place, name, statistics[f"{name}_{size}"])
    return statistics
