"""Codes one large picture in every chroma format: seconds, memory, PSNR.

    python perf/bpg_large.py --width 6000 --height 4000

Each format runs in a process of its own, so that the peak of its memory is its own. The picture is
made here, from noise of several scales, so that it has the detail of a photograph.
"""

import argparse
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.codecs.bpg import BpgCodec, Settings
from bench.codecs.bpg.header import PixelFormat


def picture(width: int, height: int) -> NDArray[np.uint8]:
    """(height, width, 3): noise whose amplitude halves as its scale does."""
    rng = np.random.default_rng(0)
    total = np.full((height, width, 3), 128, np.float32)
    for octave in range(9):
        step = 2 ** (8 - octave)
        size = (height // step + 2, width // step + 2)
        luma = rng.standard_normal((*size, 1)) * 45 * 0.75**octave
        chroma = rng.standard_normal((*size, 3)) * 15 * 0.5**octave
        noise = (luma + chroma).astype(np.float32)
        total += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(np.rint(total), 0, 255).astype(np.uint8)


def peak_memory() -> float:
    """MiB this process has had in memory at its largest."""
    words = Path("/proc/self/status").read_text().split()
    return int(words[words.index("VmHWM:") + 1]) / 1024


def measure(pixel_format: PixelFormat, path: Path, qp: int) -> None:
    rgb = np.load(path)
    height, width = rgb.shape[:2]
    if pixel_format is PixelFormat.GRAY:
        rgb = np.repeat(rgb[..., 1:2], 3, axis=2)
    codec = BpgCodec(Settings(pixel_format=pixel_format))
    before = peak_memory()
    start = time.perf_counter()
    data = codec.encode(rgb, qp)
    encoded = time.perf_counter()
    decoded = codec.decode(data)
    end = time.perf_counter()
    peak = peak_memory()
    if decoded.shape != rgb.shape:
        raise AssertionError(f"{decoded.shape} came back for {rgb.shape}")
    difference = cv2.norm(decoded, rgb, cv2.NORM_L2SQR) / rgb.size
    print(
        f"{pixel_format.name:15} encode {encoded - start:6.1f} s, decode {end - encoded:5.2f} s, "
        f"{8 * len(data) / (width * height):.3f} bpp, "
        f"PSNR {10 * np.log10(255**2 / difference):.2f} dB, "
        f"peak {peak:.0f} MiB ({before:.0f} before)",
        flush=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--width", type=int, default=6000)
    parser.add_argument("--height", type=int, default=4000)
    parser.add_argument("--qp", type=int, default=37)
    a = parser.parse_args()
    cv2.setNumThreads(1)
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "picture.npy")  # made here: making it takes more memory than coding it
        np.save(path, picture(a.width, a.height))
        for pixel_format in PixelFormat:
            process = multiprocessing.get_context("spawn").Process(
                target=measure, args=(pixel_format, path, a.qp)
            )
            process.start()
            process.join()
            failed += process.exitcode != 0
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
