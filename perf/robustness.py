"""Damages everything that the program reads, at random, and counts how it ends.

    python perf/robustness.py [KIND…] [--seed N] [--times F]

Kinds: configs (300), annotations (300 of COCO, VOC and labels.csv), images (300), cache (200
entries), results (100 folders). Each trial calls the command line as a person would and has to end
in an answer: done or refused, without a traceback, without a file outside the folders named, and
without numbers that the input does not say. Figures are drawn for damaged results only, since they
take most of the time. Prints how many trials ended how; ends with 1 if any is bad.
"""

import argparse
import contextlib
import copy
import csv
import io
import json
import random
import shutil
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import yaml
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench import datasets, report
from bench.cli import main
from bench.datasets import mini
from bench.datasets.base import Dataset
from bench.errors import BenchError

SLOW = 60.0
"""Seconds after which a trial counts as one that hangs."""
EXTREMES: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, 10**400, 0.5, 1e308, -1e308, float("nan"),
    float("inf"), "", " ", "0", "1", "x", "x" * 300, "..", "../../up", "/abs", "nul\0", "[b]x[/b]",
    "漢字 😀", "\ud800", "new\nline", [], {}, [[]], {"a": 1}, [1, 2], "true", "1e3",
]  # fmt: skip


class Ending:
    """How a call of the command line ended, and what it said."""

    def __init__(self, words: list[Any]) -> None:
        out, err = io.StringIO(), io.StringIO()
        began, self.fault = time.monotonic(), ""
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            warnings.catch_warnings(record=True) as told,
        ):
            warnings.simplefilter("always")
            try:
                self.code: Any = main([str(w) for w in words])
            except SystemExit as ended:
                self.code = ended.code
            except BaseException as error:
                self.code, self.fault = 1, f"{type(error).__name__}: {error}"
        self.said = out.getvalue() + err.getvalue() + "".join(str(w.message) for w in told)
        if self.code not in (0, 2):
            self.fault = self.fault or f"exit code {self.code}"
        if "a fault of this program" in self.said or "Traceback" in self.said:
            self.fault = " ".join(self.said.split("a fault of this program")[-1].split())[:200]
        if time.monotonic() - began > SLOW:
            self.fault = self.fault or "took over a minute"

    @property
    def name(self) -> str:
        return "fault" if self.fault else "refused" if self.code else "done"


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = (
        node.items()
        if isinstance(node, dict)
        else enumerate(node)
        if isinstance(node, list)
        else ()
    )
    return [path] + [p for key, value in inner for p in places(value, (*path, key))]


def mutated(document: Any, draw: random.Random) -> Any:
    """A copy with one to three places removed, doubled, exchanged or replaced by something odd."""
    document = copy.deepcopy(document)
    for _ in range(draw.randrange(1, 4)):
        options = [p for p in places(document) if p]
        if not options:
            break
        *parents, last = draw.choice(options)
        node = document
        for key in parents:
            node = node[key]
        match draw.randrange(5):
            case 0:
                del node[last]
            case 1 if isinstance(node, list):
                node.append(copy.deepcopy(node[last]))
            case 2 if isinstance(node, dict):
                node[draw.choice(["", "x", "id", "name", 3, None])] = copy.deepcopy(node[last])
            case 3 if isinstance(node[last], int | float) and not isinstance(node[last], bool):
                node[last] = draw.choice([-node[last], node[last] * 1000, float(node[last]),
                                          str(node[last]), node[last] + 0.5])  # fmt: skip
            case _:
                node[last] = copy.deepcopy(draw.choice(EXTREMES))
    return document


def damaged(data: bytes, draw: random.Random) -> bytes:
    """Bits flipped, a part cut, zeroed, doubled or overwritten."""
    changed, at = bytearray(data), draw.randrange(max(1, len(data)))
    length = draw.choice([1, 4, 64, 1024])
    match draw.randrange(6):
        case 0 | 1:
            for _ in range(draw.choice([1, 1, 5])):
                changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
        case 2:
            del changed[at:]
        case 3:
            changed[at : at + length] = bytes(len(changed[at : at + length]))
        case 4:
            changed[at:at] = changed[at : at + length]
        case 5:
            changed[at : at + length] = draw.randbytes(length)
    return bytes(changed)


def written(value: Any) -> str:
    """As YAML, whatever stands in it."""
    sys.set_int_max_str_digits(0)
    text = yaml.safe_dump(value, sort_keys=False)
    sys.set_int_max_str_digits(4300)
    return text


