"""How the plan is carried out: in parallel through joblib, past the cache, losing no result."""

import hashlib
import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from joblib.externals.loky.cloudpickle_wrapper import dumps
from numpy.typing import NDArray

from bench.datasets.base import Dataset
from bench.datasets.views import native
from bench.errors import BenchError, ConfigError
from bench.models.base import GivesLoss, categories_of_classes, giver_of_losses, own_targets
from bench.sweep.cache import Cache, key
from bench.sweep.coding import (
    CODE_VERSION,
    Coded,
    CodingJob,
    Outcome,
    Picture,
    code,
    decoded,
    loaded,
    look,
)
from bench.sweep.failures import Failed, ImageError, stage
from bench.sweep.plan import CHUNK, Experiment, PlannedModel, Point
from bench.sweep.workers import Workers
from bench.tasks import FAULTS
from bench.tasks.base import Prediction, Target

Progress = Callable[[str, int], Callable[[int], None]]
"""(what is done, how many) → a function that is told of each step."""

LOSS_VERSION = 1
"""Of a detector's own loss, stored with its predictions."""

FIRST = 8
"""Images of which not all may fail: then it is not about single images."""


@dataclass
class Record:
    """What a run did and could not do."""

    computed: Counter[str] = field(default_factory=lambda: Counter(coded=0, predicted=0))
    cached: Counter[str] = field(default_factory=lambda: Counter(coded=0, predicted=0))
    failures: list[dict[str, Any]] = field(default_factory=list)


def _objects_sha256(target: Target) -> str:
    digest = hashlib.sha256(target["boxes"].astype("<f4").tobytes())
    digest.update(target["labels"].astype("<i8").tobytes())
    return digest.hexdigest()


class _First:
    """Watches whether any of the first images comes through a step."""

    def __init__(self, n: int, what: str) -> None:
        self._left, self._what = min(n, FIRST), what
        self._failures: list[tuple[str, Failed]] = []

    def see(self, image: str, failed: Failed | None) -> None:
        """Raises BenchError when every one of the first images failed."""
        if self._left == 0:
            return
        if failed is None:
            self._left = 0
            return
        self._failures.append((image, failed))
        if len(self._failures) == self._left:
            name, first = self._failures[0]
            raise BenchError(
                f"{self._what}: every one of the first {self._left} images failed, so the fault is "
                f"not in single images; the first is {name}: {first.stage}: {first.error}"
            )


def require_sendable(experiments: list[Experiment]) -> None:
    """Raises ConfigError where codecs, preprocessors or samples cannot be sent to a process."""
    for e in experiments:
        for what, thing in [
            *((f"method {p.method}", p) for p in e.points),
            (f"data set {e.dataset.name}", e.dataset.samples[0]),
        ]:
            try:
                dumps(thing)
            except Exception as error:  # whatever pickling it raises
                raise ConfigError(
                    f"{what} cannot be sent to worker processes ({error}); use --backend threading"
                ) from error


