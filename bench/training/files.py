"""Files that training writes: whole or not at all, and of the same bytes for the same content."""

import io
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from bench.atomic import atomic


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """What `torch.load` reads. Raises OSError."""
    data = io.BytesIO()
    torch.save(state, data)  # which raises nothing that tells a full disk from a fault of its own
    with atomic(path) as part:
        part.write_bytes(data.getbuffer())


def save_weights(path: Path, tensors: dict[str, Tensor], about: dict[str, str]) -> None:
    """A safetensors file with `about` as its metadata. Raises OSError."""
    data = save(tensors, metadata=about)
    with atomic(path) as part:
        part.write_bytes(_sorted(data))


def _sorted(data: bytes) -> bytes:
    """A safetensors file with its metadata in order: the library writes them in a random one.

    Format: the header's length in 8 bytes, little-endian; the header, JSON that spaces fill up to a
    multiple of 8; the tensors (safetensors' documentation, section Format).
    """
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    about = header.pop("__metadata__", {})
    header = {"__metadata__": dict(sorted(about.items())), **header}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + length :]
