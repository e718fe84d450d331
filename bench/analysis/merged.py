"""Merged results, as a results folder or in memory."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bench.analysis.baseline import Side, open_side
from bench.analysis.compare import elsewhere
from bench.analysis.merging import (
    Key,
    LeftOut,
    Merging,
    Owner,
    Part,
    called,
    parts_of,
)
from bench.analysis.results import Results
from bench.errors import ConfigError
from bench.results import manifest as manifests
from bench.results.files import check_columns, parse_table, read_bytes
from bench.results.manifest import Experiment, Failure, Manifest, Model, Published
from bench.results.names import COSTS, IMAGES, MANIFEST, UNCOMPRESSED, statistics_path
from bench.results.rows import IMAGE_KINDS as KINDS
from bench.results.rows import CostRow, columns, write_costs, write_images

SETTINGS = ("interpolation", "policy", "resamples", "seed", "within")
"""Of the analysis, which is the first one's."""


@dataclass(frozen=True)
class Merged(Results):
    """Statistics are read from whoever measured them."""

    owners: dict[Key, dict[str, Owner]] = field(default_factory=dict)
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()
    """What is to be said beside what was left out."""

    def statistics(
        self, experiment: Experiment, model: Model, method: str, qp: int | None
    ) -> pa.Table:
        own = self.owners[experiment.dataset, experiment.task, model.name]
        owner = own[experiment.anchor if qp is None else method]
        theirs = owner.part.experiment
        table = owner.part.side.measured().statistics(
            theirs, owner.part.model, UNCOMPRESSED if qp is None else owner.method, qp
        )
        places = _places(theirs.images, experiment.images)
        return table if places is None else _replaced(table, places)


def merge(sides: Sequence[Side]) -> Merged:
    """Raises ConfigError for a method that two have with different numbers, and ResultsError for
    what cannot be read."""
    wider = all(s.measured().manifest.analysis.metrics == "all" for s in sides if _measured(s))
    parts = [part for side in sides if _measured(side) for part in parts_of(side, wider)]
    curves = [curve for side in sides for curve in side.manifest.published]
    made = merge_parts(parts, curves, wider=wider)
    kept = {id(o.part.side) for own in made.owners.values() for o in own.values()}
    if made.left_out and len(kept) < 2 and not made.manifest.published:
        reasons = "; ".join(one.reason for one in made.left_out)
        raise ConfigError(f"nothing can be merged, the conditions differ: {reasons}")
    return made


def _measured(side: Side) -> bool:
    """Published curves alone have nothing else to merge."""
    return bool(side.manifest.experiments)


def merge_parts(
    parts: Sequence[Part],
    curves: Sequence[Published],
    ranking: bool = False,
    wider: bool = False,
) -> Merged:
    """`curves`: published ones that are to stand beside them; `ranking`: see `Merging`; `wider`:
    with the wider metrics. Raises as `merge` does."""
    if not parts:
        raise ConfigError(
            "nothing to merge with: one of the results must have measured something, and these are "
            "published curves alone"
        )
    merging = Merging(ranking)
    for part in parts:
        merging.add(part)
    sides = list({id(p.side): p.side for own in merging.parts.values() for p in own}.values())
    experiments = tuple(_experiments(merging))
    published, unplaced = _published(curves, merging)
    first = parts[0].side.manifest
    lpips = next((s.manifest.lpips for s in sides if s.manifest.lpips), {})
    manifest = Manifest(
        experiments=experiments,
        random_weights=tuple(dict.fromkeys(n for s in sides for n in s.manifest.random_weights)),
        analysis=first.analysis.model_copy(update={"metrics": "all" if wider else "standard"}),
        config={"merged": [_source(side) for side in sides]},
        versions=first.versions,
        device=first.device,
        failures=tuple(_failures(merging)),
        published=published,
        lpips=lpips,
    )
    notes = [text for said in merging.notes.values() for text in said]
    return Merged(
        parts[0].side.path,
        manifest,
        _images(merging, experiments, lpips),
        merging.owners,
        tuple(merging.left_out),
        (*notes, *unplaced, *_other_settings(sides), *_other_lpips(sides, lpips)),
    )


def _source(side: Side) -> dict[str, object]:
    return {
        "name": called(side),
        "methods": {e.dataset: list(e.methods) for e in side.manifest.experiments},
        "versions": side.manifest.versions,
        "config": side.manifest.config,
    }


def _other_settings(sides: Sequence[Side]) -> Iterator[str]:
    first = sides[0]
    for side in sides[1:]:
        ours, theirs = (s.manifest.analysis.model_dump() for s in (first, side))
        if moved := [name for name in SETTINGS if ours[name] != theirs[name]]:
            said = ", ".join(f"{name} {ours[name]}" for name in moved)
            yield f"analysed as {first.path} was: {said}; {side.path} was analysed otherwise"
        if moved_here := elsewhere(first, side):
            said = "; ".join(map(str, moved_here))
            yield f"the environments of {first.path} and {side.path} differ: {said}"


