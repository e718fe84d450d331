"""The benchmark described by a YAML file: validated whole before anything is computed."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from bench.errors import ConfigError


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DatasetConfig(BaseModel):
    """`root: null` is filled by --data-root; `mini` needs none. Further keys are options of the
    format, which says itself which it has."""

    model_config = ConfigDict(extra="allow", frozen=True)

    format: str
    root: str | None = None
    view: Literal["native", "model"] = "native"
    name: str | None = None
    categories: dict[str, str] = {}
    """The data set's name of a category → the model's, where the two differ."""

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class ModelConfig(_Strict):
    """`weights`: a file, a name known to the library, `random` (untrained, to try things out), or
    null for --weights or what ships."""

    library: str
    name: str
    weights: str | None = None


class MethodConfig(_Strict):
    """`codec` and `preprocessor`: a mapping with `name` and its options; a codec without options
    may be its name alone. `qps: null` takes the anchor's."""

    codec: str | dict[str, Any]
    preprocessor: dict[str, Any] | None = None
    qps: list[int] | None = Field(default=None, min_length=1)


class Expected(BaseModel):
    """Clean scores as [value, tolerance] on the data set of this fingerprint."""

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, tuple[float, float]]

    dataset: str = Field(pattern="^sha256:[0-9a-f]{64}$")

    @property
    def scores(self) -> dict[str, tuple[float, float]]:
        return self.__pydantic_extra__


class ExperimentConfig(_Strict):
    task: Literal["det", "cls"]
    dataset: DatasetConfig
    models: list[ModelConfig] = Field(min_length=1)
    anchor: str
    methods: dict[str, MethodConfig] = Field(min_length=1)
    expected: Expected | None = None

    @model_validator(mode="after")
    def _anchor_has_a_grid(self) -> "ExperimentConfig":
        if self.anchor not in self.methods:
            raise ValueError(
                f"anchor {self.anchor!r} is not one of the methods: {', '.join(self.methods)}"
            )
        if self.methods[self.anchor].qps is None:
            raise ValueError(f"methods.{self.anchor}.qps: the anchor needs its list of QPs")
        return self


class AnalysisConfig(_Strict):
    """How curves become numbers; the named interpolation is the one that gates."""

    interpolation: Literal["pchip", "akima"] = "pchip"
    policy: Literal["pareto", "isotonic", "raw"] = "pareto"
    resamples: int = Field(default=1000, ge=0)
    seed: int = 0
    within: tuple[float, ...] = (1.0, 2.0, 5.0, 10.0)
    """Percent below the clean score at which rates are compared; BD-rate over the accuracies from
    the first to the last."""

    @field_validator("within")
    @classmethod
    def _ascending(cls, within: tuple[float, ...]) -> tuple[float, ...]:
        if len(within) < 2 or list(within) != sorted(set(within)) or within[0] < 0:
            raise ValueError("two or more rising percentages from 0 up are expected")
        return within


class BenchConfig(_Strict):
    experiments: list[ExperimentConfig] = Field(min_length=1)
    analysis: AnalysisConfig = AnalysisConfig()


def load(path: Path, overrides: list[str] | None = None) -> BenchConfig:
    """Read and validate. Raises ConfigError naming file, key, value and what is allowed."""
    return validate(read(path, overrides), str(path))


