"""The methods of many results ranked, where they were measured under equal conditions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bench.analysis.baseline import Side, open_side
from bench.analysis.bootstrap import Interval
from bench.analysis.costs import speeds
from bench.analysis.curves import measure
from bench.analysis.merged import Merged, merge_parts
from bench.analysis.merging import Key, Part, parts_of
from bench.analysis.pairs import Pair
from bench.analysis.prepared import Prepared, prepared
from bench.analysis.published import published_rows
from bench.errors import ConfigError
from bench.results import baseline as files
from bench.results.baseline import COSTS
from bench.results.files import ResultsError
from bench.results.manifest import Manifest, Published
from bench.results.names import MANIFEST


@dataclass(frozen=True)
class Entry:
    """A baseline or a results folder that was handed in."""

    name: str
    side: Side

    @property
    def manifest(self) -> Path:
        """The file that says how it was measured."""
        path = self.side.path
        return path / MANIFEST if path.is_dir() else path


@dataclass(frozen=True)
class Saving:
    """Change of bits in percent with its 95 % interval; None for what is not known."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class Place:
    """A method's row."""

    method: str
    entry: Entry | None
    """Whose numbers these are; None for a published curve."""
    place: int | None
    """One more than the methods that are clearly better; None without a saving or an interval."""
    near: Saving
    """Over the accuracies near the clean score, against the anchor."""
    whole: Saving
    tied: tuple[str, ...] = ()
    """Methods whose paired interval against this one holds zero."""
    costs: dict[str, float] = field(default_factory=dict)
    """Stage → milliseconds per megapixel."""
    published: bool = False


@dataclass(frozen=True)
class Board:
    """What was measured under one set of conditions."""

    merged: Merged
    key: Key
    metric: str
    anchor: str
    n_images: int
    places: tuple[Place, ...]
    entries: tuple[Entry, ...]
    differs: str = ""
    """From the board before it of the same data set, task and model; empty for the first."""

    @property
    def manifest(self) -> Manifest:
        return self.merged.manifest


@dataclass(frozen=True)
class Leaderboard:
    boards: tuple[Board, ...]
    notes: tuple[str, ...]
    """What was left out, and why."""


def leaderboard(folder: Path) -> Leaderboard:
    """Of the baselines and results folders in `folder`. Raises ConfigError where there are none."""
    entries, notes = _entries(folder)
    parts: dict[tuple[Key, str], list[Part]] = {}
    for entry in entries:
        for part in parts_of(entry.side, wider=False) if entry.side.results else []:
            # A table for each protocol, and one for what was measured under none.
            protocol = str(part.experiment.protocol or "")
            parts.setdefault((part.key, protocol), []).append(part)
    if not parts:
        said = "; ".join(notes)
        raise ConfigError(
            f"{folder}: no baselines with measured methods in it"
            + (f" ({said})" if said else "; `run_bench.py baseline RESULTS FILE` makes one")
        )
    curves = [c for entry in entries for c in entry.side.manifest.published]
    boards = [board for own in parts.values() for board in _boards(own, entries, curves)]
    notes += [note for board in boards for note in board.merged.notes]
    models = {(key[0], key[2]) for key, _ in parts}
    notes += [
        f"left out: {c.method}, published: {c.model} on {c.dataset} was not measured"
        for c in curves
        if (c.dataset, c.model) not in models
    ]
    return Leaderboard(tuple(boards), tuple(dict.fromkeys(notes)))


def _entries(folder: Path) -> tuple[list[Entry], list[str]]:
    """In the order of their names, and what cannot be read."""
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be read: {error.strerror}") from error
    entries, notes = [], []
    for path in paths:
        baseline = path.suffix == ".json" and not path.name.endswith(COSTS)
        if not (baseline or (path / MANIFEST).is_file()):
            continue
        try:
            side = open_side(path)
        except ResultsError as error:
            notes.append(f"left out: {error}")
            continue
        entries.append(Entry(path.name.removesuffix(".json"), side))
        if side.results is None and side.manifest.experiments:
            notes.append(f"left out: {path}: {'; '.join(side.notes)}")
    return entries, notes


def _boards(
    parts: Sequence[Part], entries: Sequence[Entry], curves: Sequence[Published]
) -> Iterator[Board]:
    """One for each set of equal conditions among the parts of one data set, task and model."""
    dataset, _, model = parts[0].key
    curves = [c for c in curves if (c.dataset, c.model) == (dataset, model)]
    rest, differs = list(parts), ""
    while rest:
        merged = merge_parts(rest, curves, ranking=True)
        yield _board(merged, rest[0].key, entries, differs)
        reasons = {id(one.part): one.reason for one in merged.left_out}
        rest = [part for part in rest if id(part) in reasons]
        differs = reasons[id(rest[0])] if rest else ""


