"""Tables and figures of the same measurements are taken over, not made again."""

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from bench.results import manifest as manifests
from bench.results.files import ResultsError
from bench.results.folder import Place, files_in, link, sha256
from bench.results.names import COSTS, MANIFEST

_SETTINGS = {"name", "experiments", "random_weights", "analysis", "failures"}
"""Of the manifest, as far as tables and figures show it."""
_LIBRARIES = ("scipy", "matplotlib")
"""That interpolate and draw."""


def drawn_from(folder: Path, program: Mapping[str, str]) -> str:
    """A hash of all that tables, pictures and figures are made from: the measurements in a folder
    but for their times, which only the page shows, and the versions of the program that made them
    and of the libraries that draw."""
    manifest = manifests.read(folder / MANIFEST)
    settings = manifest.model_dump(mode="json", include=_SETTINGS)
    measured = {
        path.relative_to(folder).as_posix(): sha256(path)
        for path in folder.rglob("*.parquet")
        if path.name != COSTS
    }
    versions = dict(program) | {name: version(name) for name in _LIBRARIES}
    text = json.dumps([versions, settings, measured], sort_keys=True)
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


def taken_over(place: Place, drawn_from: str) -> bool:
    """Whether the published results were drawn from the same and are whole: then their files that
    are not measurements are in `place.work` too. Raises OSError."""
    try:
        earlier = manifests.read(place.root / MANIFEST)
    except ResultsError:
        return False
    if earlier.drawn_from != drawn_from or not earlier.files:
        return False
    drawn = {name: sha for name, sha in earlier.files.items() if not name.endswith(".parquet")}
    # The manifest may be anybody's: what it lists must lie in this folder.
    if not drawn.keys() <= files_in(place.root):
        return False
    if not all(_is_whole(place.root / name, sha) for name, sha in drawn.items()):
        return False
    for name in drawn.keys() - files_in(place.work):
        (place.work / name).parent.mkdir(parents=True, exist_ok=True)
        link(place.root / name, place.work / name)
    return True


def _is_whole(path: Path, digest: str) -> bool:
    return path.is_file() and not path.is_symlink() and sha256(path) == digest
