"""What `--isolate` costs: a codec in a process of its own against the same codec in this one.

    python perf/isolation.py [CODEC] [TIMES]

Encodes and decodes pictures of three sizes TIMES (50) times, by default as JPEG, whose calls are
the shortest. Prints CPU milliseconds of both processes for each picture, and of a process's start:
CPU time, since other programs on the machine do not add to it.
"""

import resource
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench import codecs
from bench.codecs.base import Codec
from bench.codecs.isolated import Isolated, processes
from bench.datasets import mini

TILES = ((1, 1), (3, 4), (8, 12))
"""Pictures beside and below each other."""


def cpu() -> float:
    """Milliseconds of this process and those that it has ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return 1000 * sum(u.ru_utime + u.ru_stime for u in used)


def coding(codec: Codec, rgb: NDArray[np.uint8], qp: int, times: int) -> float:
    """CPU milliseconds of so many pictures."""
    began = cpu()
    with processes():
        for _ in range(times):
            codec.decode(codec.encode(rgb, qp))
        if isinstance(codec, Isolated):
            codec.require_sendable()  # starts the process where there are no pictures
    return cpu() - began


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "jpeg"
    times = int(sys.argv[2]) if len(sys.argv) > 2 else 50
    here = codecs.make(name)
    there, qp = Isolated(here, 600), here.qps[len(here.qps) * 3 // 4]
    rgb = mini.render_detection("test", 0)[0]
    coding(there, rgb, qp, 0)
    wall = time.perf_counter()
    start = sum(coding(there, rgb, qp, 0) for _ in range(5)) / 5
    wall = (time.perf_counter() - wall) / 5
    print(f"a process: {start:.0f} ms of CPU, {1000 * wall:.0f} ms until it has ended again")
    for rows, columns in TILES:
        tiled = np.tile(rgb, (rows, columns, 1))
        a = coding(here, tiled, qp, times) / times
        b = (coding(there, tiled, qp, times) - start) / times
        size = f"{tiled.shape[1]}×{tiled.shape[0]}"
        print(f"{name}, {size}, encoded and decoded: {a:.1f} ms here, {b:.1f} ms there")


if __name__ == "__main__":
    main()
