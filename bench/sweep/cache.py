"""A content-addressed store of small arrays: a key says all that can change what lies under it.

Files appear by atomic rename from `.partial`, so any number of processes may share a folder, and a
killed one leaves nothing half-written under its final name. An entry carries its own checksum and
key: one that was damaged or moved is found out when it is read, and is made anew.
"""

import hashlib
import json
import os
import re
import secrets
import socket
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from stat import S_ISREG
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from bench.errors import BenchError, ConfigError

Entry = dict[str, NDArray[Any]]

FORMAT = 2
"""Of the files: raised when an older program could misread them. It is part of every key."""

MARK = "CACHEDIR.TAG"
MARK_TEXT = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# Measurements of rabench; everything here may be deleted at any time (bford.info/cachedir).\n"
)

_DIGEST = hashlib.sha256().digest_size
_ENTRY = re.compile(r"[0-9a-f]{2}/[0-9a-f]{62}")
_PARTIAL = re.compile(r"([0-9a-f]{8})-(\d+)-[0-9a-f]{8}")
"""Host, process, and what tells a process's files apart."""
PARTIAL = ".partial"
ABANDONED = 24 * 3600
"""Seconds after which a file that another host has not finished belongs to a process that died."""


def key(kind: str, **parts: Any) -> str:
    """SHA-256 over a kind and JSON-able parts, as hex."""
    text = json.dumps([kind, FORMAT, parts], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def pixels_sha256(rgb: NDArray[np.uint8]) -> str:
    """Of an (H, W, 3) picture, its size included."""
    digest = hashlib.sha256(np.array(rgb.shape, "<i8").tobytes())
    digest.update(np.ascontiguousarray(rgb).data)
    return digest.hexdigest()


class Cache:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def prepare(self) -> None:
        """Make the folder, mark it as one that backups may leave out, and delete what killed
        processes of this host left half-written. Raises ConfigError where it cannot be written."""
        try:
            (self.folder / PARTIAL).mkdir(parents=True, exist_ok=True)
            part = self._partial()
            part.write_text(MARK_TEXT)
            part.replace(self.folder / MARK)
            for path in _abandoned(self.folder):
                path.unlink(missing_ok=True)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(
                f"--cache {self.folder}: cannot be written ({reason}); name another folder"
            ) from error

    @contextmanager
    def marked(self) -> Iterator[str]:
        """The name of a file in `PARTIAL` that only this folder has."""
        mark = self._partial()
        mark.touch()
        try:
            yield mark.name
        finally:
            mark.unlink(missing_ok=True)

    def _partial(self) -> Path:
        return self.folder / PARTIAL / f"{_host()}-{os.getpid()}-{secrets.token_hex(4)}"

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / key[2:]

    def get(self, key: str) -> Entry | None:
        """None where there is no entry, or a damaged one, of which a warning tells."""
        path = self._path(key)
        try:
            return _unpacked(path.read_bytes(), key)
        except FileNotFoundError:
            return None
        except (OSError, _DamagedError) as error:
            warnings.warn(f"cache entry {path} is damaged ({error}) and is made anew", stacklevel=2)
            return None

    def put(self, key: str, entry: Entry) -> None:
        """Raises BenchError where it cannot be written."""
        path, data = self._path(key), _packed(entry, key)
        try:
            try:
                self._write(path, data)
            except FileNotFoundError:  # the first one there, or a folder was deleted meanwhile
                path.parent.mkdir(parents=True, exist_ok=True)
                (self.folder / PARTIAL).mkdir(exist_ok=True)
                self._write(path, data)
        except OSError as error:
            raise BenchError(
                f"cache {self.folder}: cannot be written ({error.strerror or error}). What was "
                "measured until then is kept; make room or name another folder with --cache, and "
                "run the same command again"
            ) from error

    def _write(self, path: Path, data: bytes) -> None:
        """Raises OSError, and leaves nothing then."""
        partial = self._partial()
        try:
            partial.write_bytes(data)
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


class Carried(Cache):
    """In place of a folder, in a process that does not see it: what a thread puts goes with its
    results to where it can be kept."""

    def __init__(self) -> None:
        self._entries = threading.local()

    def get(self, key: str) -> Entry | None:
        return self._of_thread().get(key)

    def put(self, key: str, entry: Entry) -> None:
        self._of_thread()[key] = entry

    def taken(self) -> dict[str, Entry]:
        """What this thread has put since the last call."""
        entries = self._of_thread()
        self._entries.found = {}
        return entries

    def _of_thread(self) -> dict[str, Entry]:
        if not hasattr(self._entries, "found"):
            self._entries.found = {}
        found: dict[str, Entry] = self._entries.found
        return found


class MissingError(Exception):
    """Of a `Known` cache."""


class Known(Cache):
    """A folder of which everything that is asked for has to be there."""

    def get(self, key: str) -> Entry:
        """Raises MissingError."""
        entry = super().get(key)
        if entry is None:
            raise MissingError(key)
        return entry


class _DamagedError(Exception):
    pass


def _packed(entry: Entry, key: str) -> bytes:
    # Contiguous copies: safetensors writes memory as it lies.
    arrays = {k: np.asarray(v, order="C") for k, v in entry.items()}
    body = bytes.fromhex(key) + save(arrays)
    return hashlib.sha256(body).digest() + body


def _unpacked(data: bytes, key: str) -> Entry:
    digest, body = data[:_DIGEST], data[_DIGEST:]
    if hashlib.sha256(body).digest() != digest:
        raise _DamagedError("its checksum is wrong")
    if body[:_DIGEST].hex() != key:
        raise _DamagedError("it belongs to another key")
    try:
        return load(body[_DIGEST:])
    except SafetensorError as error:
        raise _DamagedError(str(error)) from error


@dataclass(frozen=True)
class Found:
    """What a cache folder holds: bytes of the entries, and the files that serve nobody."""

    entries: int
    n_bytes: int
    damaged: list[Path]
    abandoned: list[Path]
    """Half-written by processes that were killed."""


def examine(folder: Path, read: bool) -> Found:
    """Count the entries of a cache, and check each if `read`. Raises ConfigError for a folder that
    is none."""
    entries, n_bytes, damaged = 0, 0, []
    for path, file in _entries(folder):
        entries += 1
        n_bytes += file.st_size
        if read and _damaged(path):
            damaged.append(path)
    return Found(entries, n_bytes, damaged, _abandoned(folder))


def prune(folder: Path, keep: int | None = None) -> tuple[int, int]:
    """Delete what is damaged or abandoned and, where more than `keep` bytes are left, the entries
    that were written first → files deleted, bytes freed. Raises ConfigError as `examine`."""
    found = examine(folder, read=True)
    doomed = {*found.damaged, *found.abandoned}
    if keep is not None:
        left = sorted(
            (file.st_mtime, file.st_size, path)
            for path, file in _entries(folder)
            if path not in doomed
        )
        excess = sum(n for _, n, _ in left) - keep
        for _, n, path in left:
            if excess <= 0:
                break
            doomed.add(path)
            excess -= n
    deleted = freed = 0
    for path in sorted(doomed):
        with suppress(FileNotFoundError):  # another program prunes, too
            size = path.stat().st_size
            path.unlink()
            deleted, freed = deleted + 1, freed + size
    return deleted, freed


def _entries(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Nothing else that lies there, and nothing that another program prunes meanwhile."""
    if not (folder / MARK).is_file():
        raise ConfigError(
            f"{folder}: no cache of this program (there is no {MARK} in it); by default it is "
            ".cache beside the results folder"
        )
    for place in sorted(folder.iterdir()):
        if place.is_dir() and not place.is_symlink():
            for path in sorted(place.iterdir()):
                if _ENTRY.fullmatch(f"{place.name}/{path.name}"):
                    with suppress(FileNotFoundError):
                        file = path.stat()
                        if S_ISREG(file.st_mode):
                            yield path, file


def _abandoned(folder: Path) -> list[Path]:
    """Half-written files of processes that are gone."""
    found = []
    for path in sorted((folder / PARTIAL).glob("*")):
        named = _PARTIAL.fullmatch(path.name)
        if named is None:
            continue
        host, process = named[1], int(named[2])
        with suppress(FileNotFoundError):  # it has just got its final name
            if host == _host():
                gone = not _runs(process)
            else:
                gone = time.time() - path.stat().st_mtime > ABANDONED
            if gone:
                found.append(path)
    return found


@cache
def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _damaged(path: Path) -> bool:
    try:
        _unpacked(path.read_bytes(), path.parent.name + path.name)
    except FileNotFoundError:  # another program has just pruned it
        return False
    except (OSError, _DamagedError):
        return True
    return False
