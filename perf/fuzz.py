"""Throws damaged files at every decoder: each must give a picture or an error of ours, and soon.

    python perf/fuzz.py --count 5000
    python perf/fuzz.py bpg PNG --start 17 --count 1 --keep DIR

Decoders are the codecs that are usable here, by their names, and the formats of pictures that data
sets take, by Pillow's names (PNG, JPEG, …). Files are made by damaging good ones, each from its own
number, so that any one of them can be made again (of bpg as long as libbpg's vectors, which join
the good files, are there or not there as before). They are decoded in a process of its own under a
limit of memory. Findings are a process that died, an exception that is not ours, a picture of
another size than the file claims, more than MEMORY, and more than SLOW seconds of processor time
for a file; they are printed, with `--keep` written to a folder, and the exit code is 1.
"""

import argparse
import io
import multiprocessing
import re
import resource
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path

from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.codecs import CODECS, make
from bench.codecs.base import Codec
from bench.codecs.bpg import picture
from bench.codecs.bpg.bits import read_ue7
from bench.codecs.jpegxl import size as jpegxl_size
from bench.codecs.mapped import MappedCodec
from bench.datasets.images import FORMATS, orientation, read_rgb
from bench.errors import CodecError, ConfigError, DataError
from perf.fuzz_files import Material, of_bpg, of_codec, of_format

MAX_PIXELS = 2**24
"""What a decoder may be told to take, so that MEMORY is enough for a picture."""
MEMORY = 2**30
"""Bytes of address space beyond what the process has before it starts."""
SLOW = 5.0
STUCK = 60.0
"""Seconds of processor time for a file; of any time, after which the process is given up."""
EXTERNAL = ("vvc",)
"""Codecs that start a program for each file: a tenth of the files is enough."""

Size = tuple[int, int]
"""(width, height)"""


class MismatchError(Exception):
    """A picture is not of the size that the file claims."""


class TooLargeError(Exception):
    """A decoder was refused memory."""


@dataclass(frozen=True)
class Decoder:
    """`decode` gives the picture's size and the size that the file claims, if it can be asked."""

    material: Callable[[], Material]
    decode: Callable[[bytes], tuple[Size, Size | None]]

    def outcome(self, data: bytes) -> str:
        """ "picture", or the first words of our error; any other exception goes through."""
        try:
            decoded, claimed = self.decode(data)
        except (CodecError, DataError) as error:
            if _lacks_memory(error):
                raise TooLargeError(str(error)) from error
            text = re.sub(r"\S+/\S+", "FILE", str(error))
            return re.sub(r"\d+", "N", " ".join(text.split()[:8]))
        except MemoryError as error:
            raise TooLargeError(str(error)) from error
        if claimed is not None and decoded != claimed:
            raise MismatchError(f"{decoded} pixels, and the file claims {claimed}")
        return "picture"


def _lacks_memory(error: BaseException | None) -> bool:
    while error is not None:
        text = str(error)
        if isinstance(error, MemoryError) or re.search(r"allocat|emory", text):
            return "Security limit" not in text  # of libheif, which refuses without asking for it
        error = error.__cause__
    return False


def decoder(name: str) -> Decoder:
    """By its name in the table. Raises ConfigError."""
    if name == "bpg":
        return Decoder(of_bpg, _bpg)
    if name in FORMATS:
        return Decoder(lambda: of_format(name), _file)
    codec = make(name)
    return Decoder(lambda: of_codec(codec), lambda data: _codec(codec, data))


def _bpg(data: bytes) -> tuple[Size, Size | None]:
    decoded = picture.decode(data, max_pixels=MAX_PIXELS)
    height, width = decoded.rgb.shape[:2]
    return (width, height), (decoded.header.width, decoded.header.height)


def _codec(codec: Codec, data: bytes) -> tuple[Size, Size | None]:
    height, width = codec.decode(data).shape[:2]
    if codec.name in ("av1", "h264", "vvc"):
        first, at = read_ue7(data, 0)
        return (width, height), (first, read_ue7(data, at)[0])
    if codec.name in ("jpeg", "webp", "avif", "jpeg2000"):
        with Image.open(io.BytesIO(data)) as image:
            return (width, height), image.size
    return (width, height), jpegxl_size(data) if codec.name == "jpegxl" else None


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """Deleted with the process."""
    return tempfile.TemporaryDirectory(prefix="fuzz-")


def _place() -> Path:
    return Path(_folder().name) / "picture"


def _file(data: bytes) -> tuple[Size, Size | None]:
    """As data sets read pictures."""
    _place().write_bytes(data)
    height, width = read_rgb(_place()).shape[:2]
    with Image.open(_place()) as image:
        turned = isinstance(image, TiffImageFile) and orientation(image) in range(5, 9)
        return (width, height), image.size[::-1] if turned else image.size


def limited() -> None:
    """Tells the decoders what is too large."""
    warnings.simplefilter("ignore")
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # Pillow refuses twice that
    MappedCodec.max_pixels = MAX_PIXELS


