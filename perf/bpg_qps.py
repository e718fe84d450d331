"""Do bits and PSNR fall with the QP? Every QP, on parts of photographs, in every format.

    python perf/bpg_qps.py DIR --count 36

DIR holds pictures. Printed is each pair of neighbouring QPs whose bits rise by more than 1 % or
whose PSNR rises by more than 0.05 dB, and each step of 3 from QP 3 up over which one does not fall.
"""

import argparse
import itertools
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.codecs import make
from bench.codecs.bpg.settings import COLOR_SPACES, PIXEL_FORMATS
from bench.codecs.files import read_picture
from bench.errors import DataError
from perf.bpg_vectors import psnr

FORMATS = [
    {"pixel_format": f, "color_space": c, "bit_depth": b}
    for f, c, b in itertools.product(PIXEL_FORMATS, COLOR_SPACES, (8, 10))
    if (c != "rgb" or f == "4:4:4") and (c == "ycbcr" or f != "gray")
]


def faults(rgb: NDArray[np.uint8], options: dict[str, object]) -> list[str]:
    codec = make({"name": "bpg", **options})
    files = [codec.encode(rgb, qp) for qp in codec.qps]
    size = [len(data) for data in files]
    quality = [psnr(codec.decode(data), rgb) for data in files]
    found = []
    for q in range(51):
        if size[q + 1] > 1.01 * size[q]:
            found.append(f"QP {q} → {q + 1}: {size[q]} → {size[q + 1]} bytes")
        if quality[q + 1] > quality[q] + 0.05:
            found.append(
                f"QP {q} → {q + 1}: {quality[q]:.2f} → {quality[q + 1]:.2f} dB, {size[q]} bytes"
            )
    for q in range(3, 49):
        if size[q + 3] >= size[q]:
            found.append(f"QP {q} → {q + 3}: {size[q]} → {size[q + 3]} bytes")
        if quality[q + 3] >= quality[q]:
            found.append(
                f"QP {q} → {q + 3}: {quality[q]:.2f} → {quality[q + 3]:.2f} dB, {size[q]} bytes"
            )
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=36)
    a = parser.parse_args()
    rng = np.random.default_rng(0)
    paths = sorted(a.folder.iterdir())
    done = total = 0
    while done < a.count:
        path = paths[rng.integers(len(paths))]
        try:
            rgb, _ = read_picture(path)
        except DataError:
            continue
        height, width = (min(side, int(rng.integers(64, 256))) for side in rgb.shape[:2])
        top = int(rng.integers(0, rgb.shape[0] - height + 1))
        left = int(rng.integers(0, rgb.shape[1] - width + 1))
        part = rgb[top : top + height, left : left + width]
        options = FORMATS[done % len(FORMATS)]
        if options["pixel_format"] == "gray":
            part = np.repeat(part[..., 1:2], 3, axis=2)
        for fault in faults(part, options):
            total += 1
            print(f"{path.name} {width}×{height} {options}: {fault}", flush=True)
        done += 1
    print(f"{done} pictures × 52 QPs: {total} faults")
    return 0


if __name__ == "__main__":
    sys.exit(main())
