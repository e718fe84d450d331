"""The benchmark described by a YAML file: validated whole before anything is computed."""

import copy
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from bench.errors import ConfigError
from bench.results.manifest import Within
from bench.tasks import TASKS

LARGEST, MOST, DEEPEST = 1_000_000, 10_000, 50
"""Bytes of a file, values in it with every alias written out, and levels of lists and mappings:
many times what a benchmark takes, and little enough to be read at once."""
LARGEST_INT = 2**63 - 1
LONGEST_NAME, LONGEST_PATH = 200, 4096
"""Characters."""
CLEAN = "uncompressed"
"""What results call the pictures as they are; no method may have that name."""
MOST_RESAMPLES = 10_000
"""Their ends of an interval are known to 1 % of its width, and the draws of 5,000 images still fit
in memory (400 MB)."""
LARGEST_SEED = 2**32 - 1
MOST_QPS = 1000
MOST_RATES = 20
SHOWN = 20
"""Faults in a message."""
_LIST, _WORD = "[list]", "[word]"
UNSHOWN = ("[key]", _LIST, _WORD)
"""What a validator adds to the place of a fault."""


def name_fault(name: str, longest: int = LONGEST_NAME) -> str:
    """Why a name cannot stand in tables, pages and file names; empty if it can."""
    if not any(c.isprintable() and not c.isspace() for c in name):
        return "is empty or blank"
    # Control characters, half characters (surrogates), and those that no XML may hold.
    if any(unicodedata.category(c) in ("Cc", "Cs") or ord(c) & 0xFFFE == 0xFFFE for c in name):
        return "holds a control character or one that is no text"
    if len(name) > longest:
        return f"has {len(name)} characters, {longest} are allowed"
    return ""


def _checked(longest: int) -> Callable[[str], str]:
    def check(name: str) -> str:
        if fault := name_fault(name, longest):
            raise ValueError(f"the name {fault}; printable text is expected")
        return name

    return check


def _path(text: str) -> str:
    half = any("\ud800" <= c <= "\udfff" for c in text)  # a manifest could not hold it
    if not text or len(text) > LONGEST_PATH or "\0" in text or half:
        raise ValueError(f"this is no path of 1 to {LONGEST_PATH} characters of text")
    return text


Name = Annotated[str, AfterValidator(_checked(LONGEST_NAME))]
LongName = Annotated[str, AfterValidator(_checked(LONGEST_PATH))]
PathText = Annotated[str, AfterValidator(_path)]
# Strict: a number in quotes, or true for 1, is more likely a mistake than meant.
Int = Annotated[int, Field(strict=True)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]

