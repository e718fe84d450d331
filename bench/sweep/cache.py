"""A content-addressed store of small arrays: a key says all that can change what lies under it.

Files appear by atomic rename, so any number of processes may share a folder, and a killed one
leaves nothing half-written under its final name.
"""

import hashlib
import json
import os
import secrets
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

Entry = dict[str, NDArray[Any]]


def key(kind: str, **parts: Any) -> str:
    """SHA-256 over a kind and JSON-able parts, as hex."""
    text = json.dumps([kind, parts], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def pixels_sha256(rgb: NDArray[np.uint8]) -> str:
    """Of an (H, W, 3) picture, its size included."""
    digest = hashlib.sha256(np.array(rgb.shape, "<i8").tobytes())
    digest.update(np.ascontiguousarray(rgb).data)
    return digest.hexdigest()


class Cache:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / key[2:]

    def get(self, key: str) -> Entry | None:
        path = self._path(key)
        try:
            return load(path.read_bytes())
        except FileNotFoundError:
            return None
        except SafetensorError:
            warnings.warn(f"cache entry {path} is damaged and is made anew", stacklevel=2)
            return None

    def put(self, key: str, entry: Entry) -> None:
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name[:16]}-{os.getpid()}-{secrets.token_hex(4)}")
        # Contiguous copies: safetensors writes memory as it lies.
        partial.write_bytes(save({k: np.asarray(v, order="C") for k, v in entry.items()}))
        partial.replace(path)
