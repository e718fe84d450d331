"""What mmdet and mmpretrain have in common: configs by name or file, networks built from them.

Needs the extra `mmlab`; nothing of it is imported before one of its models is asked for.
"""

import importlib.util
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml

from bench.errors import BenchError, ConfigError
from bench.models.base import ModelSpec, fixed_draws, published, ready
from bench.models.weights import load_weights
from bench.registry import existing_file

INSTALL = (
    "pip install -c constraints.txt -e '.[mmlab]' 'setuptools>=77,<80'",
    "pip install --no-deps --no-build-isolation mmengine==0.10.7 mmcv==2.1.0",
)
"""The two commands of the README's section on mmdetection and mmpretrain."""


def require(package: str) -> None:
    """Raises ConfigError, with the commands that mend it, where the package cannot be used."""
    missing = [p for p in ("mmengine", "mmcv", package) if importlib.util.find_spec(p) is None]
    if missing:
        raise ConfigError(
            f"library {package} is not installed ({', '.join(missing)} missing). It comes with "
            f"`{INSTALL[0]}` and then `{INSTALL[1]}`; `run_bench.py doctor` checks it"
        )
    try:
        # What they say of their own use of torch and Python is not for the user of this suite.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module("mmcv.ops")
            importlib.import_module(f"{package}.models")
    except (ImportError, AssertionError, OSError) as error:
        raise ConfigError(
            f"library {package} is installed but cannot be used: {error}. mmcv has to be built for "
            f"this very torch {torch.__version__}: `run_bench.py doctor` says what fits"
        ) from error


def require_nms(device: torch.device) -> None:
    """Raises ConfigError where mmcv has none for the device, as on a GPU if it was built without
    CUDA, or a wrong one."""
    nms: Any = importlib.import_module("mmcv.ops").nms
    boxes = torch.tensor([[0.0, 0.0, 9.0, 9.0], [0.0, 0.0, 9.0, 8.0]], device=device)
    try:
        kept = nms(boxes, torch.tensor([0.9, 0.8], device=device), 0.5)[1].tolist()
    except RuntimeError as error:
        raise ConfigError(
            f"mmcv's operators do not run on {device.type} here ({error}); build mmcv where torch "
            "finds CUDA and its compiler, or use --device cpu"
        ) from error
    if kept != [0]:
        raise ConfigError(f"mmcv's compiled nms keeps the wrong boxes on {device.type}: {kept}")


@contextmanager
def understood(package: str, name: str) -> Iterator[None]:
    """A config is a program: whatever it raises, or what is made of it, becomes ConfigError."""
    try:
        yield
    except BenchError:
        raise
    except (Exception, SystemExit) as error:
        raise ConfigError(
            f"{package} cannot build {name}: {type(error).__name__}: {error}"
        ) from error


def _folder(package: str) -> Path | None:
    found = importlib.util.find_spec(package)
    return Path(found.origin).parent / ".mim" / "configs" if found and found.origin else None


@cache
def bundled(package: str) -> dict[str, Path]:
    """Names of the configs that come inside the package, and where they are."""
    folder = _folder(package)
    files = sorted(folder.rglob("*.py")) if folder else []
    return {p.stem: p for p in files if "_base_" not in p.parts and _describes(p.stem)}


def _describes(stem: str) -> bool:
    """Parts of configs lie among the whole ones."""
    return not stem.startswith(("_", "metafile"))


def program(package: str, name: str) -> Path | None:
    """A config that is a file, and none of the package's own: mmengine runs it."""
    file, own = existing_file(name), _folder(package)
    if file is None or (own is not None and file.resolve().is_relative_to(own.resolve())):
        return None
    return file


def config_file(package: str, name: str) -> Path:
    """Of a bundled config, or the file itself. Raises ConfigError."""
    require(package)
    file = existing_file(name)
    if file:
        return file
    if name not in bundled(package) and name in _documented_names(package):
        return _documented_names(package)[name]
    if name not in bundled(package):
        near = [n for n in bundled(package) if n.split("_")[0] == name.split("_")[0]]
        near = near or [n for n in bundled(package) if n.startswith(name[:6])]
        raise ConfigError(
            f"{package} has no bundled config {name!r}, and there is no such file"
            + (f"; near: {', '.join(near[:5])}" if near else "")
        )
    return bundled(package)[name]


