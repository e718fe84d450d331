"""The usual pipeline of a shell and files against a run of this suite: whole, cold, side by side.

    python perf/end_to_end.py --data-root DIR --weights FILE --images 40 --qps 37,41,45,49

Theirs does one thing after the other. ffmpeg codes each picture, a PNG on disk, at each QP: one
intra picture by x265 as `bpg` asks for it, but on as many threads as x265 takes. ffmpeg decodes
each file to a PNG. Then a process loads the task model once and predicts on one PNG at a time.
Ours is `run_bench.py` with the same pictures, QPs and model and an empty cache, from its start to
the report, the accuracy of the uncompressed pictures included; theirs ends with the predictions.
The model's own training loss, which theirs has no part for, is left out of ours (`loss: false`).

DIR has the layout of COCO (instances.json, images/), and FILE is a checkpoint of mmdet's
YOLOX-nano. Without DIR it is the built-in scenes with their detector. The pictures are written as
PNG before any clock runs.
"""

import argparse
import multiprocessing
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import api
from bench import config as configs
from bench.boundary import settled
from bench.codecs.bpg import x265
from bench.codecs.bpg.settings import Settings
from bench.models.base import LIBRARIES, ModelSpec
from bench.results.names import IMAGES
from bench.sweep.plan import plan

RUN = Path(__file__).resolve().parents[1] / "run_bench.py"
METHOD = "bpg"
PINNED = ("pools=", "wpp=", "frame-threads=")
"""What holds x265 to one thread, of what `bpg` asks of it."""
LOSS_OFF = "experiments.0.models.0.loss=false"


def require_ffmpeg() -> None:
    if shutil.which("ffmpeg") is None:
        raise SystemExit("ffmpeg is not on PATH: the other pipeline is made of it; install it")
    listed = subprocess.run(
        ["ffmpeg", "-hide_banner", "-encoders"], capture_output=True, text=True, check=True
    )
    if "libx265" not in listed.stdout:
        raise SystemExit(
            "this ffmpeg has no libx265 (`ffmpeg -encoders` lists what it has); install one with it"
        )


def ffmpeg(*words: object) -> None:
    command = ["ffmpeg", "-hide_banner", "-nostdin", "-y", "-v", "error", *map(str, words)]
    subprocess.run(command, check=True)


def coded(png: Path, qp: int, stream: Path) -> None:
    """Padded, since x265 takes no odd sides; full-range BT.601 in 4:2:0."""
    with Image.open(png) as image:
        ctu, step = x265.block_sizes(*image.size)
    asked = ":".join(p for p in x265.PARAMS.split(":") if not p.startswith(PINNED))
    pad = f"pad=ceil(iw/{step})*{step}:ceil(ih/{step})*{step}"
    filters = f"{pad},scale=out_color_matrix=bt601:out_range=full,format=yuv420p"
    params = f"qp={qp}:ctu={ctu}:min-cu-size={step}:{asked}:info=0"
    how = ["-preset", x265.preset(Settings().level), "-tune", x265.TUNE, "-x265-params", params]
    ffmpeg("-i", png, "-vf", filters, "-frames:v", 1, "-c:v", "libx265", *how, "-f", "hevc", stream)


def decoded(stream: Path, like: Path, png: Path) -> None:
    with Image.open(like) as image:
        width, height = image.size
    filters = f"crop={width}:{height}:0:0,scale=in_color_matrix=bt601:in_range=full,format=rgb24"
    ffmpeg("-i", stream, "-vf", filters, "-frames:v", 1, png)


def predict(spec: ModelSpec, pngs: list[Path]) -> None:
    """A process of its own does this."""
    settled()
    model = LIBRARIES.get(spec.library).load(spec, api.chosen_device("auto"))
    for png in pngs:
        with Image.open(png) as image:
            model.predict([np.array(image)], False)


def theirs(pngs: list[Path], qps: list[int], spec: ModelSpec, folder: Path) -> tuple[float, int]:
    """Seconds, and bytes of all coded files."""
    started, seen, size = time.perf_counter(), [], 0
    for png in pngs:
        for qp in qps:
            stream, out = folder / f"{png.stem}-{qp}.265", folder / f"{png.stem}-{qp}.png"
            coded(png, qp, stream)
            decoded(stream, png, out)
            size += stream.stat().st_size
            seen.append(out)
    process = multiprocessing.get_context("spawn").Process(target=predict, args=(spec, seen))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit("the task model failed on their pictures")
    return time.perf_counter() - started, size


def ours(options: list[str], folder: Path) -> tuple[float, int]:
    """As `theirs`."""
    out = folder / "run"
    started = time.perf_counter()
    subprocess.run([sys.executable, RUN, *options, "--out", out], check=True)
    seconds = time.perf_counter() - started
    return seconds, int(pd.read_parquet(out / IMAGES)["bits"].sum()) // 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data-root", help="a folder in COCO's layout")
    parser.add_argument("--weights", help="of mmdet's YOLOX-nano")
    parser.add_argument("--images", type=int, default=40, help="the first N of the data set")
    parser.add_argument("--qps", default="37,41,45,49")
    a = parser.parse_args()
    require_ffmpeg()
    name = "coco_yolox_nano" if a.data_root else "mini"
    options = ["--config", name, "--tasks", "det", "--methods", METHOD, "--qps", a.qps]
    options += ["--limit", str(a.images), "--set", LOSS_OFF, "--quiet"]
    options += ["--data-root", a.data_root] if a.data_root else []
    options += ["--weights", a.weights] if a.weights else []

    qps = [int(qp) for qp in a.qps.split(",")]
    config = configs.narrowed(
        configs.load(configs.built_in(name)),
        tasks=["det"],
        methods=[METHOD],
        qps=qps,
        data_root={"": a.data_root} if a.data_root else None,
        weights={"": a.weights} if a.weights else None,
    )
    (experiment,) = plan(config, api.chosen_device("auto"), a.images)
    samples, spec = experiment.dataset.samples, experiment.models[0].spec
    with tempfile.TemporaryDirectory() as work:
        pngs = [Path(work, f"{i:06}.png") for i in range(len(samples))]
        for sample, png in zip(samples, pngs, strict=True):
            Image.fromarray(sample.load()).save(png)
        n = f"{len(pngs)} pictures of {experiment.dataset.name} × {len(qps)} QPs, {spec.name}"
        print(f"{n}; the model's own loss is left out of ours by `--set {LOSS_OFF}`", flush=True)
        (their_seconds, their_bytes), (our_seconds, our_bytes) = (
            theirs(pngs, qps, spec, Path(work)),
            ours(options, Path(work)),
        )
    print(f"theirs: {their_seconds:8.1f} s, {their_bytes} bytes coded")
    print(f"ours:   {our_seconds:8.1f} s, {our_bytes} bytes coded")
    print(f"theirs / ours: {their_seconds / our_seconds:.2f} ×")


if __name__ == "__main__":
    main()