class Run:
    """One run over the experiments of a plan."""

    def __init__(
        self, cache: Cache, workers: Workers, progress: Progress, max_failures: float
    ) -> None:
        self.cache = cache
        self.workers = workers
        self.progress = progress
        self.max_failures = max_failures
        self.record = Record()

    def look(self, experiment: Experiment) -> dict[str, list[Picture | None]]:
        """Fingerprint and size of every sample in every view; None where it cannot be read."""
        views: dict[str, Callable[..., Any]] = {"native": native}
        views |= {m.view: m.look for m in experiment.models}
        samples = experiment.dataset.samples
        advance = self.progress(f"{experiment.dataset.name}: reading images", len(samples))
        pictures: dict[str, list[Picture | None]] = {view: [] for view in views}
        first = _First(len(samples), experiment.dataset.name)
        seen = self.workers.map(
            partial(look, views=views), samples, lost=lambda sample: Failed("worker", DIED)
        )
        for i, found in enumerate(seen):
            for view in views:
                pictures[view].append(found[view] if isinstance(found, dict) else None)
            failed = found if isinstance(found, Failed) else None
            if failed:
                self._fail(experiment, None, None, i, failed)
            first.see(samples[i].name, failed)
            advance(1)
        self._check_failures(experiment)
        return pictures

    def _fail(
        self,
        experiment: Experiment,
        model: PlannedModel | None,
        point: Point | None,
        index: int,
        failed: Failed,
    ) -> None:
        self.record.failures.append(
            {
                "dataset": experiment.dataset.name,
                "model": model.spec.name if model else None,
                "method": point.method if point else None,
                "qp": point.qp if point else None,
                "image": experiment.dataset.samples[index].name,
                "index": index,
                "stage": failed.stage,
                "error": failed.error,
            }
        )

    def _check_failures(self, experiment: Experiment) -> None:
        """Raises BenchError if more images failed than are tolerated."""
        own = [f for f in self.record.failures if f["dataset"] == experiment.dataset.name]
        n_failed, n = len({f["image"] for f in own}), len(experiment.dataset.samples)
        if n_failed > self.max_failures * n or n_failed == n:
            raise BenchError(
                f"{experiment.dataset.name}: {n_failed} of {n} images failed, more than "
                f"--max-failures {100 * self.max_failures:g} % allows; the first is "
                f"{own[0]['image']}: {own[0]['stage']}: {own[0]['error']}. What was measured is "
                "kept; mend the images, or raise --max-failures, and run the same command again"
            )

    def _jobs(
        self, experiment: Experiment, view: str, pictures: list[Picture | None]
    ) -> dict[int, CodingJob]:
        """By index, of the samples that can be read."""
        model = next((m for m in experiment.models if m.view == view and m.viewed), None)
        return {
            i: CodingJob(
                experiment.dataset.samples[i],
                model.look if model else native,
                picture,
                experiment.points,
                self.cache,
            )
            for i, picture in enumerate(pictures)
            if picture
        }

    def code(
        self, experiment: Experiment, view: str, pictures: list[Picture | None]
    ) -> list[list[Coded | None]]:
        """[point][sample] for one view; None where the picture failed."""
        dataset = experiment.dataset
        model = next((m for m in experiment.models if m.view == view and m.viewed), None)
        jobs = self._jobs(experiment, view, pictures)
        advance = self.progress(
            f"{dataset.name}: coding, {len(experiment.points)} points", len(jobs)
        )
        table: list[list[Coded | None]] = [[None] * len(pictures) for _ in experiment.points]
        first = [
            _First(len(jobs), f"{dataset.name}: {p.method} at QP {p.qp}") for p in experiment.points
        ]
        outcomes = self.workers.map(code, jobs.values(), lost=_lost)
        for i, (results, computed, cached) in zip(jobs, outcomes, strict=True):
            self.record.computed.update(computed)
            self.record.cached.update(cached)
            for p, result in enumerate(results):
                failed = result if isinstance(result, Failed) else None
                first[p].see(dataset.samples[i].name, failed)
                if failed:
                    self._fail(experiment, model, experiment.points[p], i, failed)
                elif isinstance(result, Coded):
                    table[p][i] = result
            self._check_failures(experiment)
            advance(1)
        return table

    def clean_reader(self, experiment: Experiment, model: PlannedModel) -> "Reader":
        """Of the pictures as they are."""
        samples = experiment.dataset.samples

        def read(i: int) -> NDArray[np.uint8]:
            rgb = loaded(samples[i])
            with stage("view"):
                return model.look(rgb)

        return _guarded(read)

    def decoded_reader(
        self,
        experiment: Experiment,
        model: PlannedModel,
        point: Point,
        pictures: list[Picture | None],
        row: list[Coded | None],
    ) -> "Reader":
        jobs = self._jobs(experiment, model.view, pictures)

        def read(i: int) -> NDArray[np.uint8]:
            coded = row[i]
            assert coded is not None
            return decoded(jobs[i], point, coded)

        return _guarded(read)

    def predict(
        self,
        experiment: Experiment,
        model: PlannedModel,
        point: Point | None,
        hashes: list[str | None],
        read: "Reader",
        advance: Callable[[int], None],
    ) -> list[Prediction | None]:
        """One prediction per sample of the data set, None where its pixels or itself failed.

        `hashes` are of the pixels that `read` gives. The chunks follow the data set's order alone,
        and a chunk with anything missing is run whole, so that what the cache holds never changes
        what is computed.
        """
        dataset = experiment.dataset
        predictions: list[Prediction | None] = [None] * len(hashes)
        present = [i for i, h in enumerate(hashes) if h]
        chunks = [present[k : k + CHUNK] for k in range(0, len(present), CHUNK)]
        mapping = None
        if dataset.task == "det":
            mapping = categories_of_classes(model.network, dataset)
        # Ground truth enters a prediction only with the detector's own loss on it.
        scored = dataset.task == "det" and dataset.labelled
        giver = giver_of_losses(model.network) if scored else None
        targets = own_targets(model.network, dataset) if giver else []
        keys = {
            i: key(
                "prediction",
                version=CODE_VERSION,
                pixels=hashes[i],
                model=model.key,
                **({"loss": LOSS_VERSION, "objects": _objects_sha256(targets[i])} if giver else {}),
            )
            for i in present
        }
        missing = []
        for chunk in chunks:
            for i in chunk:
                predictions[i] = known = self.cache.get(keys[i])
                if known is not None:
                    _check_task(known, model, dataset)
                    _check_classes(known, model, dataset)
            if any(predictions[i] is None for i in chunk):
                missing.append(chunk)
        absent = {i for chunk in missing for i in chunk if predictions[i] is None}
        self.record.cached["predicted"] += len(present) - len(absent)
        self.record.computed["predicted"] += len(absent)
        advance(len(hashes) - sum(len(chunk) for chunk in missing))
        # Pictures are decoded in threads, two chunks ahead of the network.
        threads = Workers(self.workers.jobs, "threading")
        pictures = threads.map(read, itertools.chain.from_iterable(missing), ahead=2 * CHUNK)
        first = _First(len(absent), f"{dataset.name}: {model.spec.name}")
        for chunk in missing:
            batch = list(itertools.islice(pictures, len(chunk)))
            found = _predicted(
                model, dataset, batch, giver, [targets[i] for i in chunk] if giver else []
            )
            for i, prediction in zip(chunk, found, strict=True):
                first.see(
                    dataset.samples[i].name, prediction if isinstance(prediction, Failed) else None
                )
                if isinstance(prediction, Failed):
                    self._fail(experiment, model, point, i, prediction)
                    predictions[i] = None
                elif i in absent:
                    self.cache.put(keys[i], prediction)
                    predictions[i] = prediction
            self._check_failures(experiment)
            advance(len(chunk))
        for _ in pictures:  # lets joblib end the generator
            pass
        return predictions if mapping is None else _in_categories(predictions, mapping)