def as_json(value: Any) -> str:
    sys.set_int_max_str_digits(0)
    text = json.dumps(value, default=str)
    sys.set_int_max_str_digits(4300)
    return text


class Bench:
    """A small data set of each format, and what is measured on it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cls, self.coco, self.voc = root / "cls", root / "coco", root / "voc"
        for folder in ("cls/images", "coco/images", "voc/Annotations", "voc/JPEGImages"):
            (root / folder).mkdir(parents=True)
        rows = ["file,class_index"]
        for i in range(4):
            rgb, target = mini.render_classification("test", i)
            Image.fromarray(rgb).save(self.cls / "images" / f"{i}.png")
            rows.append(f"{i}.png,{int(target['label'])}")
        (self.cls / "labels.csv").write_text("\n".join(rows) + "\n")
        self.document: dict[str, Any] = {
            "images": [],
            "annotations": [],
            "categories": [{"id": i + 1, "name": c} for i, c in enumerate(mini.CLASSES)],
        }
        for i in range(3):
            self._scene(i)
        (self.coco / "instances.json").write_text(json.dumps(self.document))

    def _scene(self, i: int) -> None:
        rgb, target = mini.render_detection("test", i)
        height, width = rgb.shape[:2]
        for folder in ("coco/images", "voc/JPEGImages"):
            Image.fromarray(rgb).save(self.root / folder / f"{i}.png")
        image = {"id": i + 1, "file_name": f"{i}.png", "width": width, "height": height}
        self.document["images"].append(image)
        objects = ""
        for label, box in zip(target.labels.tolist(), target.boxes.tolist(), strict=True):
            x1, y1, x2, y2 = map(int, box)
            identifier = len(self.document["annotations"]) + 1
            self.document["annotations"].append(
                {"id": identifier, "image_id": i + 1, "category_id": label + 1,
                 "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0}
            )  # fmt: skip
            objects += (
                f"<object><name>{mini.CLASSES[label]}</name><difficult>0</difficult><bndbox>"
                f"<xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
                "</bndbox></object>"
            )
        size = f"<size><width>{width}</width><height>{height}</height></size>"
        (self.voc / "Annotations" / f"{i}.xml").write_text(
            f"<annotation>{size}{objects}</annotation>"
        )

    def config(self, task: str, format: str, root: Path) -> dict[str, Any]:
        name = "mini_fcos" if task == "det" else "mini_classifier"
        return {
            "experiments": [
                {
                    "task": task,
                    "dataset": {"format": format, "root": str(root), "view": "native"},
                    "models": [{"library": "mini", "name": name, "weights": None}],
                    "anchor": "jpeg",
                    "methods": {
                        "jpeg": {"codec": {"name": "jpeg"}, "qps": [30, 36, 42]},
                        "blur+jpeg": {
                            "preprocessor": {"name": "blur", "sigma": {30: 0.5, 42: 1.0}},
                            "codec": "jpeg",
                        },
                    },
                }
            ],
            "analysis": {"resamples": 20, "seed": 0, "within": [1, 5], "policy": "pareto"},
        }

    def run(self, text: str, name: str = "run") -> tuple[Ending, Path]:
        """A whole run of a config into a new folder, past a cache that all share."""
        out, file = self.root / "out" / name, self.root / "config.yaml"
        shutil.rmtree(out, ignore_errors=True)
        file.write_text(text, encoding="utf-8", errors="surrogatepass")
        words = ["--config", file, "--out", out, "--cache", self.root / "cache", "--device", "cpu",
                 "--max-failures", "50"]  # fmt: skip
        return Ending(words), out

    def others(self) -> set[Path]:
        """Everything but what a run may write."""
        own = (self.root / "out", self.root / "cache", self.root / "config.yaml")
        return {p for p in self.root.parent.rglob("*") if not any(p.is_relative_to(o) for o in own)}


def points(out: Path) -> list[tuple[str, ...]]:
    with (out / "points.csv").open(newline="") as file:
        return [tuple(row) for row in csv.reader(file)]


# --- the kinds --------------------------------------------------------------------------------


Trial = tuple[str, str]
"""How it ended, and what is bad about it; empty if nothing."""


def configs(bench: Bench, draw: random.Random) -> Trial:
    plain = bench.config("cls", "imagenet", bench.cls)
    if draw.random() < 0.25:  # as text
        text = damaged(yaml.safe_dump(plain).encode(), draw).decode("utf-8", "surrogateescape")
        text = text.encode("utf-8", "replace").decode()
    else:
        text = written(mutated(plain, draw))
    before = bench.others()
    ended, _ = bench.run(text)
    outside = bench.others() - before
    return ended.name, ended.fault or (f"wrote outside: {outside}" if outside else "")


def plainly_read(bench: Bench, format: str) -> list[tuple[Any, ...]]:
    """What an annotation file says, by the plainest reading of it: a row per label or object."""
    if format == "imagenet":
        with (bench.cls / "labels.csv").open(encoding="utf-8-sig", newline="") as file:
            return sorted((r["file"].strip(), int(r["class_index"])) for r in csv.DictReader(file))
    if format == "coco":
        document = json.loads((bench.coco / "instances.json").read_text(encoding="utf-8-sig"))
        files = {int(i["id"]): i["file_name"] for i in document["images"]}
        return sorted(
            (files[int(a["image_id"])], int(a["category_id"]), *map(float, a["bbox"]))
            for a in document["annotations"]
        )
    rows = []
    for file in (bench.voc / "Annotations").glob("*.xml"):
        for o in ElementTree.parse(file).getroot().findall("object"):
            x1, y1, x2, y2 = (
                float(o.findtext(f"bndbox/{k}") or "nan") for k in ("xmin", "ymin", "xmax", "ymax")
            )
            name = (o.findtext("name") or "").strip()
            rows.append((f"{file.stem}.png", name, x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1))
    return sorted(rows)


def as_loaded(data: Dataset, format: str) -> list[tuple[Any, ...]]:
    if format == "imagenet":
        return sorted((s.name, int(s.target.label)) for s in data.samples)
    rows = []
    for sample in data.samples:
        boxes = np.asarray(sample.target.boxes, float)
        sides = sample.target.xywh
        if sides is None:
            sides = np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]])
        for label, box in zip(sample.target.labels.tolist(), sides.tolist(), strict=True):
            rows.append((sample.name, data.categories[label] if format == "voc" else label, *box))
    return sorted(rows)


def annotations(bench: Bench, draw: random.Random) -> Trial:
    format = draw.choice(["coco", "voc", "imagenet"])
    file = {
        "coco": bench.coco / "instances.json",
        "voc": bench.voc / "Annotations" / f"{draw.randrange(3)}.xml",
        "imagenet": bench.cls / "labels.csv",
    }[format]
    kept, root = file.read_bytes(), file.parents[1] if format == "voc" else file.parent
    if format == "coco" and draw.random() < 0.8:
        file.write_text(as_json(mutated(bench.document, draw)))
    elif draw.random() < 0.5:
        words = kept.decode().replace(">", "> ").replace(",", ", ").split(" ")
        words[draw.randrange(len(words))] = str(draw.choice(EXTREMES))[:400]
        file.write_text(" ".join(words), encoding="utf-8", errors="replace")
    else:
        file.write_bytes(damaged(kept, draw))
    try:
        before = bench.others()
        task = "cls" if format == "imagenet" else "det"
        ended, _ = bench.run(written(bench.config(task, format, root)))
        checked = Ending(["dataset", "check", root, "--format", format])
        fault = ended.fault or checked.fault
        if bench.others() - before:
            fault = f"wrote outside: {bench.others() - before}"
        if not fault and ended.code == 0:
            fault = _as_it_says(bench, format)
        name = f"{format}: {ended.name}"
        if ended.code == 0 and checked.code == 2:
            name += ", check finds faults"
        return name, fault
    finally:
        file.write_bytes(kept)


def _as_it_says(bench: Bench, format: str) -> str:
    """What was read otherwise than it stands, without a note that says so."""
    root = {"imagenet": bench.cls, "coco": bench.coco, "voc": bench.voc}[format]
    data = datasets.make(format, "cls" if format == "imagenet" else "det", root, {})
    try:
        plain = plainly_read(bench, format)
    except Exception as error:
        plain = [(f"the plain reading fails: {type(error).__name__}",)]
    if plain == as_loaded(data, format) or data.notes:
        return ""
    return f"read otherwise than it stands, without a note: {plain[:2]}"


def images(bench: Bench, draw: random.Random) -> Trial:
    source = bench.cls / "images" / "1.png"
    kept = source.read_bytes()
    rgb = mini.render_classification("test", 1)[0]
    kind = draw.choice(["PNG", "JPEG", "WEBP", "TIFF", "BMP", "PPM"])
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, kind)
    whole = np.array(Image.open(io.BytesIO(buffer.getvalue())).convert("RGB"))
    source.write_bytes(damaged(buffer.getvalue(), draw))
    try:
        ended, out = bench.run(written(bench.config("cls", "imagenet", bench.cls)))
        if ended.fault or ended.code:
            return f"{kind}: {ended.name}", ended.fault
        manifest = json.loads((out / "manifest.json").read_text())
        if manifest["failures"]:
            return f"{kind}: left out and named", ""
        data = datasets.make("imagenet", "cls", bench.cls, {})
        seen = next(s for s in data.samples if s.name == "1.png").load()
        if seen.shape == whole.shape and np.array_equal(seen, whole):
            return f"{kind}: the same pixels", ""
        # Formats without a checksum cannot tell.
        return f"{kind}: other pixels", "a PNG has checksums" if kind == "PNG" else ""
    finally:
        source.write_bytes(kept)


def cache(bench: Bench, draw: random.Random) -> Trial:
    text = written(bench.config("cls", "imagenet", bench.cls))
    _, whole = bench.run(text, "whole")
    wanted = points(whole)
    entries = sorted(p for p in (bench.root / "cache").glob("??/*"))
    entry = draw.choice(entries)
    if draw.random() < 0.2:
        entry.write_bytes(draw.choice(entries).read_bytes())
    else:
        entry.write_bytes(damaged(entry.read_bytes(), draw))
    verified = Ending(["cache", "verify", bench.root / "cache"])
    ended, out = bench.run(text)
    fault = ended.fault or verified.fault
    if not fault and (ended.code or points(out) != wanted):
        fault = "other numbers, or none"
    warned = "is damaged" in ended.said
    Ending(["cache", "prune", bench.root / "cache"])
    return "measured again, with a warning" if warned else "the same numbers", fault


def results(bench: Bench, draw: random.Random) -> Trial:
    text = written(bench.config("cls", "imagenet", bench.cls))
    _, whole = bench.run(text, "whole")
    wanted, out = points(whole), bench.root / "out" / "damaged"
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(whole, out)
    file = draw.choice(sorted(p for p in out.rglob("*") if p.is_file()))
    if file.name == "manifest.json" and draw.random() < 0.7:
        file.write_text(as_json(mutated(json.loads(file.read_text()), draw)))
    elif draw.random() < 0.1:
        file.unlink()
    else:
        file.write_bytes(damaged(file.read_bytes(), draw))
    calls = [
        Ending(["compare", whole, out]),
        Ending(["baseline", out, bench.root / "out" / "baseline.json"]),
        Ending(["power", out]),
        Ending(["report", out]),
    ]
    fault = next((c.fault for c in calls if c.fault and c.fault != "exit code 1"), "")
    ended = calls[-1]
    if not fault and ended.code == 0 and points(out) != wanted and file.name != "manifest.json":
        fault = f"other numbers after {file.relative_to(out)} was damaged"
    return f"{file.suffix}: {ended.name}", fault


DRAWN = report.write
KINDS: dict[str, tuple[Callable[[Bench, random.Random], Trial], int]] = {
    "configs": (configs, 300),
    "annotations": (annotations, 300),
    "images": (images, 300),
    "cache": (cache, 200),
    "results": (results, 100),
}


def run() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", choices=[*KINDS, []])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--times", type=float, default=1.0, help="of the trials named above")
    arguments = parser.parse_args()
    bad = 0
    for kind in arguments.kinds or KINDS:
        trial, n = KINDS[kind]
        report.write = DRAWN if kind == "results" else lambda folder: []
        n, endings = round(n * arguments.times), Counter[str]()
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(Path(folder) / "bench")
            for task, format, root in (
                ("cls", "imagenet", bench.cls),
                ("det", "coco", bench.coco),
                ("det", "voc", bench.voc),
            ):
                whole, _ = bench.run(written(bench.config(task, format, root)))
                if whole.name != "done":
                    raise SystemExit(f"the undamaged {format} set does not run: {whole.said}")
            for i in range(n):
                try:
                    ended, fault = trial(bench, random.Random(f"{kind} {arguments.seed} {i}"))
                except BenchError as error:
                    ended, fault = "error", f"{error}"
                endings[ended] += 1
                if fault:
                    bad += 1
                    print(f"{kind} {i}: {fault}", flush=True)
        listed = "; ".join(f"{name} {count}" for name, count in sorted(endings.items()))
        print(f"{kind}, {n} trials: {listed}", flush=True)
    print(f"{bad} bad")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(run())
