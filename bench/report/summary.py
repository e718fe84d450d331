"""What is said first of a run: a paragraph for each data set and model, made from its tables.

The range of accuracies that somebody would accept comes before the whole overlap of the curves, and
what a saving costs beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.report.results import Results
from bench.report.text import metric_label, number, percent
from bench.results import costs
from bench.results.rows import BDRow, FidelityRow

Group = tuple[str, str, str, str]
"""Data set, task, model and its headline metric."""

FILTERS = ("preprocess", "postprocess")
"""Stages around the codec."""
Speeds = dict[tuple[str, str, str], dict[str, float]]
"""Data set, model and method → stage → milliseconds per megapixel."""


@dataclass(frozen=True)
class Said:
    """What is said of one method, a phrase each, empty where there is nothing to say."""

    method: str
    near: str
    """Bits over the accuracies near the clean score, with their interval."""
    whole: str
    """Bits over all accuracies that both curves reach, with the share that this is."""
    fidelity: str
    """What its pictures lose against the original where both methods are equally accurate."""
    cost: str
    """Time of the filters before and after the codec."""

    @property
    def text(self) -> str:
        """A sentence."""
        said = filter(None, (self.near, self.whole, self.fidelity, self.cost))
        return f"{self.method}: {'; '.join(said)}."


@dataclass(frozen=True)
class Summary:
    """A data set and model on the task's headline metric."""

    dataset: str
    task: str
    model: str
    metric: str
    anchor: str
    methods: tuple[Said, ...]
    """All but the anchor: fewest bits near the clean score first, those without a number last."""
    lead: str
    """A sentence on the first of them against the second; empty where one has no number."""

    @property
    def text(self) -> str:
        """A paragraph."""
        about = f"{self.model} on {self.dataset}, {metric_label(self.metric)}"
        if not self.methods:
            return f"{about}: no method stands beside an anchor."
        first, *others = (said.text for said in self.methods)
        about = f"{about}, against {self.anchor}."
        return " ".join(filter(None, (about, first, self.lead, *others)))


def summaries(results: Results) -> list[Summary]:
    """Raises ResultsError where a table of the folder is damaged."""
    speeds = filtering(results)
    return [_summary(results, group, speeds) for group in results.headlines()]


def _summary(results: Results, group: Group, speeds: Speeds) -> Summary:
    dataset, task, model, metric = group
    rows = [
        row
        for row in results.bd
        if (row.dataset, row.task, row.model, row.metric) == group
        and row.interpolation == results.interpolation
        and row.method != row.anchor
    ]
    rows.sort(key=lambda row: (row.range_bd_rate is None, row.range_bd_rate or 0.0))
    said = tuple(
        Said(
            row.method,
            _near(row),
            _whole(row),
            _fidelity(row, results.fidelity),
            _cost(speeds.get((dataset, model, row.method), {})),
        )
        for row in rows
    )
    anchor = results.anchor(dataset, model)
    return Summary(dataset, task, model, metric, anchor, said, _lead(results, rows))


# --- bits -----------------------------------------------------------------------------------------


def _near(row: BDRow) -> str:
    rests = next((part for part in row.range_reason.split("; ") if part.startswith("rests")), "")
    value = (row.range_bd_rate, row.range_low, row.range_high, row.range_reason)
    return _bits(*value, f"at {row.range}", rests)


def _whole(row: BDRow) -> str:
    share = f"{100 * row.overlap:.0f} % of those that they span"
    value = (row.bd_rate, row.ci_low, row.ci_high, row.reason)
    return _bits(*value, "over all accuracies that both curves reach", share)


def _lead(results: Results, rows: Sequence[BDRow]) -> str:
    """Of the first two rows, which have the fewest bits near the clean score."""
    if len(rows) < 2 or rows[1].range_bd_rate is None:
        return ""
    first, second = rows[:2]
    where = (first.dataset, first.task, first.model, first.metric, first.interpolation)
    for pair in results.pairs:
        told = (pair.dataset, pair.task, pair.model, pair.metric, pair.interpolation)
        if told == where and (pair.method, pair.against) == (first.method, second.method):
            value = (pair.range_bd_rate, pair.range_low, pair.range_high, pair.range_reason)
            return f"Against {second.method}, the next: {_bits(*value, 'there')}."
    return ""