def _other_lpips(sides: Sequence[Side], lpips: dict[str, str]) -> Iterator[str]:
    for side in sides:
        if side.manifest.lpips and not _same_lpips(side, lpips):
            yield f"LPIPS of {side.path} is left out: it was measured with other weights"


def _same_lpips(side: Side, lpips: dict[str, str]) -> bool:
    """Versions of libraries aside."""
    return side.manifest.lpips.get("weights") == lpips.get("weights")


# --- the manifest ---------------------------------------------------------------------------------


def _experiments(merging: Merging) -> Iterator[Experiment]:
    """Models that have the same methods are one experiment."""
    groups: dict[tuple[object, ...], list[Part]] = {}
    for key, parts in merging.parts.items():
        grid = tuple((name, *_qps(owner)) for name, owner in merging.owners[key].items())
        about = parts[0].experiment
        told = (key[0], key[1], about.anchor, tuple(about.metrics.items()), grid)
        groups.setdefault(told, []).append(parts[0])
    for group in groups.values():
        yield _experiment(merging, group)


def _qps(owner: Owner) -> tuple[int, ...]:
    return owner.part.experiment.methods[owner.method]


def _experiment(merging: Merging, group: Sequence[Part]) -> Experiment:
    first = group[0].experiment
    owners = merging.owners[group[0].key]
    images = merging.images[first.dataset]
    notes = merging.notes.get(first.dataset, [])
    fingerprint = first.dataset_fingerprint
    limited = first.limited
    if images != first.images:
        listed = "\n".join([fingerprint, *images])
        fingerprint = "sha256:" + hashlib.sha256(listed.encode()).hexdigest()
        limited = False  # they may be any of the data set's
    return first.model_copy(
        update={
            "dataset_fingerprint": fingerprint,
            "limited": limited,
            "protocol": first.protocol if _same_protocol(merging, group) else None,
            "notes": (*first.notes, *notes),
            "n_images": len(images),
            "images": images,
            "models": tuple(part.model for part in group),
            "methods": {name: _qps(owner) for name, owner in owners.items()},
            "codecs": {n: o.part.experiment.codecs[o.method] for n, o in owners.items()},
            **{
                role: {
                    n: told
                    for n, o in owners.items()
                    if (told := getattr(o.part.experiment, role).get(o.method))
                }
                for role in ("preprocessors", "postprocessors")
            },
        }
    )


def _same_protocol(merging: Merging, group: Sequence[Part]) -> bool:
    """Whether all that was merged met one protocol, on all of its images."""
    first = group[0].experiment
    parts = [part for own in group for part in merging.parts[own.key]]
    whole = merging.images[first.dataset] == first.images
    return whole and all(part.experiment.protocol == first.protocol for part in parts)


def _failures(merging: Merging) -> Iterator[Failure]:
    """Of the clean pictures, and of the methods that were taken, in the order of a run."""
    found: dict[tuple[object, ...], Failure] = {}
    for key, parts in merging.parts.items():
        names = {name: i for i, name in enumerate(merging.images[key[0]])}
        own = {(id(o.part), o.method): name for name, o in merging.owners[key].items()}
        for part in parts:
            for f in part.failures():
                method = None if f.method is None else own.get((id(part), f.method), "")
                if method == "" or f.image not in names:
                    continue
                update = {"index": names[f.image], "method": method}
                told = (f.dataset, names[f.image], str(f.model), str(method), f.qp or 0)
                found.setdefault(told, f.model_copy(update=update))
    return iter(found[told] for told in sorted(found))


def _published(
    curves: Sequence[Published], merging: Merging
) -> tuple[tuple[Published, ...], list[str]]:
    """Those on what was measured, once each, and what is to be said of the others. Raises
    ConfigError for two that differ, and for the name of a measured method."""
    found: dict[tuple[str, ...], Published] = {}
    unplaced = []
    for curve in curves:
        own = [k for k in merging.owners if (k[0], k[2]) == (curve.dataset, curve.model)]
        metrics = {n for k in own for n in merging.parts[k][0].experiment.metrics}
        about = f"{curve.metric} of {curve.model} on {curve.dataset}"
        if curve.metric not in metrics:
            there = ", ".join(dict.fromkeys(f"{k[2]} on {k[0]}" for k in merging.owners))
            unplaced.append(
                f"{curve.method}, published, left out: {about} was not measured; there are {there}"
            )
            continue
        if any(curve.method in merging.owners[key] for key in own):
            raise ConfigError(
                f"{curve.method}: a measured method and a published curve ({curve.source}) on "
                f"{about} have this name; import the curve --as another one"
            )
        told = (curve.method, curve.dataset, curve.model, curve.metric)
        if found.setdefault(told, curve).points != curve.points:
            raise ConfigError(
                f"{curve.method}: two published curves of this name on {about}, from "
                f"{found[told].source} and {curve.source}, differ; import one --as another name"
            )
    return tuple(found.values()), unplaced


# --- the tables -----------------------------------------------------------------------------------


