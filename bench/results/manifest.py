"""manifest.json: what a run measured, with what, and what failed. One class writes and reads it."""

import json
import unicodedata
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from bench.atomic import checksum, write_text
from bench.results.files import ResultsError, is_folder, read_json, validated
from bench.results.lock import holder
from bench.results.names import LOCK, UNCOMPRESSED

SCHEMA = 1
"""Of manifest.json; a folder of another schema is refused."""
CHANGED = (
    "was changed or damaged since the run wrote it; restore it, or run it again with the same "
    "arguments"
)


def _one_line(name: str) -> str:
    if any(unicodedata.category(c) == "Cc" for c in name):
        raise ValueError(f"the name {name!r} holds a control character")
    return name


Name = Annotated[str, AfterValidator(_one_line)]
# Strict: whatever a damaged manifest says, true is not 1.
Int = Annotated[int, Field(strict=True)]
Number = Annotated[float, Field(strict=True)]
Bool = Annotated[bool, Field(strict=True)]


def _rising(percent: tuple[float, ...]) -> tuple[float, ...]:
    rising = list(percent) == sorted(set(percent))
    if len(percent) < 2 or not rising or percent[0] < 0 or percent[-1] >= 100:
        raise ValueError("two or more rising percentages from 0 up and below 100 are expected")
    return percent


Within = Annotated[tuple[Number, ...], AfterValidator(_rising)]
"""Percent below the clean score."""


class Part(BaseModel):
    """What it does not know, a newer version wrote."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Model(Part):
    """A task model and the pixels that were coded for it."""

    name: Name
    view: str
    """`native`, or `model`: its own resize and crop, found in images.parquet as `model:<name>`."""
    fingerprint: dict[str, str] = {}

    @property
    def coded_view(self) -> str:
        return self.view if self.view == "native" else f"model:{self.name}"


class Pilot(Part):
    """How the QPs were chosen that the config leaves open (`qps: auto`): to spread over the
    accuracies from `top` to `bottom`, shares of the clean score."""

    metric: str
    top: Number
    bottom: Number
    images: tuple[Int, ...]
    """Indices of those that were tried."""
    shares: dict[Name, dict[int, Number]]
    """Method → QP that was tried → metric on these images as a share of the clean one, mean over
    the models. Methods that are not here have their list from the config."""


class Protocol(Part):
    """What a run was held to, see docs/protocols.md."""

    name: Name
    conditions: str
    """Short hash of everything that must be equal for numbers to be comparable."""
    unverified: tuple[str, ...] = ()
    """What the protocol does not know, so that the hash is of what was found."""
    columns: str = ""
    """In whose form a CSV file stands beside the tables, besides."""

    def __str__(self) -> str:
        open_parts = f" (not verified: {', '.join(self.unverified)})" if self.unverified else ""
        return f"Protocol {self.name}, conditions {self.conditions}{open_parts}"


class Experiment(Part):
    protocol: Protocol | None = None
    task: str
    dataset: Name
    dataset_fingerprint: str = ""
    """Of pixels and ground truth; empty while a run has not seen all of them."""
    limited: Bool = False
    """Whether only the first images of the data set were measured."""
    notes: tuple[str, ...] = ()
    n_images: Int = Field(ge=1)
    images: tuple[str, ...]
    """Names in data set order; an image's position here is its index everywhere."""
    models: tuple[Model, ...]
    metrics: dict[str, str] = {}
    """Metric → direction and version of its definition."""
    categories: dict[int, str] = {}
    """Id → name, where the wider metrics were measured."""
    anchor: str
    methods: dict[Name, tuple[Int, ...]]
    """Method → QPs, or target rates: less than 0, in thousandths of bits per pixel."""
    pilot: Pilot | None = None
    """Where a pilot chose QPs."""
    codecs: dict[str, dict[str, str]] = {}
    preprocessors: dict[str, dict[str, str]] = {}
    postprocessors: dict[str, dict[str, str]] = {}
    """Method → fingerprint, here and above; only methods that have one."""


class Analysis(Part):
    """Within the bounds of bench.config."""

    interpolation: Literal["pchip", "akima"] = "pchip"
    """The one that gates; both are always reported."""
    policy: Literal["pareto", "isotonic", "raw"] = "pareto"
    resamples: Int = Field(default=1000, ge=0, le=10_000)
    seed: Int = Field(default=0, ge=0, le=2**32 - 1)
    within: Within = (1.0, 2.0, 5.0, 10.0)
    """Percent below the clean score at which rates are compared, see `equal_accuracy`."""
    metrics: Literal["standard", "all"] = "standard"
    """Whether the task's wider metrics were measured too."""

    @property
    def range(self) -> str:
        """The accuracies that somebody would accept, in words."""
        return f"{self.within[0]:g}–{self.within[-1]:g} % below clean"


class Failure(Part):
    """An image that has no result at one operating point.

    `model` is None if it failed before any model saw it, so that it fails for all of them; `method`
    and `qp` are None for the uncompressed picture.
    """

    dataset: str
    model: str | None
    method: str | None
    qp: Int | None
    image: str
    index: Int
    stage: str
    error: str


class OffTarget(Part):
    """An image whose rate is not near a target: it is coded with the QP that comes nearest."""

    dataset: str
    view: str
    method: str
    image: str
    target: Number
    bpp: Number


