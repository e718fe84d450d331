"""What fails on one image costs that image, not the run."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bench.errors import BenchError

LONGEST = 300
"""Characters of a reason that are kept."""


@dataclass(frozen=True)
class Failed:
    """In place of a result. `stage`: load, view, preprocess, encode, decode, postprocess, lpips,
    predict or worker."""

    stage: str
    error: str


class ImageError(Exception):
    """Carries a `Failed` up to where the next image begins."""

    def __init__(self, stage: str, error: str) -> None:
        super().__init__(f"{stage}: {error}")
        self.failed = Failed(stage, error)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Any exception inside becomes an ImageError: loaders, codecs, preprocessors and models raise
    what they like, those of other packages even SystemExit."""
    try:
        yield
    except ImageError:
        raise
    except (Exception, SystemExit) as error:
        raise ImageError(name, reason(error)) from error


def reason(error: BaseException) -> str:
    """One line: errors of this package say it all, others are named."""
    text = " ".join(str(error).split())
    if not isinstance(error, BenchError):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return text if len(text) <= LONGEST else text[:LONGEST] + " …"