Auto = Literal["auto"]
AUTO: Auto = "auto"
"""In place of a list of QPs: a pilot chooses them."""
QPs = Annotated[
    Annotated[list[Int], Field(min_length=1, max_length=MOST_QPS), Tag(_LIST)]
    | Annotated[Auto, Tag(_WORD)],
    Discriminator(lambda given: _WORD if isinstance(given, str) else _LIST),
]
Rate = Annotated[Number, Field(ge=0.001, le=24)]
"""Bits per pixel, in whole thousandths."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DatasetConfig(BaseModel):
    """`root: null` is filled by --data-root; `mini` needs none. Further keys are options of the
    format, which says itself which it has."""

    model_config = ConfigDict(extra="allow", frozen=True)

    format: str
    """coco, voc, labelmaps, imagenet, folder, mini, or one of another package."""
    root: PathText | None = None
    view: Literal["native", "model"] = "native"
    """What is coded: the picture as it is, or what the model's resize and crop leave."""
    name: Name | None = None
    """What results call the data set; by default its folder's name."""
    categories: dict[Name, Name] = {}
    """The data set's name of a category → the model's, where the two differ."""

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class ModelConfig(BaseModel):
    """`weights`: a file, a name known to the library, `random` (untrained, to try things out), or
    null for --weights or what ships. Further keys are options of the library, which says itself
    which it has."""

    model_config = ConfigDict(extra="allow", frozen=True)

    library: str
    """torchvision, timm, mmdet, mmpretrain, onnx, litert, mini, or one of another package."""
    name: LongName
    weights: PathText | None = None
    loss: bool = True
    """Whether a detector's own training loss is measured too."""

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class MethodConfig(_Strict):
    """`codec`, `preprocessor` and `postprocessor`: a mapping with `name` and its options; a codec
    without options may be its name alone. `qps: null` takes the anchor's; `qps: auto` lets a pilot
    choose them, for each method apart."""

    codec: str | dict[str, Any]
    preprocessor: dict[str, Any] | None = None
    """What filters a picture before it is encoded."""
    postprocessor: dict[str, Any] | None = None
    """What filters it once it is decoded: a preprocessor, too."""
    qps: QPs | None = None
    rates: Annotated[list[Rate], Field(min_length=1, max_length=MOST_RATES)] | None = None
    """In place of QPs: bits per pixel that every image is brought near, each by a QP of its own."""

    @field_validator("qps", mode="before")
    @classmethod
    def _list_or_auto(cls, qps: Any) -> Any:
        if isinstance(qps, str) and qps != AUTO:
            raise ValueError(f"a list of QPs or {AUTO} is expected")
        return qps

    @field_validator("qps")
    @classmethod
    def _different(cls, qps: list[int] | Auto | None) -> list[int] | Auto | None:
        if twice := _twice(qps if isinstance(qps, list) else []):
            raise ValueError(f"{twice[0]} stands twice; different QPs are expected")
        return qps

    @field_validator("rates")
    @classmethod
    def _thousandths(cls, rates: list[float] | None) -> list[float] | None:
        if twice := _twice(rates or []):
            raise ValueError(f"{twice[0]} stands twice; different rates are expected")
        for rate in rates or []:
            if abs(1000 * rate - round(1000 * rate)) > 1e-6:
                raise ValueError(f"{rate:g} bpp: rates in whole thousandths are expected")
        return rates

    @model_validator(mode="after")
    def _one_of_both(self) -> "MethodConfig":
        if self.qps is not None and self.rates is not None:
            raise ValueError("qps and rates: a method has one of them")
        return self


class Expected(BaseModel):
    """Clean scores as [value, tolerance] on the data set of this fingerprint."""

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, tuple[Number, Annotated[Number, Field(ge=0)]]]

    dataset: str = Field(pattern="^sha256:[0-9a-f]{64}$")

    @property
    def scores(self) -> dict[str, tuple[float, float]]:
        return self.__pydantic_extra__


class ExperimentConfig(_Strict):
    task: str
    dataset: DatasetConfig
    models: list[ModelConfig] = Field(min_length=1)
    anchor: str
    """The method that the others are compared with."""
    methods: dict[Name, MethodConfig] = Field(min_length=1)
    expected: Expected | None = None

    @field_validator("task")
    @classmethod
    def _there_is(cls, task: str) -> str:
        try:
            TASKS.get(task)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return task

    @model_validator(mode="after")
    def _anchor_has_a_grid(self) -> "ExperimentConfig":
        if CLEAN in self.methods:
            raise ValueError(f"methods.{CLEAN}: results call the pictures as they are so")
        if self.anchor not in self.methods:
            raise ValueError(
                f"anchor {self.anchor!r} is not one of the methods: {', '.join(self.methods)}"
            )
        anchor = self.methods[self.anchor]
        if anchor.qps is None and anchor.rates is None:
            raise ValueError(
                f"methods.{self.anchor}.qps: the anchor needs its list of QPs, or auto, or a list "
                "of rates"
            )
        return self

    def qps(self, method: str) -> list[int] | Auto:
        """A method's own, or the anchor's; empty where it has rates."""
        return self._grid(method).qps or []

    def rates(self, method: str) -> list[float]:
        """Bits per pixel, a method's own or the anchor's; empty where it has QPs."""
        return self._grid(method).rates or []

    def _grid(self, method: str) -> MethodConfig:
        own = self.methods[method]
        has = own.qps is not None or own.rates is not None
        return own if has else self.methods[self.anchor]

    @model_validator(mode="after")
    def _expected_scores_exist(self) -> "ExperimentConfig":
        task = TASKS.get(self.task)
        tasks = [task, *([task.agreement] if task.agreement else [])]
        known = list(dict.fromkeys(metric.name for task in tasks for metric in task.metrics))
        for name in self.expected.scores if self.expected else ():
            if name not in known:
                raise ValueError(
                    f"expected.{name}: task {self.task} has no such score; there are: "
                    f"{', '.join(known)}"
                )
        return self