def read(package: str, name: str) -> Any:
    """The mmengine config. Raises ConfigError for a file that describes no model to test."""
    file = config_file(package, name)
    from mmengine.config import Config

    try:
        config = Config.fromfile(file)
    except (Exception, SystemExit) as error:  # a config is a program
        why = f"{type(error).__name__}: {error}"
        raise ConfigError(f"{package} config {file}: cannot be read: {why}") from error
    for key in ("model", "test_dataloader"):
        if not config.get(key):
            raise ConfigError(f"{package} config {file}: it has no {key!r}, so it cannot be tested")
        if not isinstance(config[key], dict):
            raise ConfigError(f"{package} config {file}: {key!r} is no dictionary")
    return config


def build(package: str, config: Any, spec: ModelSpec, device: torch.device) -> Any:
    """The network of a config with the weights of `spec`, in evaluation mode.

    Raises ConfigError where the weights do not fit, and what the config's classes raise.
    """
    from mmengine.logging import MMLogger
    from mmengine.model import revert_sync_batchnorm
    from mmengine.registry import init_default_scope

    registry = importlib.import_module(f"{package}.registry")
    if not spec.weights_file and not spec.random:
        raise ConfigError(
            f"model {spec.name}: weights {spec.weights!r} are not a file; {package} needs a "
            f"checkpoint{_where(package, spec.name)}"
        )
    if package == "mmdet":
        require_nms(device)
    init_default_scope(config.get("default_scope") or package)
    _without_downloads(config.model)
    with fixed_draws():
        network = revert_sync_batchnorm(registry.MODELS.build(config.model))
        if spec.random:
            MMLogger.get_current_instance().setLevel("WARNING")  # else a line per tensor
            network.init_weights()
    if spec.weights_file:
        what = f"{package} {spec.name}"
        load_weights(network, spec.weights_file, what, spec.chosen, known_by="config")
    # Deformable convolutions, corner pooling and standardised weights refuse channels last.
    if package == "mmdet" and type(network).__name__ != "YOLOX":
        return network.eval().to(device)
    return ready(network, device)


def _without_downloads(node: Any) -> None:
    """The checkpoint has all weights, a backbone's too."""
    if isinstance(node, dict):
        if isinstance(node.get("init_cfg"), dict) and node["init_cfg"].get("type") == "Pretrained":
            node["init_cfg"] = None
        if isinstance(node.get("pretrained"), str):
            node["pretrained"] = None
    children = node.values() if isinstance(node, dict) else node
    for child in children:
        if isinstance(child, dict | list | tuple):
            _without_downloads(child)


def fingerprint(package: str, spec: ModelSpec) -> dict[str, str]:
    require(package)
    packages = {p: version(p) for p in (package, "mmcv", "mmengine")}
    with understood(package, spec.name):
        return {"library": package, **packages, "config": read(package, spec.name).pretty_text}


def _metafile(file: Path) -> list[dict[str, Any]]:
    content = yaml.load(file.read_text(encoding="utf-8"), yaml.CSafeLoader)
    models = content.get("Models") if isinstance(content, dict) else None
    return [m for m in models or [] if isinstance(m, dict) and m.get("Config")]


@cache
def _documented_names(package: str) -> dict[str, Path]:
    """The names in the model zoo's lists that are not those of their configs."""
    folder = _folder(package)
    entries = [
        entry
        for file in (folder.glob("*/metafile.yml") if folder else [])
        for entry in _metafile(file)
    ]
    configs = {str(e.get("Name")): bundled(package).get(Path(e["Config"]).stem) for e in entries}
    return {name: path for name, path in configs.items() if path}


def documented(package: str, name: str) -> dict[str, Any]:
    """What the metafile beside a bundled config says of it: Weights, Results. Empty if nothing."""
    path = bundled(package).get(name) or _documented_names(package).get(name)
    file = path.with_name("metafile.yml") if path else None
    entries = _metafile(file) if file and file.is_file() else []
    own = [e for e in entries if path and Path(e["Config"]).stem == path.stem]
    named = [e for e in own if e.get("Name") == name]
    return (named or own or [{}])[0]


def stated(package: str, spec: ModelSpec, dataset: str, names: dict[str, str]) -> dict[str, float]:
    """Scores of the published checkpoint, where `spec.weights` is that file; `names` maps the
    metafile's metrics, in percent, to ours, in fractions."""
    about = documented(package, spec.name)
    if not spec.weights_file or not published(str(about.get("Weights", "-")), spec.weights_file):
        return {}
    scores = {}
    for result in about.get("Results") or []:
        if result.get("Dataset") == dataset:
            for theirs, ours in names.items():
                value = (result.get("Metrics") or {}).get(theirs)
                if isinstance(value, int | float):
                    scores[ours] = value / 100
    return scores


def _where(package: str, name: str) -> str:
    url = documented(package, name).get("Weights")
    return f", e.g. {url}" if url else ""
