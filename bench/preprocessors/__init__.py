"""Preprocessors: what filters a picture before the codec. Neural ones and plain controls."""

from bench.preprocessors.base import Preprocessor, make

__all__ = ["Preprocessor", "make"]
