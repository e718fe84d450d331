"""What a run does about codecs that crash and calls that never end: `--isolate` and `--timeout`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.codecs.base import Codec
from bench.codecs.isolated import Isolated
from bench.errors import ConfigError
from bench.sweep.plan import Experiment
from bench.sweep.watchdog import Watchdog, Watched

LONGEST = 24 * 3600
"""Seconds of a time-out, at most."""


@dataclass(frozen=True)
class Limits:
    isolate: bool = False
    """Codecs run in processes of their own."""
    timeout: float | None = None
    """Seconds for one call of a codec or, for each picture, of a task model."""

    def require(self, backend: str) -> None:
        """Raises ConfigError for a time-out that could not be kept."""
        if self.timeout is None:
            return
        if not 0 < self.timeout <= LONGEST:
            raise ConfigError(
                f"timeout {self.timeout:g}: more than 0 and at most {LONGEST:,} seconds are "
                "expected"
            )
        if backend == "threading" and not self.isolate:
            raise ConfigError(
                "timeout: a call in a thread cannot be ended. Use --isolate, with which it holds "
                "for codecs, or --backend auto, loky or dask, with which it holds for models, too"
            )

    def note(self, backend: str) -> str:
        """What to say before a run; empty if nothing."""
        if self.timeout is None or backend != "threading":
            return ""
        return (
            "--timeout holds for codecs only: models run in threads of this process, where a call "
            "cannot be ended; with --backend loky or dask it holds for them, too"
        )

    def applied(
        self, experiments: Sequence[Experiment], watchdog: Watchdog | None = None
    ) -> list[Experiment]:
        """With codecs that keep them; without a `watchdog` only what `isolate` can."""
        made: dict[int, Codec] = {}

        def limited(codec: Codec) -> Codec:
            if id(codec) not in made:
                made[id(codec)] = self._limited(codec, watchdog)
            return made[id(codec)]

        return [
            replace(e, points=[replace(p, codec=limited(p.codec)) for p in e.points])
            for e in experiments
        ]

    def _limited(self, codec: Codec, watchdog: Watchdog | None) -> Codec:
        if self.isolate:
            return Isolated(codec, self.timeout)
        return Watched(codec, watchdog) if watchdog else codec


NONE = Limits()


def require_sendable(experiments: Sequence[Experiment]) -> None:
    """Raises ConfigError for a codec that no other process can be given."""
    codecs = {id(p.codec): p.codec for e in experiments for p in e.points}
    for codec in codecs.values():
        if isinstance(codec, Isolated):
            codec.require_sendable()
