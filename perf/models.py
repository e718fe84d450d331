"""The table of docs/reference/models.md: which models of each library run, and which train through.

    python perf/models.py --out FILE.json [--library LIBRARY] [--seconds N] [--files DIR]
    python perf/models.py --out FILE.json --write docs/reference/models.md

One model per family, untrained, on two rendered pictures: classifiers on the pixels that their view
leaves, all others at 192 pixels. onnx: torchvision's, exported. litert: those of configs/*.yaml,
whose files are in DIR, at the size that they take. Every model has a process of its own; what
FILE.json holds already is not run again, so a killed run goes on.
"""

import argparse
import importlib
import json
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path
from queue import Empty
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

SMALL = (
    "atto", "femto", "pico", "nano", "xx", "tiny", "mini", "micro", "_050", "_s", "xs", "small",
    "18", "b0", "_a0", "26", "34", "50",
)  # fmt: skip
START, END = "<!-- table -->", "<!-- end of table -->"
SIDE = 192
LIBRARIES = ("torchvision", "timm", "mmdet", "mmpretrain", "onnx", "litert")
MASKS = ", masks"
"""Of a family: a detector that is asked for them, as task ins asks."""
CONFIGS = Path(__file__).parents[1] / "configs"


def smallest(names: list[str]) -> str:
    """By what names usually say of size."""

    def rank(name: str) -> tuple[int, int, str]:
        place = next((i for i, part in enumerate(SMALL) if part in name), len(SMALL))
        return place, len(name), name

    return min(names, key=rank)


def families(library: str) -> dict[str, str]:
    """Family → the name of a small model of it."""
    if library == "litert":
        return {name: name for name in sorted(described(library))}
    if library in ("torchvision", "onnx"):
        from torchvision.models import get_model_builder

        from bench.models.torchvision import _names

        groups: dict[str, list[str]] = {}
        for name in _names():
            module = get_model_builder(name).__module__.removeprefix("torchvision.models.")
            groups.setdefault(module, []).append(name)
        if library == "torchvision":
            groups[f"detection.mask_rcnn{MASKS}"] = groups["detection.mask_rcnn"]
    elif library == "timm":
        import timm

        groups = {m: timm.list_models(module=m) for m in timm.list_modules()}
    else:
        from bench.models.mmlab import bundled

        groups = {}
        for name, path in bundled(library).items():
            if (path.parent / "metafile.yml").exists() and path.parent.parent.name == "configs":
                groups.setdefault(path.parent.name, []).append(name)
        if library == "mmpretrain":
            groups = {k: [n for n in v if "in1k" in n] for k, v in groups.items()}
    return {family: smallest(names) for family, names in sorted(groups.items()) if names}


def described(library: str) -> dict[str, dict[str, Any]]:
    """The models of a library in the configs that ship, by name."""
    configs = [yaml.safe_load(path.read_text()) for path in sorted(CONFIGS.glob("*.yaml"))]
    models = [m for c in configs for e in c["experiments"] for m in e["models"]]
    return {m["name"]: m for m in models if m["library"] == library}


def loaded(library: str, family: str, name: str, files: Path) -> Any:
    """`files`: where a deployed model's file is, or is written."""
    import torch

    from bench.models.base import LIBRARIES as REGISTRY
    from bench.models.base import ModelSpec
    from bench.tasks.records import Instances
    from perf.exported import onnx

    asked = Instances if family.endswith(MASKS) else None
    spec = ModelSpec(library, name, "random", asked)
    if library == "onnx":
        network = loaded("torchvision", family, name, files)
        spec = onnx(network, name, SIDE, files / f"{name}.onnx")
    elif library == "litert":
        keys = REGISTRY.get(library).options
        options = {key: value for key, value in described(library)[name].items() if key in keys}
        spec = ModelSpec(library, name, str(files / f"{name}.tflite"), options=options)
    model: Any = REGISTRY.get(library).load(spec, torch.device("cpu"))
    if library == "torchvision" and model.task == "seg":
        model.preset.resize_size = [SIDE]
    elif library == "torchvision" and model.task != "cls" and not name.startswith("ssd"):
        model.network.transform.min_size, model.network.transform.max_size = (SIDE,), SIDE
    elif library == "mmdet":
        for step in model.pipeline.transforms:
            if type(step).__name__ == "Resize":
                step.scale = (SIDE, SIDE)
    return model


