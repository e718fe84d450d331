"""How often the intervals cover the truth: the table of docs/statistics.md.

    python perf/coverage.py --out coverage.json             # every case; hours of one core
    python perf/coverage.py --out coverage.json --table     # the table of what is there

Sets of n images are drawn from a population whose true rates and accuracies are known, a curve of
an anchor and one of a method are measured on each, and intervals are made as the analysis makes
them. top-1: the truth is a closed form. mAP: the truth is that of 20,000 images. Cases that are in
the file already are not computed again.
"""

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.analysis.bdrate import bd, bd_metric_rows, bd_rate_rows
from bench.analysis.bootstrap import bca, interval, jackknife_weights, resample_weights
from bench.analysis.curves import prepare, prepare_rows
from bench.tasks.average_precision import average_precisions
from bench.tasks.detection import SCHEMA

Floats = NDArray[np.float64]
RATES = {"top-1": np.array([0.1, 0.2, 0.35, 0.6, 1.0]), "mAP": np.array([0.1, 0.25, 0.6])}
FACTOR = 0.9
"""The method's rates over the anchor's; it also loses a little accuracy."""
SPREAD = 0.5
"""Standard deviation of an image's log-rate."""
TRUTH_IMAGES = 20_000


@dataclass(frozen=True)
class Case:
    metric: str
    curve: str
    n: int
    trials: int
    resamples: int
    categories: int = 10

    @property
    def name(self) -> str:
        many = f", {self.categories} categories" if self.metric == "mAP" else ""
        return f"{self.metric}{many}, {self.curve}, n = {self.n}"


TOP1 = {"steep": [0.35, 0.5, 0.62, 0.71, 0.78], "flat": [0.74, 0.765, 0.78, 0.788, 0.791]}
LOCATED = {"steep": [-1.2, -0.4, 0.3], "flat": [0.3, 0.46, 0.54]}
"""Mean quality of a detection's box; the mAPs that come of it are printed."""


def cases() -> list[Case]:
    top1 = [Case("top-1", c, n, 1000, 1000) for n in (100, 250, 1000) for c in TOP1]
    maps = [
        Case("mAP", curve, n, trials, 400)
        for n, trials in ((100, 300), (250, 200), (1000, 100))
        for curve in LOCATED
    ]
    return [*top1, *maps[:4], Case("mAP", "steep", 155, 100, 400, 80), *maps[4:]]


# --- populations ----------------------------------------------------------------------------------


def mean_rates(case: Case) -> Floats:
    """Of the anchor's points, then of the method's."""
    return np.r_[RATES[case.metric], FACTOR * RATES[case.metric]]


def rates(case: Case, n: int, rng: np.random.Generator) -> Floats:
    """(n, points) bits per pixel of n images."""
    mean = mean_rates(case)
    size = rng.normal(size=(n, 1)) * SPREAD + rng.normal(size=(n, len(mean))) * 0.1
    return np.exp(size - (SPREAD**2 + 0.01) / 2) * mean


def top1(case: Case, rng: np.random.Generator) -> Floats:
    """(n, 10) right or wrong; a hard image is hard at every point."""
    accuracy = np.r_[TOP1[case.curve], np.array(TOP1[case.curve]) - 0.003]
    margin = np.array([NormalDist().inv_cdf(a) for a in accuracy]) * np.sqrt(1 + 0.4**2)
    difficulty = rng.normal(size=(case.n, 1)) + 0.4 * rng.normal(size=(case.n, 10))
    return (difficulty < margin).astype(float)


def detections(case: Case, n: int, rng: np.random.Generator) -> list[pa.Table]:
    """A table of matches per point; objects of an image, and an object at all points, are alike."""
    objects = rng.poisson(3, n)
    image = np.repeat(np.arange(n), objects)
    frequency = 1 / np.arange(1, case.categories + 1)
    category = rng.choice(case.categories, len(image), p=frequency / frequency.sum())
    ease = (0.5 * rng.normal(size=n))[image] + 0.8 * rng.normal(size=len(image))
    false = np.repeat(np.arange(n), rng.poisson(4, n))
    false_category = rng.choice(case.categories, len(false), p=frequency / frequency.sum())
    false_score = rng.normal(-0.8, 0.7, len(false))
    levels = np.r_[LOCATED[case.curve], np.array(LOCATED[case.curve]) - 0.01]
    tables = []
    for level in levels.tolist():
        quality = ease + level + 0.3 * rng.normal(size=len(image))
        found = quality > -1
        thresholds = np.clip(np.floor(5 + 4 * quality), 0, 10).astype(np.int64)[found]
        score = quality[found] + 0.5 * rng.normal(size=found.sum())
        m = len(score) + len(false)
        o = len(image)
        none = np.zeros(o, np.uint16)
        columns = [
            np.r_[np.zeros(m, bool), np.ones(o, bool)],
            np.r_[image[found], false, image],
            np.r_[category[found], false_category, category],
            np.r_[score, false_score + 0.2 * rng.normal(size=len(false)), none],
            np.r_[np.arange(m) % 100, none],
            np.r_[(1 << thresholds) - 1, np.zeros(len(false), np.int64), none],
            np.zeros(m + o),
        ]
        tables.append(
            pa.table(
                [
                    pa.array(c.astype(f.type.to_pandas_dtype()))
                    for c, f in zip(columns, SCHEMA, strict=True)
                ],
                names=SCHEMA.names,
            )
        )
    return tables


