"""The curves that the page's script draws, computed here with the analysis' own interpolation."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.analysis.interpolation import values
from bench.analysis.perceptual import LPIPS
from bench.report.page.overview import acceptable, range_of, whole
from bench.report.results import Curves, Results
from bench.report.text import metric_label
from bench.results.rows import BDRow, EqualAccuracyRow, PointRow
from bench.tasks import scored

Floats = NDArray[np.float64]

FAR = 1e100
"""No measurement."""
SAMPLES = (16, 6)
"""Of a curve between two of its points: of a few curves, and of more than MANY."""
MANY = 500
LEVELS = 25
"""Accuracies at which the saving is drawn, between the first and the last of `within`."""


def content(results: Results) -> dict[str, Any]:
    """Everything that the script draws; `panels` is empty if there is nothing."""
    drawn = [c for c in results.curves() if any(map(_drawable, c.methods.values()))]
    count = sum(len(c.methods) for c in drawn)
    samples = SAMPLES[count > MANY]
    return {
        "methods": results.methods(),
        "range": range_of(results),
        "within": list(results.manifest.analysis.within),
        "panels": [_panel(results, curves, samples) for curves in drawn],
    }


def embedded(content: dict[str, Any]) -> str:
    """As JSON that is safe inside a page."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)  # ASCII
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def controls() -> str:
    """What the script fills; without it nothing of this is shown."""
    return (
        '<div class="live"><form class="controls" id="controls">'
        '<label>Data set and model <select id="group"></select></label>'
        '<label>Metric <select id="metric"></select></label>'
        '<label>Rate <select id="scale"><option value="log">logarithmic</option>'
        '<option value="linear">linear</option></select></label></form>'
        '<div class="panel"><div><div class="chart" id="curve"></div>'
        '<p class="note" id="about"></p></div>'
        '<div class="scroll legend" tabindex="0" role="region" aria-label="Methods">'
        '<table id="legend"></table></div></div></div>'
    )


def _drawable(points: Sequence[PointRow]) -> list[PointRow]:
    return [p for p in points if _near(p.bpp) and _near(p.value) and (p.bpp or 0) > 0]


def _near(value: float | None) -> bool:
    return value is not None and abs(value) < FAR


def _panel(results: Results, curves: Curves, samples: int) -> dict[str, Any]:
    """One data set, model and metric."""
    task = scored(curves.task)
    metrics = task.wider().metrics if task else ()
    known = {metric.name: metric.higher_is_better for metric in (*metrics, LPIPS)}
    sign = 1.0 if known.get(curves.metric, True) else -1.0
    clean = curves.clean.value if curves.clean and _near(curves.clean.value) else None
    within = results.manifest.analysis.within
    interpolation = results.interpolation
    shapes = {m: _knots(points, sign) for m, points in curves.methods.items()}
    bd = {
        row.method: row
        for row in results.bd
        if (row.dataset, row.model, row.metric) == (curves.dataset, curves.model, curves.metric)
        and row.interpolation == interpolation
        and row.method != row.anchor
    }
    equal = [
        row
        for row in results.equal
        if (row.dataset, row.model, row.metric) == (curves.dataset, curves.model, curves.metric)
        and row.interpolation == interpolation
    ]
    names = results.methods()
    savings = _savings(shapes, curves.anchor, clean, sign, within, interpolation)
    methods = []
    for method, points in curves.methods.items():
        if usable := _drawable(points):
            about = {"method": names.index(method), "points": list(map(_point, usable))}
            about |= _line(*shapes[method], sign, samples, interpolation)
            about |= _rates(bd.get(method))
            about["levels"] = _levels(row for row in equal if row.method == method)
            about["saving"] = savings.get(method, [])
            methods.append(about)
    return {
        "dataset": curves.dataset,
        "model": curves.model,
        "metric": curves.metric,
        "label": metric_label(curves.metric),
        "anchor": names.index(curves.anchor) if curves.anchor in names else None,
        "up": sign > 0,
        "clean": _short(clean),
        "near": [_short(sign * _below(sign * clean, p)) for p in (within[-1], within[0])]
        if clean is not None
        else None,
        "front": _front({m: _drawable(p) for m, p in curves.methods.items()}, sign, names),
        "methods": methods,
    }


