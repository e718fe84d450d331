"""The gate: a run against a baseline, a verdict for every (data set, task, model, method)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from bench.analysis import judge
from bench.analysis.baseline import Scores, Side, open_side
from bench.analysis.curves import Curve
from bench.analysis.fingerprints import (
    Difference,
    differences,
    environment,
    method_conditions,
    model_conditions,
    subject,
)
from bench.analysis.judge import NONE_MOVED, Change, Relative, Word
from bench.results.files import ResultsError
from bench.results.manifest import Experiment, Failure, Model
from bench.results.names import point_name, points_name

Verdict = Literal["better", "same", "worse", "new", "missing", "failed", "not comparable"]

FINE, WORSE, NOT_COMPARABLE = 0, 1, 2
"""Exit codes; a run that could not be compared at all has the last, too."""

CLOSE = 1e-8
"""Numbers closer than this share are the same: a baseline's JSON holds ten digits."""


@dataclass(frozen=True)
class Row:
    """A method's verdict. Changes in percent of rate at equal accuracy; negative is better."""

    dataset: str
    task: str
    model: str
    method: str
    metric: str
    """The headline, which decides; empty where nothing was measured."""
    verdict: Verdict
    exit_code: int
    own: Change | None = None
    """Against the same method's curve in the baseline."""
    anchor: str = ""
    before: float = np.nan
    """BD-rate against the anchor in the baseline, percent, and in the run; NaN if undefined."""
    after: float = np.nan
    subject: tuple[Difference, ...] = ()
    """What differs of the preprocessor, the codec and the post-processor."""
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    baseline: str
    run: str
    threshold: float
    """Percent of rate."""
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def exit_code(self) -> int:
        """0 fine, 1 if anything is worse, else 2 if anything could not be compared."""
        codes = {row.exit_code for row in self.rows}
        return WORSE if WORSE in codes else max(codes, default=NOT_COMPARABLE)


def compare(baseline: Path, run: Path, threshold: float) -> Comparison:
    """Two baseline files or results folders, threshold in percent.

    Raises ResultsError, naming file and field, where one of them cannot be read, holds numbers that
    are none, or has no (data set, task, model) in common with the other.
    """
    before, after = open_side(baseline), open_side(run)
    old = {(e.dataset, e.task, m.name): (e, m) for e, m in before.models()}
    new = {(e.dataset, e.task, m.name): (e, m) for e, m in after.models()}
    if not old.keys() & new.keys():
        raise ResultsError(
            f"{run}: experiments: nothing in common with {baseline}, which has "
            f"{_listed(old)}; the run has {_listed(new)}"
        )
    rows: list[Row] = []
    for key in dict.fromkeys([*old, *new]):
        if key in old and key in new:
            rows += _Pair(before, after, *old[key], *new[key], threshold).rows()
        else:
            experiment, _ = old.get(key) or new[key]
            rows += [_one_sided(key, m, key in old) for m in experiment.methods]
    return Comparison(str(baseline), str(run), threshold, tuple(rows), _notes(before, after))


def _listed(keys: Iterable[tuple[str, str, str]]) -> str:
    return "; ".join(", ".join(key) for key in keys) or "nothing"


def _one_sided(key: tuple[str, str, str], method: str, in_baseline: bool) -> Row:
    if in_baseline:
        reason = "the baseline has this curve, the run has not"
        return Row(*key, method, "", "missing", WORSE, reasons=(reason,))
    return Row(*key, method, "", "new", FINE, reasons=("the baseline does not have this curve",))


def _notes(before: Side, after: Side) -> tuple[str, ...]:
    notes = [*before.notes, *after.notes]
    moved = elsewhere(before, after)
    if moved:
        notes.append("the environment differs: " + "; ".join(map(str, moved)))
    ours, theirs = (s.manifest.analysis.model_dump() for s in (before, after))
    names = [k for k in ("interpolation", "policy", "seed") if ours[k] != theirs[k]]
    if names:
        said = ", ".join(f"{k} {ours[k]}" for k in names)
        notes.append(f"both sides are judged with the baseline's {said}")
    return tuple(notes)


def elsewhere(before: Side, after: Side) -> tuple[Difference, ...]:
    """What both environments have, in different versions; what one lacks, it did not need."""
    ours, theirs = environment(before.manifest), environment(after.manifest)
    return differences(
        {k: v for k, v in ours.items() if k in theirs},
        {k: v for k, v in theirs.items() if k in ours},
    )


