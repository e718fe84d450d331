"""What is installed here, as far as it can move a number."""

import hashlib
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import bench
from bench.registry import packages

PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "mmdet",
    "mmcv",
    "mmengine",
    "mmpretrain",
    "numpy",
    "Pillow",
    "opencv-python-headless",
    "av",
    "pycocotools",
    "bjontegaard",
    "pandas",
    "pyarrow",
    "joblib",
)


def installed() -> dict[str, str]:
    """Package → version, of this one, Python and `PACKAGES`, and of those that offer something to
    a registry."""
    found = {"rabench": bench.__version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found | packages()


def here() -> dict[str, str]:
    """`installed`, with a hash of this package's own code: what two processes must have in common
    to measure for one run."""
    return installed() | {"rabench's code": _code_sha256()}


def _code_sha256() -> str:
    root, digest = Path(bench.__file__).parent, hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def differences(there: dict[str, str]) -> str:
    """What this process has otherwise than the one where the run was started, in words; empty if
    nothing."""
    mine = here()
    return "; ".join(
        f"{name}: {mine.get(name, 'not installed')} here, {there.get(name, 'not installed')} there"
        for name in sorted({*mine, *there})
        if mine.get(name) != there.get(name)
    )