class AnalysisConfig(_Strict):
    """How curves become numbers; the named interpolation is the one that gates."""

    interpolation: Literal["pchip", "akima"] = "pchip"
    """The one that is shown first and that gates; both are computed."""
    policy: Literal["pareto", "isotonic", "raw"] = "pareto"
    """What is done about points that another one beats in rate and accuracy: dropped,
    averaged with their neighbours, or kept."""
    resamples: Int = Field(default=1000, ge=0, le=MOST_RESAMPLES)
    """Of the bootstrap; 0 asks for no intervals."""
    seed: Int = Field(default=0, ge=0, le=LARGEST_SEED)
    within: Within = Field(default=(1.0, 2.0, 5.0, 10.0), max_length=100)
    """Percent below the clean score at which rates are compared; BD-rate over the accuracies from
    the first to the last."""
    metrics: Literal["standard", "all"] = "standard"
    """All adds to a detector's AP75, AP by size of the objects and AR@100, to a classifier's the
    expected calibration error, and `categories.csv`."""


class FidelityConfig(_Strict):
    """What is measured of decoded pictures beside PSNR and MS-SSIM."""

    lpips: PathText | None = None
    """A file with the weights of torchvision's AlexNet, `alexnet-owt-7be5be79.pth`, for LPIPS,
    a perceptual distance; needs the extra `lpips`. Nothing is downloaded."""


class BenchConfig(_Strict):
    experiments: list[ExperimentConfig] = Field(min_length=1)
    tasks: list[str] | None = None
    """Those that run where `--tasks` names none; null for all."""
    analysis: AnalysisConfig = AnalysisConfig()
    fidelity: FidelityConfig | None = None
    """Further measures of the pictures."""

    @model_serializer(mode="wrap")
    def _without_what_is_not_asked_for(
        self, serialised: SerializerFunctionWrapHandler
    ) -> dict[str, Any]:
        """Manifests of runs without further measures stay as they were."""
        content: dict[str, Any] = serialised(self)
        if self.fidelity is None:
            content.pop("fidelity", None)
        return content


def built_in(name: str) -> Path:
    """The file of a config that ships: inside the package once installed, beside it before."""
    inside = Path(__file__).parent / "configs"
    folder = inside if inside.is_dir() else Path(__file__).parent.parent / "configs"
    return folder / f"{name}.yaml"


def found(path: Path) -> Path:
    """The file itself; where there is none (a folder is no file), the shipped config so named."""
    shipped = built_in(str(path))
    try:
        return shipped if shipped.is_file() and (path.is_dir() or not path.exists()) else path
    except (OSError, ValueError):  # no name of a file: who reads it says so
        return path


def load(
    source: Path | Mapping[str, Any] | BenchConfig, overrides: Sequence[str] | None = None
) -> BenchConfig:
    """Read and validate. Raises ConfigError naming file, key, value and what is allowed."""
    if isinstance(source, Path):
        return validate(read(source, overrides), str(source))
    given = source.model_dump() if isinstance(source, BenchConfig) else source
    return validate(_overridden(copy.deepcopy(given), overrides), "(a dictionary)")


