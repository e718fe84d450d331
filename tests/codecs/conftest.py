"""Pictures and files that the codec tests share."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pictures import natural_picture
from PIL import Image

VECTORS = Path(__file__).resolve().parents[2].parent / "shared" / "bpg_vectors"


@dataclass(frozen=True)
class Vector:
    """A file of libbpg's: what went in, the file, what bpgdec makes of it."""

    name: str
    args: tuple[str, ...]
    source: NDArray[np.uint8]
    data: bytes
    decoded: NDArray[np.uint8]
    info: tuple[str, ...]

    @property
    def qp(self) -> int | None:
        """The QP of a plain `bpgenc -q QP`, None for anything else."""
        plain = len(self.args) == 2 and self.args[0] == "-q" and self.name.endswith("_420")
        return int(self.args[1]) if plain else None


def _read(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.array(image.convert("RGB"))


@pytest.fixture(scope="session")
def vectors() -> list[Vector]:
    if not VECTORS.is_dir():
        pytest.skip("libbpg's vectors (shared/bpg_vectors beside the repository) are not here")
    manifest = json.loads((VECTORS / "manifest.json").read_text())
    return [
        Vector(
            name=v["name"],
            args=tuple(v["args"]),
            source=_read(VECTORS / v["source"]),
            data=(VECTORS / f"{v['name']}.bpg").read_bytes(),
            decoded=_read(VECTORS / f"{v['name']}.png"),
            info=tuple(v["info"]),
        )
        for v in manifest["vectors"]
    ]


@pytest.fixture(scope="session")
def vector_path() -> Callable[[str], Path]:
    """Where the file of a vector is, by its name."""
    return lambda name: VECTORS / f"{name}.bpg"


@pytest.fixture(scope="session")
def natural() -> NDArray[np.uint8]:
    """(96, 128, 3): shading, edges, texture and 1/f noise in colour, the same on every machine."""
    return natural_picture(128, 96)
