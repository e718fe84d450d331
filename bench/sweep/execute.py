"""How the plan is carried out: in parallel through joblib, past the cache, losing no result."""

import hashlib
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray

from bench.datasets.base import Dataset, Sample
from bench.datasets.views import native
from bench.errors import BenchError, CodecError, ConfigError, DataError
from bench.models.base import categories_of_classes, giver_of_losses, own_targets
from bench.sweep.cache import Cache, Entry, key, pixels_sha256
from bench.sweep.plan import CHUNK, Experiment, PlannedModel, Point
from bench.tasks.base import Prediction, Target

Progress = Callable[[str, int], Callable[[int], None]]
"""(what is done, how many) → a function that is told of each step."""

CODE_VERSION = 1
"""Of what is stored: raised when a change of this package changes it."""

LOSS_VERSION = 1
"""Of a detector's own loss, stored with its predictions: likewise."""


@dataclass
class Workers:
    jobs: int
    backend: str

    def map(
        self, function: Callable[..., Any], items: Iterable[Any], ahead: int | None = None
    ) -> Iterator[Any]:
        """Results in order, as they come; `ahead` bounds how many are begun before being used."""
        return iter(
            Parallel(
                n_jobs=self.jobs,
                backend=self.backend,
                return_as="generator",
                pre_dispatch=ahead or "2*n_jobs",
            )(delayed(function)(item) for item in items)
        )


@dataclass
class Record:
    """What a run did and could not do."""

    computed: Counter[str] = field(default_factory=lambda: Counter(coded=0, predicted=0))
    cached: Counter[str] = field(default_factory=lambda: Counter(coded=0, predicted=0))
    failures: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Picture:
    """One view of a sample, by fingerprint and size."""

    sha256: str
    width: int
    height: int


@dataclass(frozen=True)
class Coded:
    """A coded picture: what is reported of it, and the key under which its bytes lie."""

    key: str
    decoded_sha256: str
    bits: int
    psnr: float


@dataclass(frozen=True)
class Failed:
    stage: str
    error: str


def _look(sample: Sample, views: dict[str, Callable[..., Any]]) -> dict[str, Picture] | Failed:
    try:
        rgb = sample.load()
    except DataError as error:
        return Failed("load", str(error))
    pictures = {}
    for name, view in views.items():
        seen = view(rgb)
        pictures[name] = Picture(pixels_sha256(seen), seen.shape[1], seen.shape[0])
    return pictures


def _psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """In dB over the three channels of 8-bit RGB; infinite for equal pictures."""
    difference = a.astype(np.int32) - b
    mse = float(np.mean(difference * difference))
    return 10 * math.log10(255**2 / mse) if mse else math.inf


@dataclass(frozen=True)
class _CodingJob:
    sample: Sample
    view: Callable[..., Any]
    picture: Picture
    points: list[Point]
    cache: Cache


class _Source:
    """The pixels of a coding job, read when the first of them is missing from the cache."""

    def __init__(self, job: _CodingJob) -> None:
        self._job = job

    @cached_property
    def rgb(self) -> NDArray[np.uint8]:
        rgb: NDArray[np.uint8] = self._job.view(self._job.sample.load())
        return rgb

    def given_to_codec(self, point: Point) -> NDArray[np.uint8]:
        return point.preprocessor(self.rgb, point.qp) if point.preprocessor else self.rgb


def _coded(entry: Entry, key: str) -> Coded:
    return Coded(
        key, entry["decoded"].tobytes().hex(), 8 * entry["data"].size, float(entry["psnr"])
    )