def examine(
    library: str, family: str, name: str, files: Path,
    queue: "multiprocessing.Queue[dict[str, object]]",
) -> None:  # fmt: skip
    import numpy as np
    import torch

    from bench.datasets import mini
    from bench.models.check import ability

    torch.set_num_threads(1)
    found: dict[str, object] = {"builds": False, "runs": False}
    try:
        model = loaded(library, family, name, files)
        found["builds"] = True
        pictures = [np.tile(mini.render_detection("test", i)[0], (2, 2, 1)) for i in range(2)]
        pictures = [p[:SIDE, :SIDE].copy() for p in pictures]
        if model.task == "cls" and model.view is not None:
            pictures = [model.view(p) for p in pictures]
        result = ability(model, pictures, model.task == "cls")
        found |= {"runs": True, "batch": result.together, "features": result.features}
        found |= {"loss": result.loss, "trains": result.trains_through}
    except Exception as error:
        found["error"] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    queue.put(found)


def run(library: str, family: str, name: str, files: Path, limit: float) -> dict[str, object]:
    context = multiprocessing.get_context("fork")  # what is imported already need not be again
    queue = context.Queue()
    process = context.Process(target=examine, args=(library, family, name, files, queue))
    process.start()
    deadline = time.monotonic() + limit
    try:
        while time.monotonic() < deadline:
            try:
                return queue.get(timeout=1)
            except Empty:
                if process.exitcode:  # negative: killed by that signal
                    died = f"the process died with {process.exitcode}"
                    return {"runs": False, "error": died}
        return {"runs": False, "error": f"not done after {limit:.0f} s"}
    finally:
        process.terminate()
        process.join()


def table(results: dict[str, dict[str, dict[str, object]]]) -> str:
    def mark(value: object) -> str:
        return "–" if value is None else "yes" if value else "no"

    lines = []
    for library in (known for known in LIBRARIES if known in results):
        rows = results[library]
        done = [r for r in rows.values() if r["runs"]]
        trained = sum(bool(r.get("trains")) for r in done)
        lines += [
            f"### {library}: {len(done)} of {len(rows)} run, {trained} train through",
            "",
            "| family | model | builds | runs | loss | features | batch |",
            "|---|---|---|---|---|---|---|",
        ]
        for family, r in sorted(rows.items()):
            marks = [mark(r.get(k)) for k in ("builds", "runs", "loss", "features", "batch")]
            lines.append(f"| {family} | {r['name']} | {' | '.join(marks)} |")
        failed = [f"- {r['name']}: {r['error']}" for r in rows.values() if r.get("error")]
        lines += ["", *failed, ""] if failed else [""]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--library", choices=LIBRARIES)
    parser.add_argument("--seconds", type=float, default=300, help="per model")
    parser.add_argument("--only", help="families, comma-separated")
    parser.add_argument("--files", type=Path, help="a folder of files for litert")
    parser.add_argument("--write", type=Path, help="a page to put the table into")
    a = parser.parse_args()
    if a.library == "litert" and not a.files:
        parser.error("--library litert needs --files DIR")
    results = json.loads(a.out.read_text()) if a.out.exists() else {}
    if a.write:
        page = a.write.read_text()
        head, rest = page.split(START)
        tail = rest.split(END)[1]
        a.write.write_text(f"{head}{START}\n\n{table(results)}\n{END}{tail}")
        return
    known = [library for library in LIBRARIES if library != "litert" or a.files]
    for library in [a.library] if a.library else known:
        rows = results.setdefault(library, {})
        importlib.import_module("bench.models")
        if library.startswith("mm"):
            importlib.import_module(f"{library}.models")
        for family, name in families(library).items():
            if family in rows or (a.only and family not in a.only.split(",")):
                continue
            started = time.perf_counter()
            with tempfile.TemporaryDirectory() as scratch:
                files = Path(scratch) if library == "onnx" else a.files
                rows[family] = {"name": name, **run(library, family, name, files, a.seconds)}
            a.out.write_text(json.dumps(results, indent=1))
            took = time.perf_counter() - started
            print(f"{library} {name} {rows[family]} {took:.0f} s", flush=True)


if __name__ == "__main__":
    main()
