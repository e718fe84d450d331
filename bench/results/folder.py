"""The results folder as a place: who may write there, and what may be deleted.

Nothing else in this package deletes or replaces a folder. Work in progress lies in
`.rabench.unfinished` inside the results folder, under a lock that ends with its process. Publishing
is one rename to `.rabench.finished`, after which the new files take the places of the old ones; if
that is cut short, whoever opens the folder next completes it. So the old results stay until the new
ones are whole, links and mount points work, and nothing outside the folder is touched.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import BenchError, ConfigError
from bench.results.lock import LockedError, locked
from bench.results.manifest import seal
from bench.results.names import FINISHED, LOCK, MANIFEST, OWN, PICTURES, RATES, UNFINISHED

SHOWN = 5
"""Files named in a message."""

WRITTEN = re.compile(
    r"(images|costs)\.parquet|(points|bd|equal_accuracy)\.csv|report\.html"
    r"|statistics/.+\.parquet|figures/[^/]+\.(pdf|svg|png)|tables/[^/]+\.(csv|md|tex)"
)
"""What runs write whose manifest does not list its files yet."""


@dataclass(frozen=True)
class Place:
    """A results folder that this process may write: `work` holds what is not published yet."""

    root: Path
    work: Path

    def publish(self, drawn_from: str = "") -> None:
        """Put everything in `work` in the place of what the folder held before; `drawn_from` is of
        the manifest."""
        record(self.work, drawn_from)
        self.work.rename(self.root / FINISHED)
        _settle(self.root)


@contextmanager
def writing(out: Path, cache: Path | None = None) -> Iterator[Place]:
    """The folder `out` for one process and new results; what was not published is deleted at the
    end.

    `cache` may lie inside it and is left alone. Raises ConfigError where the folder cannot be
    written, another process writes it, or it holds anything that no run wrote.
    """
    check(out, cache)
    root = out.resolve()
    with _made(root), _claimed(root, f"--out {out}") as place:
        check(root, cache)  # once more: no other run writes there from here on
        yield place


@contextmanager
def updating(root: Path) -> Iterator[Place]:
    """A results folder whose measurements stay and whose tables and figures are made again."""
    with _claimed(root.resolve(), str(root)) as place:
        _copy_measurements(place.root, place.work)
        yield place


@contextmanager
def _claimed(root: Path, called: str) -> Iterator[Place]:
    with _held(root, called):
        _settle(root)
        work = root / UNFINISHED
        try:
            _remove(work)
            work.mkdir()
            yield Place(root, work)
        finally:
            _remove(work)


def check(out: Path, cache: Path | None = None) -> None:
    """Raises ConfigError where a run must not write into `out`; changes nothing."""
    try:
        root = out.resolve()
        if root.exists() and not root.is_dir():
            raise ConfigError(f"--out {out}: there is a file of that name; name a folder")
        strangers = _strangers(root, cache.resolve() if cache else None) if root.is_dir() else []
    except (OSError, RuntimeError, ValueError) as error:  # a name too long, a loop of links, a NUL
        raise _unwritable(out, error) from error
    if strangers:
        more = f" and {len(strangers) - SHOWN} more" if len(strangers) > SHOWN else ""
        raise ConfigError(
            f"--out {out}: the folder holds what no run wrote, or what was changed since: "
            f"{', '.join(strangers[:SHOWN])}{more}. A run replaces the whole folder, so it does "
            "not start: name another folder, or move these files away"
        )


TAKE_ALL = ("folder", "imagenet")
"""Formats that take what lies anywhere below their root for images or classes."""


def require_outside(out: Path, roots: Iterable[tuple[str, str]]) -> None:
    """Raises ConfigError where results would be read as images of a data set; `roots` are the
    formats and folders of data sets."""
    for format, root in roots:
        if format in TAKE_ALL and out.resolve().is_relative_to(Path(root).resolve()):
            raise ConfigError(
                f"--out {out}: lies inside the data set {root}, so that the next run would take "
                "figures for images; name a folder outside of it"
            )


def complete(root: Path) -> None:
    """Finish what a run that was killed while publishing left. Raises BenchError where that cannot
    be done."""
    if (root / FINISHED).is_dir():
        with _held(root, str(root)):
            _settle(root)


def record(folder: Path, drawn_from: str = "") -> None:
    """List every file of a folder with its SHA-256 in its manifest, so that damage and strangers
    are noticed. All else that it says stays, whatever version wrote it."""
    path = folder / MANIFEST
    manifest = json.loads(path.read_text(encoding="utf-8"))
    names = sorted(files_in(folder) - {MANIFEST})
    listed = {name: sha256(folder / name) for name in names}
    seal(path, manifest | {"drawn_from": drawn_from, "files": listed})


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _copy_measurements(root: Path, work: Path) -> None:
    """What a run measured or kept, without the tables and figures made from it, as hard links if
    possible."""
    for name in [MANIFEST, *sorted(files_in(root))]:
        if (
            name in (MANIFEST, RATES)
            or name.endswith(".parquet")
            or name.startswith(f"{PICTURES}/")
        ):
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            if not (work / name).exists():
                link(root / name, work / name)


def link(source: Path, target: Path) -> None:
    """The same file under another name, or a copy of it. Raises OSError."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def files_in(folder: Path) -> set[str]:
    """Relative POSIX paths of all files and links in a folder but those of `OWN`."""
    found = set()
    for top, folders, files in os.walk(folder):
        place = Path(top)
        if place == folder:
            folders[:] = [name for name in folders if name not in OWN]
            files = [name for name in files if name not in OWN]
        links = [name for name in folders if (place / name).is_symlink()]
        found |= {(place / name).relative_to(folder).as_posix() for name in [*files, *links]}
    return found