def _code(job: _CodingJob) -> tuple[list[Coded | Failed], Counter[str], Counter[str]]:
    """Every point of one picture, and what was computed and what came from the cache."""
    source, computed, cached = _Source(job), Counter[str](), Counter[str]()

    def stored(stage: str, under: str, make: Callable[[], Entry]) -> Entry:
        entry = job.cache.get(under)
        (computed if entry is None else cached)[stage] += 1
        if entry is None:
            entry = make()
            job.cache.put(under, entry)
        return entry

    def point_of(point: Point) -> Coded:
        # Filtered at most once, and not at all if what was coded of it is known. The cache keeps
        # the fingerprint of the filtered pixels, not the pixels.
        given = cache(lambda: source.given_to_codec(point))
        sha256 = job.picture.sha256
        if point.preprocessor:
            under = key(
                "preprocessed",
                version=CODE_VERSION,
                pixels=sha256,
                preprocessor=point.preprocessor.fingerprint(),
                qp=point.qp,
            )
            entry = stored("preprocessed", under, lambda: {"sha256": _digest(given())})
            sha256 = entry["sha256"].tobytes().hex()
        under = key(
            "coded",
            version=CODE_VERSION,
            pixels=sha256,
            codec=point.codec.fingerprint(),
            qp=point.qp,
        )

        def code() -> Entry:
            data = point.codec.encode(given(), point.qp)
            decoded = point.codec.decode(data)
            return {
                "data": np.frombuffer(data, np.uint8),
                "decoded": _digest(decoded),
                "psnr": np.array(_psnr(source.rgb, decoded)),
            }

        return _coded(stored("coded", under, code), under)

    results: list[Coded | Failed] = []
    for point in job.points:
        try:
            results.append(point_of(point))
        except (CodecError, DataError) as error:
            results.append(Failed("code", str(error)))
    return results, computed, cached