def read(path: Path, overrides: list[str] | None = None) -> Any:
    """The file's YAML; `overrides` are `key.path=value` with YAML values. Raises ConfigError."""
    try:
        raw = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise ConfigError(f"config {path}: there is no such file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"config {path} is not valid YAML: {error}") from None
    for override in overrides or []:
        _override(raw, override)
    return raw


def validate(raw: Any, where: str) -> BenchConfig:
    if not isinstance(raw, Mapping):
        raise ConfigError(f"config {where}: expected a mapping with the key 'experiments'")
    try:
        return BenchConfig.model_validate(raw)
    except ValidationError as error:
        lines = []
        for e in error.errors():
            key = ".".join(map(str, e["loc"])) or "the config"
            given = "" if isinstance(e["input"], dict | list) else f" (given: {e['input']!r})"
            lines.append(f"  {key}: {e['msg']}{given}")
        raise ConfigError(f"config {where}:\n" + "\n".join(lines)) from None


def _override(raw: Any, override: str) -> None:
    key, found, text = override.partition("=")
    if not found:
        raise ConfigError(f"--set {override}: expected key=value, e.g. analysis.resamples=1000")
    *parents, last = key.split(".")
    node = raw
    try:
        for part in parents:
            node = node[int(part)] if isinstance(node, list) else node.setdefault(part, {})
        node[int(last) if isinstance(node, list) else last] = yaml.safe_load(text)
    except (KeyError, IndexError, ValueError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise ConfigError(
            f"--set {override}: {key} leads nowhere in the config ({error})"
        ) from None


def per_task(option: str, text: str | None, names: Collection[str] = ()) -> dict[str, str]:
    """`DIR`, or `det=DIR,cls=DIR` → by task or one of `names`; the empty key holds for all."""
    if text is None:
        return {}
    parts = text.split(",")
    if names and all(p.partition("=")[0] in {"det", "cls", *names} for p in parts):
        return dict(p.split("=", 1) for p in parts)
    if all(p.startswith(("det=", "cls=")) for p in parts):
        return dict(p.split("=", 1) for p in parts)
    if len(parts) > 1 and any(p.startswith(("det=", "cls=")) for p in parts):
        raise ConfigError(f"{option} {text}: give one value, or det=…,cls=…")
    return {"": text}


def _codec_name(codec: str | dict[str, Any]) -> Any:
    return codec if isinstance(codec, str) else codec.get("name")


def narrowed(
    config: BenchConfig,
    *,
    tasks: list[str] | None = None,
    methods: list[str] | None = None,
    qps: list[int] | None = None,
    data_root: Mapping[str, str] | None = None,
    weights: Mapping[str, str] | None = None,
    random_weights: bool = False,
) -> BenchConfig:
    """The config with the command line's choices laid over it. Raises ConfigError."""
    raw = config.model_dump()
    experiments = raw["experiments"]
    if tasks:
        known = sorted({e["task"] for e in experiments})
        for task in tasks:
            if task not in known:
                raise ConfigError(f"--tasks {task}: the config has {', '.join(known)}")
        experiments = [e for e in experiments if e["task"] in tasks]
    for experiment in experiments:
        task = experiment["task"]
        if methods:
            known = list(experiment["methods"])
            for method in methods:
                if method not in known:
                    raise ConfigError(f"--methods {method}: the config has {', '.join(known)}")
            if experiment["anchor"] not in methods:
                raise ConfigError(
                    f"--methods {','.join(methods)}: the anchor {experiment['anchor']!r}, which "
                    "the others are compared with, must be among them"
                )
            experiment["methods"] = {m: experiment["methods"][m] for m in methods}
        if qps:
            codec = _codec_name(experiment["methods"][experiment["anchor"]]["codec"])
            for method in experiment["methods"].values():
                if _codec_name(method["codec"]) == codec:
                    method["qps"] = qps
        root = (data_root or {}).get(task, (data_root or {}).get(""))
        if root is not None:
            experiment["dataset"]["root"] = root
        file = (weights or {}).get(task, (weights or {}).get(""))
        if file is not None:
            if len(experiment["models"]) > 1:
                raise ConfigError(
                    f"--weights {file}: task {task} has {len(experiment['models'])} models; give "
                    "the weights of each as --weights NAME=FILE,NAME=FILE, or in the config"
                )
            experiment["models"][0]["weights"] = file
        for model in experiment["models"]:
            model["weights"] = (weights or {}).get(model["name"], model["weights"])
            if random_weights and model["weights"] is None:
                model["weights"] = "random"
        for preprocessor in (m["preprocessor"] for m in experiment["methods"].values()):
            neural = preprocessor and preprocessor.get("name") in ("npp", "qa-npp")
            if random_weights and neural and preprocessor.get("weights") is None:
                preprocessor["weights"] = "random"
    raw["experiments"] = experiments
    return validate(raw, "(after the command line's options)")