def _places(theirs: tuple[str, ...], ours: tuple[str, ...]) -> "np.ndarray | None":
    """Their index → ours, −1 for what is left out; None where they are the same."""
    if theirs == ours:
        return None
    index = {name: i for i, name in enumerate(ours)}
    return np.array([index.get(name, -1) for name in theirs])


def _replaced(table: pa.Table, places: "np.ndarray") -> pa.Table:
    """Statistics with the images' places in another list, in its order."""
    image = places[table["image"].to_numpy()]
    order = np.argsort(image, kind="stable")
    order = order[image[order] >= 0]
    column = table.column_names.index("image")
    kind = table.schema.field("image")
    moved = table.set_column(column, kind, pa.array(image).cast(kind.type))
    return moved.take(pa.array(order))


def _images(
    merging: Merging, experiments: Sequence[Experiment], lpips: dict[str, str]
) -> pd.DataFrame:
    """The rows of every view, method and QP, each of whoever it was taken from, without an LPIPS
    that is not comparable with `lpips`."""
    frames = []
    seen: set[tuple[str, str, str]] = set()
    for experiment in experiments:
        for model in experiment.models:
            key = (experiment.dataset, experiment.task, model.name)
            for name, owner in merging.owners[key].items():
                told = (experiment.dataset, model.coded_view, name)
                if told not in seen:
                    seen.add(told)
                    rows = _rows(owner, name, experiment.images)
                    if not _same_lpips(owner.part.side, lpips):
                        rows = rows.assign(lpips=np.nan)
                    frames.append(rows)
    return pd.concat(frames, ignore_index=True)


def _rows(owner: Owner, name: str, images: tuple[str, ...]) -> pd.DataFrame:
    part = owner.part
    known = part.side.measured().images
    chosen = (
        (known["dataset"] == part.experiment.dataset)
        & (known["view"] == part.model.coded_view)
        & (known["method"] == owner.method)
    )
    rows = known[chosen].reindex(columns=list(KINDS)).assign(method=name)
    return _moved(rows, part.experiment.images, images)


def _moved(rows: pd.DataFrame, theirs: tuple[str, ...], ours: tuple[str, ...]) -> pd.DataFrame:
    places = _places(theirs, ours)
    if places is None:
        return rows
    index = places[rows["index"].to_numpy()]
    moved = rows.assign(index=index)[index >= 0]
    return moved.sort_values(["qp", "index"], kind="stable")


def _costs(merged: Merged) -> pd.DataFrame | None:
    """Of the folders among them; None where none has any."""
    frames = []
    for experiment in merged.manifest.experiments:
        for model in experiment.models:
            own = merged.owners[experiment.dataset, experiment.task, model.name]
            for name, owner in own.items():
                known = _spent(owner.part.side)
                if known is not None:
                    frames.append(_own_costs(known, owner, name, experiment))
    if not frames:
        return None
    whole = pd.concat(frames, ignore_index=True)
    return whole.drop_duplicates([c for c in columns(CostRow) if c != "seconds"])


def _own_costs(
    known: pd.DataFrame, owner: Owner, name: str, experiment: Experiment
) -> pd.DataFrame:
    part = owner.part
    methods = [owner.method, *([UNCOMPRESSED] if name == experiment.anchor else [])]
    rows = known[
        (known["dataset"] == part.experiment.dataset)
        & known["of"].isin([part.model.coded_view, part.model.name])
        & known["method"].isin(methods)
    ]
    rows = rows.assign(method=rows["method"].replace({owner.method: name}))
    return _moved(rows, part.experiment.images, experiment.images)


def _spent(side: Side) -> pd.DataFrame | None:
    path = side.measured().root / COSTS
    if not path.is_file():
        return None
    table = parse_table(path, read_bytes(path))
    check_columns(path, table, dict.fromkeys(("dataset", "of", "method", "stage"), "text"))
    frame: pd.DataFrame = table.to_pandas(ignore_metadata=True)
    return frame.assign(qp=frame["qp"].astype("Int64"))


# --- a folder -------------------------------------------------------------------------------------


def opened(paths: Iterable[Path]) -> list[Side]:
    """Raises ResultsError."""
    return [open_side(path) for path in paths]


def write(merged: Merged, folder: Path, name: str) -> None:
    """The measurements of a results folder, as a run leaves them. Raises OSError."""
    write_images(merged.images, folder / IMAGES)
    spent = _costs(merged)
    if spent is not None:
        write_costs(spent, folder / COSTS)
    for experiment in merged.manifest.experiments:
        for model in experiment.models:
            for method, qps in {UNCOMPRESSED: (None,), **experiment.methods}.items():
                for qp in qps:
                    where = (experiment.task, experiment.dataset, model.name, method, qp)
                    path = statistics_path(folder, *where)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    table = merged.statistics(experiment, model, method, qp)
                    pq.write_table(table, path, write_page_checksum=True)
    manifests.write(folder / MANIFEST, merged.manifest.model_copy(update={"name": name}))
