"""Where the time of a .bpg picture goes, and how coding scales over threads.

    python perf/bpg_speed.py --images DIR --size 640x480 --qp 37 --threads 1,2

Without --images a rendered picture is used. Each picture is coded and decoded once per round; the
best round counts. "inside the libraries" is the time in libx265 (through libav) and in libav's
HEVC decoder, once each; the overhead is everything else: colour conversion, container, the second
decoding that tells a file that is cut short. Fewer cores than threads: others were using them.
"""

import argparse
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.codecs import make
from bench.codecs.bpg import colour, x265
from bench.codecs.bpg.container import BpgFile
from bench.codecs.bpg.header import Header
from perf.bpg_large import picture as rendered


def pictures(folder: Path | None, width: int, height: int, count: int) -> list[NDArray[np.uint8]]:
    """Those of exactly that size (or turned), or one rendered picture, `count` in all."""
    if folder is None:
        return [rendered(width, height)] * count
    found = []
    for path in sorted(folder.iterdir()):
        with Image.open(path) as image:
            if image.size in ((width, height), (height, width)):
                found.append(np.array(image.convert("RGB")))
        if len(found) == count:
            break
    return found


def profile(rgb: NDArray[np.uint8], qp: int, times: dict[str, float]) -> None:
    """Adds the seconds of each step to `times`."""

    def timed(step: str, function: Callable[..., Any], *args: Any, **keywords: Any) -> Any:
        started = time.perf_counter()
        result = function(*args, **keywords)
        times[step] = times.get(step, 0.0) + time.perf_counter() - started
        return result

    codec = make("bpg")
    header = Header(rgb.shape[1], rgb.shape[0])
    planes = timed("colour.to_planes", colour.to_planes, rgb, header)
    sps, nals = timed("libx265", x265.encode, planes, qp, chroma_format_idc=1)
    data = timed("container: write", BpgFile(header, sps, nals).write)
    file = timed("container: parse", BpgFile.parse, data)
    still = timed("container: to HEVC", file.still)
    planes = timed("libav", x265.decode, still, sps, check_end=False)
    timed("colour.to_rgb", colour.to_rgb, planes, header)
    timed("encode", codec.encode, rgb, qp)
    timed("decode", codec.decode, data)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--images", type=Path)
    parser.add_argument("--size", default="640x480")
    parser.add_argument("--qp", type=int, default=37)
    parser.add_argument("--count", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", default="1,2")
    a = parser.parse_args()
    cv2.setNumThreads(1)
    width, height = map(int, a.size.split("x"))
    images = pictures(a.images, width, height, a.count)
    if not images:
        parser.error(f"no picture of {a.size} in {a.images}")
    best: dict[str, float] = {}
    for _ in range(a.rounds):
        times: dict[str, float] = {}
        for rgb in images:
            profile(rgb, a.qp, times)
        best = {step: min(seconds, best.get(step, seconds)) for step, seconds in times.items()}
    for step, seconds in best.items():
        print(f"{step:20} {1e3 * seconds / len(images):8.2f} ms")
    inside = best["libx265"] + best["libav"]
    both = best["encode"] + best["decode"]
    print(f"encode + decode is {both / inside:.3f} × the time inside the libraries")

    codec = make("bpg")
    base = 0.0
    for threads in map(int, a.threads.split(",")):
        rounds = []
        for _ in range(a.rounds):
            with ThreadPoolExecutor(threads) as pool:
                started, used = time.perf_counter(), time.process_time()
                list(pool.map(lambda rgb: codec.encode(rgb, a.qp), images))
                rounds.append((time.perf_counter() - started, time.process_time() - used))
        seconds, busy = min(rounds)
        rate = len(images) / seconds
        base = base or rate
        print(
            f"{threads} threads: {rate:.2f} pictures encoded a second, × {rate / base:.2f}, "
            f"on {busy / seconds:.2f} cores"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
