"""mAP of many resamples: ours beside pycocotools' accumulate, and at the size of COCO val2017.

    python perf/resampling.py RESULTS                  # a results folder with a detection task
    python perf/resampling.py RESULTS --images 5000    # its images drawn to so many

Both sides start from matches that were made once, the statistics on disk. pycocotools' accumulate
is given the matches of the resampled list of images, area "all" and 100 detections alone, which is
the least that it can do; it is timed on a few resamples and said to take as long for each. Seconds
are those of the processor, which a busy machine does not stretch; memory is the process's peak.
"""

import argparse
import contextlib
import io
import resource
import sys
import time
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pycocotools.cocoeval import COCOeval

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.analysis.bootstrap import resample_weights
from bench.analysis.results import load
from bench.tasks.average_precision import average_precisions


def tables(root: Path, count: int) -> tuple[list[pa.Table], int]:
    """The statistics of the first `count` operating points of the first detection task."""
    results = load(root)
    experiment = next(e for e in results.manifest.experiments if e.task == "det")
    points = [(m, qp) for m, qps in experiment.methods.items() for qp in qps][:count]
    found = [results.statistics(experiment, experiment.models[0], *point) for point in points]
    plain = [
        t.filter(pc.invert(pc.is_valid(t["loss"]))) if "loss" in t.column_names else t
        for t in found
    ]
    return plain, experiment.n_images


def enlarged(table: pa.Table, n_images: int, wanted: int) -> pa.Table:
    """`wanted` images drawn from those of the table, with scores of their own."""
    rng = np.random.default_rng(0)
    frame = table.to_pandas()
    rows = dict(list(frame.groupby("image")))
    parts = []
    for new, old in enumerate(rng.integers(0, n_images, wanted).tolist()):
        if old in rows:
            parts.append(rows[old].assign(image=new))
    whole = pd.concat(parts, ignore_index=True)
    whole["score"] += rng.normal(0, 0.01, len(whole))
    schema = pa.schema([f for f in table.schema if f.name != "loss"])
    return pa.Table.from_pandas(whole[schema.names], schema, preserve_index=False)


def coco_matches(table: pa.Table) -> dict[tuple[int, int], dict[str, Any]]:
    """(category, image) → an entry of COCOeval.evalImgs."""
    bits = np.arange(10)[:, None]
    columns = ("category", "image", "is_object", "score", "rank", "matched", "ignored")
    category, image, is_object, score, rank, matched, ignored = (
        pc.fill_null(table[name], 0).to_numpy() if name == "matched" else table[name].to_numpy()
        for name in columns
    )
    order = np.lexsort((rank, image, category))
    starts = np.flatnonzero(
        np.diff(category[order], prepend=-1) | np.diff(image[order], prepend=-1)
    )
    entries = {}
    for rows in np.split(order, starts[1:]):
        found, objects = rows[~is_object[rows]], rows[is_object[rows]]
        entries[int(category[rows[0]]), int(image[rows[0]])] = {
            "dtIds": list(range(len(found))),
            "dtMatches": (matched[found].astype(np.int64) >> bits) & 1,
            "dtScores": score[found].tolist(),
            "dtIgnore": ((ignored[found].astype(np.int64) >> bits) & 1).astype(bool),
            "gtIgnore": (ignored[objects] != 0).astype(int),
        }
    return entries


def accumulate(
    entries: dict[tuple[int, int], dict[str, Any]], order: NDArray[np.int64]
) -> tuple[float, float]:
    """Seconds of COCOeval.accumulate on the list of images `order`, and its mAP."""
    categories = sorted({category for category, _ in entries})
    evaluation: Any = COCOeval(iouType="bbox")
    p = evaluation.params
    p.catIds, p.imgIds, p.maxDets = categories, list(range(len(order))), [100]
    p.areaRng, p.areaRngLbl = p.areaRng[:1], p.areaRngLbl[:1]
    evaluation._paramsEval = p
    evaluation.evalImgs = [entries.get((c, i)) for c in categories for i in order.tolist()]
    with contextlib.redirect_stdout(io.StringIO()):
        started = time.process_time()
        evaluation.accumulate()
        seconds = time.process_time() - started
    precision = evaluation.eval["precision"]
    return seconds, float(precision[precision > -1].mean())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--points", type=int, default=15)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--images", type=int, help="draw the set to so many images")
    parser.add_argument(
        "--checks", type=int, default=2, help="pycocotools' resamples of each of three points"
    )
    parser.add_argument("--threads", type=int, default=1)
    a = parser.parse_args()
    found, n = tables(a.results, a.points)
    if a.images:
        found, n = [enlarged(t, n, a.images) for t in found], a.images
    detections = np.mean([pc.sum(pc.invert(t["is_object"])).as_py() for t in found])
    print(f"{n} images, {len(found)} points, {detections:.0f} detections a point")
    weights = resample_weights(np.ones(n, bool), a.resamples, 0, "perf")

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started, wall = time.process_time(), time.perf_counter()
    pool = joblib.Parallel(n_jobs=a.threads, prefer="threads")
    scores = pool(joblib.delayed(average_precisions)(t, weights) for t in found)
    ours, wall = time.process_time() - started, time.perf_counter() - wall
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"ours: {ours:.2f} s of processor ({wall:.1f} s on the clock, {a.threads} threads) for "
        f"{a.resamples} resamples of {len(found)} points, "
        f"{1e3 * ours / len(found) / a.resamples:.4f} ms each; peak {peak / 1024:.0f} MiB, "
        f"{(peak - before) / 1024:.0f} of them for this"
    )
    if not a.checks:
        return 0
    times, worst = [], 0.0
    for table, score in list(zip(found, scores, strict=True))[:: max(1, len(found) // 3)]:
        entries = coco_matches(table)
        for b in range(1, 1 + a.checks):
            seconds, value = accumulate(entries, np.repeat(np.arange(n), weights[b]))
            times.append(seconds)
            worst = max(worst, abs(value - score[b, 0]))
    theirs = float(np.mean(times)) * a.resamples * len(found)
    print(
        f"pycocotools' accumulate: {1e3 * np.mean(times):.1f} ms each, {theirs:.0f} s for all: "
        f"{theirs / ours:.0f} times as long; largest difference in mAP {worst:.1e}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
