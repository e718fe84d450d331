"""Rate–accuracy benchmarking for image coding for machines."""

from bench.api import BDRate, Results, bd_rate, load, run

__version__ = "0.2.0"

__all__ = ["BDRate", "Results", "__version__", "bd_rate", "load", "run"]
