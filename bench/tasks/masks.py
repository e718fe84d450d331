"""Masks of instances in COCO's compressed run-length code, as records and pycocotools hold them.

The lengths of the runs of 0 and 1 by turns, from 0, down the columns of the picture; each as the
difference from the run before the last, in groups of five bits, one character of text per group.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from bench.tasks.records import Arrays, Instances

Code = Mapping[str, Any]
"""A mask as pycocotools takes it: size [height, width], counts bytes."""


class Masked(Protocol):
    """A record that holds masks, see `bench.tasks.records.Instances`."""

    @property
    def counts(self) -> NDArray[np.uint8]: ...

    @property
    def ends(self) -> NDArray[np.int64]: ...

    @property
    def size(self) -> NDArray[np.int64]: ...


def encoded(masks: NDArray[Any]) -> Arrays:
    """(n, height, width) masks, True where the instance is → the arrays of a record. They are
    encoded fastest if the picture's rows vary fastest in memory."""
    columns = np.asfortranarray(masks.transpose(1, 2, 0), np.uint8)
    return packed([code["counts"] for code in coco_mask.encode(columns)], masks.shape[1:])


def packed(codes: Sequence[bytes], size: tuple[int, ...]) -> Arrays:
    """The arrays of a record of masks that are (height, width) large."""
    return {
        "counts": np.frombuffer(b"".join(codes), np.uint8),
        "ends": np.cumsum([len(code) for code in codes], dtype=np.int64),
        "size": np.array(size, np.int64),
    }


def codes_of(record: Masked) -> list[Code]:
    whole, ends, size = record.counts.tobytes(), record.ends.tolist(), record.size.tolist()
    starts = [0, *ends]
    return [
        {"size": size, "counts": whole[start:end]} for start, end in zip(starts, ends, strict=False)
    ]


def chosen(found: Instances, kept: NDArray[np.bool_]) -> Instances:
    """Those that a mask over them (n,) chooses."""
    codes = [code["counts"] for code, keep in zip(codes_of(found), kept, strict=True) if keep]
    masks = packed(codes, tuple(found.size.tolist()))
    return Instances(found.boxes[kept], found.scores[kept], found.labels[kept], **masks)


def code_fault(code: bytes, size: tuple[int, ...]) -> str:
    """Why this is no mask of (height, width) pixels; empty if it is one. pycocotools believes what
    it is given, and reads and writes beyond what there is."""
    groups = np.frombuffer(code, np.uint8).astype(np.int64) - 48
    if not len(groups) or (groups < 0).any() or (groups > 63).any() or groups[-1] & 32:
        return "it is no run-length code of COCO's"
    ends = np.flatnonzero(groups & 32 == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    if (ends - starts).max() > 6:  # 7 · 5 bits hold more than pycocotools' 32
        return "it has a run that no picture has"
    place = np.arange(len(groups)) - np.repeat(starts, ends - starts + 1)
    runs = np.add.reduceat((groups & 31) << 5 * place, starts)
    runs -= np.where(groups[ends] & 16, 1 << 5 * (place[ends] + 1), 0)
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    if (runs < 0).any():
        return "it has a run of negative length"
    if runs.sum() != size[0] * size[1]:
        return f"its runs are {runs.sum()} pixels long, {size[1]}×{size[0]} are expected"
    return ""
