"""Files appear at once, and nothing but a file is replaced."""

import errno
import os
from pathlib import Path

import pytest

from bench.atomic import atomic


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")

    def fail() -> None:
        with atomic(path) as part:
            part.write_text("new")
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a", "old")]


def test_a_full_disk_is_said_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left") as caught, atomic(tmp_path / "a"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.filename == str(tmp_path / "a")
    with pytest.raises(OSError, match=r"^said in words$"), atomic(tmp_path / "a"):
        raise OSError("said in words")
    with pytest.raises(FileNotFoundError) as missing, atomic(tmp_path / "a"):
        (tmp_path / "other").read_text()
    assert str(missing.value.filename) == str(tmp_path / "other")


def test_a_pipe_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(OSError, match="no file that could be replaced"), atomic(path):
        pass
    assert path.is_fifo()
    assert len(list(tmp_path.iterdir())) == 1
