"""Other people's programs as codecs: found by path or on PATH, run on files, faults are errors."""

import hashlib
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bench.errors import CodecError, ConfigError


def find(codec: str, name: str, wanted: str, remedy: str) -> str:
    """The path of a program. Raises ConfigError with what to do if there is none."""
    path = shutil.which(wanted)
    if path is None:
        raise ConfigError(f"codec {codec}: {name}: {wanted!r} is not a program here. {remedy}")
    return str(Path(path).resolve())


def version(codec: str, name: str, program: str, argument: str, says: re.Pattern[str]) -> str:
    """The first group of `says` in what a program prints, whatever its exit code; ConfigError."""
    try:
        result = subprocess.run(
            [program, argument],
            capture_output=True,
            timeout=30,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"codec {codec}: {name}: {program} does not run: {error}") from error
    found = says.search((result.stdout + result.stderr).decode("utf-8", "replace"))
    if found is None:
        raise ConfigError(f"codec {codec}: {name}: {program} does not say that it is {name}")
    return found[1]


def digest(program: str) -> str:
    return hashlib.sha256(Path(program).read_bytes()).hexdigest()


def run(command: Sequence[str], target: Path, timeout: float) -> bytes:
    """Runs a program that writes `target` → the bytes it wrote. Raises CodecError."""
    name = Path(command[0]).name
    try:
        result = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CodecError(f"{name} took more than {timeout:g} seconds") from None
    except OSError as error:
        raise CodecError(f"{name} does not run: {error}") from error
    if result.returncode != 0:
        words = result.stderr.decode("utf-8", "replace").strip()[-300:]
        raise CodecError(
            f"{name} failed with exit code {result.returncode}: {words or 'no message'}"
        )
    data = target.read_bytes() if target.exists() else b""
    if not data:
        raise CodecError(f"{name} wrote nothing")  # bpgenc leaves an empty file when it fails
    return data