DIED = "the worker process that had it ended (out of memory, or a crash in a decoder)"

Reader = Callable[[int], NDArray[np.uint8] | Failed]
"""Index → the pixels that a model sees."""


def _guarded(read: Callable[[int], NDArray[np.uint8]]) -> Reader:
    def guarded(i: int) -> NDArray[np.uint8] | Failed:
        try:
            return read(i)
        except ImageError as error:
            return error.failed

    return guarded


def _lost(job: CodingJob) -> Outcome:
    return [Failed("worker", DIED) for _ in job.points], Counter(), Counter()


def _predicted(
    model: PlannedModel,
    dataset: Dataset,
    batch: list[NDArray[np.uint8] | Failed],
    giver: GivesLoss | None,
    targets: list[Target],
) -> list[Prediction | Failed]:
    """What the model says of each picture; where they cannot be taken together, of each alone."""
    outcomes: list[Any] = list(batch)
    whole = [k for k, picture in enumerate(batch) if not isinstance(picture, Failed)]

    def run(which: list[int]) -> list[Prediction]:
        images = [outcomes[k] for k in which]
        with stage("predict"):
            found = list(model.network.predict(images, model.viewed))
            if len(found) != len(images):
                raise ValueError(f"{len(found)} predictions of {len(images)} images")
            if giver:
                losses = giver.losses(images, [targets[k] for k in which])
                found = [
                    p | {"loss": np.array(loss)} for p, loss in zip(found, losses, strict=True)
                ]
        return found

    try:
        found: list[Prediction | Failed] = [*run(whole)]
    except ImageError:
        found = []
        for k in whole:
            try:
                found += run([k])
            except ImageError as error:
                found.append(error.failed)
    for k, prediction in zip(whole, found, strict=True):
        outcomes[k] = prediction
        if not isinstance(prediction, Failed):
            fault = _fault(prediction, model, dataset)
            if fault:
                outcomes[k] = Failed("predict", f"the model returned {fault}")
    return outcomes


