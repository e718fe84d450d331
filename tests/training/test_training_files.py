"""Files that training writes."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from bench.training.files import save_checkpoint, save_weights

ABOUT = {name: f"value of {name}" for name in ("qps", "width", "model", "näme", "architecture")}
TENSORS = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.ones(5, dtype=torch.float16)}

WRITE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_training_files import ABOUT, TENSORS
from bench.training.files import save_weights
save_weights(Path(sys.argv[1]), TENSORS, ABOUT)
"""


def test_what_is_written_is_read_by_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_weights(path, TENSORS, ABOUT)
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == ABOUT
    read = load_file(path)
    assert read.keys() == TENSORS.keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in TENSORS.items())
    save_weights(path, TENSORS, {})
    assert load_file(path).keys() == TENSORS.keys()


def test_the_same_content_has_the_same_bytes_in_every_process(tmp_path: Path) -> None:
    save_weights(tmp_path / "here", TENSORS, ABOUT)
    save_weights(tmp_path / "other order", TENSORS, dict(reversed(ABOUT.items())))
    words = [sys.executable, "-c", WRITE, str(tmp_path / "there"), str(Path(__file__).parent)]
    subprocess.run(words, check=True)
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_a_full_disk_leaves_the_file_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, checkpoint = tmp_path / "weights.safetensors", tmp_path / "checkpoint.pt"
    save_weights(weights, TENSORS, ABOUT)
    save_checkpoint(checkpoint, {"step": 1})

    def full(path: Path, data: bytes) -> int:
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        save_weights(weights, {"c": torch.zeros(1)}, {})
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(checkpoint, {"step": 2})
    assert load_file(weights).keys() == TENSORS.keys()
    assert torch.load(checkpoint, weights_only=True) == {"step": 1}
    assert sorted(tmp_path.iterdir()) == [checkpoint, weights]
