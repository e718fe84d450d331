"""Throws damaged .bpg files at the decoder: each must give a picture or a BpgError, and soon.

    python perf/bpg_fuzz.py --count 200000

Files are made by damaging good ones (bits, bytes, lengths, sizes, whole NAL units, the ends), each
from its own number, so that any one of them can be made again: `--start N --count 1`, as long as
libbpg's vectors, which join the good files, are there or not there as before. They are
decoded in a process of its own under a limit of memory; a crash, an exception that is no BpgError,
memory refused, or more than two seconds for a file is a finding, printed, and the exit code is 1.
"""

import argparse
import multiprocessing
import random
import re
import resource
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.codecs.bpg import picture
from bench.codecs.bpg.bits import BpgError, write_ue7
from bench.codecs.bpg.container import BpgFile
from bench.codecs.bpg.header import ColorSpace, Extension, PixelFormat
from bench.codecs.bpg.nal import START_CODE
from bench.codecs.bpg.settings import Settings

VECTORS = Path(__file__).resolve().parents[2] / "shared" / "bpg_vectors"
MAX_PIXELS = 2**24
MEMORY = 2**30  # bytes of address space beyond what the process has before it starts
SLOW = 2.0  # seconds for one file
LARGEST = 2**18  # bytes of a file
STUCK = 20.0  # seconds after which the process is given up