def _fault(prediction: Any, model: PlannedModel, dataset: Dataset) -> str:
    """What makes a prediction unusable; empty if nothing. Raises ConfigError if the model is for
    another task, or a classifier's classes are not those of the data set's labels."""
    if not isinstance(prediction, dict) or not prediction:
        return f"a {type(prediction).__name__} without arrays"
    _check_task(prediction, model, dataset)
    fault = FAULTS[dataset.task](prediction)
    if not fault:
        _check_classes(prediction, model, dataset)
    return fault


def _check_task(prediction: Prediction, model: PlannedModel, dataset: Dataset) -> None:
    given_by = {"det": ("boxes", "a detector"), "cls": ("logits", "a classifier")}
    key, needed = given_by[dataset.task]
    if key not in prediction:
        raise ConfigError(
            f"task {dataset.task} needs {needed}, but model {model.spec.name} of "
            f"{model.spec.library} gives {', '.join(prediction)}; name another model, or change "
            "the experiment's task and data set"
        )


def _check_classes(prediction: Prediction, model: PlannedModel, dataset: Dataset) -> None:
    if dataset.task == "det" and model.network.classes is not None:
        largest, n = max(prediction["labels"].tolist(), default=0), len(model.network.classes)
        if largest >= n:
            raise ConfigError(
                f"model {model.spec.name} of {model.spec.library} gives class index {largest}, but "
                f"names {n} classes only"
            )
    if dataset.task != "cls" or not dataset.labelled:
        return
    given, largest = len(prediction["logits"]), max(dataset.categories)
    if dataset.n_classes is not None and dataset.n_classes != given:
        raise ConfigError(
            f"data set {dataset.name} has {dataset.n_classes} classes, but model "
            f"{model.spec.name} gives {given}: the class numbers of the two mean different things. "
            "Take a model that was trained on these classes, or list the images in labels.csv with "
            "the model's own class_index"
        )
    if largest >= given:
        raise ConfigError(
            f"data set {dataset.name} has class index {largest}, but model {model.spec.name} "
            f"gives {given} classes (0 to {given - 1}); take a model that was trained on the data "
            "set's classes, or correct the indices"
        )


def _in_categories(
    predictions: list[Prediction | None], mapping: NDArray[np.int64]
) -> list[Prediction | None]:
    """Detections with the data set's category ids."""
    mapped: list[Prediction | None] = []
    for p in predictions:
        if p is not None:
            labels = mapping[p["labels"]]
            known = labels >= 0
            p = p | {"labels": labels}
            p |= {k: p[k][known] for k in ("boxes", "scores", "labels")}
        mapped.append(p)
    return mapped
