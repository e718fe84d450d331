"""How each codec's own knob follows BPG's QP: fits the tables, and prints the rates they give.

    python perf/codec_qps.py DIR --fit avif,heic     # tables for `values` of these codecs
    python perf/codec_qps.py DIR                     # the table of rates in docs/codecs.md

DIR holds photographs, none of which may be among those that results are reported on. `--count` of
them are taken, evenly spread over their sorted names, and of each the middle square of `--side`
pixels. A rate is the mean over pictures of bits per pixel.
"""

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.codecs import make
from bench.codecs.files import read_picture
from bench.codecs.mapped import MappedCodec

QPS = np.arange(52)
BPG_QPS = [0, 4, 7, 10, 13, 16, 19, 22, 25, 28, 31, 34, 37, 40, 42, 44, 46, 48, 50, 51]
SHOWN = (22, 25, 28, 31, 34, 37, 40, 44, 48, 51)
CODECS: tuple[tuple[str, object], ...] = (
    ("bpg", "bpg"),
    ("bpg 4:4:4", {"name": "bpg", "pixel_format": "4:4:4"}),
    *((name, name) for name in ("jpeg", "webp", "avif", "jpeg2000", "jpegxl", "heic")),
    *((name, name) for name in ("av1", "h264")),
)
DISTINCT = {  # where several values of the knob are the same to the encoder, one of each
    "avif": sorted({round(100 * (63 - q) / 63) for q in range(64)}),  # libavif's quantiser 0…63
    "heic": list(range(0, 101, 2)),  # x265's CRF, whole numbers
}
KNOBS = {  # values from fine to coarse that rates are measured at
    "jpeg": np.r_[100:0:-3, 4, 3, 2],
    "webp": np.r_[100:0:-3, 4, 3, 2],
    "avif": np.array(DISTINCT["avif"])[::-3],
    "heic": np.array(DISTINCT["heic"])[::-2],
    "av1": np.r_[1:63:3, 63],
    "h264": np.r_[1:52:2],
    "jpegxl": np.geomspace(0.05, 25, 34),
    "jpeg2000": np.linspace(60, 18, 29),
}
DIGITS = {"jpegxl": 3, "jpeg2000": 4}  # significant, of a knob that is no whole number


def rate(codec: MappedCodec, pictures: Sequence[NDArray[np.uint8]], value: float) -> float:
    sizes = [8 * len(codec.encode_at(p, value)) / (p.shape[0] * p.shape[1]) for p in pictures]
    return float(np.mean(sizes))


def fit(
    name: str, target: NDArray[np.float64], pictures: Sequence[NDArray[np.uint8]]
) -> list[float]:
    """Log-rates of BPG by QP → values of the knob by QP."""
    codec = make(name)
    assert isinstance(codec, MappedCodec)
    knobs = KNOBS[name].astype(float)
    rates = np.log([rate(codec, pictures, k) for k in knobs])
    rates = np.minimum.accumulate(rates)  # np.interp wants them sorted
    if name in DIGITS:
        wanted = np.interp(-target, -rates, knobs)
        return _spread(wanted, knobs, DIGITS[name])
    sign = 1 if knobs[-1] > knobs[0] else -1
    every = np.array(DISTINCT.get(name, range(101 if sign < 0 else 64)))[::sign]
    every = every[(sign * every >= sign * knobs[0]) & (sign * every <= sign * knobs[-1])]
    by_value = np.interp(sign * every, sign * knobs, rates)
    wanted = np.abs(by_value[None] - target[:, None]).argmin(1)
    # strictly towards coarser, once the finest is left: the last ones are dealt out one by one
    limit = len(every) - 1
    for q in reversed(range(52)):
        wanted[q] = max(min(wanted[q], limit), 0)
        limit = wanted[q] - 1
    return [float(every[i]) for i in wanted]


def _spread(wanted: NDArray[np.float64], knobs: NDArray[np.float64], digits: int) -> list[float]:
    """A knob that is no whole number: where BPG's rates are out of reach, even steps to its end."""
    sign = 1 if knobs[-1] > knobs[0] else -1
    values, coarsest = sign * wanted, sign * knobs[-1]
    reached = np.flatnonzero(values >= coarsest)
    if reached.size:
        first = max(1, reached[0] - 3)
        values[first:] = np.linspace(values[first - 1], coarsest, 53 - first)[1:]
    return [float(f"{sign * v:.{digits}g}") for v in values]


def _middle(rgb: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    top, left = (max(0, (n - side) // 2) for n in rgb.shape[:2])
    return np.ascontiguousarray(rgb[top : top + side, left : left + side])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=8)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--fit", type=lambda text: text.split(","), default=[])
    parser.add_argument("--jobs", type=int, default=1)
    a = parser.parse_args()
    files = sorted(p for p in a.folder.iterdir() if p.is_file())
    files = [files[i] for i in np.linspace(0, len(files) - 1, a.count).round().astype(int)]
    pictures = [_middle(read_picture(path)[0], a.side) for path in files]

    def mean_rate(spec: object, qp: int) -> float:
        codec = make(spec)  # type: ignore[arg-type]
        return float(
            np.mean([8 * len(codec.encode(p, qp)) / (p.shape[0] * p.shape[1]) for p in pictures])
        )

    with ThreadPoolExecutor(a.jobs) as pool:
        if a.fit:
            rates = list(pool.map(lambda qp: mean_rate("bpg", qp), BPG_QPS))
            target = np.interp(QPS, BPG_QPS, np.log(rates))
            for name, values in zip(
                a.fit, pool.map(lambda n: fit(n, target, pictures), a.fit), strict=True
            ):
                print(f"{name}: {', '.join(f'{v:g}' for v in values)}", flush=True)
            return
        print("| QP | " + " | ".join(map(str, SHOWN)) + " |")
        print("|---" * (len(SHOWN) + 1) + "|")
        for label, spec in CODECS:
            row = pool.map(lambda qp, spec=spec: f"{mean_rate(spec, qp):.2f}", SHOWN)
            print(f"| {label} | " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
