"""Image codecs: pixels → bytes → pixels. Importing this package registers those built in."""

from collections.abc import Mapping

from bench.codecs import bpg, heic, intra, jpegxl, learned, pillow, vvc
from bench.codecs.base import CODECS, Codec
from bench.codecs.options import check_options
from bench.errors import ConfigError

__all__ = ["CODECS", "Codec", "bpg", "heic", "intra", "jpegxl", "learned", "make", "pillow", "vvc"]


def make(spec: str | Mapping[str, object]) -> Codec:
    """A codec as a config names it: its name, or its name and options.

    "bpg", or {"name": "bpg", "pixel_format": "4:4:4"}. A codec class takes options through a
    class method `from_options(options)`; one without has none. Raises ConfigError for an unknown
    name or option and for a wrong value.
    """
    if isinstance(spec, str):
        name: object = spec
        options: dict[str, object] = {}
    elif isinstance(spec, Mapping):
        options = dict(spec)
        name = options.pop("name", None)
    else:
        name, options = None, {}
    if not isinstance(name, str):
        raise ConfigError(f"codec {spec!r}: it takes a name, or a mapping with a name and options")
    codec = CODECS.get(name)
    from_options = getattr(codec, "from_options", None)
    if from_options is not None:
        made: Codec = from_options(options)
        return made
    check_options(name, options, {})
    return codec()
