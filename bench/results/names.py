"""Where things lie in a results folder, and names from a config as names of files."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

MANIFEST = "manifest.json"
IMAGES = "images.parquet"
COSTS = "costs.parquet"
PICTURES = "pictures"
POINTS, BD, EQUAL_ACCURACY = "points.csv", "bd.csv", "equal_accuracy.csv"
PAIRS, MEANS, FIDELITY = "pairs.csv", "means.csv", "fidelity.csv"
CATEGORIES = "categories.csv"
RATES = "rates.csv"

LOCK = ".rabench.lock"
UNFINISHED = ".rabench.unfinished"
FINISHED = ".rabench.finished"
OWN = (LOCK, UNFINISHED, FINISHED)
"""What is there while a run writes, see `bench.results.folder`."""

UNCOMPRESSED = "uncompressed"
"""The method name of the clean score: the pictures as the data set holds them."""

PUBLISHED = "published"
"""What the change of a point begins with that was not measured but published."""

PLAIN = frozenset(" !()+,-._=@")
"""Characters kept besides letters and digits."""

LONGEST = 120
"""Bytes of a file name, so that an ending still fits in the 255 that file systems take."""

DIGITS = 16


def rate_label(rate: float) -> int:
    """What stands for a target rate, in bits per pixel, where an operating point has its QP: less
    than 0, in thousandths, so that a larger one is coarser here too."""
    return -round(1000 * rate)


def rate_of(label: int) -> float | None:
    """The target rate in bits per pixel; None where the label is a QP."""
    return -label / 1000 if label < 0 else None


def point_name(label: int) -> str:
    """`QP 37`, or the target rate: `0.25 bpp`."""
    rate = rate_of(label)
    return f"QP {label}" if rate is None else f"{rate:g} bpp"


def points_name(labels: Iterable[int]) -> str:
    """Of a curve, the finest first: `QP 37, 41`, or `0.5, 0.25 bpp`."""
    names = [point_name(label) for label in sorted(labels)]
    if names and all(name.endswith(" bpp") for name in names):
        return f"{', '.join(name.removesuffix(' bpp') for name in names)} bpp"
    return f"QP {', '.join(name.removeprefix('QP ') for name in names)}"


def file_name(text: str) -> str:
    """A name → one component of a path, different for different names.

    Letters, digits and `PLAIN` are kept and everything else becomes `%` and two hexadecimal digits
    a byte (UTF-8), so that no name leads out of its folder. A first or last dot or blank is escaped
    too: it hides a file or names a folder above. What is longer than `LONGEST` bytes is cut and
    ends in digits of its SHA-256. The empty name becomes `%`.
    """
    raw = text.encode("utf-8", "surrogatepass")
    escaped = "".join(
        c
        if (c.isalnum() or c in PLAIN) and not (c in " ." and i in (0, len(text) - 1))
        else "".join(f"%{byte:02X}" for byte in c.encode("utf-8", "surrogatepass"))
        for i, c in enumerate(text)
    )
    if len(escaped.encode()) <= LONGEST:
        return escaped or "%"
    digest = hashlib.sha256(raw).hexdigest()[:DIGITS]
    head = escaped.encode()[: LONGEST - DIGITS - 1].decode(errors="ignore")
    return f"{head}~{digest}"


def statistics_path(
    root: Path, task: str, dataset: str, model: str, method: str, qp: int | None
) -> Path:
    """Where the statistics table of an operating point is.

    `qp` is None for the clean pictures, whose method is `uncompressed`.
    """
    folder = root / "statistics" / task / file_name(dataset) / file_name(model)
    if qp is None:
        return folder / f"{method}.parquet"
    return folder / file_name(method) / f"{qp}.parquet"