def _strangers(root: Path, cache: Path | None) -> list[str]:
    """Files that no run of ours wrote as they are now."""
    inside = cache and cache != root and cache.is_relative_to(root)
    kept = cache.relative_to(root).as_posix() + "/" if cache and inside else None
    names = sorted(n for n in files_in(root) if not (kept and n.startswith(kept)))
    manifest = _manifest(root)
    if manifest is None:
        return names
    listed = manifest.get("files")
    return [
        name
        for name in names
        if name != MANIFEST
        and not (
            _unchanged(root / name, listed.get(name))
            if isinstance(listed, dict)
            else WRITTEN.fullmatch(name) and not (root / name).is_symlink()
        )
    ]


def _unchanged(path: Path, digest: object) -> bool:
    """Damage of a Parquet file is mended by the run that replaces it; nobody edits one by hand."""
    if digest is None or path.is_symlink():
        return False
    return path.suffix == ".parquet" or sha256(path) == digest


def _manifest(root: Path) -> dict[str, Any] | None:
    """None where there is none of a run's."""
    try:
        content = json.loads((root / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    ours = (
        isinstance(content, dict)
        and isinstance(content.get("schema"), int)
        and isinstance(content.get("experiments"), list)
    )
    return content if ours else None


def _settle(root: Path) -> None:
    """Move a finished run's files into place. May be cut short anywhere and called again."""
    ready = root / FINISHED
    if not ready.is_dir():
        return
    manifest = _manifest(ready)
    if manifest is not None:  # else all of it is in place
        new = set(manifest["files"])
        old = (_manifest(root) or {}).get("files")
        there = files_in(root)
        own = there & set(old) if isinstance(old, dict) else set(filter(WRITTEN.fullmatch, there))
        for name in sorted(own - new):
            (root / name).unlink()
            _drop_empty((root / name).parent, root)
        for name in sorted(new & files_in(ready)):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (ready / name).replace(root / name)
        (ready / MANIFEST).replace(root / MANIFEST)
    _remove(ready)


def _drop_empty(folder: Path, root: Path) -> None:
    while folder != root:
        try:
            folder.rmdir()
        except OSError:  # not empty, or gone
            return
        folder = folder.parent


def _remove(own: Path) -> None:
    """Delete one of the folders in `OWN`."""
    if own.name not in OWN:
        raise ValueError(f"{own} is not this package's to delete")
    if own.is_dir() and not own.is_symlink():
        shutil.rmtree(own)


@contextmanager
def _made(root: Path) -> Iterator[None]:
    """The folder, with those above it; those that were made and stayed empty go again."""
    missing = [p for p in (root, *root.parents) if not p.exists()]
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(root, error) from error
    try:
        yield
    finally:
        for folder in missing:
            with contextlib.suppress(OSError):
                folder.rmdir()


@contextmanager
def _held(root: Path, called: str) -> Iterator[None]:
    try:
        with locked(root / LOCK):
            yield
    except LockedError as busy:
        raise ConfigError(
            f"{called}: another run is writing this folder ({busy}); wait for it or stop "
            "it, or name another folder"
        ) from None


def _unwritable(out: Path, error: Exception) -> BenchError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return ConfigError(f"--out {out}: cannot be written ({reason}); name another folder")
