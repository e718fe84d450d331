"""What is to be measured: everything that can be refused is refused here, before any coding."""

import itertools
import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from bench import codecs, datasets, devices, models, preprocessors
from bench.codecs.base import Codec, prepare, says
from bench.config import (
    AUTO,
    MOST_QPS,
    BenchConfig,
    DatasetConfig,
    Expected,
    ExperimentConfig,
    MethodConfig,
    ModelConfig,
    name_fault,
)
from bench.datasets.base import Dataset
from bench.datasets.views import native
from bench.errors import ConfigError
from bench.models.base import RANDOM, Library, ModelSpec, Stated, TaskModel, View, sha256
from bench.preprocessors import Preprocessor
from bench.results.manifest import Pilot
from bench.results.names import rate_label
from bench.sweep import cache
from bench.sweep.perceptual import Lpips
from bench.tasks import TASKS, Agreement, Scored

UNTRAINED = "random weights, so the numbers mean nothing:"
"""What is said wherever the names from `random_weights` are listed."""

CHUNK = 16
"""Pictures that enter a task model together."""


@dataclass(frozen=True)
class Point:
    """One operating point: a QP, or a target rate, which has a label in its place."""

    method: str
    codec: Codec
    qp: int
    preprocessor: Preprocessor | None = None
    postprocessor: Preprocessor | None = None
    rate: float | None = None
    """The target in bits per pixel, if that is what every picture's QP is chosen for."""
    tries: tuple[int, ...] = ()
    """QPs that are tried for the rate, ascending."""

    def at(self, qp: int) -> "Point":
        """The same at one QP."""
        return replace(self, qp=qp, rate=None, tries=())

    @property
    def filters(self) -> list[Preprocessor]:
        return [f for f in (self.preprocessor, self.postprocessor) if f is not None]


@dataclass(frozen=True)
class Answer:
    """What a task model says of one picture."""

    prediction: Any
    """Of its task's own type."""

    loss: float | None
    """The model's own training loss on it, where that is asked for and the model gives it."""

    seconds: float | None
    """Of inference, when it was made, as the picture's share of what was run together; None of
    an entry of the cache that is older than this note."""


class PlannedModel:
    """A task model that is built when the first prediction is missing."""

    def __init__(
        self, spec: ModelSpec, library: Library, view: str, loss: bool, device: torch.device
    ) -> None:
        self.spec = spec
        self.view = view
        self.loss = loss
        self.viewed = view != "native"
        self._library = library
        self._device = device
        self._network: TaskModel | None = None
        self._building = threading.Lock()

    @property
    def network(self) -> TaskModel:
        with self._building:
            if self._network is None:
                self._network = self._library.load(self.spec, self._device)
            return self._network

    @property
    def classes(self) -> Sequence[str] | None:
        return self.network.classes

    @property
    def look(self) -> View:
        """(H, W, 3) → the pixels that are coded for it. Raises ConfigError."""
        if not self.viewed:
            return native
        if self.network.view is None:
            raise ConfigError(
                f"dataset.view: 'model' is not defined for {self.spec.library}'s {self.spec.name}, "
                "whose resize and crop do not leave 8-bit pixels; use native"
            )
        return self.network.view

    @cached_property
    def stated(self) -> Stated | None:
        return self._library.stated(self.spec)

    @cached_property
    def fingerprint(self) -> dict[str, str]:
        file = self.spec.weights_file
        package = models.LIBRARIES.package(self.spec.library)
        return {
            "library": self.spec.library,
            "name": self.spec.name,
            "weights": sha256(file) if file else str(self.spec.weights),
            **({"copy": self.spec.chosen} if self.spec.chosen else {}),
            "viewed": str(self.viewed),
            **({"package": package} if package else {}),
            "torch": torch.__version__,
            **self._library.fingerprint(self.spec),
        }

    @cached_property
    def key(self) -> str:
        return cache.key("model", device=devices.arithmetic(self._device), **self.fingerprint)


