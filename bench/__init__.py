"""Rate–accuracy benchmarking for image coding for machines."""

__version__ = "0.1.0"