@cache
def good_files() -> tuple[bytes, ...]:
    """Small files of every kind, and libbpg's if they are here."""
    y, x = np.mgrid[0:40, 0:56]
    noise = np.random.default_rng(0).integers(0, 30, (40, 56, 3))
    rgb = (np.stack((3 * x, 4 * y, 255 - 2 * x - y), axis=-1) * 3 // 4 + noise).astype(np.uint8)
    alpha = (255 - 2 * (x + y)).clip(0).astype(np.uint8)
    files = []
    for pixel_format in PixelFormat:
        for bit_depth in (8, 10):
            files.append(
                picture.encode(rgb, 30, Settings(pixel_format=pixel_format, bit_depth=bit_depth))
            )
    rgb444 = {"pixel_format": PixelFormat.YUV444, "color_space": ColorSpace.RGB}
    files += [
        picture.encode(rgb, 30, Settings(), alpha=alpha),
        picture.encode(rgb, 40, Settings(bit_depth=12)),
        picture.encode(rgb, 40, Settings(level=1, limited_range=True)),
        picture.encode(rgb[:20, :20], 0, Settings(lossless=True, **rgb444)),
        picture.encode(rgb[:1, :1], 20, Settings()),
        picture.encode(rgb, 20, Settings(), extensions=(Extension(1, b"exif"), Extension(9, b""))),
    ]
    plain = BpgFile.parse(files[2])
    twice = replace(plain, header=replace(plain.header, animation=True), nals=plain.nals * 2)
    stated = replace(plain, header=replace(plain.header, picture_data_length=1))
    premultiplied = BpgFile.parse(files[12])
    header = replace(premultiplied.header, alpha2=True)
    files += [twice.write(), stated.write(), replace(premultiplied, header=header).write()]
    files.append(replace(premultiplied, header=replace(header, alpha1=False)).write())
    files += [path.read_bytes() for path in sorted(VECTORS.glob("*.bpg"))]
    return tuple(files)


def damaged(number: int) -> bytes:
    """The file of that number."""
    rng = random.Random(number)
    data = bytearray(rng.choice(good_files()))
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        rng.choice(_DAMAGES)(data, rng)
        del data[LARGEST:]
    return bytes(data)


def _place(data: bytearray, rng: random.Random) -> int:
    """A position: half of them in the first 40 bytes, where most of the syntax is."""
    return rng.randrange(min(len(data), 40) if rng.random() < 0.5 else len(data)) if data else 0


def _bit(data: bytearray, rng: random.Random) -> None:
    if data:
        data[_place(data, rng)] ^= 1 << rng.randrange(8)


def _byte(data: bytearray, rng: random.Random) -> None:
    if data:
        data[_place(data, rng)] = rng.choice((0, 1, 3, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def _cut(data: bytearray, rng: random.Random) -> None:
    del data[_place(data, rng) :]


def _remove(data: bytearray, rng: random.Random) -> None:
    at = _place(data, rng)
    del data[at : at + rng.choice((1, 2, 3, 16))]


def _insert(data: bytearray, rng: random.Random) -> None:
    at = _place(data, rng)
    data[at:at] = rng.randbytes(rng.choice((1, 2, 3, 16, 300)))


def _repeat(data: bytearray, rng: random.Random) -> None:
    first, second = sorted((_place(data, rng), _place(data, rng)))
    data[second:second] = data[first:second] * rng.choice((1, 2, 50))


def _join(data: bytearray, rng: random.Random) -> None:
    data[_place(data, rng) :] = rng.choice(good_files())[rng.randrange(12) :]


def _size(data: bytearray, rng: random.Random) -> None:
    """Another width and height, where these stand in most files."""
    sizes = (1, 7, 64, 1000, 4096, 5000, 2**16, 2**31, 2**32 - 1)
    data[6:9] = write_ue7(rng.choice(sizes)) + write_ue7(rng.choice(sizes)) + b"\0"


def _units(data: bytearray, rng: random.Random) -> None:
    """NAL units in another order, some of them many times, some of another type."""
    parts = bytes(data).split(START_CODE)
    parts += [rng.choice(parts) for _ in range(rng.choice((1, 2, 60)))]
    head, rest = parts[0], parts[1:]
    rng.shuffle(rest)
    if rest and len(rest[0]) > 2:
        rest[0] = bytes((rng.randrange(128), rng.choice((1, 9, rng.randrange(256))))) + rest[0][2:]
    data[:] = START_CODE.join([head, *rest])


_DAMAGES: tuple[Callable[[bytearray, random.Random], None], ...] = (
    *(_bit, _bit, _bit, _byte, _byte, _cut, _cut),
    *(_remove, _insert, _repeat, _join, _size, _units),
)


def outcome(data: bytes) -> str:
    """ "picture", or the first words of the BpgError; any other exception goes through."""
    try:
        decoded = picture.decode(data, max_pixels=MAX_PIXELS)
    except BpgError as error:
        if "allocate" in str(error):
            raise MemoryError(str(error)) from error
        return re.sub(r"\d+", "N", " ".join(str(error).split()[:6]))
    height, width = decoded.rgb.shape[:2]
    if (width, height) != (decoded.header.width, decoded.header.height):
        raise AssertionError(f"{width}×{height} pixels are not what the header says")
    return "picture"


def _work(first: int, last: int, pipe: Connection) -> None:
    warnings.simplefilter("ignore")
    good_files()
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number in range(first, last):
        pipe.send((number, None, 0.0))
        started = time.perf_counter()
        try:
            result = outcome(damaged(number))
        except BaseException as error:
            result = f"FINDING {type(error).__name__}: {error}"
        pipe.send((number, result, time.perf_counter() - started))


def fuzz(first: int, count: int) -> int:
    """Runs the files first … first + count - 1, prints what came out → how many findings."""
    results: Counter[str] = Counter()
    findings, slowest, number = [], (0.0, first), first
    started = said = time.perf_counter()
    while number < first + count:
        ours, theirs = multiprocessing.Pipe(duplex=False)
        process = multiprocessing.get_context("spawn").Process(
            target=_work, args=(number, first + count, theirs)
        )
        process.start()
        theirs.close()
        try:
            while ours.poll(STUCK if number > first else 120):
                number, result, seconds = ours.recv()
                if result is None:
                    continue
                results[result if not result.startswith("FINDING") else "FINDING"] += 1
                slowest = max(slowest, (seconds, number))
                if result.startswith("FINDING") or seconds > SLOW:
                    findings.append(f"{number}: {result}, {seconds:.2f} s")
                    print(findings[-1], flush=True)
                number += 1
                if time.perf_counter() - said > 60:
                    said = time.perf_counter()
                    print(f"{number - first} files, {said - started:.0f} s", flush=True)
            findings.append(f"{number}: stuck for {STUCK} s")
        except EOFError:
            if number < first + count:
                process.join()
                findings.append(f"{number}: the process died, exit code {process.exitcode}")
        if number < first + count:
            print(findings[-1], flush=True)
            number += 1
        process.kill()
        process.join()
    for result, times in results.most_common():
        print(f"{times:8d}  {result}")
    print(
        f"{count} files in {time.perf_counter() - started:.0f} s, slowest {slowest[0]:.2f} s "
        f"(file {slowest[1]}), findings: {len(findings)}"
    )
    return len(findings)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--count", type=int, default=200_000)
    arguments = parser.parse_args()
    return int(fuzz(arguments.start, arguments.count) > 0)


if __name__ == "__main__":
    sys.exit(main())
