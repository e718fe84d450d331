"""Files that are whole: they appear at once or not at all, and JSON says what it should hold."""

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A hidden path beside `path` to write to. It takes the place of `path` at the end; if anything
    fails it is removed, and `path` stays what it was. Raises OSError, which names the file, for a
    device too: it would be gone."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OSError(errno.EINVAL, "it is no file that could be replaced", str(path))
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with named(path):
            yield part
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def named(path: Path) -> Iterator[None]:
    """An OSError that names no file, as that of a full disk, names `path`."""
    try:
        yield
    except OSError as error:
        if error.errno and error.filename is None:
            error.filename = str(path)
        raise


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 with Unix line ends; half a character that UTF-8 has no bytes for is spelt out.

    Raises OSError.
    """
    with atomic(path) as part:
        part.write_bytes(text.encode("utf-8", "backslashreplace"))


def checksum(content: dict[str, Any]) -> str:
    """Of a JSON object as it reads back, whatever its layout, but for its own `checksum`."""
    rest = json.loads(json.dumps({k: v for k, v in content.items() if k != "checksum"}))
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
