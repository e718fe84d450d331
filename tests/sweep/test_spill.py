"""Tables that come in any order are given in order; a full disk is said of their file."""

import errno
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from bench.sweep.spill import Spill


def piece(start: int, n: int = 1) -> pa.Table:
    return pa.table({"image": np.arange(start, start + n)})


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Bytes; a write beyond them fails, as where a disk is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_pieces_are_put_in_order(tmp_path: Path) -> None:
    with Spill(tmp_path / "rows") as spill:
        for start in (4, 0, 2):
            spill.add("a", start, piece(start, 2))
            spill.add("b", start, piece(10 * start))
        assert spill.table("a")["image"].to_pylist() == [0, 1, 2, 3, 4, 5]
        assert spill.table("b")["image"].to_pylist() == [0, 20, 40]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("n", [1, 10_000], ids=["at the end", "at once"])
def test_a_full_disk_is_said_of_the_file(tmp_path: Path, n: int) -> None:
    def fill() -> None:
        with files_of_at_most(64), Spill(tmp_path / "rows") as spill:
            spill.add("a", 0, piece(0, n))

    with pytest.raises(OSError, match="File too large") as caught:
        fill()
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(tmp_path / "rows"))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said_where_tables_are_read(tmp_path: Path) -> None:
    with Spill(tmp_path / "rows") as spill:
        spill.add("a", 0, piece(0))
        with files_of_at_most(64), pytest.raises(OSError, match="File too large") as caught:
            spill.table("a")
    assert caught.value.filename == str(tmp_path / "rows")
