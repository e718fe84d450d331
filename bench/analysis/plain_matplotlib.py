"""matplotlib, imported whatever is set for it on this machine.

Notebooks name a backend in MPLBACKEND for every process they start, and matplotlib cannot be
imported where that is not installed. Our figures are drawn for files and need none. The user's own
figures, in the same process, still get the backend if there is one.
"""

import os
from contextlib import suppress

from bench.errors import ConfigError

_backend = os.environ.pop("MPLBACKEND", None)
try:
    import matplotlib
except Exception as error:  # a settings file that is no UTF-8 or must not be read, say
    raise ConfigError(
        f"matplotlib cannot be imported: {error}. Mend or remove its settings file, matplotlibrc"
    ) from error
finally:
    if _backend is not None:
        os.environ["MPLBACKEND"] = _backend
if _backend:
    with suppress(ValueError):
        matplotlib.rcParams["backend"] = _backend