@dataclass(frozen=True)
class _Pair:
    """One (data set, task, model) that both sides have."""

    before: Side
    after: Side
    experiment: Experiment
    model: Model
    run_experiment: Experiment
    run_model: Model
    threshold: float

    @property
    def key(self) -> tuple[str, str, str]:
        return self.experiment.dataset, self.experiment.task, self.model.name

    def rows(self) -> list[Row]:
        obstacle = self._obstacle()
        ours, theirs = self.experiment.methods, self.run_experiment.methods
        common = [m for m in ours if m in theirs]
        grids = {m: self._grid_difference(m) for m in common}
        judged = [] if obstacle else [m for m in common if not grids[m]]
        found = {row.method: row for row in self._judged(judged)} if judged else {}
        rows = []
        for method in dict.fromkeys([*ours, *theirs]):
            if method not in common:
                rows.append(_one_sided(self.key, method, method in ours))
            elif method in found:
                rows.append(found[method])
            else:
                rows.append(self._not_comparable(method, (obstacle or grids[method],)))
        return rows

    # --- may they be compared? ---

    def _obstacle(self) -> str:
        """Which of the model's conditions differ; empty if none does."""
        moved = differences(
            model_conditions(self.experiment, self.model),
            model_conditions(self.run_experiment, self.run_model),
        )
        if not moved:
            unusable = self._clean_failures(self.before), self._clean_failures(self.after)
            if unusable[0] != unusable[1]:
                moved = (Difference("images without a clean result", *unusable),)
        return "; ".join(map(str, moved))

    def _clean_failures(self, side: Side) -> str:
        failed = {f.image for f in self._failures(side) if f.method is None}
        return ", ".join(sorted(failed)) or "none"

    def _failures(self, side: Side) -> list[Failure]:
        dataset, _, model = self.key
        return [
            f for f in side.manifest.failures if f.dataset == dataset and f.model in (None, model)
        ]

    def _grid_difference(self, method: str) -> str:
        moved = differences(
            method_conditions(self.experiment, method),
            method_conditions(self.run_experiment, method),
        )
        return "; ".join(map(str, moved))

    def _not_comparable(self, method: str, reasons: tuple[str, ...]) -> Row:
        return Row(
            *self.key,
            method,
            "",
            "not comparable",
            NOT_COMPARABLE,
            subject=self._subject(method),
            reasons=reasons,
        )

    def _subject(self, method: str) -> tuple[Difference, ...]:
        return differences(subject(self.experiment, method), subject(self.run_experiment, method))

    # --- measured on the same images ---

    def _scores(self, methods: Sequence[str], resamples: int) -> tuple[Scores, Scores]:
        """Both sides without the images that failed on either, on the same resamples."""
        failures = [*self._failures(self.before), *self._failures(self.after)]
        analysis = self.before.manifest.analysis.model_copy(update={"resamples": resamples})
        return (
            self.before.scores(self.experiment, self.model, methods, failures, analysis),
            self.after.scores(self.run_experiment, self.run_model, methods, failures, analysis),
        )

    def _judged(self, methods: list[str]) -> list[Row]:
        before, after = self._scores(methods, 0)
        obstacle = self._stale_metric(methods) or self._clean_moved(before, after)
        if obstacle:
            return [self._not_comparable(m, (obstacle,)) for m in methods]
        moved = [m for m in methods if not _equal(before, after, m)]
        paired = self.before.results is not None and self.after.results is not None
        if moved and paired:
            # The interval costs a thousand scorings: only what moved is worth it.
            wanted = [m for m in methods if m in moved or m == self.experiment.anchor]
            before, after = _with(before, after, *self._scores(wanted, judge.RESAMPLES))
        return [self._row(m, m in moved, moved, before, after) for m in methods]

    def _stale_metric(self, methods: list[str]) -> str:
        """Whether a baseline's own statistics no longer give the numbers that it states."""
        side = self.before
        stored = side.stored.get((self.experiment.dataset, self.model.name))
        if stored is None or side.results is None:
            return ""
        none = side.manifest.analysis.model_copy(update={"resamples": 0})
        again = side.scores(self.experiment, self.model, methods, self._failures(side), none)
        if different := _other_metrics(stored, again):
            return f"{side.path} and its own statistics differ: {different}"
        for method in methods:
            for qp, (_, values) in again.points[method].items():
                stated = stored.points[method][qp][1][0]
                for metric, a, b in zip(again.metrics, stated, values[0], strict=True):
                    if not np.isclose(a, b, CLOSE, CLOSE, equal_nan=True):
                        return (
                            f"metric {metric.name}: its definition changed: {method} at "
                            f"{point_name(qp)} has {a:.6g} in {side.path}, and {b:.6g} computed "
                            "again from the same statistics"
                        )
        return ""

    def _tolerance(self, metric: str) -> float:
        return self.before.tolerances.get(self.experiment.dataset, {}).get(metric, 0.0)

    def _clean_moved(self, before: Scores, after: Scores) -> str:
        """The clean accuracy depends on nothing that is judged: where it moved, something else
        did."""
        if different := _other_metrics(before, after):
            return different
        for metric, a, b in zip(before.metrics, before.clean, after.clean, strict=True):
            tolerance = self._tolerance(metric.name)
            if not (abs(a - b) <= tolerance + CLOSE or (np.isnan(a) and np.isnan(b))):
                return (
                    f"clean {metric.name}: {a:.4f} → {b:.4f}, more than the tolerance of "
                    f"{tolerance:g}: with the same images and weights, a library or the machine "
                    "changed what the task model sees or says"
                )
        return ""

    # --- the verdict ---

    def _row(
        self, method: str, has_moved: bool, moved: list[str], before: Scores, after: Scores
    ) -> Row:
        anchor, analysis = self.experiment.anchor, self.before.manifest.analysis
        chance = before.obstacle or after.obstacle
        rows = slice(1) if chance else slice(None)
        old, new = (side.curves(method, analysis.policy)[rows] for side in (before, after))
        own = judge.own_change(old, new, analysis.interpolation) if has_moved else NONE_MOVED
        relative = None
        reasons: list[str] = []
        if method != anchor:
            relative = self._relative(method, before, after, slice(1))
            if anchor in moved:
                reasons.append(f"the anchor {anchor} moved, too: see its own row")
        verdict, why = self._lost(method, before, after)
        if not why and has_moved and chance:
            verdict = "same" if abs(own.percent) <= self.threshold else "not comparable"
            why = [f"not told from chance: {chance}"]
        elif not why and has_moved:
            # A moved anchor would fake a change of the method, or hide one.
            still = relative is not None and anchor not in moved
            verdict, why = self._weighed(method, own, (old, new), still, before, after)
        reasons += why
        if has_moved and len(old) == 1 and not chance:
            reasons.append("point estimates alone: there are no statistics for an interval")
        return Row(
            *self.key,
            method,
            before.metrics[0].name,
            verdict,
            {"worse": WORSE, "failed": WORSE, "not comparable": NOT_COMPARABLE}.get(verdict, FINE),
            own,
            anchor if relative else "",
            relative.before if relative else np.nan,
            relative.after if relative else np.nan,
            self._subject(method),
            tuple(reasons),
        )

    def _lost(self, method: str, before: Scores, after: Scores) -> tuple[Verdict, list[str]]:
        """The verdict where a side lacks something; `same` and no reason where none does."""
        if failed := self._newly_failed(method):
            return "failed", [f"newly fails on {failed}"]
        if qps := _without_value(before, method):
            return "not comparable", [f"the baseline has no value at {points_name(qps)}"]
        if qps := _without_value(after, method):
            return "failed", [f"no value any more at {points_name(qps)}"]
        return "same", []

    def _weighed(
        self,
        method: str,
        own: Change,
        curves: tuple[Sequence[Curve], Sequence[Curve]],
        anchor_is_still: bool,
        before: Scores,
        after: Scores,
    ) -> tuple[Verdict, list[str]]:
        """The verdict on a curve that moved."""
        interpolation = self.before.manifest.analysis.interpolation
        verdict, why = weighed(own, *curves, self.threshold, interpolation)
        if anchor_is_still and verdict != "better":
            verdict, why = self._against_anchor(verdict, why, method, before, after)
        if self._subject(method):
            return verdict, why
        return self._unexplained(method, verdict, why, before, after)

    def _relative(self, method: str, before: Scores, after: Scores, rows: slice) -> Relative:
        """Against the anchor on both sides, on those of the resamples."""
        analysis, anchor = self.before.manifest.analysis, self.experiment.anchor
        sides = [
            tuple(side.curves(m, analysis.policy)[rows] for m in (anchor, method))
            for side in (before, after)
        ]
        (a, b), (c, d) = sides
        return judge.relative_change((a, b), (c, d), analysis.interpolation)

    def _against_anchor(
        self, verdict: Verdict, why: list[str], method: str, before: Scores, after: Scores
    ) -> tuple[Verdict, list[str]]:
        """What an anchor that did not move adds to the verdict by the method's own curve."""
        point = self._relative(method, before, after, slice(1))
        if np.isnan(point.after) and not np.isnan(point.before):
            return "failed", [f"no BD-rate against the anchor any more: {point.change.reason}"]
        if verdict != "same" or not point.change.defined:
            return verdict, why
        change = self._relative(method, before, after, slice(None)).change
        word = judge.beyond(change, self.threshold)
        if word not in ("better", "worse"):
            return verdict, why
        said = f"{change.percent:+.2f} %{_interval(change)}"
        return word, [f"against the anchor, which did not move, {said}"]

    def _newly_failed(self, method: str) -> str:
        """The images on which this method fails in the run and did not in the baseline."""
        failed = [
            {f.image for f in self._failures(side) if f.method == method}
            for side in (self.after, self.before)
        ]
        names = sorted(failed[0] - failed[1])
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        return ", ".join(names[:3]) + more

    def _unexplained(
        self, method: str, verdict: Verdict, why: list[str], before: Scores, after: Scores
    ) -> tuple[Verdict, list[str]]:
        """A change although no fingerprint of what is judged changed."""
        equal_bits = all(
            np.isclose(before.points[method][qp][0][0], bpp[0], CLOSE, 0)
            for qp, (bpp, _) in after.points[method].items()
        )
        moved = bool(elsewhere(self.before, self.after))
        if equal_bits and moved and self._within_tolerance(method, before, after):
            said = "the bits are equal, the accuracy within the tolerance across machines"
            return "same", [*why, said]
        said = (
            f"no fingerprint of the method changed, the {'accuracy' if equal_bits else 'bits'} did"
            + (": the environment differs" if moved else ": code outside them, or chance")
        )
        return verdict, [*why, said]

    def _within_tolerance(self, method: str, before: Scores, after: Scores) -> bool:
        return all(
            abs(a - b) <= self._tolerance(metric.name) + CLOSE
            for qp, (_, values) in after.points[method].items()
            for metric, a, b in zip(
                before.metrics, before.points[method][qp][1][0], values[0], strict=True
            )
        )


