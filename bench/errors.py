"""Errors that are written for people: what was wrong, where, what is allowed, what to do."""


class BenchError(Exception):
    """Base of every error whose message is meant to be read as it stands (no traceback needed)."""


class ConfigError(BenchError):
    """A benchmark that cannot be run: unknown name, value out of range, missing file."""


class DataError(BenchError):
    """An image or an annotation that cannot be read."""


class CodecError(BenchError):
    """Pixels that cannot be encoded, or bytes that cannot be decoded."""
