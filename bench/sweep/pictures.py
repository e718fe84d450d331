"""A few pictures of a run, kept with its results: original, anchor, best method at equal bits."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, features

from bench.analysis.choice import Choice, choose
from bench.analysis.results import load
from bench.errors import ConfigError
from bench.results import pictures
from bench.results.names import PICTURES, UNCOMPRESSED
from bench.results.pictures import KeptPicture, Look
from bench.results.rows import Tables, known
from bench.sweep.cache import pixels_sha256
from bench.sweep.coding import Picture, Pixels, Source, code, decoded
from bench.sweep.failures import Failed, ImageError
from bench.sweep.plan import Answer, Experiment, PlannedModel, Point
from bench.sweep.predict import Predictor
from bench.sweep.workshop import Counts, Setup, Workshop, workshop
from bench.tasks import TASKS

COUNT = 12
"""Of a run, shared among its data sets and models."""
MOST_BYTES = 2_000_000
LONGEST = 512
"""Pixels of the longer side that are kept."""
AMPLIFIED = 4
"""Times that what a preprocessor removes is enlarged."""
QUALITIES = (85, 75, 60, 45, 30)
"""Of WebP: the first that keeps all pictures within `MOST_BYTES`."""

Kept = tuple[KeptPicture, dict[str, Pixels]]
"""With the pixels of its files."""


def require() -> None:
    """Load what writes them, while there is memory. Raises ConfigError where Pillow has it not."""
    if not features.check("webp"):
        raise ConfigError(
            "this Pillow cannot write WebP, the format of a report's pictures. Install the one of "
            "the package index: pip install --force-reinstall -c constraints.txt pillow"
        )


def keep(setup: Setup, root: Path, tables: Tables) -> None:
    """Choose, as `bench.analysis.choice` says, and write. A picture that fails again is left out.
    Raises OSError."""
    shop, results = workshop(setup), load(root)
    pairs = [
        (experiment, described, model, named)
        for experiment, described in zip(
            shop.experiments, results.manifest.experiments, strict=True
        )
        for model, named in zip(experiment.models, described.models, strict=True)
    ]
    each = max(1, COUNT // (2 * max(1, len(pairs))))
    kept: list[Kept] = []
    for experiment, described, model, named in pairs[:COUNT]:
        maker = _Maker(shop, experiment, model)
        chosen = choose(results, described, named, tables.points, tables.bd, each)
        kept += maker.made(chosen, len(kept))
    if kept:
        _write(root, kept)


def _write(root: Path, kept: list[Kept]) -> None:
    (root / PICTURES).mkdir()
    _encode(root / PICTURES, [files for _, files in kept])
    pictures.write(root, [picture for picture, _ in kept])


def _encode(folder: Path, kept: list[dict[str, Pixels]]) -> None:
    """All at one quality, so that they can be compared."""
    for quality in QUALITIES:
        for files in kept:
            for name, rgb in files.items():
                Image.fromarray(rgb).save(folder / name, "WEBP", quality=quality, method=4)
        if sum(path.stat().st_size for path in folder.iterdir()) <= MOST_BYTES:
            return


class _Maker:
    def __init__(self, shop: Workshop, experiment: Experiment, model: PlannedModel) -> None:
        self._shop, self._experiment, self._model = shop, experiment, model
        self._predictor = Predictor(shop, experiment, model)

    def made(self, chosen: list[Choice], first: int) -> Iterator[Kept]:
        """Numbered from `first`."""
        for number, choice in enumerate(chosen, first):
            try:
                yield self._made(choice, f"{number:02d}")
            except ImageError:
                continue

    def _made(self, choice: Choice, number: str) -> Kept:
        """Raises ImageError."""
        sample = self._experiment.dataset.samples[choice.index]
        rgb = self._model.look(sample.load())
        shown = Picture(pixels_sha256(rgb), rgb.shape[1], rgb.shape[0])
        source = Source(sample, self._model.look, shown, self._shop)
        clean = self._answer(choice.index, shown.sha256, rgb)
        target = sample.target if sample.target is not None else self._experiment.reference(clean)
        files = {f"{number}-original.webp": rgb}
        original = Look(
            method=UNCOMPRESSED,
            qp=None,
            bits=None,
            value=known(choice.clean),
            file=f"{number}-original.webp",
            marks=self._marks(clean, target),
        )

        def coded(name: str, point: Point, value: float) -> Look:
            made = code(source, point, Counts())
            seen = decoded(source, point, made)
            files[f"{number}-{name}.webp"] = seen
            return Look(
                method=point.method,
                qp=point.qp,
                bits=made.bits,
                value=known(value),
                file=f"{number}-{name}.webp",
                marks=self._marks(self._answer(choice.index, made.delivered_sha256, seen), target),
            )

        anchor = self._point(self._experiment.config.anchor, choice.anchor_qp)
        method = self._point(choice.method, choice.method_qp)
        looks = {
            "anchor": coded("anchor", anchor, choice.by_anchor),
            "method": coded("method", method, choice.by_method),
        }
        removed = f"{number}-removed.webp" if method.preprocessor else ""
        if method.preprocessor:
            used = code(source, method, Counts()).qp
            files[removed] = _difference(rgb, method.preprocessor(rgb, used))
        picture = KeptPicture(
            dataset=self._experiment.dataset.name,
            model=self._model.spec.name,
            image=sample.name,
            index=choice.index,
            rule=choice.rule,
            metric=choice.metric,
            width=shown.width,
            height=shown.height,
            original=original,
            removed=removed,
            **looks,
        )
        return picture, {name: _small(pixels) for name, pixels in files.items()}

    def _point(self, method: str, qp: int) -> Point:
        return next(p for p in self._experiment.points if (p.method, p.qp) == (method, qp))

    def _answer(self, index: int, sha256: str, rgb: Pixels) -> Answer:
        """Raises ImageError."""
        found = self._predictor.predict({index: sha256}, lambda _: rgb, Counts())[index]
        if isinstance(found, Failed):
            raise ImageError(found.stage, found.error)
        return found

    def _marks(self, answer: Answer, target: object) -> tuple[pictures.Mark, ...]:
        dataset = self._experiment.dataset
        task = TASKS.get(dataset.task)
        if not isinstance(target, task.target):
            return ()
        return tuple(task.marks(answer.prediction, target, dataset.categories))


def _difference(before: Pixels, after: Pixels) -> Pixels:
    """What was taken away, around gray."""
    removed = 128 + AMPLIFIED * (before.astype(np.int32) - after)
    return removed.clip(0, 255).astype(np.uint8)


def _small(rgb: Pixels) -> Pixels:
    factor = LONGEST / max(rgb.shape[:2])
    if factor >= 1:
        return rgb
    size = (max(1, round(rgb.shape[1] * factor)), max(1, round(rgb.shape[0] * factor)))
    return cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]
