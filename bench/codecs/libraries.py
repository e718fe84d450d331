"""Libraries that only some codecs need: looked for when such a codec is chosen, not before."""

import importlib
from functools import cache
from importlib.metadata import version
from types import ModuleType

from bench.errors import ConfigError

_version = cache(version)
"""Looked up once: a fingerprint is asked for with every picture, and this searches the disk."""


def need(codec: str, module: str, package: str, extra: str) -> ModuleType:
    """The module, imported. Raises ConfigError naming the package and the command that installs it.

    package: its name for pip. extra: the extra of this project that holds it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"codec {codec} needs {package}, which cannot be imported ({error}). "
            f"Install it: pip install -c constraints.txt -e '.[{extra}]'"
        ) from None


def versions(*packages: str) -> dict[str, str]:
    """Package → its version, for a fingerprint."""
    return {package: _version(package) for package in packages}