def weighed(
    own: Change,
    old: Sequence[Curve],
    new: Sequence[Curve],
    threshold: float,
    interpolation: str,
) -> tuple[Verdict, list[str]]:
    """The verdict on a curve that moved from `old` to `new` by `own`, and what is to be said."""
    if not judge.usable(old[0]):
        return "not comparable", [f"the baseline's curve has {len(old[0].rate)} usable points"]
    if not judge.usable(new[0]):
        return "failed", [f"the curve has {len(new[0].rate)} usable points left"]
    word = judge.beyond(own, threshold) if own.defined else "unclear"
    if word == "unclear":
        return _at_equal_rate(own, old, new, interpolation)
    if word == "same" and abs(own.percent) > threshold:
        return word, ["the interval includes zero: not told from chance on so few images"]
    return word, []


def _at_equal_rate(
    own: Change, old: Sequence[Curve], new: Sequence[Curve], interpolation: str
) -> tuple[Verdict, list[str]]:
    """Where the curves share too little accuracy for a BD-rate, or for its interval."""
    lost = judge.accuracy_change(old, new, interpolation)
    word: Word = judge.beyond(lost, 0.0) if lost.defined else "unclear"
    reasons = [own.reason]
    if lost.defined:
        reasons.append(f"at equal rate accuracy changed by {-lost.percent:+.4f}")
    if word in ("better", "worse"):
        return word, reasons
    return "not comparable", [*reasons, *([lost.reason] if lost.reason else [])]


