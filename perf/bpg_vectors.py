"""Our .bpg files beside libbpg's own: bytes, PSNR over RGB, BD-rate.

    python perf/bpg_vectors.py ../shared/bpg_vectors

The folder holds pictures, files that bpgenc made of them, what bpgdec makes of these, and
`manifest.json`. Sources with two QPs give a BD-rate over a straight line.
"""

import argparse
import json
import sys
from pathlib import Path

import bjontegaard
import numpy as np
from numpy.typing import NDArray
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.codecs import make
from bench.codecs.bpg.container import BpgFile


def read(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.array(image.convert("RGB"))


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    error = np.mean((a.astype(float) - b) ** 2)
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


def front(data: bytes) -> bytes:
    """Header and short SPS: what stands before the first NAL unit."""
    return data[: data.index(BpgFile.parse(data).nals[0])]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    names = {"-f": "pixel_format", "-c": "color_space", "-b": "bit_depth", "-m": "level"}
    curves: dict[str, list[tuple[int, float, int, float]]] = {}
    print("vector            libbpg            ours               size     PSNR  header and SPS")
    for vector in json.loads((folder / "manifest.json").read_text())["vectors"]:
        options: dict[str, object] = {"name": "bpg"}
        qp = 0
        words = iter(vector["args"])
        for word in words:
            if word == "-q":
                qp = int(next(words))
            elif word in names:
                value = next(words)
                options[names[word]] = int(value) if value.isdigit() else value
            else:
                options[{"-lossless": "lossless", "-limitedrange": "limited_range"}[word]] = True
        if vector["source"].startswith("gray"):
            options["pixel_format"] = "gray"
        source = read(folder / vector["source"])
        theirs = (folder / f"{vector['name']}.bpg").read_bytes()
        their_psnr = psnr(read(folder / f"{vector['name']}.png"), source)
        codec = make(options)
        ours = codec.encode(source, qp)
        our_psnr = psnr(codec.decode(ours), source)
        print(
            f"{vector['name']:16} {len(theirs):6d} {their_psnr:6.2f} dB  "
            f"{len(ours):6d} {our_psnr:6.2f} dB  {100 * (len(ours) / len(theirs) - 1):+6.1f} %  "
            f"{our_psnr - their_psnr:+6.2f}  {'same' if front(ours) == front(theirs) else 'OTHER'}"
        )
        if len(vector["args"]) == 2 and vector["name"].endswith("_420"):
            point = (len(theirs), their_psnr, len(ours), our_psnr)
            curves.setdefault(vector["source"], []).append(point)
    for source_name, points in curves.items():
        columns = np.array(sorted(points)).T
        rate = bjontegaard.bd_rate(*columns, method="pchip", min_overlap=0)
        print(f"{source_name}: BD-rate {rate:+.1f} % over {len(points)} QPs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