def _below(clean: float, percent: float) -> float:
    """The quality that is `percent` of the clean score below it."""
    return clean - percent / 100 * abs(clean)


def _short(value: float | None) -> float | None:
    """Six digits: more than a screen shows."""
    return None if value is None else float(f"{value:.6g}")


def _point(p: PointRow) -> list[Any]:
    ends = [v if _near(v) else None for v in (p.ci_low, p.ci_high)]
    return [p.qp, *map(_short, (p.bpp, p.value, *ends)), p.change]


def _knots(points: Sequence[PointRow], sign: float) -> tuple[Floats, Floats]:
    """Qualities and rates of the curve as BD-rates see it, by rising rate."""
    seen = {
        (p.curve_bpp, p.curve_value) if p.change else (p.bpp, p.value) for p in _drawable(points)
    }
    at = sorted((x, y) for x, y in seen if x is not None and y is not None and _near(x + y))
    rate, value = np.array(at, float).reshape(-1, 2).T
    return sign * value, rate


def _line(
    quality: Floats, rate: Floats, sign: float, samples: int, interpolation: str
) -> dict[str, Any]:
    """What BD-rate integrates: the logarithm of the rate as a function of quality, sampled.

    A curve whose quality falls somewhere is no such function: its points alone.
    """
    if len(quality) >= 2 and (np.diff(quality) > 0).all():
        steps = np.linspace(0, 1, samples, endpoint=False)
        at = np.r_[(quality[:-1, None] + steps * np.diff(quality)[:, None]).ravel(), quality[-1]]
        with np.errstate(over="ignore"):
            rate = np.exp(_log_rates(quality, rate, at, interpolation))
        quality = at[np.isfinite(rate)]
        rate = rate[np.isfinite(rate)]
    return {
        "rates": [_short(float(v)) for v in rate],
        "values": [_short(float(v)) for v in sign * quality],
    }


def _log_rates(quality: Floats, rate: Floats, at: Floats, interpolation: str) -> Floats:
    """At (n,) qualities; NaN outside of the curve."""
    x, y = (np.tile(knots, (len(at), 1)) for knots in (quality, np.log(rate)))
    return values(x, y, at, interpolation)


def _savings(
    shapes: dict[str, tuple[Floats, Floats]],
    anchor: str,
    clean: float | None,
    sign: float,
    within: Sequence[float],
    interpolation: str,
) -> dict[str, list[list[float]]]:
    """Method → [percent below the clean score, change of bits in percent against the anchor]."""
    rising = {
        method: (quality, rate)
        for method, (quality, rate) in shapes.items()
        if len(quality) >= 2 and (np.diff(quality) > 0).all()
    }
    if clean is None or anchor not in rising:
        return {}
    percents = np.linspace(within[0], within[-1], LEVELS)
    at = np.array([_below(sign * clean, p) for p in percents])
    logs = {m: _log_rates(*shape, at, interpolation) for m, shape in rising.items()}
    found = {}
    for method in rising.keys() - {anchor}:
        with np.errstate(over="ignore"):
            change = 100 * np.expm1(logs[method] - logs[anchor])
        found[method] = [
            [float(f"{p:.6g}"), float(f"{c:.6g}")]
            for p, c in zip(percents, change, strict=True)
            if np.isfinite(c) and abs(c) < FAR
        ]
    return found


def _rates(row: BDRow | None) -> dict[str, Any]:
    if row is None:
        return {}
    rates = {"near": acceptable(row), "whole": whole(row)}
    return {
        key: [*map(_short, (rate.value, rate.low, rate.high)), rate.reason]
        for key, rate in rates.items()
    }


def _levels(rows: Iterable[EqualAccuracyRow]) -> list[list[float | None]]:
    """[percent below the clean score, bits per pixel, change in percent, its interval]"""
    return [
        [row.within, *map(_short, (row.bpp, row.change, row.change_low, row.change_high))]
        for row in rows
    ]


def _front(points: dict[str, list[PointRow]], sign: float, names: list[str]) -> list[int]:
    """Methods with a point that no other point is better than at the same or a lower rate."""
    every = sorted(
        (p.bpp or 0.0, -sign * (p.value or 0.0), names.index(m))
        for m, own in points.items()
        for p in own
    )
    front, best = set(), np.inf
    for _, worse, method in every:
        if worse < best:
            best = worse
            front.add(method)
    return sorted(front)
