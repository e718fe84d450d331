"""How often the intervals cover the truth: the table of docs/statistics.md.

    python perf/coverage.py --out coverage.json             # every case; hours of one core
    python perf/coverage.py --out coverage.json --table     # the table of what is there

Sets of n images are drawn from a population whose true rates and accuracies are known, a curve of
an anchor and one of a method are measured on each, and intervals are made as the analysis makes
them. top-1: the truth is a closed form. mAP: the truth is that of 20,000 images; that of one
operating point is measured in trials of their own, where it is the mean of 20 such sets. What is in
the file already is not computed again.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.analysis.bdrate import bd, bd_metric_rows, bd_rate_rows
from bench.analysis.bootstrap import (
    Interval,
    bca,
    interval,
    jackknife_weights,
    resample_weights,
)
from bench.analysis.curves import prepare, prepare_rows
from bench.analysis.halves import Halved, extrapolated, half_weights
from bench.tasks.average_precision import average_precisions, objects_by_category
from bench.tasks.detection import SCHEMA

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
RATES = {"top-1": np.array([0.1, 0.2, 0.35, 0.6, 1.0]), "mAP": np.array([0.1, 0.25, 0.6])}
FACTOR = 0.9
"""The method's rates over the anchor's; it also loses a little accuracy."""
SPREAD = 0.5
"""Standard deviation of an image's log-rate."""
TRUTH_IMAGES = 20_000
TRUTH_SETS = 20
ACCURACY_TRIALS = 1000
"""Of the mAP of one point."""


@dataclass(frozen=True)
class Case:
    metric: str
    curve: str
    n: int
    trials: int
    """Of the curves; 0 for those of one point alone."""
    resamples: int
    categories: int = 10
    like: str = ""
    """COCO: the frequencies of categories are as unequal as there, an image has several objects of
    one, and some are harder than others."""

    @property
    def name(self) -> str:
        kind = f"{self.categories} categories" + (f" as in {self.like}" if self.like else "")
        many = f", {kind}" if self.metric == "mAP" else ""
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
    many = [Case("mAP", "steep", 155, 100, 400, 80), Case("mAP", "steep", 1000, 0, 400, 80)]
    coco = [Case("mAP", "steep", n, 0, 400, 80, "COCO") for n in (155, 250)]
    return [*top1, *maps[:4], *many, *coco, *maps[4:]]


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


def levels(case: Case) -> list[float]:
    """Of the anchor's points, then of the method's."""
    return [*LOCATED[case.curve], *(level - 0.01 for level in LOCATED[case.curve])]


def frequencies(case: Case) -> Floats:
    if case.like:  # median, quartiles and most of the range of coco_dev's
        shares = (np.arange(case.categories) + 0.5) / case.categories
        frequency = np.exp([NormalDist().inv_cdf(share) for share in shares])
    else:
        frequency = 1 / np.arange(1, case.categories + 1)
    return frequency / frequency.sum()


def objects(case: Case, n: int, rng: np.random.Generator) -> tuple[Ints, Ints, Floats]:
    """(objects,) image, category and how easily it is found."""
    image = np.repeat(np.arange(n), rng.poisson(3, n))
    category = rng.choice(case.categories, len(image), p=frequencies(case))
    if not case.like:
        return (
            image,
            category,
            (0.5 * rng.normal(size=n))[image] + 0.8 * rng.normal(size=len(image)),
        )
    group = np.repeat(np.arange(len(image)), rng.geometric(1 / 2.6, len(image)))
    together = 0.5 * rng.normal(size=n)[image] + 0.4 * rng.normal(size=len(image))
    together += 0.4 * np.random.default_rng(5).normal(size=case.categories)[category]
    ease = together[group] + 0.7 * rng.normal(size=len(group))
    return image[group], category[group], ease


