"""Image codecs: pixels → bytes → pixels. Importing this package registers those built in."""

from bench.codecs import bpg, pillow
from bench.codecs.base import CODECS, Codec

__all__ = ["CODECS", "Codec", "bpg", "make", "pillow"]


def make(name: str) -> Codec:
    """The codec of that name, ready for use. Raises ConfigError for an unknown name."""
    return CODECS.get(name)()
