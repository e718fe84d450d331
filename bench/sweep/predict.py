"""What task models say of a chunk of pictures, past the cache."""

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import ConfigError
from bench.models.base import TaskModel, categories_of_classes, giver_of_losses, own_targets
from bench.sweep.cache import key
from bench.sweep.coding import CODE_VERSION, Pixels
from bench.sweep.failures import Failed, ImageError, stage
from bench.sweep.plan import Experiment, PlannedModel
from bench.sweep.workshop import Counts, Workshop
from bench.tasks import FAULTS
from bench.tasks.base import Prediction, Target

LOSS_VERSION = 1
"""Of a detector's own loss, stored with its predictions."""

Read = Callable[[int], Pixels]
"""Index → the pixels that a model sees. Raises ImageError."""


class Predictor:
    """One task model on one experiment."""

    def __init__(self, shop: Workshop, experiment: Experiment, model: PlannedModel) -> None:
        self._shop, self._dataset, self._model = shop, experiment.dataset, model
        self._name = f"{experiment.dataset.name}, {model.spec.name}"

    @property
    def _network(self) -> TaskModel:
        return self._model.network

    def predict(
        self, hashes: dict[int, str], read: Read, counts: Counts
    ) -> dict[int, Prediction | Failed]:
        """By index; `hashes` are of the pixels that `read` gives. A chunk with anything missing is
        run whole, so that what the cache holds never changes what is computed.

        Raises ConfigError for a model that does not fit the data set.
        """
        keys = {i: self._key(i, sha256) for i, sha256 in hashes.items()}
        known = {i: self._shop.cache.get(under) for i, under in keys.items()}
        found: dict[int, Prediction | Failed] = {}
        for i, prediction in known.items():
            if prediction is not None:
                self._check_task(prediction)
                self._check_classes(prediction)
                found[i] = prediction
        counts.cached["predicted"] += len(found)
        counts.computed["predicted"] += len(hashes) - len(found)
        if len(found) < len(hashes):
            for i, fresh in self._fresh(list(hashes), read).items():
                if i not in found:
                    found[i] = fresh
                    if not isinstance(fresh, Failed):
                        self._shop.cache.put(keys[i], fresh)
        mapping = self._categories
        if mapping is not None:
            found = {
                i: p if isinstance(p, Failed) else _in_categories(p, mapping)
                for i, p in found.items()
            }
        return {i: found[i] for i in hashes}

    # --- what is made once ------------------------------------------------------------------------

    @property
    def _scored(self) -> bool:
        """Whether the model's own loss is part of its prediction."""
        own_loss = self._dataset.task == "det" and self._dataset.labelled
        return own_loss and giver_of_losses(self._network) is not None

    @property
    def _targets(self) -> list[Target]:
        return self._shop.kept(
            (self._name, "targets"), lambda: own_targets(self._network, self._dataset)
        )

    @property
    def _categories(self) -> NDArray[np.int64] | None:
        if self._dataset.task != "det":
            return None
        return self._shop.kept(
            (self._name, "categories"), lambda: categories_of_classes(self._network, self._dataset)
        )

    def _key(self, index: int, sha256: str) -> str:
        truth: dict[str, Any] = {}
        if self._scored:  # ground truth enters a prediction with the own loss on it
            truth = {"loss": LOSS_VERSION, "objects": _objects_sha256(self._targets[index])}
        return key(
            "prediction", version=CODE_VERSION, pixels=sha256, model=self._model.key, **truth
        )

    # --- what is missing --------------------------------------------------------------------------

    def _fresh(self, indices: list[int], read: Read) -> dict[int, Prediction | Failed]:
        """What the model says of each picture; where they cannot be taken together, of each
        alone."""
        outcomes: dict[int, Prediction | Failed] = {}
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
        return {i: self._usable(outcome) for i, outcome in outcomes.items()}

    def _together(self, pictures: dict[int, Pixels]) -> dict[int, Prediction]:
        """Raises ImageError."""
        if not pictures:
            return {}
        network, images = self._network, list(pictures.values())
        giver = giver_of_losses(network) if self._scored else None

        def predict() -> list[Prediction]:
            found = list(network.predict(images, self._model.viewed))
            if len(found) != len(images):
                raise ValueError(f"{len(found)} predictions of {len(images)} images")
            if giver is None:
                return found
            losses = giver.losses(images, [self._targets[i] for i in pictures])
            return [p | {"loss": np.array(v)} for p, v in zip(found, losses, strict=True)]

        with stage("predict"):
            return dict(zip(pictures, self._shop.on_device(predict), strict=True))

    # --- what does not fit ------------------------------------------------------------------------

    def _usable(self, outcome: Any) -> Prediction | Failed:
        """Raises ConfigError if the model is for another task, or a classifier's classes are not
        those of the data set's labels."""
        if isinstance(outcome, Failed):
            return outcome
        fault = f"a {type(outcome).__name__} without arrays"
        if isinstance(outcome, dict) and outcome:
            self._check_task(outcome)
            fault = FAULTS[self._dataset.task](outcome)
        if fault:
            return Failed("predict", f"the model returned {fault}")
        self._check_classes(outcome)
        prediction: Prediction = outcome
        return prediction

    def _check_task(self, prediction: Prediction) -> None:
        dataset, spec = self._dataset, self._model.spec
        given_by = {"det": ("boxes", "a detector"), "cls": ("logits", "a classifier")}
        key, needed = given_by[dataset.task]
        if key not in prediction:
            raise ConfigError(
                f"task {dataset.task} needs {needed}, but model {spec.name} of {spec.library} "
                f"gives {', '.join(prediction)}; name another model, or change the experiment's "
                "task and data set"
            )

    def _check_classes(self, prediction: Prediction) -> None:
        dataset, spec = self._dataset, self._model.spec
        if dataset.task == "det" and self._network.classes is not None:
            largest, n = max(prediction["labels"].tolist(), default=0), len(self._network.classes)
            if largest >= n:
                raise ConfigError(
                    f"model {spec.name} of {spec.library} gives class index {largest}, but "
                    f"names {n} classes only"
                )
        if dataset.task != "cls" or not dataset.labelled:
            return
        given, largest = len(prediction["logits"]), max(dataset.categories)
        if dataset.n_classes is not None and dataset.n_classes != given:
            raise ConfigError(
                f"data set {dataset.name} has {dataset.n_classes} classes, but model {spec.name} "
                f"gives {given}: the class numbers of the two mean different things. Take a model "
                "that was trained on these classes, or list the images in labels.csv with the "
                "model's own class_index"
            )
        if largest >= given:
            raise ConfigError(
                f"data set {dataset.name} has class index {largest}, but model {spec.name} gives "
                f"{given} classes (0 to {given - 1}); take a model that was trained on the data "
                "set's classes, or correct the indices"
            )


def _objects_sha256(target: Target) -> str:
    digest = hashlib.sha256(target["boxes"].astype("<f4").tobytes())
    digest.update(target["labels"].astype("<i8").tobytes())
    return digest.hexdigest()


def _in_categories(prediction: Prediction, mapping: NDArray[np.int64]) -> Prediction:
    """Detections with the data set's category ids; of other classes there are none. Whatever has a
    row per detection is filtered alike."""
    labels = mapping[prediction["labels"]]
    mapped = prediction | {"labels": labels}
    return {k: v[labels >= 0] if v.shape[:1] == labels.shape else v for k, v in mapped.items()}
