"""What must be equal for numbers to be comparable, under a name; runs that differ are refused."""

from bench.protocols.base import PROTOCOLS, Protocol, config, load
from bench.protocols.check import held, identity, require

__all__ = ["PROTOCOLS", "Protocol", "config", "held", "identity", "load", "require"]
