"""Several results made one: the methods of equal conditions side by side, on the images they share.

What two results must share is what the gate asks of them, see `fingerprints`. Where one lacks
images that the other has, no fingerprint can say that the rest are the same pictures; there, each
file of the anchor must have the same size in both, and the clean scores must agree.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.analysis.baseline import Scores, Side
from bench.analysis.compare import CLOSE, elsewhere
from bench.analysis.fingerprints import (
    Difference,
    differences,
    method_conditions,
    model_conditions,
    subject,
)
from bench.errors import ConfigError
from bench.results.manifest import Experiment, Failure, Model
from bench.results.names import point_name, points_name

IMAGES = "images and ground truth"
"""What `model_conditions` calls them."""
SHOWN = 3

Key = tuple[str, str, str]
"""Data set, task and model."""


@dataclass(frozen=True)
class Part:
    """What one of the results has of one task model on one data set."""

    side: Side
    experiment: Experiment
    model: Model

    @property
    def key(self) -> Key:
        return self.experiment.dataset, self.experiment.task, self.model.name

    @property
    def where(self) -> str:
        return f"{self.model.name} on {self.experiment.dataset} ({self.experiment.task})"

    def failures(self) -> list[Failure]:
        return [
            f
            for f in self.side.manifest.failures
            if f.dataset == self.experiment.dataset and f.model in (None, self.model.name)
        ]

    def failed(self, methods: Iterable[str | None]) -> set[str]:
        """Images without a result of one of these methods, None being the clean picture."""
        return {f.image for f in self.failures() if f.method in methods}

    def scores(self, method: str, images: set[str]) -> Scores:
        """Of the anchor and a method on these images alone. Raises ResultsError."""
        left_out = [
            Failure(
                dataset=self.experiment.dataset,
                model=None,
                method=None,
                qp=None,
                image=name,
                index=i,
                stage="",
                error="",
            )
            for i, name in enumerate(self.experiment.images)
            if name not in images
        ]
        plain = self.side.manifest.analysis.model_copy(update={"resamples": 0})
        return self.side.scores(self.experiment, self.model, [method], left_out, plain)

    def bits(self, method: str, qp: int) -> dict[str, float]:
        """By image, NaN where there are none."""
        found = self.side.measured().of_images("bits", self.experiment, self.model, method, qp)
        return dict(zip(self.experiment.images, found.tolist(), strict=True))


@dataclass(frozen=True)
class Owner:
    """Whose numbers a method of the merged results has, and what it is called there."""

    part: Part
    method: str


@dataclass(frozen=True)
class LeftOut:
    part: Part
    reason: str


@dataclass
class Merging:
    """Parts are added one after another; the first on a data set says what it is."""

    ranking: bool = False
    """Whether all must have the same images, and a method that two have with different numbers
    stands there twice, under names of its own; else shared images do, and it is refused."""
    owners: dict[Key, dict[str, Owner]] = field(default_factory=dict)
    parts: dict[Key, list[Part]] = field(default_factory=dict)
    images: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Data set → those that all parts have, in the first one's order."""
    left_out: list[LeftOut] = field(default_factory=list)
    notes: dict[str, list[str]] = field(default_factory=dict)
    """Data set → what is to be said."""

    def add(self, part: Part) -> None:
        """Raises ConfigError for a method with other numbers than were merged before, and
        ResultsError for what cannot be read."""
        part.side.measured()
        dataset = part.experiment.dataset
        first = self._first(part)
        if first is None:
            self.images[dataset] = part.experiment.images
            self._take(part, part.experiment.methods)
            return
        reason = self._obstacle(first, part) or self._clean_moved(first, part)
        if reason:
            self.left_out.append(LeftOut(part, f"{part.where}: {reason}"))
            return
        anchor = part.experiment.anchor
        methods = [anchor, *self._on_one_grid(part)]
        clashes = {m: said for m in methods if (said := self._clash(part, m))}
        if clashes and not self.ranking:
            method, said = next(iter(clashes.items()))
            raise ConfigError(
                f"{method} on {part.where}: both {first.side.path} and {part.side.path} measured "
                f"it, with different numbers: {said}. Leave it out of one of the two "
                "(run --methods), or give it another name in one's config and measure again"
            )
        if anchor in clashes:
            self.left_out.append(LeftOut(part, f"{part.where}: {clashes[anchor]}"))
            return
        self._share(first, part)
        self._take(part, methods, clashes)

    def _first(self, part: Part) -> Part | None:
        """What it is compared with: the same model's part, else any on the data set."""
        if part.key in self.parts:
            return self.parts[part.key][0]
        dataset = part.experiment.dataset
        return next((own[0] for key, own in self.parts.items() if key[0] == dataset), None)

    # --- may they be compared? ---

    def _obstacle(self, first: Part, part: Part) -> str:
        """Which conditions differ, and on which side they are what; empty if none does."""
        ours, theirs = (_conditions(p, first.key == part.key) for p in (first, part))
        moved = list(differences(ours, theirs))
        images = next((d for d in moved if d.what == IMAGES), None)
        names = [first.experiment.images, part.experiment.images]
        if images is not None and not self.ranking and _usable(first) != _usable(part):
            moved.remove(images)  # others are there: the shared ones are looked at one by one
            if any(len(set(own)) < len(own) for own in names):
                moved.append(Difference("images", "two of one name", "images that differ"))
            elif not set(self.images[part.experiment.dataset]) & set(names[1]):
                moved.append(Difference("images", names[0][0] + " …", names[1][0] + " …"))
        return _said(moved, first, part)

    def _clean_moved(self, first: Part, part: Part) -> str:
        if first.key != part.key:
            return ""
        images = self._shared(first, part, [None])
        if not images:
            return f"no image that both {first.side.path} and {part.side.path} could measure"
        anchor = part.experiment.anchor
        images = self._shared(first, part, [None, anchor]) or images
        a, b = first.scores(anchor, images), part.scores(anchor, images)
        return _values_moved("clean", first, part, a, b, (a.clean, b.clean))

    def _on_one_grid(self, part: Part) -> list[str]:
        """Methods beside the anchor, without those that were merged with other QPs."""
        known, kept = self.owners.get(part.key, {}), []
        for method, qps in part.experiment.methods.items():
            owner = known.get(method)
            ours = owner and owner.part.experiment.methods[owner.method]
            if not self.ranking and owner and ours and set(ours) != set(qps):
                grids = (
                    f"{points_name(own)} in {side.path}"
                    for own, side in ((ours, owner.part.side), (qps, part.side))
                )
                said = f"{method} on {part.where}: {' and '.join(grids)}"
                self.left_out.append(LeftOut(part, said))
            elif method != part.experiment.anchor:
                kept.append(method)
        return kept

    def _clash(self, part: Part, method: str) -> str:
        """How the numbers of a method differ from those that were merged; empty if none does."""
        moved = self._bits_moved(part, method)
        owner = self.owners.get(part.key, {}).get(method)
        if moved or owner is None:
            return moved
        ours, theirs = owner.part.experiment, part.experiment
        if set(ours.methods[owner.method]) != set(theirs.methods[method]):
            return "other QPs"
        images = self._shared(owner.part, part, [None, owner.method, method])
        a, b = owner.part.scores(owner.method, images), part.scores(method, images)
        for qp, (_, values) in b.points[method].items():
            before = a.points[owner.method][qp][1][0]
            moved = _values_moved(point_name(qp), owner.part, part, a, b, (before, values[0]))
            if moved:
                return moved + _subjects(owner, part, method)
        return ""

    def _bits_moved(self, part: Part, method: str) -> str:
        """On the images of the view that was coded, whichever model they were coded for."""
        for key, own in self.owners.items():
            owner = own.get(method)
            if owner is None or key[0] != part.key[0]:
                continue
            if owner.part.model.coded_view != part.model.coded_view:
                continue
            images = self._shared(owner.part, part, [None, owner.method, method])
            for qp in part.experiment.methods[method]:
                ours, theirs = owner.part.bits(owner.method, qp), part.bits(method, qp)
                for image in sorted(images):
                    a, b = ours[image], theirs[image]
                    if a != b and not np.isnan(a + b):
                        said = (
                            f"{image} at {point_name(qp)} takes {a:.0f} bits in "
                            f"{owner.part.side.path} and {b:.0f} in {part.side.path}"
                        )
                        return said + _subjects(owner, part, method)
        return ""

    def _shared(self, a: Part, b: Part, methods: Sequence[str | None]) -> set[str]:
        """Images that all parts have and neither of the two failed on."""
        both = set(self.images[a.experiment.dataset]) & set(b.experiment.images)
        return both - a.failed(methods) - b.failed(methods)

    # --- taken ---

    def _share(self, first: Part, part: Part) -> None:
        dataset = part.experiment.dataset
        known, theirs = self.images[dataset], set(part.experiment.images)
        kept = tuple(name for name in known if name in theirs)
        if kept == known == part.experiment.images:
            return
        lost = [name for name in known if name not in theirs]
        more = [name for name in part.experiment.images if name not in set(known)]
        self.images[dataset] = kept
        for names, having, lacking in ((lost, first, part), (more, part, first)):
            if names:
                rest = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
                said = (
                    f"{dataset}: {len(names)} of the images of {having.side.path} left out, which "
                    f"{lacking.side.path} lacks: {', '.join(names[:SHOWN])}{rest}"
                )
                self._say(dataset, said)

    def _take(
        self, part: Part, methods: Iterable[str], clashes: dict[str, str] | None = None
    ) -> None:
        own = self.owners.setdefault(part.key, {})
        self.parts.setdefault(part.key, []).append(part)
        for method in methods:
            name = method
            if method in (clashes or {}):
                name = f"{method} ({called(part.side)})"
                while name in own:
                    name += "′"
            elif method in own:
                ours, theirs = own[method].part.side, part.side
                if elsewhere(ours, theirs):
                    dataset = part.experiment.dataset
                    self._say(
                        dataset,
                        f"{method} on {part.where}: measured by {ours.path} and {theirs.path} "
                        f"alike, in different environments; the numbers are those of {ours.path}",
                    )
                continue
            own[name] = Owner(part, method)

    def _say(self, dataset: str, text: str) -> None:
        self.notes.setdefault(dataset, []).append(text)