def read(path: Path, overrides: Sequence[str] | None = None) -> Any:
    """The file's YAML; `overrides` are `key.path=value` with YAML values. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except FileNotFoundError:
        raise ConfigError(f"config {path}: there is no such file") from None
    except (OSError, ValueError) as error:  # a folder, no permission, a NUL in the name
        raise ConfigError(f"config {path} cannot be read: {error}") from None
    if len(content) > LARGEST:
        raise ConfigError(f"config {path} has more than {LARGEST:,} bytes: this is no config")
    return _overridden(_parsed(content, f"config {path}"), overrides)


def validate(raw: Any, where: str) -> BenchConfig:
    if not isinstance(raw, Mapping):
        raise ConfigError(f"config {where}: expected a mapping with the key 'experiments'")
    try:
        return BenchConfig.model_validate(raw)
    except ValidationError as error:
        faults = error.errors(include_url=False)
    lines = []
    for fault in faults[:SHOWN]:
        key = ".".join(_shown(part) for part in fault["loc"] if part not in UNSHOWN) or "the config"
        given = fault["input"]
        said = "" if isinstance(given, dict | list | tuple) else f" (given: {_cut(repr(given))})"
        lines.append(f"  {key}: {fault['msg'].removeprefix('Value error, ')}{said}")
    if len(faults) > SHOWN:
        lines.append(f"  … and {len(faults) - SHOWN} more")
    raise ConfigError(f"config {where}:\n" + "\n".join(lines))


def _shown(part: int | str) -> str:
    text = str(part)
    return _cut(text if text and text.isprintable() else repr(text))


def _cut(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:100]}…"


# --- YAML -----------------------------------------------------------------------------------------


class _Loader(yaml.SafeLoader):
    """YAML without what would become another value than the one that was meant."""

    def __init__(self, stream: bytes | str) -> None:
        super().__init__(stream)
        self._values = self._depth = 0
        self._checked: set[int] = set()

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._values += 1
        self._depth += 1
        if self._values > MOST:
            raise self._refusal(f"there are more than {MOST:,} values", parent)
        if self._depth > DEEPEST:
            raise self._refusal(f"this is nested more than {DEEPEST} deep", parent)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Put in what `<<` names; before that every key has to be one of a kind."""
        if id(node) not in self._checked:
            self._checked.add(id(node))
            self._check_keys(node)
        super().flatten_mapping(node)
        if len(node.value) > MOST:
            raise self._refusal(f"there are more than {MOST:,} values", node)

    def _check_keys(self, node: yaml.MappingNode) -> None:
        lines: dict[str | int, int] = {}
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int) or isinstance(key, bool):
                raise self._refusal(
                    f"the key {_cut(repr(key))} is neither text nor a whole number; write it in "
                    "quotes if it is meant as text",
                    key_node,
                )
            line = key_node.start_mark.line + 1
            if key in lines:
                raise self._refusal(
                    f"the key {_cut(repr(key))} stands on line {lines[key]} and again on line "
                    f"{line}; keep one of them",
                    key_node,
                )
            lines[key] = line

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        text = self.construct_scalar(node)
        if not re.fullmatch(r"[-+]?(0|[1-9][0-9_]{0,30}|0x[0-9a-fA-F]{1,16})", text):
            raise self._refusal(
                f"{_cut(text)} is no plain decimal number; write it without a leading 0, or in "
                "quotes if it is text",
                node,
            )
        value = super().construct_yaml_int(node)
        if abs(value) > LARGEST_INT:
            raise self._refusal(f"{_cut(text)} is too large: at most 2^63 − 1 is allowed", node)
        return value

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        text = self.construct_scalar(node)
        if ":" in text:
            raise self._refusal(f"{_cut(text)} is no number; write it in quotes", node)
        value = super().construct_yaml_float(node)
        if not math.isfinite(value):
            raise self._refusal(f"{_cut(text)} is no finite number", node)
        return value

    def refuse(self, node: yaml.Node) -> None:
        kind = node.tag.rpartition(":")[2]
        raise self._refusal(
            f"this is a {kind}; text, numbers, true, false, null, lists and mappings are allowed. "
            "Write it in quotes if it is meant as text",
            node,
        )

    @staticmethod
    def _refusal(problem: str, place: Any) -> yaml.MarkedYAMLError:
        return yaml.MarkedYAMLError(problem=problem, problem_mark=place.start_mark)


for _tag, _constructor in {
    "int": _Loader.construct_yaml_int,
    "float": _Loader.construct_yaml_float,
    **dict.fromkeys(("timestamp", "binary", "set", "omap", "pairs"), _Loader.refuse),
}.items():
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _constructor)


def _parsed(text: bytes | str, where: str) -> Any:
    """YAML → values of its own, of the kinds that JSON has. Raises ConfigError naming `where`."""
    try:
        value = yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ConfigError(
            f"{where} is not valid YAML: {at}{error.problem or error.context}"
        ) from None
    except yaml.YAMLError as error:  # characters that are no text in UTF-8 or UTF-16
        raise ConfigError(f"{where} is not valid YAML: {error}") from None
    except Exception as error:  # whatever its conversion of a tagged value raises
        raise ConfigError(f"{where} is not valid YAML: {type(error).__name__}: {error}") from None
    return _own(value, where, (), count(1))


