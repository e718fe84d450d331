"""A preprocessor in an ONNX file: one that `run_bench.py export` wrote, or anybody's.

    rgb (height, width, 3) uint8 ─┐
                                  ├─▶ filtered (height, width, 3) uint8
    qp () int64, where it has one ┘

A program that runs the file in onnxruntime gets the pixels that a sweep had, to the last bit, where
both have the same version of it on the same kind of CPU.
"""

import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import ConfigError
from bench.onnx_session import opened
from bench.registry import existing_file

Pixels = NDArray[np.uint8]
NAME = "onnx"
INSTALL = "pip install -c constraints.txt -e '.[deploy]'"
_TRIAL = 40, 56
"""Height and width of the grey picture that a file is tried on."""


@dataclass(frozen=True)
class OnnxFile:
    """A file in onnxruntime, one core for each call."""

    session: Any
    adaptive: bool
    sha256: str
    version: str

    def __call__(self, rgb: Pixels, qp: int) -> Pixels:
        given = {"rgb": np.ascontiguousarray(rgb)}
        if self.adaptive:
            given["qp"] = np.array(qp, np.int64)
        (filtered,) = self.session.run(["filtered"], given)
        return np.asarray(filtered, np.uint8)

    def alike(self, qp: int) -> int | None:
        return None if self.adaptive else 0

    def fingerprint(self) -> dict[str, str]:
        return {"preprocessor": NAME, "file": self.sha256, "onnxruntime": self.version}


def load(options: Mapping[Any, Any], qps: list[int]) -> OnnxFile:
    """Takes `file`. Raises ConfigError for one that is not of this form; warns of untrained QPs."""
    file = options.get("file")
    if set(options) != {"file"} or not isinstance(file, str):
        raise ConfigError(f"preprocessor {NAME}: takes `file`, the path of an ONNX file; no more")
    if (path := existing_file(file)) is None:
        raise ConfigError(f"preprocessor {NAME}: file {file[:200]!r}: there is no such file")
    try:
        import onnxruntime as runtime
    except ImportError as error:
        raise ConfigError(
            f"preprocessor {NAME} needs onnxruntime, which cannot be imported ({error}). Install "
            f"it: {INSTALL}"
        ) from None
    try:
        content = path.read_bytes()
        session = opened(runtime, content, 1, ["CPUExecutionProvider"])
        ports = {port.name: port.type for port in session.get_inputs()}
        loaded = OnnxFile(
            session, "qp" in ports, hashlib.sha256(content).hexdigest(), runtime.__version__
        )
        _require_form(loaded, ports)
    except Exception as error:  # of any kind: the file decides what onnxruntime raises
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise ConfigError(
            f"preprocessor {NAME}: file {path}: {why}. It should have an input `rgb`, uint8 of "
            "(height, width, 3), may have an input `qp`, one int64, and puts out `filtered`, of "
            "the type and shape of `rgb`, for pictures of any size"
        ) from None
    _warn(session.get_modelmeta().custom_metadata_map.get("qps", ""), path.name, qps)
    return loaded


def _require_form(loaded: OnnxFile, ports: Mapping[str, str]) -> None:
    """Raises ValueError, or whatever onnxruntime has to say."""
    for name, kind in ports.items():
        if {"rgb": "tensor(uint8)", "qp": "tensor(int64)"}.get(name) != kind:
            raise ValueError(f"its input {name!r} is a {kind}")
    grey = np.full((*_TRIAL, 3), 128, np.uint8)
    (filtered,) = loaded.session.run(
        ["filtered"], {"rgb": grey} | ({"qp": np.array(37)} if loaded.adaptive else {})
    )
    if filtered.dtype != np.uint8 or filtered.shape != grey.shape:
        raise ValueError(
            f"it makes {filtered.dtype} of {filtered.shape} from uint8 of {grey.shape}"
        )


def _warn(trained: str, name: str, qps: list[int]) -> None:
    """Of QPs that it was not trained for, where the file says which it was."""
    first, _, last = trained.partition("-")
    if not (first.isdecimal() and last.isdecimal()):
        return
    if outside := [str(qp) for qp in qps if not int(first) <= qp <= int(last)]:
        warnings.warn(
            f"preprocessor {NAME} ({name}) was trained for QP {first}…{last}; QP "
            f"{', '.join(outside)} is outside",
            stacklevel=3,
        )