def _bits(
    value: float | None,
    low: float | None,
    high: float | None,
    reason: str,
    where: str,
    rests: str = "",
) -> str:
    """ "20.3 % fewer bits there (95 % interval 12.1 to 29.5 %)", or why there is no number.

    `rests` says on how much a number rests.
    """
    parts = reason.split("; ")
    if value is None:
        return f"no BD-rate {where} ({parts[0] or 'undefined'})"
    shown = number(abs(value), 1)
    more = "more" if value > 0 else "fewer"
    said = f"{shown} % {more} bits {where}" if float(shown) else f"as many bits {where}"
    if low is None or high is None:
        withheld = next((part for part in parts if part.startswith("no interval")), "no interval")
        notes = [withheld, rests]
    elif low <= 0 <= high:
        said += ", which may be chance"
        notes = [f"95 % interval {percent(low)} to {percent(high)} %", rests]
    else:
        ends = [number(end, 1) for end in sorted((abs(low), abs(high)))]
        notes = [f"95 % interval {ends[0]} to {ends[1]} %", rests]
    return f"{said} ({'; '.join(filter(None, notes))})"


# --- what it costs --------------------------------------------------------------------------------


def _fidelity(row: BDRow, rows: Sequence[FidelityRow]) -> str:
    """The least and the greatest change over the levels near the clean score."""
    where = (row.dataset, row.task, row.model, row.metric, row.anchor, row.method)
    own = [
        r
        for r in rows
        if (r.dataset, r.task, r.model, r.metric, r.anchor, r.method) == where
        and r.interpolation == row.interpolation
    ]
    psnr = [r.psnr_change for r in own if r.psnr_change is not None]
    similarity = [r.ms_ssim_change for r in own if r.ms_ssim_change is not None]
    perceptual = [r.lpips_change for r in own if r.lpips_change is not None]
    said = (
        _change(psnr, 1, " dB", "PSNR"),
        _change(similarity, 3, "", "MS-SSIM"),
        _change(perceptual, 3, "", "LPIPS"),
    )
    *others, last = list(filter(None, said)) or [""]
    changes = " and ".join(filter(None, [", ".join(others), last]))
    return f"its pictures with {changes} at equal accuracy" if changes else ""


def _change(values: Sequence[float], digits: int, unit: str, measure: str) -> str:
    """ "3.1 to 4.9 dB less PSNR"; empty without values."""
    if not values:
        return ""
    low, high = min(values), max(values)
    if low < 0 < high:
        ends = number(-low, digits), number(high, digits)
        return f"from {ends[0]}{unit} less to {ends[1]}{unit} more {measure}"
    least, most = (number(end, digits) for end in sorted((abs(low), abs(high))))
    between = least if least == most else f"{least} to {most}"
    return f"{between}{unit} {'more' if low > 0 else 'less'} {measure}"


def _cost(milliseconds: dict[str, float]) -> str:
    """By stage."""
    return " and ".join(
        f"{stage}ing took {number(ms, 0 if ms >= 10 else 1)} ms/megapixel"
        for stage, ms in milliseconds.items()
    )


def filtering(results: Results) -> Speeds:
    """Of the pictures that were timed; nothing where the folder has no such table.

    Raises ResultsError where one is damaged.
    """
    speeds = costs.speeds(results.folder)
    return {
        (e.dataset, m.name, method): own
        for e in results.manifest.experiments
        for m in e.models
        for method in e.methods
        if (own := _by_stage(speeds, (e.dataset, m.coded_view, method)))
    }


def _by_stage(
    speeds: dict[tuple[str, str, str, str], float], of: tuple[str, str, str]
) -> dict[str, float]:
    return {stage: speeds[*of, stage] for stage in FILTERS if (*of, stage) in speeds}
