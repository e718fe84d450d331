"""What the libraries of deployed files have in common: a config says of a file what it cannot say
itself, which pixels it is shown and what its outputs mean."""

import importlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from bench.errors import BenchError, ConfigError
from bench.models.base import Image, ModelSpec, View
from bench.models.deployed_input import (
    Geometry,
    Input,
    Port,
    Shape,
    Strict,
    as_it_is,
    geometry,
    shape_of,
)
from bench.models.deployed_output import File, Outputs, Reader, reader
from bench.tasks.records import Record

INSTALL = "pip install -c constraints.txt -e '.[deploy]'"
THREADS = torch.get_num_threads()
"""Of a network. Taken here, since a thread that codes pictures may use one only."""
TRIAL = (320, 320)
"""Height and width of the grey picture that a file is tried on where it takes any size."""


class Options(Strict):
    """What a config says of a model besides library, name and weights."""

    input: Input
    outputs: Outputs
    classes: Annotated[int, Field(strict=True, ge=1)] | list[str] | str | None = None
    """Their names, a file with a name on each line up to an empty one, or their number."""
    first_class: Annotated[int, Field(strict=True, ge=0)] = 0
    """The file's index of the class that `classes` and the data set count as 0; what lies below it,
    e.g. a background, is left out."""


class Opened(Protocol):
    """A file in its runtime."""

    @property
    def inputs(self) -> Sequence[Port]: ...

    @property
    def outputs(self) -> Sequence[Port]: ...

    def run(self, x: NDArray[Any]) -> list[NDArray[Any]]:
        """The input as it is stored → all outputs, likewise."""
        ...


def required(library: str, module: str) -> ModuleType:
    """Raises ConfigError naming the command that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"library {library} needs {module.partition('.')[0]}, which cannot be imported "
            f"({error}). Install it: {INSTALL}"
        ) from None


def fingerprint(spec: ModelSpec, versions: dict[str, str]) -> dict[str, str]:
    """What can move a prediction besides the file itself. Raises ConfigError."""
    _file(spec)
    options = _options(spec)
    said = options.model_dump(mode="json") | {"classes": _classes(options, spec)}
    return versions | {"options": json.dumps(said, sort_keys=True)}


@dataclass
class Deployed:
    """A task model that is a file. Pictures go through it one by one: many files take no more, and
    so no neighbour can change a prediction."""

    file: Opened
    shape: Shape
    input: Input
    geometry: Geometry
    reader: Reader
    classes: list[str] | None

    @property
    def task(self) -> str:
        return self.reader.task

    @property
    def view(self) -> View | None:
        if self.reader.locates or self.shape.size is None:
            return None
        return lambda rgb: self.geometry(rgb)[0]

    def predict(self, images: list[Image], viewed: bool) -> list[Record]:
        return [self._answer(image, viewed) for image in images]

    def _answer(self, image: Image, viewed: bool) -> Record:
        pixels, frame = as_it_is(image) if viewed else self.geometry(image)
        return self.reader(self.file.run(self.shape.values(pixels, self.input)), frame)


def load(spec: ModelSpec, open_file: Callable[[Path], Opened]) -> Deployed:
    """Raises ConfigError for a file that cannot be read, or is not as the config says."""
    path, options = _file(spec), _options(spec)
    classes = _classes(options, spec)
    try:
        file = open_file(path)
    except BenchError:
        raise
    except Exception as error:  # whatever a runtime raises
        raise ConfigError(
            f"weights {path}: library {spec.library} cannot read this file ({_said(error)}); a "
            "whole file of this kind is expected, with all weights inside"
        ) from error
    if len(file.inputs) != 1:
        names = ", ".join(port.name for port in file.inputs)
        raise ConfigError(f"{path} has {len(file.inputs)} inputs ({names}): one is expected")
    shape = shape_of(file.inputs[0], options.input, path)
    number = len(classes) if isinstance(classes, list) else classes
    known = File(path, file.outputs, number, options.first_class, shape.first)
    model = Deployed(
        file,
        shape,
        options.input,
        geometry(shape.size, options.input),
        reader(options.outputs, known),
        classes if isinstance(classes, list) else None,
    )
    if model.reader.locates and options.input.resize == "crop":
        raise ConfigError(
            f"model {spec.name}: input.resize: crop is for classifiers, which do not say where in "
            "a picture something is; stretch, letterbox or none is expected"
        )
    _try(model, path)
    return model


def _try(model: Deployed, path: Path) -> None:
    """Raises ConfigError where a grey picture cannot go through."""
    size = model.shape.size or TRIAL
    try:
        model.predict([np.full((*size, 3), 128, np.uint8)], viewed=False)
    except BenchError:
        raise
    except Exception as error:  # whatever a runtime raises
        raise ConfigError(
            f"{path}: it fails on a grey picture of {size[1]} × {size[0]} pixels ({_said(error)})"
        ) from error


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def _options(spec: ModelSpec) -> Options:
    """Raises ConfigError naming every key that is wrong, its value, and what is expected."""
    try:
        return Options.model_validate(spec.options)
    except ValidationError as error:
        faults = error.errors(include_url=False)
    said = []
    for fault in faults:
        key = ".".join(str(part) for part in fault["loc"])
        shown = "" if isinstance(fault["input"], dict | list) else f" (given: {fault['input']!r})"
        said.append(f"{key}: {fault['msg'].removeprefix('Value error, ')}{shown}")
    raise ConfigError(
        f"model {spec.name} of {spec.library}: {'; '.join(said)}. docs/models.md has all keys"
    )


def _file(spec: ModelSpec) -> Path:
    """Raises ConfigError."""
    if spec.random or spec.chosen:
        raise ConfigError(
            f"model {spec.name}: weights {spec.weights}: a deployed file holds its weights, once: "
            "give the file's name alone"
        )
    if not spec.weights_file:
        raise ConfigError(f"model {spec.name}: weights {spec.weights}: there is no such file")
    return spec.weights_file


def _classes(options: Options, spec: ModelSpec) -> list[str] | int | None:
    """Names, or their number, or neither. Raises ConfigError."""
    if not isinstance(options.classes, str):
        return options.classes
    try:
        lines = Path(options.classes).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"model {spec.name}: classes {options.classes}: cannot be read ({error}); a file with "
            "a name on each line, a list of names or their number is expected"
        ) from None
    names = [line.strip() for line in lines]
    return names[: names.index("")] if "" in names else names
