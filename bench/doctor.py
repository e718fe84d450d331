"""What is installed here, what works, what is missing, and the command that mends it."""

import importlib
import platform
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from bench.models import deployed
from bench.models.mmlab import INSTALL

CORE = "pip install -c constraints.txt -e ."
LEARNED = "pip install -c constraints.txt -e '.[learned]'"
USABLE, MISSING, BROKEN = "usable", "not installed", "broken"


@dataclass(frozen=True)
class Finding:
    """`needed`: without it nothing runs; the rest is optional."""

    what: str
    state: str
    detail: str
    remedy: str = ""
    needed: bool = False


def _core() -> None:
    for package in (
        "torchvision", "timm", "numpy", "PIL", "cv2", "av", "pycocotools", "pandas", "pyarrow",
        "matplotlib", "joblib", "bjontegaard", "pydantic", "yaml", "rich", "safetensors",
    ):  # fmt: skip
        importlib.import_module(package)
    from bench.sweep import pictures

    pictures.require()


def _bpg() -> None:
    import numpy as np

    from bench import codecs

    bpg = codecs.make("bpg")
    rgb = np.full((24, 24, 3), 128, np.uint8)
    if bpg.decode(bpg.encode(rgb, 40)).shape != rgb.shape:
        raise RuntimeError("a grey picture did not come back")


def _mmcv() -> None:
    import torch

    from bench.models.mmlab import require_nms

    importlib.import_module("mmengine")
    require_nms(torch.device("cpu"))
    if torch.cuda.is_available():
        require_nms(torch.device("cuda"))


def _models_of(package: str) -> Callable[[], None]:
    def probe() -> None:
        importlib.import_module(f"{package}.models")

    return probe


def _runtimes() -> None:
    for module in ("onnxruntime", "ai_edge_litert.interpreter"):
        importlib.import_module(module)


def _learned() -> None:
    importlib.import_module("compressai.zoo")


def _versions(*packages: str) -> str:
    found = []
    for package in packages:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} –")
    return ", ".join(found)


def _probed(
    what: str, packages: tuple[str, ...], probe: Callable[[], None], remedy: str, needed: bool
) -> Finding:
    detail = _versions(*packages)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            probe()
    except ModuleNotFoundError as error:
        return Finding(what, MISSING, f"{detail}; no module {error.name}", remedy, needed)
    except Exception as error:  # whatever a broken installation raises
        why = (str(error) or type(error).__name__).splitlines()[0]
        return Finding(what, BROKEN, f"{detail}; {why}", remedy, needed)
    return Finding(what, USABLE, detail, "", needed)


def _tool(what: str, programs: tuple[str, ...], remedy: str) -> Finding:
    absent = [p for p in programs if shutil.which(p) is None]
    if absent:
        return Finding(what, MISSING, f"not on PATH: {', '.join(absent)}", remedy)
    return Finding(what, USABLE, ", ".join(str(shutil.which(p)) for p in programs))


def examine() -> Iterator[Finding]:
    """Tries everything once, what is needed first."""
    python = sys.version_info[:2]
    fits = (3, 11) <= python < (3, 13)
    yield Finding(
        "Python",
        USABLE if fits else BROKEN,
        f"{platform.python_version()}, {platform.system()} {platform.machine()}",
        "" if fits else "use Python 3.11 or 3.12",
        True,
    )
    yield _probed("torch, libraries", ("torch", "torchvision", "timm", "av"), _core, CORE, True)
    yield _probed("codec bpg", ("av",), _bpg, CORE, True)
    yield _device()
    mmlab = " && ".join(INSTALL)
    yield _probed("mmcv", ("mmcv", "mmengine"), _mmcv, mmlab, False)
    for package in ("mmdet", "mmpretrain"):
        yield _probed(f"models of {package}", (package,), _models_of(package), mmlab, False)
    runtimes = ("onnxruntime", "ai-edge-litert")
    yield _probed("deployed models", runtimes, _runtimes, deployed.INSTALL, False)
    yield _probed("learned codecs, proxy", ("compressai",), _learned, LEARNED, False)
    yield _tool(
        "libbpg's own programs",
        ("bpgenc", "bpgdec"),
        "optional: build libbpg 0.9.8 and put both on PATH",
    )


def _device() -> Finding:
    import torch

    if torch.cuda.is_available():
        return Finding("CUDA device", USABLE, torch.cuda.get_device_name(0))
    return Finding("CUDA device", MISSING, "none that torch can use: networks run on the CPU")