def _own(value: Any, where: str, key: tuple[str, ...], values: Iterator[int]) -> Any:
    """A copy that shares nothing with itself, as what YAML's aliases name does.

    Raises ConfigError naming the key where that is too much, and where text is none.
    """
    if next(values) > MOST:
        raise ConfigError(f"{where}: with its aliases written out it has over {MOST:,} values")
    if len(key) > DEEPEST:
        raise ConfigError(f"{where}: {'.'.join(key[:5])}… is nested over {DEEPEST} deep")
    if isinstance(value, dict):
        return {
            _own(k, where, key, values): _own(v, where, (*key, _shown(k)), values)
            for k, v in value.items()
        }
    if isinstance(value, list):
        return [_own(v, where, (*key, str(i)), values) for i, v in enumerate(value)]
    if isinstance(value, str):
        try:
            # JSON writes a character beyond 16 bits as two halves, which are put together here.
            whole = value.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            whole = "\0"
        if "\0" in whole:
            raise ConfigError(
                f"{where}: {'.'.join(key) or 'the value'}: {_cut(repr(value))} holds a character "
                "that is no text"
            )
        return whole
    return value


# --- the command line's options -------------------------------------------------------------------


def _overridden(raw: Any, overrides: Sequence[str] | None) -> Any:
    """The same object, changed."""
    for override in overrides or ():
        _override(raw, override)
    return raw


def _override(raw: Any, override: str) -> None:
    key, found, text = override.partition("=")
    said = f"--set {_shown(override)}"
    *parents, last = parts = key.split(".")
    if not found or not all(parts) or len(parts) > DEEPEST:
        raise ConfigError(f"{said}: expected key=value, e.g. analysis.resamples=1000")
    node = raw
    for part in parents:
        at = _at(node, part, said)
        node = node.setdefault(at, {}) if isinstance(node, dict) else node[at]
    at = _at(node, last, said)
    node[at] = _parsed(text, said)


def _at(node: Any, part: str, said: str) -> str | int:
    """The key, or the position in a list, that a part of `--set`'s key names."""
    position = int(part) if re.fullmatch("[0-9]{1,9}", part) else None
    if isinstance(node, dict):
        if position is not None and position in node and part not in node:
            return position
        return part
    if not isinstance(node, list):
        raise ConfigError(
            f"{said} leads nowhere in the config: {_shown(part)} is below "
            f"{'nothing' if node is None else _cut(repr(node))}, which has no keys"
        )
    if position is None or position >= len(node):
        raise ConfigError(
            f"{said} leads nowhere in the config: {_shown(part)} is no position in a list of "
            f"{len(node)}, which are counted from 0"
        )
    return position


def per_task(option: str, text: str | None, names: Collection[str] = ()) -> dict[str, str]:
    """`DIR`, or `det=DIR,cls=DIR` → by task or one of `names`; the empty key holds for all.

    Raises ConfigError for a mixture of the two, an empty value, and a key that stands twice.
    """
    if text is None:
        return {}
    # The longest first: a model's name may go on where another one's ends.
    keys = sorted({*TASKS.names(), *names}, key=len, reverse=True)
    parts = text.split(",")
    named = [next((k for k in keys if part.startswith(f"{k}=")), None) for part in parts]
    if not any(named):
        parts, named = [text], [""]
    pairs = [
        (k, p[len(k) + 1 :] if k else p) for k, p in zip(named, parts, strict=True) if k is not None
    ]
    said = f"{option} {_shown(text)}"
    if len(pairs) < len(parts):
        raise ConfigError(
            f"{said}: give one value, or det=…,cls=…; a path with a comma goes into the config"
        )
    if any(not value for _, value in pairs):
        raise ConfigError(f"{said}: a value is empty")
    if twice := _twice(k for k, _ in pairs):
        raise ConfigError(f"{said}: {twice[0]} stands twice")
    return dict(pairs)


def _twice(values: Iterable[Hashable]) -> list[Hashable]:
    """Those that stand more than once."""
    return [value for value, times in Counter(values).items() if times > 1]


def _check_list(option: str, values: Sequence[Hashable] | None) -> None:
    """Raises ConfigError for an option that is there and names nothing, or one thing twice."""
    if values is not None and not values:
        raise ConfigError(f"{option}: it names nothing; leave it out to take all of the config's")
    if twice := _twice(values or ()):
        raise ConfigError(f"{option} {','.join(map(str, values or ()))}: {twice[0]} stands twice")