def _board(merged: Merged, key: Key, entries: Sequence[Entry], differs: str) -> Board:
    (experiment,) = merged.manifest.experiments
    m = measure(merged, experiment, experiment.models[0])
    headline = prepared([m], merged.manifest.analysis)[0]
    used = {id(owner.part.side) for owner in merged.owners[key].values()}
    return Board(
        merged,
        key,
        headline.metric.name,
        experiment.anchor,
        m.n_images,
        tuple(_places(merged, key, headline, entries)),
        tuple(entry for entry in entries if id(entry.side) in used),
        differs,
    )


def _places(merged: Merged, key: Key, p: Prepared, entries: Sequence[Entry]) -> Iterator[Place]:
    """The fewest bits first, those without a number last."""
    anchor, interpolation = p.m.experiment.anchor, p.analysis.interpolation
    methods = [m for m in p.methods if m != anchor]
    against = {m: Pair.of(p, m, anchor, interpolation) for m in methods}
    found = [_measured(merged, key, m, against[m], entries) for m in methods]
    found.append(_anchor(merged, key, anchor, entries))
    found += _published(merged, p)
    found.sort(key=lambda row: (row.near.value is None, row.near.value or 0.0))
    ranked = [row.method for row in found if row.near.low is not None]
    clear: dict[str, int] = dict.fromkeys(ranked, 0)
    tied: dict[str, list[str]] = {m: [] for m in ranked}
    for i, better in enumerate(ranked):
        for worse in ranked[i + 1 :]:
            pair = _interval(p, better, worse, against)
            if pair.reason or pair.low <= 0 <= pair.high:
                tied[better].append(worse)
                tied[worse].append(better)
            else:
                clear[worse if pair.high < 0 else better] += 1
    for row in found:
        if row.method in clear:
            yield _with(row, 1 + clear[row.method], tuple(tied[row.method]))
        else:
            yield row


def _with(row: Place, place: int, tied: tuple[str, ...]) -> Place:
    return Place(row.method, row.entry, place, row.near, row.whole, tied, row.costs, row.published)


def _interval(p: Prepared, method: str, other: str, against: dict[str, Pair]) -> Interval:
    """Of a method's saving against another one near the clean score."""
    anchor, interpolation = p.m.experiment.anchor, p.analysis.interpolation
    if other == anchor:
        return against[method].range_interval()
    pair = Pair.of(p, method, other, interpolation)
    if np.isnan(pair.ranged[0]):
        return Interval(np.nan, np.nan, pair.range_reason())
    return pair.range_interval()


def _measured(merged: Merged, key: Key, method: str, pair: Pair, entries: Sequence[Entry]) -> Place:
    near, whole = pair.range_interval(), pair.interval()
    said = "; ".join(filter(None, pair.remarks))
    return Place(
        method,
        _entry(merged, key, method, entries),
        None,
        Saving(_known(pair.ranged[0]), _known(near.low), _known(near.high), pair.range_reason()),
        Saving(_known(pair.result.bd_rate), _known(whole.low), _known(whole.high), said),
        costs=_costs(merged, key, method),
    )


def _anchor(merged: Merged, key: Key, anchor: str, entries: Sequence[Entry]) -> Place:
    nothing = Saving(0.0, 0.0, 0.0)
    entry, costs = _entry(merged, key, anchor, entries), _costs(merged, key, anchor)
    return Place(anchor, entry, None, nothing, nothing, costs=costs)


def _published(merged: Merged, p: Prepared) -> Iterator[Place]:
    for row in published_rows(merged.manifest.published, [p]).bd:
        if row.interpolation == p.analysis.interpolation:
            near = Saving(row.range_bd_rate, reason=row.range_reason)
            whole = Saving(row.bd_rate, reason=row.reason)
            yield Place(row.method, None, None, near, whole, published=True)


def _entry(merged: Merged, key: Key, method: str, entries: Sequence[Entry]) -> Entry | None:
    side = merged.owners[key][method].part.side
    return next((entry for entry in entries if entry.side is side), None)


def _costs(merged: Merged, key: Key, method: str) -> dict[str, float]:
    owner = merged.owners[key][method]
    side, dataset = owner.part.side, owner.part.experiment.dataset
    told = speeds(side.measured()) if side.path.is_dir() else files.read_costs(side.path)
    return {
        speed.stage: speed.ms_per_megapixel
        for speed in told
        if (speed.dataset, speed.view, speed.method)
        == (dataset, owner.part.model.coded_view, owner.method)
    }


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
