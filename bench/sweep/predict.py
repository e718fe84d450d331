"""What task models say of a chunk of pictures, past the cache."""

import hashlib
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bench.errors import ConfigError
from bench.models.base import TaskModel, giver_of_losses, predicted_with_losses
from bench.sweep.cache import Entry, key
from bench.sweep.coding import CODE_VERSION, Pixels
from bench.sweep.failures import Failed, ImageError, stage
from bench.sweep.plan import Answer, Experiment, PlannedModel
from bench.sweep.workshop import Counts, Workshop
from bench.tasks import TASKS
from bench.tasks.base import numbers_fault
from bench.tasks.records import Arrays, Record

LOSS_VERSION = 2
"""Of a model's own loss. 2: made of the maps that the prediction is made of."""

Read = Callable[[int], Pixels]
"""Index → the pixels that a model sees. Raises ImageError."""


@dataclass(frozen=True)
class _Keys:
    """Of the entries of one picture; `loss` is None where the own loss is not asked for."""

    prediction: str
    loss: str | None


class Predictor:
    """One task model on one experiment."""

    def __init__(self, shop: Workshop, experiment: Experiment, model: PlannedModel) -> None:
        self._shop, self._dataset, self._model = shop, experiment.dataset, model
        self._task = TASKS.get(experiment.dataset.task)
        self._name = f"{experiment.dataset.name}, {model.spec.name}"

    @property
    def _network(self) -> TaskModel:
        return self._model.network

    def predict(
        self, hashes: dict[int, str], read: Read, counts: Counts
    ) -> dict[int, Answer | Failed]:
        """By index; `hashes` are of the pixels that `read` gives. A chunk with anything missing is
        run whole, so that what the cache holds never changes what is computed.

        Raises ConfigError for a model that does not fit the data set.
        """
        keys = {i: self._keys(i, sha256) for i, sha256 in hashes.items()}
        # A unit of another method may have the same pictures at the same time.
        with self._shop.alone(" ".join(under.prediction for under in keys.values())):
            found = self._found(keys, read, counts)
        return {i: self._matched(found[i]) for i in hashes}

    def _found(
        self, keys: dict[int, _Keys], read: Read, counts: Counts
    ) -> dict[int, Answer | Failed]:
        found: dict[int, Answer | Failed] = {
            i: known for i, under in keys.items() if (known := self._known(under))
        }
        counts.cached["predicted"] += len(found)
        counts.computed["predicted"] += len(keys) - len(found)
        if len(found) < len(keys):
            for i, fresh in self._fresh(list(keys), read).items():
                if i not in found:
                    found[i] = fresh
                    if isinstance(fresh, Answer):
                        self._keep(keys[i], fresh)
        return found

    # --- what is made once ------------------------------------------------------------------------

    @property
    def _scored(self) -> bool:
        """Whether the model's own loss is asked for, and can be given."""
        asked = self._task.own_loss and self._dataset.labelled and self._model.loss
        return asked and giver_of_losses(self._network) is not None

    @property
    def _targets(self) -> list[Arrays]:
        return self._shop.kept(
            (self._name, "targets"),
            lambda: self._task.training_targets(self._model, self._dataset),
        )

    def _matched(self, answer: Answer | Failed) -> Answer | Failed:
        """In the data set's categories."""
        if isinstance(answer, Failed):
            return answer
        match = self._shop.kept(
            (self._name, "match"),
            lambda: self._task.match(self._model, self._dataset, self._model.spec.name),
        )
        return replace(answer, prediction=match(answer.prediction))

    # --- what is kept -----------------------------------------------------------------------------

    def _keys(self, index: int, sha256: str) -> _Keys:
        common: dict[str, Any] = {
            "version": CODE_VERSION,
            "pixels": sha256,
            "model": self._model.key,
        }
        loss = None
        if self._scored:
            truth = _truth_sha256(self._targets[index])
            loss = key("own loss", own=LOSS_VERSION, truth=truth, **common)
        return _Keys(key("prediction", **common), loss)

    def _known(self, keys: _Keys) -> Answer | None:
        entry = self._shop.cache.get(keys.prediction)
        lost = self._shop.cache.get(keys.loss) if keys.loss else {}
        if entry is None or lost is None:
            return None
        arrays = {k: v for k, v in entry.items() if k != "predict_seconds"}
        self._check_task(arrays)
        return Answer(
            self._task.prediction.from_arrays(arrays),
            float(lost["loss"]) if lost else None,
            float(entry["predict_seconds"]) if "predict_seconds" in entry else None,
        )

    def _keep(self, keys: _Keys, answer: Answer) -> None:
        entry: Entry = answer.prediction.to_arrays()
        self._shop.cache.put(keys.prediction, entry | {"predict_seconds": np.array(answer.seconds)})
        if keys.loss:
            self._shop.cache.put(keys.loss, {"loss": np.array(answer.loss)})

    # --- what is missing --------------------------------------------------------------------------

    def _fresh(self, indices: list[int], read: Read) -> dict[int, Answer | Failed]:
        """What the model says of each picture; where they cannot be taken together, of each
        alone."""
        outcomes: dict[int, Answer | Failed] = {}
        pictures: dict[int, Pixels] = {}
        for i in indices:
            try:
                pictures[i] = read(i)
            except ImageError as error:
                outcomes[i] = error.failed
        try:
            outcomes |= self._together(pictures)
        except ImageError:
            for i, picture in pictures.items():
                try:
                    outcomes |= self._together({i: picture})
                except ImageError as error:
                    outcomes[i] = error.failed
        return outcomes

    def _together(self, pictures: dict[int, Pixels]) -> dict[int, Answer | Failed]:
        """Raises ImageError; ConfigError if the model is for another task."""
        if not pictures:
            return {}
        _ = self._network  # what cannot be built stops the run, not an image after the other
        limit = self._shop.limit("predict", len(pictures))
        with stage("predict"):
            found, seconds = self._shop.on_device(lambda: self._asked(pictures, limit))
        share = seconds / len(pictures)
        return {
            i: self._usable(prediction, loss, share)
            for i, (prediction, loss) in zip(pictures, found, strict=True)
        }

    def _asked(
        self, pictures: dict[int, Pixels], limit: AbstractContextManager[None]
    ) -> tuple[list[tuple[Any, float | None]], float]:
        """Prediction and own loss of each picture, and the seconds of all."""
        started = time.perf_counter()
        network, images, viewed = self._network, list(pictures.values()), self._model.viewed
        giver = giver_of_losses(network) if self._scored else None
        found: list[tuple[Any, float | None]]
        with limit:
            if giver is None:
                found = [(prediction, None) for prediction in network.predict(images, viewed)]
            else:
                targets = [self._targets[i] for i in pictures]
                found = [*predicted_with_losses(network, giver, images, targets, viewed)]
        if len(found) != len(images):
            raise ValueError(f"{len(found)} predictions of {len(images)} images")
        return found, time.perf_counter() - started

    # --- what does not fit ------------------------------------------------------------------------

    def _usable(self, prediction: Any, loss: float | None, seconds: float) -> Answer | Failed:
        task = self._task
        if isinstance(prediction, task.prediction):
            fault = task.fault(prediction)
        elif isinstance(prediction, Record):
            self._check_task(prediction.to_arrays())
            fault = f"{type(prediction).__name__} instead of {task.prediction.__name__}"
        else:
            fault = f"a {type(prediction).__name__} instead of {task.prediction.__name__}"
        if not fault and loss is not None:
            fault = numbers_fault({"loss": np.asarray(loss)}, {"loss": ()})
        if fault:
            return Failed("predict", f"the model returned {fault}")
        return Answer(prediction, None if loss is None else float(loss), seconds)

    def _check_task(self, arrays: Arrays) -> None:
        if not self._task.prediction.fits(arrays):
            spec = self._model.spec
            raise ConfigError(
                f"task {self._task.name} needs {self._task.model}, but model {spec.name} of "
                f"{spec.library} gives {', '.join(arrays)}; name another model, or change the "
                "experiment's task and data set"
            )


def _truth_sha256(target: Arrays) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(target.items()):
        digest.update(f"{name}:{array.dtype.str}:{array.shape}:".encode() + array.tobytes())
    return digest.hexdigest()