def _check_keys(option: str, given: Mapping[str, str], known: Collection[str]) -> None:
    """Raises ConfigError where a value would be for nothing that the config has."""
    for key, value in given.items():
        if key and key not in known:
            raise ConfigError(
                f"{option} {key}={value}: the config has {', '.join(dict.fromkeys(known))}"
            )


def _codec_name(codec: str | dict[str, Any]) -> Any:
    return codec if isinstance(codec, str) else codec.get("name")


def narrowed(
    config: BenchConfig,
    *,
    tasks: list[str] | None = None,
    methods: list[str] | None = None,
    qps: list[int] | Auto | None = None,
    data_root: Mapping[str, str] | None = None,
    weights: Mapping[str, str] | None = None,
    random_weights: bool = False,
) -> BenchConfig:
    """The config with the command line's choices laid over it; of `data_root` and `weights` the
    empty key holds for all. Raises ConfigError."""
    raw = config.model_dump()
    experiments, data_root, weights = raw["experiments"], data_root or {}, weights or {}
    listed_qps = None if qps == AUTO else qps
    for option, listed in (("--tasks", tasks), ("--methods", methods), ("--qps", listed_qps)):
        _check_list(option, listed)
    known = sorted({e["task"] for e in experiments})
    _check_keys("--data-root", data_root, known)
    _check_keys(
        "--weights", weights, [*known, *(m["name"] for e in experiments for m in e["models"])]
    )
    for key, names in (("--tasks", tasks), ("tasks:", config.tasks)):
        for task in names or ():
            if task not in known:
                raise ConfigError(f"{key} {task}: the config has {', '.join(known)}")
    tasks, raw["tasks"] = tasks or config.tasks, None
    if tasks:
        experiments = [e for e in experiments if e["task"] in tasks]
    for experiment in experiments:
        task = experiment["task"]
        if methods:
            experiment["methods"] = _chosen(methods, experiment)
        if qps:
            _set_qps(qps, experiment)
        root = data_root.get(task, data_root.get(""))
        if root is not None:
            experiment["dataset"]["root"] = root
        _set_weights(weights, experiment)
        if random_weights:
            _set_random_weights(experiment)
    raw["experiments"] = experiments
    return validate(raw, "(after the command line's options)")


def _chosen(methods: list[str], experiment: dict[str, Any]) -> dict[str, Any]:
    for method in methods:
        if method not in experiment["methods"]:
            raise ConfigError(
                f"--methods {method}: the config has {', '.join(experiment['methods'])}"
            )
    if experiment["anchor"] not in methods:
        raise ConfigError(
            f"--methods {','.join(methods)}: the anchor {experiment['anchor']!r}, which "
            "the others are compared with, must be among them"
        )
    return {m: experiment["methods"][m] for m in methods}


def _set_qps(qps: list[int] | Auto, experiment: dict[str, Any]) -> None:
    """A list: of the methods that use the anchor's codec. `auto`: of all, as each gets its own."""
    methods = experiment["methods"]
    codec = _codec_name(methods[experiment["anchor"]]["codec"])
    for method in methods.values():
        if qps == AUTO or _codec_name(method["codec"]) == codec:
            method["qps"], method["rates"] = qps, None


def _set_weights(weights: Mapping[str, str], experiment: dict[str, Any]) -> None:
    task, models = experiment["task"], experiment["models"]
    file = weights.get(task, weights.get(""))
    if file is not None:
        if len(models) > 1:
            raise ConfigError(
                f"--weights {file}: task {task} has {len(models)} models; give "
                "the weights of each as --weights NAME=FILE,NAME=FILE, or in the config"
            )
        models[0]["weights"] = file
    for model in models:
        model["weights"] = weights.get(model["name"], model["weights"])


def _set_random_weights(experiment: dict[str, Any]) -> None:
    for model in experiment["models"]:
        if model["weights"] is None:
            model["weights"] = "random"
    methods = experiment["methods"].values()
    for used in (m[role] for m in methods for role in ("preprocessor", "postprocessor")):
        if used and used.get("name") in ("npp", "qa-npp") and used.get("weights") is None:
            used["weights"] = "random"