def called(side: Side) -> str:
    """What results are called beside others."""
    return side.path.resolve().name.removesuffix(".json")


def parts_of(side: Side, wider: bool) -> list[Part]:
    """`wider`: with the wider metrics that a results folder may have. Raises ResultsError."""
    manifest = side.measured().manifest if wider else side.manifest
    return [Part(side, e, m) for e in manifest.experiments for m in e.models]


def _conditions(part: Part, same_model: bool) -> dict[str, str]:
    experiment = part.experiment
    if not same_model:
        return {IMAGES: experiment.dataset_fingerprint}
    grid = method_conditions(experiment, experiment.anchor)
    return model_conditions(experiment, part.model) | grid


def _usable(part: Part) -> set[str]:
    return set(part.experiment.images) - part.failed([None])


def _said(moved: Iterable[Difference], first: Part, part: Part) -> str:
    """Each difference, and which side has what."""
    said = "; ".join(map(str, moved))
    return f"{said} (from {first.side.path} to {part.side.path})" if said else ""


def _values_moved(
    where: str,
    first: Part,
    part: Part,
    a: Scores,
    b: Scores,
    values: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> str:
    """Whether accuracy differs by more than the tolerance across machines, on one machine at
    all."""
    names = [", ".join(m.name for m in scores.metrics) for scores in (a, b)]
    if names[0] != names[1]:
        return f"metrics: {names[0]} in {first.side.path}, {names[1]} in {part.side.path}"
    allowed = first.side.tolerances.get(first.experiment.dataset, {})
    across = bool(elsewhere(first.side, part.side))
    for metric, x, y in zip(a.metrics, *values, strict=True):
        tolerance = allowed.get(metric.name, 0.0) if across else 0.0
        near = abs(x - y) <= tolerance + CLOSE * max(1.0, abs(x))
        if not (near or (np.isnan(x) and np.isnan(y))):
            return (
                f"{where}: {metric.name} is {x:.6g} in {first.side.path} and {y:.6g} in "
                f"{part.side.path}, more than the tolerance of {tolerance:g}"
            )
    return ""


def _subjects(owner: Owner, part: Part, method: str) -> str:
    """What differs of the preprocessor, the codec and the post-processor, in brackets."""
    ours, theirs = subject(owner.part.experiment, owner.method), subject(part.experiment, method)
    moved = "; ".join(map(str, differences(ours, theirs)))
    return f" ({moved})" if moved else ""


def require_new(out: Path, sources: Iterable[Path]) -> None:
    """Raises ConfigError where the result would take the place of what it is made from."""
    for source in sources:
        if out.resolve() == source.resolve():
            raise ConfigError(f"--out {out}: it is one of those that are merged; name another")