def _digest(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.frombuffer(bytes.fromhex(pixels_sha256(rgb)), np.uint8)


def _objects_sha256(target: Target) -> str:
    digest = hashlib.sha256(target["boxes"].astype("<f4").tobytes())
    digest.update(target["labels"].astype("<i8").tobytes())
    return digest.hexdigest()


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
        for i, found in enumerate(self.workers.map(partial(_look, views=views), samples)):
            for view in views:
                pictures[view].append(found[view] if isinstance(found, dict) else None)
            if isinstance(found, Failed):
                self._fail(experiment, None, None, i, found)
            advance(1)
        self.check_failures(experiment)
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

    def failed_images(self, experiment: Experiment) -> set[str]:
        return {f["image"] for f in self.record.failures if f["dataset"] == experiment.dataset.name}

    def check_failures(self, experiment: Experiment) -> None:
        """Raises BenchError if more images failed than are tolerated."""
        failed, n = self.failed_images(experiment), len(experiment.dataset.samples)
        if len(failed) > self.max_failures * n:
            first = next(f for f in self.record.failures if f["dataset"] == experiment.dataset.name)
            raise BenchError(
                f"{experiment.dataset.name}: {len(failed)} of {n} images failed, more than "
                f"--max-failures {100 * self.max_failures:g} % allows; the first is "
                f"{first['image']}: {first['error']}. What was measured is kept; mend the images, "
                "or raise --max-failures, and run the same command again"
            )

    def code(
        self, experiment: Experiment, view: str, pictures: list[Picture | None]
    ) -> list[list[Coded | None]]:
        """[point][sample] for one view; None where the picture failed."""
        dataset = experiment.dataset
        model = next((m for m in experiment.models if m.view == view and m.viewed), None)
        look = model.look if model else native
        jobs = [
            (i, _CodingJob(dataset.samples[i], look, picture, experiment.points, self.cache))
            for i, picture in enumerate(pictures)
            if picture
        ]
        advance = self.progress(
            f"{dataset.name}: coding, {len(experiment.points)} points", len(jobs)
        )
        table: list[list[Coded | None]] = [[None] * len(pictures) for _ in experiment.points]
        outcomes = self.workers.map(_code, (job for _, job in jobs))
        for (i, _), (results, computed, cached) in zip(jobs, outcomes, strict=True):
            self.record.computed.update(computed)
            self.record.cached.update(cached)
            for p, result in enumerate(results):
                if isinstance(result, Failed):
                    self._fail(experiment, model, experiment.points[p], i, result)
                else:
                    table[p][i] = result
            advance(1)
        self.check_failures(experiment)
        return table

    def decode(self, point: Point, coded: Coded) -> NDArray[np.uint8]:
        """The pixels of a coded picture, from its bytes in the cache."""
        entry = self.cache.get(coded.key)
        if entry is None:
            raise BenchError(
                f"the cache {self.cache.folder} lost an entry while the run was using it; run the "
                "same command again"
            )
        return point.codec.decode(entry["data"].tobytes())

    def predict(
        self,
        experiment: Experiment,
        model: PlannedModel,
        point: Point | None,
        hashes: list[str | None],
        read: Callable[[int], NDArray[np.uint8]],
        advance: Callable[[int], None],
    ) -> list[Prediction | None]:
        """One prediction per sample of the data set, None where its pixels or itself failed.

        `hashes` are of the pixels that `read` gives. The chunks follow the data set's order alone,
        and a chunk with anything missing is run whole, so that what the cache holds never changes
        what is computed.
        """
        predictions: list[Prediction | None] = [None] * len(hashes)
        present = [i for i, h in enumerate(hashes) if h]
        chunks = [present[k : k + CHUNK] for k in range(0, len(present), CHUNK)]
        # Ground truth enters a prediction only with the detector's own loss on it.
        giver = giver_of_losses(model.network) if experiment.dataset.task == "det" else None
        targets = own_targets(model.network, experiment.dataset) if giver else []
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
                predictions[i] = self.cache.get(keys[i])
            if any(predictions[i] is None for i in chunk):
                missing.append(chunk)
        absent = {i for chunk in missing for i in chunk if predictions[i] is None}
        self.record.cached["predicted"] += len(present) - len(absent)
        self.record.computed["predicted"] += len(absent)
        advance(len(hashes) - sum(len(chunk) for chunk in missing))
        # Pictures are decoded in threads, two chunks ahead of the network.
        threads = Workers(self.workers.jobs, "threading")
        pictures = threads.map(read, itertools.chain.from_iterable(missing), ahead=2 * CHUNK)
        for chunk in missing:
            batch = list(itertools.islice(pictures, len(chunk)))
            found = model.network.predict(batch, model.viewed)
            if giver:
                losses = giver.losses(batch, [targets[i] for i in chunk])
                found = [
                    p | {"loss": np.array(loss)} for p, loss in zip(found, losses, strict=True)
                ]
            for i, prediction in zip(chunk, found, strict=True):
                if i in absent:
                    self.cache.put(keys[i], prediction)
                    predictions[i] = prediction
            advance(len(chunk))
        for _ in pictures:  # lets joblib end the generator
            pass
        for i in present:
            if not _finite(predictions[i]):
                error = "the model returned a value that is not finite"
                self._fail(experiment, model, point, i, Failed("predict", error))
                predictions[i] = None
        return _in_categories(predictions, model, experiment.dataset)


def _finite(prediction: Prediction | None) -> bool:
    return prediction is not None and all(np.isfinite(v).all() for v in prediction.values())


def _in_categories(
    predictions: list[Prediction | None], model: PlannedModel, dataset: Dataset
) -> list[Prediction | None]:
    """Detections with the data set's category ids; classification is checked to fit its labels."""
    if dataset.task == "cls":
        n = next((len(p["logits"]) for p in predictions if p), None)
        largest = max(dataset.categories)
        if n is not None and largest >= n:
            raise ConfigError(
                f"data set {dataset.name} has class index {largest}, but model {model.spec.name} "
                f"gives {n} classes; take a model that was trained on these classes, or labels "
                "that number them as the model does"
            )
        return predictions
    mapping = categories_of_classes(model.network, dataset)
    if mapping is None:
        return predictions
    mapped: list[Prediction | None] = []
    for p in predictions:
        if p is not None:
            labels = mapping[p["labels"]]
            known = labels >= 0
            p = p | {"labels": labels}
            p |= {k: p[k][known] for k in ("boxes", "scores", "labels")}
        mapped.append(p)
    return mapped