def _other_metrics(before: Scores, after: Scores) -> str:
    """Empty if both have the same."""
    names = [", ".join(metric.name for metric in side.metrics) for side in (before, after)]
    return "" if names[0] == names[1] else f"metrics: {names[0]} → {names[1]}"


def _without_value(scores: Scores, method: str) -> list[int]:
    return [
        qp
        for qp, (bpp, values) in scores.points[method].items()
        if not (np.isfinite(bpp[0]) and np.isfinite(values[0, 0]))
    ]


def _equal(before: Scores, after: Scores, method: str) -> bool:
    """Whether rate and headline are the same at every QP."""
    return all(
        np.isclose(bpp[0], after.points[method][qp][0][0], CLOSE, 0, equal_nan=True)
        and np.isclose(v[0, 0], after.points[method][qp][1][0, 0], CLOSE, CLOSE, equal_nan=True)
        for qp, (bpp, v) in before.points[method].items()
    )


def _with(
    before: Scores, after: Scores, resampled_before: Scores, resampled_after: Scores
) -> tuple[Scores, Scores]:
    """The methods that were resampled in place of the same ones that were not."""
    return tuple(  # type: ignore[return-value]
        replace(plain, points=plain.points | more.points, obstacle=more.obstacle)
        for plain, more in ((before, resampled_before), (after, resampled_after))
    )


def _interval(change: Change) -> str:
    return "" if np.isnan(change.low) else f" ({change.low:+.2f} … {change.high:+.2f})"