# --- trials ---------------------------------------------------------------------------------------


def measured(case: Case, n: int, weights: Any, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """(B, points) rates and accuracies of one set of n images under (B, n) weights."""
    counts = weights.astype(float)
    total = counts.sum(axis=1)[:, None]
    rate = counts @ rates(case, n, rng) / total
    if case.metric == "top-1":
        return rate, counts @ top1(case, rng) / total
    tables = detections(case, n, rng)
    return rate, np.column_stack([average_precisions(t, weights)[:, 0] for t in tables])


def truth(case: Case) -> dict[str, float]:
    rate = mean_rates(case)
    half = len(rate) // 2
    if case.metric == "top-1":
        accuracy = np.r_[TOP1[case.curve], np.array(TOP1[case.curve]) - 0.003]
    else:
        weights = np.ones((1, TRUTH_IMAGES), np.int64)
        tables = detections(case, TRUTH_IMAGES, np.random.default_rng(99))
        accuracy = np.array([average_precisions(t, weights)[0, 0] for t in tables])
        print(f"{case.name}: mAP {np.round(accuracy, 3)}", file=sys.stderr)
    result = bd(
        prepare(rate[:half], accuracy[:half], "raw"),
        prepare(rate[half:], accuracy[half:], "raw"),
        "pchip",
    )
    return {"accuracy": accuracy[1], "BD-rate": result.bd_rate, "BD-accuracy": result.bd_metric}


def trial(case: Case, seed: int) -> dict[str, dict[str, list[float] | None]]:
    """Quantity → kind of interval → its ends; None where withheld."""
    rng = np.random.default_rng([seed, case.n])
    everyone = np.ones(case.n, bool)
    weights = resample_weights(everyone, case.resamples, seed, case.name)
    rate, accuracy = measured(case, case.n, np.vstack([weights, jackknife_weights(everyone)]), rng)
    half = rate.shape[1] // 2
    anchor = prepare_rows(rate[:, :half], accuracy[:, :half], "pareto")
    test = prepare_rows(rate[:, half:], accuracy[:, half:], "pareto")
    found = {
        "accuracy": accuracy[:, 1],
        "BD-rate": bd_rate_rows(anchor, test, "pchip"),
        "BD-accuracy": bd_metric_rows(anchor, test, "pchip"),
    }
    ends: dict[str, dict[str, list[float] | None]] = {}
    for name, values in found.items():
        value, drawn, without = values[0], values[1 : len(weights)], values[len(weights) :]
        bounds = {
            "percentile": interval(drawn),
            "freed of bias": interval(drawn, around=value),
            "BCa": bca(drawn, value, without),
        }
        undefined = np.isnan(value)
        ends[name] = {
            kind: None if undefined or b.reason else [b.low, b.high] for kind, b in bounds.items()
        }
    return ends


def cover(case: Case) -> dict[str, Any]:
    known = truth(case)
    trials = [trial(case, seed) for seed in range(case.trials)]
    result: dict[str, Any] = {"truth": known, "trials": case.trials, "resamples": case.resamples}
    for quantity, value in known.items():
        for kind in trials[0][quantity]:
            ends = [t[quantity][kind] for t in trials]
            given = [e for e in ends if e is not None]
            inside = [low <= value <= high for low, high in given]
            result[f"{quantity}, {kind}"] = {
                "covers": float(np.mean(inside)) if inside else None,
                "withheld": 1 - len(given) / len(ends),
                "width": float(np.median([b - a for a, b in given])) if given else None,
            }
    return result


def table(results: dict[str, Any]) -> str:
    quantities = [
        "accuracy, percentile", "accuracy, freed of bias", "accuracy, BCa", "BD-rate, percentile",
        "BD-rate, BCa", "BD-accuracy, percentile", "BD-accuracy, BCa",
    ]  # fmt: skip
    lines = ["| case | trials | " + " | ".join(quantities) + " |"]
    lines.append("|---|---:|" + "---:|" * len(quantities))
    for name, result in results.items():
        cells = []
        for quantity in quantities:
            c = result[quantity]
            text = "–" if c["covers"] is None else f"{c['covers']:.1%}"
            cells.append(text + (f" ({c['withheld']:.0%})" if c["withheld"] >= 0.005 else ""))
        lines.append(f"| {name} | {result['trials']:,} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", default="", help="cases whose name begins so")
    parser.add_argument("--trials", type=int, help="instead of each case's own number")
    parser.add_argument("--table", action="store_true")
    a = parser.parse_args()
    results = json.loads(a.out.read_text()) if a.out.exists() else {}
    for case in [] if a.table else cases():
        if case.name in results or not case.name.startswith(a.only):
            continue
        if a.trials:
            case = Case(**{**case.__dict__, "trials": a.trials})
        started = time.process_time()
        result = cover(case)
        print(f"{case.name}: {time.process_time() - started:.0f} s", file=sys.stderr)
        # Another process may have added cases meanwhile.
        results = json.loads(a.out.read_text()) if a.out.exists() else {}
        a.out.write_text(json.dumps({**results, case.name: result}, indent=1))
    print(table({c.name: results[c.name] for c in cases() if c.name in results}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