class Published(Part):
    """A curve that was published elsewhere: operating points without the images behind them."""

    method: Name
    dataset: Name
    model: Name
    metric: str
    points: tuple[tuple[Number, Number], ...]
    """bpp and the metric's value, by rising bpp."""
    source: str = ""
    """The file that it was imported from."""


class Git(Part):
    """Of this suite's own checkout."""

    revision: str
    dirty: Bool


class Machine(Part):
    """What a result might depend on."""

    kind: str = ""
    """cpu or cuda."""
    name: str = ""


class Device(Machine):
    cpus: Int | None = None


class Manifest(Part):
    """All that manifest.json says. What an older version did not write has its default."""

    status: Literal["running", "complete"] = "complete"
    name: str = ""
    experiments: tuple[Experiment, ...]
    random_weights: tuple[str, ...] = ()
    """Models and methods whose networks are untrained."""
    analysis: Analysis = Analysis()
    config: dict[str, Any] = {}
    """What `bench.config` made of the YAML file, for people to read."""
    versions: dict[str, str] = {}
    git: Git | None = None
    device: Device | None = None
    computed: dict[str, Int] = {}
    cached: dict[str, Int] = {}
    """What → how many were computed, and how many more came from the cache."""
    failures: tuple[Failure, ...] = ()
    off_target: tuple[OffTarget, ...] = ()
    """Of methods with target rates: images that are not within 3 % of theirs. They count all the
    same, with the bits that they took."""
    published: tuple[Published, ...] = ()
    """Curves without images, which stand beside the measured methods."""
    timings: dict[str, Number] = {}
    """Seconds."""
    drawn_from: str = ""
    """Of what tables and figures were made, see `bench.results.reuse`; empty where `report` made
    them again."""
    lpips: dict[str, str] = {}
    """What LPIPS was measured with; written only where it was."""
    files: dict[str, str] | None = None
    """Relative POSIX path → SHA-256 of what the run wrote, listed when it is published; None in a
    folder of an older version."""


def write(path: Path, manifest: Manifest) -> None:
    """Raises OSError."""
    unlisted = set() if manifest.lpips else {"lpips"}
    if manifest.files is None:
        unlisted.add("files")
    seal(path, {"schema": SCHEMA} | manifest.model_dump(mode="json", exclude=unlisted))


def seal(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON object with a checksum of itself."""
    content = content | {"checksum": checksum(content)}
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read(path: Path) -> Manifest:
    """The manifest of a results folder.

    Raises ResultsError, naming the file and the field, where it is missing, damaged, of another
    schema or at odds with itself, and where a run is still writing the folder.
    """
    if not is_folder(path.parent):
        raise ResultsError(f"{path.parent}: there is no such folder")
    try:
        content = read_json(path, "manifest")
    except FileNotFoundError:
        raise ResultsError(_why_missing(path)) from None
    _require_schema(path, content.get("schema"))
    if "checksum" in content and content["checksum"] != checksum(content):
        raise ResultsError(f"{path}: {CHANGED}")
    manifest = validated(Manifest, content, path)
    if manifest.status == "running":
        raise ResultsError(
            f"{path}: status is running: these are the beginnings of a run that has not ended, or "
            "was cut off; name the results folder itself once it has"
        )
    check(path, manifest)
    return manifest


def _require_schema(path: Path, schema: object) -> None:
    if schema == SCHEMA and not isinstance(schema, bool):
        return
    newer = isinstance(schema, int) and schema > SCHEMA
    raise ResultsError(
        f"{path}: schema is {schema!r}, this rabench reads results folders of schema {SCHEMA}; "
        + ("a newer one wrote it: update rabench, or " if newer else "")
        + "measure again into another folder"
    )


def _why_missing(path: Path) -> str:
    writer = holder(path.parent / LOCK)
    if writer:
        return (
            f"{path.parent}: a run is writing this folder for the first time ({writer}), so there "
            "are no results in it yet; wait until it has ended"
        )
    return (
        f"{path}: missing, so {path.parent} is no results folder or its run did not finish; "
        "run it again with the same arguments to finish it"
    )


def check(path: Path, manifest: Manifest) -> None:
    """Raises ResultsError where parts of the manifest in the file `path` contradict each other."""
    names: dict[str, tuple[str, ...]] = {}
    for i, experiment in enumerate(manifest.experiments):
        where = f"{path}: experiments.{i}"
        _check_experiment(where, experiment)
        if names.setdefault(experiment.dataset, experiment.images) != experiment.images:
            raise ResultsError(
                f"{where}.images: another experiment lists other images for {experiment.dataset}"
            )
    for i, failure in enumerate(manifest.failures):
        images = names.get(failure.dataset, ())
        if not 0 <= failure.index < len(images) or images[failure.index] != failure.image:
            raise ResultsError(
                f"{path}: failures.{i}: image {failure.image!r} is not at index {failure.index} of "
                f"data set {failure.dataset!r}"
            )


def _check_experiment(where: str, experiment: Experiment) -> None:
    if len(experiment.images) != experiment.n_images:
        raise ResultsError(
            f"{where}.n_images: {experiment.n_images}, but images lists {len(experiment.images)}"
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
    for j, model in enumerate(experiment.models):
        if model.view not in ("native", "model", f"model:{model.name}"):
            raise ResultsError(
                f"{where}.models.{j}.view: {model.view!r}, should be native or model"
            )
