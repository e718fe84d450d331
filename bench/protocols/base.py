"""A protocol as a YAML file says it. Those that ship lie beside this file, one each."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bench import config as configs
from bench.config import BenchConfig, Int, Name, Rate
from bench.errors import ConfigError
from bench.registry import Registry
from bench.results.manifest import Within

Source = Callable[[], Path | Mapping[str, Any]]
"""Gives the YAML file of a protocol, or the same as a dictionary."""

PROTOCOLS: Registry[Source] = Registry("protocol", "bench.protocols")


def _file(path: Path) -> Source:
    return lambda: path


for _path in sorted(Path(__file__).parent.glob("*.yaml")):
    PROTOCOLS.register(_path.stem)(_file(_path))


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Comparison(_Strict):
    """The settings of the analysis that move BD-rates and their intervals; see `analysis` in a
    config."""

    policy: Literal["pareto", "isotonic", "raw"]
    interpolation: Literal["pchip", "akima"]
    resamples: Int = Field(ge=0)
    within: Within
    metrics: Literal["standard", "all"] = "standard"


class Conditions(_Strict):
    """What must be equal on one data set."""

    task: str
    dataset: Name
    images: Int = Field(ge=1)
    """How many."""
    fingerprint: Annotated[str, Field(pattern="^sha256:[0-9a-f]{64}$")] | None
    """Of pixels and ground truth; null: nobody has computed it, and results say so."""
    view: Literal["native", "model"]
    metrics: dict[str, str] = Field(min_length=1)
    """Name → direction and version of its definition."""
    models: dict[Name, dict[str, str]] = Field(min_length=1)
    """Name → fields of its fingerprint. `weights` are the SHA-256 of the file, or how it begins;
    a field that is a long text is `sha256:` and its hash."""
    anchor: Name
    codec: dict[str, str] = Field(min_length=1)
    """Fields of the fingerprint of the anchor's codec."""
    qps: list[Int] | None = None
    """The anchor's, and those of every method that uses its codec; others have as many."""
    rates: list[Rate] | None = None
    """In place of QPs: target rates in bits per pixel, of every method."""

    @model_validator(mode="after")
    def _one_of_both(self) -> "Conditions":
        if (self.qps is None) == (self.rates is None):
            raise ValueError("qps or rates: a protocol has one of them")
        return self


class Protocol(_Strict):
    name: Name
    about: str
    """What it is for, whose it is, and what it lacks: for people."""
    config: str | dict[str, Any]
    """What is run where no other config is named: the name of one that ships, or one itself."""
    set: list[str] = []
    """Changes of that config, as `--set` has them."""
    columns: Literal["", "cttc"] = ""
    """In whose form a CSV file is written beside the tables, besides."""
    analysis: Comparison
    experiments: list[Conditions] = Field(min_length=1)

    @property
    def summary(self) -> str:
        """The first sentence of what it is about."""
        return " ".join(self.about.split()).partition(". ")[0].rstrip(".")


def load(name: str) -> Protocol:
    """Raises ConfigError for an unknown name, and for one that describes no protocol."""
    source = PROTOCOLS.get(name)()
    raw = configs.read(source) if isinstance(source, Path) else source
    where = source if isinstance(source, Path) else PROTOCOLS.package(name)
    if not isinstance(raw, Mapping):
        raise ConfigError(f"protocol {name} ({where}): a mapping is expected")
    try:
        return Protocol.model_validate({"name": name, **raw})
    except ValidationError as error:
        faults = [
            f"  {'.'.join(map(str, f['loc'])) or 'the protocol'}: {f['msg']}"
            for f in error.errors(include_url=False)[: configs.SHOWN]
        ]
    raise ConfigError(f"protocol {name} ({where}):\n" + "\n".join(faults))


def config(protocol: Protocol, settings: Sequence[str] | None = None) -> BenchConfig:
    """What is run under it where no other config is named, changed by `--set`. Raises
    ConfigError."""
    described = protocol.config
    source = configs.built_in(described) if isinstance(described, str) else described
    return configs.load(source, [*protocol.set, *(settings or [])])
