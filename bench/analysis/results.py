"""A results folder: what a run measured, read back without the code that measured it."""

import hashlib
import unicodedata
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
)

from bench.analysis.files import (
    ResultsError,
    check_columns,
    is_folder,
    parse_table,
    read_bytes,
    read_json,
)
from bench.atomic import checksum
from bench.results.folder import complete
from bench.results.names import file_name

Described = TypeVar("Described", bound=BaseModel)

SCHEMA = 1
"""Of manifest.json; a folder of another schema is refused."""
UNCOMPRESSED = "uncompressed"
"""The method name of the clean score: the pictures as the data set holds them."""
CHANGED = (
    "was changed or damaged since the run wrote it; restore it, or run it again with the same "
    "arguments"
)

IMAGE_KINDS = {
    "dataset": "text",
    "view": "text",
    "index": "integer",
    "image": "text",
    "method": "text",
    "qp": "integer",
    "bits": "number",
    "width": "number",
    "height": "number",
    "psnr": "number",
}
IMAGE_COLUMNS = tuple(IMAGE_KINDS)


def _one_line(name: str) -> str:
    if any(unicodedata.category(c) == "Cc" for c in name):
        raise ValueError(f"the name {name!r} holds a control character")
    return name


Name = Annotated[str, AfterValidator(_one_line)]
# Strict: whatever a damaged manifest says, true is not 1.
Int = Annotated[int, Field(strict=True)]
Number = Annotated[float, Field(strict=True)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Model(_Part):
    """A task model and the pixels that were coded for it."""

    name: Name
    fingerprint: dict[str, str] = {}
    view: str
    """`native`, or `model`: its own resize and crop, found in images.parquet as `model:<name>`."""

    @property
    def coded_view(self) -> str:
        return self.view if self.view == "native" else f"model:{self.name}"


class Experiment(_Part):
    task: str
    dataset: Name
    dataset_fingerprint: str = ""
    n_images: Int = Field(ge=1)
    images: tuple[str, ...]
    """Names in data set order; an image's position here is its index everywhere."""
    models: tuple[Model, ...]
    anchor: str
    methods: dict[Name, tuple[Int, ...]]
    """Method → QPs."""
    metrics: dict[str, str] = {}
    """Metric → direction and version of its definition."""
    codecs: dict[str, dict[str, str]] = {}
    preprocessors: dict[str, dict[str, str]] = {}
    """Method → fingerprint, here and above; only methods that have one."""


class Analysis(_Part):
    """Within the bounds of bench.config."""

    interpolation: Literal["pchip", "akima"] = "pchip"
    """The one that gates; both are always reported."""
    policy: Literal["pareto", "isotonic", "raw"] = "pareto"
    resamples: Int = Field(default=1000, ge=0, le=10_000)
    seed: Int = Field(default=0, ge=0, le=2**32 - 1)
    within: tuple[Number, ...] = (1.0, 2.0, 5.0, 10.0)
    """Percent below the clean score at which rates are compared, see `equal_accuracy`."""

    @field_validator("within")
    @classmethod
    def _ascending(cls, within: tuple[float, ...]) -> tuple[float, ...]:
        rising = list(within) == sorted(set(within))
        if len(within) < 2 or not rising or within[0] < 0 or within[-1] >= 100:
            raise ValueError("two or more rising percentages from 0 up and below 100 are expected")
        return within


class Failure(_Part):
    """An image that has no result at one operating point.

    `model` is None if it failed before any model saw it, so that it fails for all of them.
    """

    dataset: str
    model: str | None
    method: str | None
    qp: Int | None
    image: str
    index: Int
    stage: str
    error: str


class Manifest(_Part):
    """The part of manifest.json that analysis needs."""

    experiments: tuple[Experiment, ...]
    analysis: Analysis = Analysis()
    failures: tuple[Failure, ...] = ()
    versions: dict[str, str] = {}
    device: Any = None
    files: dict[str, str] | None = None
    """Relative POSIX path → SHA-256 of what the run wrote; None in a folder of an older version."""


def statistics_path(
    root: Path, task: str, dataset: str, model: str, method: str, qp: int | None
) -> Path:
    """Where the statistics table of an operating point is.

    `qp` is None for the clean pictures, whose method is `uncompressed`.
    """
    folder = root / "statistics" / task / file_name(dataset) / file_name(model)
    if qp is None:
        return folder / f"{method}.parquet"
    return folder / file_name(method) / f"{qp}.parquet"


@dataclass(frozen=True)
class Results:
    """A results folder, its manifest and its rates. Statistics are read on demand."""

    root: Path
    manifest: Manifest
    images: pd.DataFrame
    """A row per image × view × method × QP, columns `IMAGE_COLUMNS`."""

    def surviving(self, experiment: Experiment, model: Model) -> NDArray[np.bool_]:
        """(n_images,) whether the image has a result at every point of (dataset, model).

        One failure anywhere leaves an image out of all points, so that they rest on the same ones.
        """
        alive = np.ones(experiment.n_images, bool)
        for failure in self.manifest.failures:
            if failure.dataset == experiment.dataset and failure.model in (None, model.name):
                alive[failure.index] = False
        return alive

    def rates(
        self, experiment: Experiment, model: Model, method: str, qp: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(n_images,) bits and (n_images,) pixels, NaN where an image has none.

        Raises ResultsError if an image that did not fail has no row.
        """
        bits = np.full(experiment.n_images, np.nan)
        pixels = np.full(experiment.n_images, np.nan)
        rows = self._by_point.get((experiment.dataset, model.coded_view, method, qp))
        if rows is not None:
            chosen = self.images.iloc[rows]
            index = chosen["index"].to_numpy()
            bits[index] = chosen["bits"].to_numpy()
            pixels[index] = chosen["width"].to_numpy(float) * chosen["height"].to_numpy(float)
        usable = (bits > 0) & (pixels > 0) & np.isfinite(bits) & np.isfinite(pixels)
        missing = self.surviving(experiment, model) & ~usable
        if missing.any():
            names = [experiment.images[i] for i in np.flatnonzero(missing)[:3]]
            raise ResultsError(
                f"{self.root / 'images.parquet'}: no bits or no size for {missing.sum()} images of "
                f"{experiment.dataset} (view {model.coded_view}, {method}, QP {qp}), e.g. "
                f"{', '.join(names)}, and the manifest lists no failure for them; run it again "
                "with the same arguments to finish it"
            )
        return bits, pixels

    def statistics(
        self, experiment: Experiment, model: Model, method: str, qp: int | None
    ) -> pa.Table:
        """The statistics table of an operating point.

        Raises ResultsError if there is none, or if it holds a NaN or an image that is none of the
        data set's.
        """
        path = statistics_path(
            self.root, experiment.task, experiment.dataset, model.name, method, qp
        )
        table = _read_table(self.root, path, self.manifest)
        _check_statistics(path, table, experiment)
        return table

    @cached_property
    def _by_point(self) -> dict[tuple[str, str, str, int], NDArray[np.int64]]:
        columns = ("dataset", "view", "method", "qp")
        groups: dict[tuple[str, str, str, int], list[int]] = {}
        keys = zip(*(self.images[name].tolist() for name in columns), strict=True)
        for row, key in enumerate(keys):
            groups.setdefault(key, []).append(row)
        return {key: np.array(rows, np.int64) for key, rows in groups.items()}


def load(root: Path) -> Results:
    """Read a results folder.

    Raises ResultsError, naming the file and the field, for a folder that is missing, unfinished,
    damaged, of another schema, or at odds with itself.
    """
    complete(root)
    manifest = _read_manifest(root / "manifest.json")
    path = root / "images.parquet"
    table = _read_table(root, path, manifest)
    check_columns(path, table, IMAGE_KINDS)
    images = table.select(list(IMAGE_COLUMNS)).to_pandas()
    check_images(path, images, manifest)
    return Results(root, manifest, images)


def _read_manifest(path: Path) -> Manifest:
    if not is_folder(path.parent):
        raise ResultsError(f"{path.parent}: there is no such folder")
    try:
        content = read_json(path, "manifest")
    except FileNotFoundError:
        raise ResultsError(
            f"{path}: missing, so {path.parent} is no results folder or its run did not finish; "
            "run it again with the same arguments to finish it"
        ) from None
    if content.get("schema") != SCHEMA:
        raise ResultsError(
            f"{path}: schema is {content.get('schema')!r}, this version reads {SCHEMA}"
        )
    if "checksum" in content and content["checksum"] != checksum(content):
        raise ResultsError(f"{path}: {CHANGED}")
    manifest = validated(Manifest, content, path)
    check_manifest(path, manifest)
    return manifest


def validated(model: type[Described], content: Any, path: Path) -> Described:
    """Raises ResultsError that names the file and the first field at fault."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ResultsError(f"{path}: {field}: {first['msg']}") from error


def check_manifest(path: Path, manifest: Manifest) -> None:
    names: dict[str, tuple[str, ...]] = {}
    for i, experiment in enumerate(manifest.experiments):
        where = f"{path}: experiments.{i}"
        if len(experiment.images) != experiment.n_images:
            raise ResultsError(
                f"{where}.n_images: {experiment.n_images}, but images lists "
                f"{len(experiment.images)}"
            )
        if experiment.anchor not in experiment.methods:
            raise ResultsError(
                f"{where}.anchor: {experiment.anchor!r} is none of the methods "
                f"{', '.join(experiment.methods)}"
            )
        if UNCOMPRESSED in experiment.methods:
            raise ResultsError(f"{where}.methods.{UNCOMPRESSED}: what the clean score is called")
        for method, qps in experiment.methods.items():
            if not qps or len(set(qps)) < len(qps):
                raise ResultsError(
                    f"{where}.methods.{method}: {list(qps)}, should be one or more different QPs"
                )
        if names.setdefault(experiment.dataset, experiment.images) != experiment.images:
            raise ResultsError(
                f"{where}.images: another experiment lists other images for {experiment.dataset}"
            )
        for j, model in enumerate(experiment.models):
            if model.view not in ("native", "model", f"model:{model.name}"):
                raise ResultsError(
                    f"{where}.models.{j}.view: {model.view!r}, should be native or model"
                )
    for i, failure in enumerate(manifest.failures):
        images = names.get(failure.dataset, ())
        if not 0 <= failure.index < len(images) or images[failure.index] != failure.image:
            raise ResultsError(
                f"{path}: failures.{i}: image {failure.image!r} is not at index {failure.index} of "
                f"data set {failure.dataset!r}"
            )


def check_images(path: Path, images: pd.DataFrame, manifest: Manifest) -> None:
    key = ["dataset", "view", "method", "qp", "index"]
    if images.duplicated(key).any():
        row = images.loc[images.duplicated(key), key].iloc[0].to_dict()
        raise ResultsError(f"{path}: two rows for {row}")
    for experiment in manifest.experiments:
        rows = images[images["dataset"] == experiment.dataset]
        if rows.empty:
            continue
        index = rows["index"].to_numpy()
        inside = (index >= 0) & (index < experiment.n_images)
        names = np.array(experiment.images, object)
        agree = inside & (names[np.where(inside, index, 0)] == rows["image"].to_numpy())
        if not agree.all():
            row = rows.loc[~agree, ["image", "index"]].iloc[0].to_dict()
            raise ResultsError(
                f"{path}: image {row['image']!r} stands at index {row['index']} of "
                f"{experiment.dataset}, the manifest says otherwise"
            )


def _check_statistics(path: Path, table: pa.Table, experiment: Experiment) -> None:
    check_columns(path, table, {"image": "integer"})
    image = table["image"].to_numpy()
    if len(image) and not (image.min() >= 0 and image.max() < experiment.n_images):
        raise ResultsError(
            f"{path}: column image runs from {image.min()} to {image.max()}, "
            f"{experiment.dataset} has images 0 to {experiment.n_images - 1}"
        )
    for field in table.schema:
        if pa.types.is_floating(field.type):
            # Null is no value; a NaN is one that no run writes, as a NaN prediction is a failure.
            finite = pc.fill_null(pc.is_finite(table[field.name]), True).to_numpy()
            broken = np.flatnonzero(~finite)
            if len(broken):
                name = experiment.images[int(image[broken[0]])]
                raise ResultsError(
                    f"{path}: column {field.name} is NaN or infinite in {len(broken)} rows, first "
                    f"for image {name}; run it again with the same arguments to measure it again"
                )


def _read_table(root: Path, path: Path, manifest: Manifest) -> pa.Table:
    data = read_bytes(path)
    if manifest.files is not None:
        name = path.relative_to(root).as_posix() if path.is_relative_to(root) else ""
        digest = manifest.files.get(name)
        if digest != hashlib.sha256(data).hexdigest():
            raise ResultsError(f"{path}: {CHANGED}")
    return parse_table(path, data)