def detections(case: Case, n: int, rng: np.random.Generator, at: Sequence[float]) -> list[pa.Table]:
    """A table of matches per level of `at`; objects of an image, and an object at all points, are
    alike."""
    image, category, ease = objects(case, n, rng)
    false = np.repeat(np.arange(n), rng.poisson(10 if case.like else 4, n))
    false_category = rng.choice(case.categories, len(false), p=frequencies(case))
    false_score = rng.normal(-0.8, 0.7, len(false))
    tables = []
    for level in at:
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
    tables = detections(case, n, rng, levels(case))
    return rate, np.column_stack([average_precisions(t, weights)[:, 0] for t in tables])


def truth(case: Case) -> dict[str, float]:
    rate = mean_rates(case)
    half = len(rate) // 2
    if case.metric == "top-1":
        accuracy = np.r_[TOP1[case.curve], np.array(TOP1[case.curve]) - 0.003]
    else:
        weights = np.ones((1, TRUTH_IMAGES), np.int64)
        tables = detections(case, TRUTH_IMAGES, np.random.default_rng(99), levels(case))
        accuracy = np.array([average_precisions(t, weights)[0, 0] for t in tables])
        print(f"{case.name}: mAP {np.round(accuracy, 3)}", file=sys.stderr)
    result = bd(
        prepare(rate[:half], accuracy[:half], "raw"),
        prepare(rate[half:], accuracy[half:], "raw"),
        "pchip",
    )
    known = {"BD-rate": result.bd_rate, "BD-accuracy": result.bd_metric}
    return {"accuracy": accuracy[1], **known} if case.metric == "top-1" else known


@cache
def true_precision(case: Case) -> float:
    """mAP of the anchor's second point, known to 0.0005."""
    weights = np.ones((1, TRUTH_IMAGES), np.int64)
    at = levels(case)[1:2]
    drawn = (
        detections(case, TRUTH_IMAGES, np.random.default_rng([99, k]), at)
        for k in range(TRUTH_SETS)
    )
    return float(np.mean([average_precisions(t, weights)[0, 0] for (t,) in drawn]))


Ends = list[float] | None
"""None where withheld."""


def ends_of(bounds: Interval) -> Ends:
    return None if bounds.reason or np.isnan(bounds.low) else [bounds.low, bounds.high]


def trial(case: Case, seed: int) -> dict[str, Ends]:
    """Ends of each kind of interval of each quantity."""
    rng = np.random.default_rng([seed, case.n])
    everyone = np.ones(case.n, bool)
    weights = resample_weights(everyone, case.resamples, seed, case.name)
    rate, accuracy = measured(case, case.n, np.vstack([weights, jackknife_weights(everyone)]), rng)
    half = rate.shape[1] // 2
    anchor = prepare_rows(rate[:, :half], accuracy[:, :half], "pareto")
    test = prepare_rows(rate[:, half:], accuracy[:, half:], "pareto")
    found = {
        "BD-rate": bd_rate_rows(anchor, test, "pchip"),
        "BD-accuracy": bd_metric_rows(anchor, test, "pchip"),
    }
    if case.metric == "top-1":
        found["accuracy"] = accuracy[:, 1]
    ends: dict[str, Ends] = {}
    for name, values in found.items():
        value, drawn, without = values[0], values[1 : len(weights)], values[len(weights) :]
        bounds = {"percentile": interval(drawn), "BCa": bca(drawn, value, without)}
        if name == "accuracy":
            bounds["as given"] = interval(drawn, around=value)
        for kind, b in bounds.items():
            ends[f"{name}, {kind}"] = None if np.isnan(value) else ends_of(b)
    return ends


def precision_trial(case: Case, seed: int) -> dict[str, Ends]:
    """As `trial`, of the mAP of one point."""
    everyone = np.ones(case.n, bool)
    rng = np.random.default_rng([seed, case.n, case.categories])
    (table,) = detections(case, case.n, rng, levels(case)[1:2])
    weights = resample_weights(everyone, case.resamples, seed, case.name)
    groups, halves = jackknife_weights(everyone), half_weights(everyone, seed, case.name)
    values = average_precisions(table, np.vstack([weights, groups, halves]))[:, 0]
    parts = np.cumsum([1, case.resamples, len(groups)])
    (value,), drawn, without, halved = np.split(values, parts)
    counts = objects_by_category(table, weights[0])
    bounds = {
        "as given": extrapolated(value, Halved(halved, float(np.median(counts))), without),
        "were none withheld": extrapolated(value, Halved(halved, np.inf), without),
        "percentile": interval(drawn),
        "BCa": bca(drawn, value, without),
    }
    return {f"accuracy, {kind}": ends_of(b) for kind, b in bounds.items()}