# --- the process that decodes ---------------------------------------------------------------------


def _work(name: str, first: int, last: int, pipe: Connection) -> None:
    limited()
    chosen = decoder(name)
    material = chosen.material()
    for data in material.files:  # imports and tables of the libraries do not count
        chosen.outcome(data)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resting = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(first, last):
        pipe.send((number, None, 0.0, 0))
        data = material.damaged(number)
        started = time.process_time()
        try:
            result = chosen.outcome(data)
        except TooLargeError as error:
            result = f"FINDING too large: {error}"
        except BaseException as error:
            result = f"FINDING {type(error).__name__}: {error}"
        seconds = time.process_time() - started
        more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - resting
        pipe.send((number, result, seconds, more))


# --- the process that counts ----------------------------------------------------------------------


@dataclass
class Tally:
    """What came of one decoder's files."""

    files: int = 0
    pictures: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    crashed: int = 0
    raised: int = 0
    slow: int = 0
    large: int = 0
    slowest: float = 0.0
    peak: int = 0
    """KiB over the process at rest."""
    findings: list[tuple[int, str]] = field(default_factory=list)

    def count(self, number: int, result: str, seconds: float, kib: int) -> None:
        self.files += 1
        self.slowest, self.peak = max(self.slowest, seconds), max(self.peak, kib)
        if result == "picture":
            self.pictures += 1
        elif not result.startswith("FINDING"):
            self.refused[result] += 1
        elif result.startswith("FINDING too large"):
            self.large += 1
        else:
            self.raised += 1
        if seconds > SLOW:
            self.slow += 1
        if result.startswith("FINDING") or seconds > SLOW:
            self.findings.append((number, f"{result[:300]}, {seconds:.2f} s"))

    def lost(self, number: int, why: str, slow: bool) -> None:
        """With the process."""
        self.files += 1
        self.slow += slow
        self.crashed += not slow
        self.findings.append((number, why))

    def row(self, name: str) -> str:
        counts = (self.files, self.pictures, self.refused.total(), self.crashed, self.raised)
        counts += (self.slow, self.large)
        return (
            f"{name:10}" + "".join(f"{n:10d}" for n in counts) + f"{self.slowest:9.2f} s"
            f"{self.peak / 1024:8.0f} MiB"
        )


HEAD = f"{'decoder':10}" + "".join(
    f"{word:>10}"
    for word in ("files", "pictures", "refused", "crashed", "raised", "too slow", "too large")
)


def _results(
    name: str, first: int, last: int
) -> Iterator[tuple[int, str | None, float, int] | tuple[int, BaseException | int | None]]:
    """What a process says of the files from `first` on, and at its end (the number of the file
    that it was at, its exit code; None if it is stuck)."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(
        target=_work, args=(name, first, last, theirs)
    )
    process.start()
    theirs.close()
    number, said = first, False
    try:
        while ours.poll(STUCK if said else 300):
            message = ours.recv()
            number, said = message[0] + (message[1] is not None), True
            if message[1] is not None:
                yield message
        yield number, None
    except EOFError:
        process.join()
        yield number, process.exitcode
    finally:
        process.kill()
        process.join()


def fuzz(name: str, first: int, count: int) -> Tally:
    """Runs the files first … first + count - 1 of a decoder."""
    tally, number, last = Tally(), first, first + count
    while number < last:
        if tally.crashed > 100:
            raise RuntimeError(f"{name}: more than 100 crashes, given up")
        for said in _results(name, number, last):
            if len(said) == 4:
                tally.count(*said)  # type: ignore[arg-type]
                number = said[0] + 1
            elif said[0] < last:
                code = said[1]
                if code is None:
                    why = f"stuck for {STUCK:g} s"
                else:
                    dead = signal.Signals(-code).name if code < 0 else f"exit code {code}"
                    why = f"the process died: {dead}"
                tally.lost(said[0], why, slow=code is None)
                number = said[0] + 1
    return tally


def usable() -> list[str]:
    """Names of decoders that work here."""
    names = []
    for name in CODECS.names():
        try:
            make(name)
        except ConfigError as error:
            print(f"{name}: left out: {error}"[:100])
        else:
            names.append(name)
    return [*names, *FORMATS]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("decoders", nargs="*", help="default: all that are usable here")
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--keep", type=Path, help="folder for the files of findings")
    a = parser.parse_args()
    findings = 0
    print(HEAD + "    slowest        peak")
    for name in a.decoders or usable():
        tally = fuzz(name, a.start, a.count // (10 if name in EXTERNAL else 1))
        print(tally.row(name), flush=True)
        for number, what in tally.findings[:20]:
            print(f"    {name} --start {number} --count 1: {what}", flush=True)
            if a.keep:
                a.keep.mkdir(parents=True, exist_ok=True)
                material = decoder(name).material()
                (a.keep / f"{name}-{number}").write_bytes(material.damaged(number))
        findings += len(tally.findings)
    return int(findings > 0)


if __name__ == "__main__":
    sys.exit(main())