@dataclass(frozen=True)
class Experiment:
    config: ExperimentConfig
    dataset: Dataset
    limited: bool
    models: list[PlannedModel]
    points: list[Point]
    wider: bool
    """Whether it is scored by the wider metrics, too."""
    chosen: tuple[int, ...] | None = None
    """Places of the points that results are of; None: of all, or of those that a pilot will
    choose."""
    pilot: Pilot | None = None
    """How they were chosen."""
    lpips: Lpips | None = None
    """Where that is measured, too."""

    @property
    def task(self) -> Scored[Any, Any]:
        """By which it is scored."""
        task = TASKS.get(self.dataset.task) if self.dataset.labelled else self._agreement
        return task.wider() if self.wider else task

    @property
    def _agreement(self) -> Agreement[Any, Any]:
        """Raises ConfigError for a task that has none."""
        task = TASKS.get(self.dataset.task)
        if task.agreement is None:
            raise ConfigError(
                f"data set {self.dataset.name} has no labels, without which task {task.name} is "
                "not scored; use a labelled data set"
            )
        return task.agreement

    def reference(self, clean: Answer) -> Any:
        """Without ground truth: what stands for it."""
        return self._agreement.reference(clean.prediction)

    def statistics(
        self, answers: Sequence[Answer], targets: Sequence[Any], images: Sequence[int]
    ) -> pa.Table:
        """Of pictures, under their places in the data set."""
        table = self.task.statistics([a.prediction for a in answers], targets, images)
        losses = [(i, a.loss) for i, a in zip(images, answers, strict=True) if a.loss is not None]
        if not losses:
            return table
        return TASKS.get(self.dataset.task).with_losses(table, losses)

    @property
    def views(self) -> list[str]:
        return sorted({m.view for m in self.models})

    @property
    def expected(self) -> Expected | None:
        return self.config.expected

    @property
    def auto(self) -> list[str]:
        """Methods whose QPs a pilot chooses; their points are at every QP that it may."""
        return [m for m in self.config.methods if self.config.qps(m) == AUTO]

    @property
    def places(self) -> tuple[int, ...]:
        """Of the points that results are of."""
        return tuple(range(len(self.points))) if self.chosen is None else self.chosen

    def grid(self) -> dict[str, list[int]]:
        """Method → its QPs, ascending."""
        points = [self.points[place] for place in self.places]
        grouped = itertools.groupby(points, lambda p: p.method)
        return {method: [p.qp for p in points] for method, points in grouped}


def _points(config: ExperimentConfig, device: torch.device) -> list[Point]:
    return [point for name in config.methods for point in _points_of(name, config, device)]


def _points_of(name: str, config: ExperimentConfig, device: torch.device) -> list[Point]:
    method, given = config.methods[name], config.qps(name)
    codec = codecs.make(method.codec)
    if min(codec.qps, default=0) < 0:
        raise ConfigError(
            f"methods.{name}.codec: {codec.name!r} has QPs from {min(codec.qps)}; below 0 results "
            "name target rates, so a codec's QPs begin at 0 or above"
        )
    if rates := config.rates(name):
        return _rate_points(name, rates, method, codec, device)
    if given == AUTO:
        return _open_points(name, method, codec, device)
    qps = sorted(set(given))
    filters = _filters(name, method, qps, device)
    for qp in qps:
        if qp not in codec.qps:
            raise ConfigError(
                f"methods.{name}.qps: {qp} is not a QP of codec {codec.name!r}: {says(codec.qps)}"
            )
    prepare(codec, qps)
    return [Point(name, codec, qp, *filters) for qp in qps]


def _filters(
    name: str, method: MethodConfig, qps: list[int], device: torch.device
) -> tuple[Preprocessor | None, Preprocessor | None]:
    """A method's preprocessor and its postprocessor. Raises ConfigError."""

    def made(role: str, options: dict[str, Any] | None) -> Preprocessor | None:
        try:
            return None if options is None else preprocessors.make(options, qps, device)
        except ConfigError as error:
            raise ConfigError(f"methods.{name}.{role}: {error}") from error

    return made("preprocessor", method.preprocessor), made("postprocessor", method.postprocessor)


def _open_points(
    name: str, method: MethodConfig, codec: Codec, device: torch.device
) -> list[Point]:
    """At every QP that a pilot may choose: the codec's, as far as networks before and after it were
    trained for them."""
    if len(codec.qps) > MOST_QPS:
        raise ConfigError(
            f"methods.{name}.qps: {AUTO} looks through at most {MOST_QPS} QPs, codec "
            f"{codec.name!r} has {len(codec.qps):,}; give a list"
        )
    qps = list(codec.qps)
    with warnings.catch_warnings(action="ignore"):  # of QPs that are left out here
        filters = _filters(name, method, qps, device)
    roles = zip(("preprocessor", "postprocessor"), filters, strict=True)
    trained = {role: t for role, f in roles if (t := getattr(f, "trained", None))}
    qps = [qp for qp in qps if all(qp in t for t in trained.values())]
    if not qps:
        told = " and ".join(
            f"its {role} was trained for QP {says(t)}" for role, t in trained.items()
        )
        raise ConfigError(
            f"methods.{name}.qps: {AUTO}: {told}, none in common with those of codec "
            f"{codec.name!r}: {says(codec.qps)}"
        )
    prepare(codec, qps)
    return [Point(name, codec, qp, *filters) for qp in qps]


def _rate_points(
    name: str, rates: list[float], method: MethodConfig, codec: Codec, device: torch.device
) -> list[Point]:
    """The finest first, as QPs are. An image may take any of the codec's QPs: what a rate needs
    goes before what a network was trained for."""
    qps = tuple(codec.qps)
    with warnings.catch_warnings(action="ignore"):  # said once, below
        filters = _filters(name, method, list(qps), device)
    for role, used in zip(("preprocessor", "postprocessor"), filters, strict=True):
        trained = getattr(used, "trained", None)
        if trained and any(qp not in trained for qp in qps):
            warnings.warn(
                f"methods.{name}.{role} was trained for QP {says(trained)}; a target rate may take "
                "a QP outside",
                stacklevel=2,
            )
    prepare(codec, qps)
    return [
        Point(name, codec, rate_label(rate), *filters, rate, qps)
        for rate in sorted(rates, reverse=True)
    ]