def summary(ends: list[Ends], value: float) -> dict[str, float | None]:
    given = [e for e in ends if e is not None]
    inside = [low <= value <= high for low, high in given]
    return {
        "covers": float(np.mean(inside)) if inside else None,
        "withheld": 1 - len(given) / len(ends),
        "width": float(np.median([b - a for a, b in given])) if given else None,
    }


def cover(case: Case) -> dict[str, Any]:
    """Of curves, and for top-1 of their second point."""
    known = truth(case)
    trials = [trial(case, seed) for seed in range(case.trials)]
    of_kinds = {
        kind: summary([t[kind] for t in trials], known[kind.split(",")[0]]) for kind in trials[0]
    }
    about = {"truth": known, "trials": case.trials, "resamples": case.resamples}
    return {**about, **of_kinds}


def cover_precision(case: Case, count: int) -> dict[str, Any]:
    """Of the mAP of one point."""
    known = true_precision(replace(case, n=0, trials=0))  # whatever the size of the sets
    trials = [precision_trial(case, seed) for seed in range(count)]
    of_kinds = {kind: summary([t[kind] for t in trials], known) for kind in trials[0]}
    return {"accuracy, truth": known, "accuracy, trials": count, **of_kinds}


QUANTITIES = {
    "accuracy, trials": ("accuracy, as given", "accuracy, percentile", "accuracy, BCa"),
    "trials": (
        "BD-rate, percentile", "BD-rate, BCa", "BD-accuracy, percentile", "BD-accuracy, BCa"
    ),
}  # fmt: skip
"""By what has the number of their trials."""


def table(results: dict[str, Any]) -> str:
    heads = ["case"]
    for names in QUANTITIES.values():
        heads += ["trials", *names]
    lines = [f"| {' | '.join(heads)} |", "|---|" + "---:|" * (len(heads) - 1)]
    for name, result in results.items():
        cells = [name]
        for trials, names in QUANTITIES.items():
            count = result.get(trials, result.get("trials"))
            cells += [f"{count:,}" if count else "–", *(cell(result.get(n)) for n in names)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(found: dict[str, Any] | None) -> str:
    if found is None:
        return "–"
    text = "–" if found["covers"] is None else f"{found['covers']:.1%}"
    return text + (f" ({found['withheld']:.0%})" if found["withheld"] >= 0.005 else "")


def parts(case: Case, done: dict[str, Any], trials: int | None) -> dict[str, Any]:
    """What is not there yet."""
    found = {}
    if case.trials and "BD-rate, percentile" not in done:
        found |= cover(replace(case, trials=trials or case.trials))
    if case.metric == "mAP" and "accuracy, as given" not in done:
        found |= cover_precision(case, trials or ACCURACY_TRIALS)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--only", default="", help="the case of this name, or those whose names begin so"
    )
    parser.add_argument("--trials", type=int, help="instead of each case's own number")
    parser.add_argument("--table", action="store_true")
    a = parser.parse_args()
    results = json.loads(a.out.read_text()) if a.out.exists() else {}
    named = [c for c in cases() if c.name == a.only]
    for case in [] if a.table else named or [c for c in cases() if c.name.startswith(a.only)]:
        started = time.process_time()
        found = parts(case, results.get(case.name, {}), a.trials)
        if not found:
            continue
        print(f"{case.name}: {time.process_time() - started:.0f} s", file=sys.stderr)
        # Another process may have added cases meanwhile.
        results = json.loads(a.out.read_text()) if a.out.exists() else {}
        results[case.name] = {**results.get(case.name, {}), **found}
        a.out.write_text(json.dumps(results, indent=1))
    print(table({c.name: results[c.name] for c in cases() if c.name in results}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
