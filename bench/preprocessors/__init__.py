"""Preprocessors: what filters a picture before the codec, or after it. Neural ones and plain
controls."""

from bench.preprocessors.base import PREPROCESSORS, Preprocessor, make

__all__ = ["PREPROCESSORS", "Preprocessor", "make"]