def _dataset(config: DatasetConfig, task: str) -> Dataset:
    root = Path(config.root) if config.root else None
    dataset = datasets.make(config.format, task, root, config.options)
    called = config.name or dataset.name
    if fault := name_fault(called):
        raise ConfigError(f"dataset.name: {called!r} {fault}; give the data set another name")
    known = list(dataset.categories.values())
    for name in config.categories:
        if name not in (*known, *dataset.left_out):
            raise ConfigError(
                f"dataset.categories: {name!r} is none of the categories of {dataset.name}: "
                f"{', '.join(known)}"
            )
    # A name that is also that of a category left out stands for that one: it was to be told apart.
    aliases = {k: v for k, v in config.categories.items() if k not in dataset.left_out}
    renamed = {i: aliases.get(name, name) for i, name in dataset.categories.items()}
    return replace(dataset, name=called, categories=renamed)


def random_weights(experiments: list[Experiment]) -> list[str]:
    """The names of the models and methods whose networks are untrained."""
    models = [m.spec.name for e in experiments for m in e.models if m.spec.random]
    methods = [
        p.method
        for e in experiments
        for p in e.points
        if any(f.fingerprint().get("weights") == RANDOM for f in p.filters)
    ]
    return list(dict.fromkeys(models + methods))


def _model(config: ModelConfig, task: str, view: str, device: torch.device) -> PlannedModel:
    library = models.LIBRARIES.get(config.library)
    for key in config.options:
        if key not in library.options:
            raise ConfigError(
                f"models.{key}: there is no such key; a model of library {config.library} has "
                f"{', '.join((*ModelConfig.model_fields, *library.options))}"
            )
    prediction = TASKS.get(task).prediction
    spec = ModelSpec(config.library, config.name, config.weights, prediction, config.options)
    if spec.weights is None:
        default = library.default_weights(config.name)
        if default is None:
            raise ConfigError(
                f"model {config.name} of {config.library} has no weights; give a checkpoint with "
                "--weights FILE or --weights NAME=FILE, or in the config under models.weights; "
                "--random-weights tries everything out without any"
            )
        spec = replace(spec, weights=str(default))
    elif not spec.weights_file and Path(spec.weights).suffix in {".pth", ".pt", ".safetensors"}:
        raise ConfigError(
            f"weights {spec.weights}: there is no such file. It should hold {config.library}'s "
            f"{config.name}: a state dict in .safetensors or .pth"
        )
    planned = PlannedModel(
        spec,
        library,
        "native" if view == "native" else f"model:{config.name}",
        config.loss,
        device,
    )
    _ = planned.fingerprint  # refuses an unknown name or a missing library now
    return planned


def plan(config: BenchConfig, device: torch.device, limit: int | None) -> list[Experiment]:
    """Raises ConfigError or DataError for whatever could not run to its end."""
    seen = set()
    coded_before: set[tuple[str, str, str]] = set()
    # Cheap refusals of every experiment come before the first data set is read.
    file = config.fidelity.lpips if config.fidelity else None
    lpips = None if file is None else Lpips(file, device)
    parts = [
        (e, _points(e, device), [_model(m, e.task, e.dataset.view, device) for m in e.models])
        for e in config.experiments
    ]
    experiments = []
    wider = config.analysis.metrics == "all"
    for experiment, points, planned in parts:
        dataset = _dataset(experiment.dataset, experiment.task)
        if not dataset.samples:
            raise ConfigError(f"data set {dataset.name} is empty")
        for model in planned:
            if (dataset.name, model.spec.name) in seen:
                raise ConfigError(
                    f"model {model.spec.name} on data set {dataset.name} stands twice in the "
                    "config; give one of the data sets another name (dataset.name)"
                )
            seen.add((dataset.name, model.spec.name))
        # Results know a coded picture by data set, view, method and QP.
        coded = {(dataset.name, m.view, p.method) for m in planned for p in points}
        for name, view, method in sorted(coded & coded_before):
            raise ConfigError(
                f"method {method} on data set {name} ({view.split(':')[0]} view) stands in two "
                "experiments; give one of the data sets another name (dataset.name)"
            )
        coded_before |= coded
        limited = limit is not None and limit < len(dataset.samples)
        if limited:
            dataset = dataset.first(limit or 0)
        planned_here = Experiment(experiment, dataset, limited, planned, points, wider, lpips=lpips)
        _ = planned_here.task  # refuses a data set that the task cannot be scored on
        experiments.append(planned_here)
    return experiments
