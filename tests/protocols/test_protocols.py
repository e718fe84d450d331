"""Protocols: what ships, and runs that differ from one in a single thing."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

from bench import assets, protocols
from bench import config as configs
from bench.cli import main
from bench.datasets import mini
from bench.errors import ConfigError
from bench.protocols import PROTOCOLS, Protocol
from bench.results import manifest as manifests
from bench.results.manifest import Analysis, Experiment, Manifest, Model
from bench.results.names import rate_label
from bench.sweep import manifest, plan
from bench.sweep.cache import pixels_sha256
from bench.sweep.coding import Picture
from bench.sweep.run import _dataset_fingerprint
from bench.sweep.uncompressed import Views

SHIPPED = sorted(path.stem for path in Path(protocols.__file__).parent.glob("*.yaml"))
FOUND = "sha256:" + 64 * "0"


def begun(protocol: Protocol) -> Manifest:
    """Of a run that meets it, as far as plans go: a stand-in for data and weights that are not
    here."""
    return Manifest(
        status="running",
        analysis=Analysis(**protocol.analysis.model_dump()),
        experiments=tuple(
            Experiment(
                task=c.task,
                dataset=c.dataset,
                dataset_fingerprint=c.fingerprint or FOUND,
                n_images=c.images,
                images=(),
                models=tuple(
                    Model(name=name, view=c.view, fingerprint=about | {"torch": "any"})
                    for name, about in c.models.items()
                ),
                metrics=c.metrics,
                anchor=c.anchor,
                methods={
                    c.anchor: tuple(c.qps or map(rate_label, c.rates or [])),
                    "new": tuple(c.qps or map(rate_label, c.rates or [])),
                },
                codecs={c.anchor: c.codec | {"pyav": "any"}, "new": {"codec": "jpeg"}},
            )
            for c in protocol.experiments
        ),
    )


def met(name: str) -> tuple[Protocol, Manifest]:
    """The hashes of long fields stand for the fields themselves here."""
    protocol = protocols.load(name)
    plain = [
        c.model_copy(
            update={
                "models": {
                    m: {k: v.removeprefix("sha256:") for k, v in about.items()}
                    for m, about in c.models.items()
                }
            }
        )
        for c in protocol.experiments
    ]
    protocol = protocol.model_copy(update={"experiments": plain})
    return protocol, begun(protocol)


def changed(run: Manifest, **update: Any) -> Manifest:
    first, *others = run.experiments
    return run.model_copy(update={"experiments": (first.model_copy(update=update), *others)})


def other_model(run: Manifest, **update: Any) -> Manifest:
    first, *others = run.experiments[0].models
    return changed(run, models=(first.model_copy(update=update), *others))


def other_weights(run: Manifest) -> Manifest:
    fingerprint = run.experiments[0].models[0].fingerprint
    return other_model(run, fingerprint=fingerprint | {"weights": 64 * "f"})


def other_codec(run: Manifest) -> Manifest:
    codecs = run.experiments[0].codecs
    anchor = run.experiments[0].anchor
    return changed(run, codecs=codecs | {anchor: codecs[anchor] | {"settings": "preset=fast"}})


def other_points(run: Manifest) -> Manifest:
    methods = run.experiments[0].methods
    anchor = run.experiments[0].anchor
    first, *others = methods[anchor]
    return changed(run, methods=methods | {anchor: (first - 1, *others)})


def fewer_points(run: Manifest) -> Manifest:
    methods = run.experiments[0].methods
    return changed(run, methods=methods | {"new": methods["new"][1:]})


def other_analysis(key: str, value: Any) -> Callable[[Manifest], Manifest]:
    return lambda run: run.model_copy(
        update={"analysis": run.analysis.model_copy(update={key: value})}
    )


def other_view(run: Manifest) -> Manifest:
    view = run.experiments[0].models[0].view
    return other_model(run, view="native" if view == "model" else "model")


CHANGES: dict[str, Callable[[Manifest], Manifest]] = {
    "number of images": lambda run: changed(run, n_images=run.experiments[0].n_images - 1),
    "data set": lambda run: changed(run, dataset="elsewhere"),
    "view of": other_view,
    "weights of": other_weights,
    "models": lambda run: other_model(run, name="another"),
    "metric": lambda run: changed(run, metrics={"mAP": "higher is better, version 9"}),
    "anchor": lambda run: changed(run, anchor="new"),
    "codec of bpg, settings": other_codec,
    "of bpg: expected": other_points,
    "of new: expected": fewer_points,
    "analysis.policy": other_analysis("policy", "raw"),
    "analysis.interpolation": other_analysis("interpolation", "akima"),
    "analysis.resamples": other_analysis("resamples", 100),
    "analysis.within": other_analysis("within", (1.0, 5.0)),
    "experiments": lambda run: run.model_copy(update={"experiments": 2 * run.experiments}),
}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_run_as_described_meets_it(name: str) -> None:
    protocol, run = met(name)
    protocols.require(protocol, run)
    named = protocols.held(protocol, run).experiments[0].protocol
    assert named is not None
    assert named.name == name
    assert named.conditions == (protocols.identity(protocol) or named.conditions)
    other_seed = run.analysis.model_copy(update={"seed": 7})  # moves intervals within their noise
    protocols.require(protocol, run.model_copy(update={"analysis": other_seed}))


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("name", SHIPPED)
def test_one_thing_that_differs_is_refused_and_named(name: str, what: str) -> None:
    protocol, run = met(name)
    with pytest.raises(ConfigError) as refused:
        protocols.require(protocol, CHANGES[what](run))
    said = str(refused.value)
    assert f"protocol {name} is not met, so nothing was coded" in said
    assert any(what in line and "expected" in line and "found" in line for line in said.split("\n"))


@pytest.mark.parametrize("name", SHIPPED)
def test_other_images_are_refused_once_they_are_known(name: str) -> None:
    protocol, run = met(name)
    another = changed(run, dataset_fingerprint="sha256:" + 64 * "1")
    if protocol.experiments[0].fingerprint:
        with pytest.raises(ConfigError, match="images and ground truth: expected sha256:"):
            protocols.held(protocol, another)
    else:
        here, there = (protocols.held(protocol, r).experiments[0].protocol for r in (run, another))
        assert here is not None
        assert there is not None
        assert here.conditions != there.conditions
        assert "images and ground truth of coco_val2017" in here.unverified
        assert "not verified" in str(here)


def test_the_hash_covers_every_condition() -> None:
    protocol = protocols.load("mini-v1")
    first, second = protocol.experiments
    seen = {protocols.identity(protocol)}
    updates: list[dict[str, Any]] = [
        {"images": 1}, {"fingerprint": FOUND}, {"view": "model"}, {"qps": [1]}, {"anchor": "a"},
        {"codec": {"codec": "a"}}, {"metrics": {"a": "b"}}, {"dataset": "a"}, {"task": "a"},
        {"models": {"mini_fcos": first.models["mini_fcos"] | {"weights": "a"}}},
    ]  # fmt: skip
    for update in updates:
        experiments = [first.model_copy(update=update), second]
        seen.add(protocols.identity(protocol.model_copy(update={"experiments": experiments})))
    analysis = protocol.analysis.model_copy(update={"resamples": 7})
    seen.add(protocols.identity(protocol.model_copy(update={"analysis": analysis})))
    seen.add(protocols.identity(protocol.model_copy(update={"about": "other words"})))
    assert len(seen) == len(updates) + 2  # words are no condition


# --- mini-v1, which runs anywhere -----------------------------------------------------------------


def refusal(capsys: pytest.CaptureFixture[str], tmp_path: Path, *words: object) -> str:
    out = tmp_path / "run"
    given = ["run", "--protocol", "mini-v1", "--out", out, "--device", "cpu", *words]
    assert main(list(map(str, given))) == 2
    assert not out.exists()
    return " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--qps", "29,33,37,41"], "QPs of bpg: expected 29, 33, 37, 41, 45, found 29, 33, 37, 41"),
        (["--qps", "auto"], "QPs of bpg: expected 29, 33, 37, 41, 45, found 0, 1, 2,"),
        (["--limit", "159"], "det on mini-det: number of images: expected 160, found 159"),
        (["--tasks", "cls"], "experiments: expected det on mini-det, cls on mini-cls, found cls"),
        (["--set", "analysis.policy=raw"], "analysis.policy: expected pareto, found raw"),
        (["--set", "analysis.within=[1, 5]"], "analysis.within: expected 1, 2, 5, 10, found 1, 5"),
        (["--set", "analysis.resamples=99"], "analysis.resamples: expected 1000, found 99"),
        (["--set", "analysis.metrics=all"], "metric AP75: expected none, found higher is better"),
        (
            ["--set", "experiments.0.methods.bpg.codec={name: jpeg}"],
            "codec of bpg, codec: expected bpg, found jpeg",
        ),
        (["--random-weights", "--set", "experiments.0.models.0.weights=random"], "found random"),
        (["--config", "ci"], "QPs of bpg: expected 29, 33, 37, 41, 45, found 31, 35, 39, 43"),
    ],
)
def test_a_run_that_differs_from_mini_v1_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], named: str
) -> None:
    error = refusal(capsys, tmp_path, *words)
    assert "protocol mini-v1 is not met, so nothing was coded" in error
    assert named in error


def test_other_weights_than_those_of_mini_v1_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = load_file(Path(assets.__file__).parent / "mini_fcos.safetensors")
    name = next(iter(tensors))
    tensors[name] = tensors[name] + 1e-6
    save_file(tensors, tmp_path / "other.safetensors")
    error = refusal(capsys, tmp_path, "--weights", f"det={tmp_path / 'other.safetensors'}")
    assert "weights of mini_fcos: expected 400272432753b3ebd4552e5580f4a560…, found" in error
    assert "--weights" in error


def test_mini_v1_is_met_by_what_it_describes() -> None:
    """Its fingerprints are those of the built-in pictures, whose rendering is all that it takes."""
    protocol = protocols.load("mini-v1")
    config = configs.narrowed(protocols.config(protocol))
    device = torch.device("cpu")
    planned = plan.plan(config, device, None)
    run = manifest.started("", config, planned, device)
    protocols.require(protocol, run)
    fingerprints = {}
    for e in planned:
        views: list[Views | None] = [
            {"native": Picture(pixels_sha256(sample.load()), 0, 0)} for sample in e.dataset.samples
        ]
        fingerprints[e.dataset.name] = _dataset_fingerprint(e, views)
    held = protocols.held(protocol, manifest.seen(run, fingerprints))
    assert {str(e.protocol) for e in held.experiments} == {
        f"Protocol mini-v1, conditions {protocols.identity(protocol)}"
    }


# --- a protocol of another package, and whole runs ------------------------------------------------


@dataclass
class Lab:
    pictures: Path
    folder: Path
    described: dict[str, Any]

    def run(self, *words: object) -> int:
        given = ["run", "--protocol", "lab-v1", "--data-root", self.pictures, "--device", "cpu"]
        given += ["--out", self.folder / "results" / "run", *words]
        return main(list(map(str, given)))


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """An installed package that offers a protocol on 16 pictures in a folder."""
    root = tmp_path / "pictures"
    (root / "images").mkdir(parents=True)
    lines = ["file,class_index"]
    for i in range(16):
        rgb, target = mini.render_classification("test", i)
        Image.fromarray(rgb).save(root / "images" / f"{i:02d}.png")
        lines.append(f"{i:02d}.png,{int(target.label)}")
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    told = yaml.safe_load((Path(protocols.__file__).parent / "mini-v1.yaml").read_text())
    conditions = told["experiments"][1] | {"dataset": "lab", "images": 16, "qps": [33, 41]}
    method = {"codec": "bpg", "qps": [33, 41]}
    config = {
        "task": "cls",
        "dataset": {"format": "imagenet", "name": "lab"},
        "models": [{"library": "mini", "name": "mini_classifier"}],
        "anchor": "bpg",
        "methods": {"bpg": method, "jpeg": {"codec": "jpeg"}},
    }
    described = told | {"config": {"experiments": [config]}, "experiments": [conditions]}
    described["about"] = "Of a lab. It is for a test."
    described["experiments"][0]["fingerprint"] = _of(described, root)
    site = tmp_path / "site"
    about = site / "lab-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: lab\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[bench.protocols]\nlab-v1 = lab_protocol:protocol\n")
    (site / "lab.json").write_text(json.dumps(described))
    (site / "lab_protocol.py").write_text(
        "import json\nfrom pathlib import Path\n"
        "def protocol():\n"
        "    return json.loads(Path(__file__).with_name('lab.json').read_text())\n"
    )
    monkeypatch.syspath_prepend(site)
    monkeypatch.delitem(sys.modules, "lab_protocol", raising=False)  # of another test's folder
    return Lab(root, tmp_path, described)


def _of(described: dict[str, Any], root: Path) -> str:
    protocol = Protocol.model_validate(
        described | {"name": "x", "experiments": [described["experiments"][0] | {"qps": [1]}]}
    )
    settings = [f"experiments.0.dataset.root={root}"]
    (e,) = plan.plan(protocols.config(protocol, settings), torch.device("cpu"), None)
    views: list[Views | None] = [
        {"native": Picture(pixels_sha256(sample.load()), 0, 0)} for sample in e.dataset.samples
    ]
    return _dataset_fingerprint(e, views)


def test_an_installed_package_brings_a_protocol(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["list", "protocols"]) == 0
    printed = capsys.readouterr().out
    assert "lab-v1  conditions " in printed
    assert "Of a lab  (from lab 1.0)" in printed
    assert set(SHIPPED) < set(PROTOCOLS.names())
    assert f"mini-v1  conditions {protocols.identity(protocols.load('mini-v1'))}  " in printed


def test_a_run_says_the_protocol_first(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    assert lab.run() == 0
    line = f"Protocol lab-v1, conditions {protocols.identity(protocols.load('lab-v1'))}"
    assert capsys.readouterr().out.startswith(line)
    results = lab.folder / "results" / "run"
    page = (results / "report.html").read_text()
    assert page.index(line) < page.index("<nav")
    (experiment,) = manifests.read(results / "manifest.json").experiments
    assert str(experiment.protocol) == line


def test_one_other_image_is_refused_before_coding(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    with Image.open(lab.pictures / "images" / "05.png") as image:
        x, y = 10, 20
        red, green, blue = image.getpixel((x, y))
        image.putpixel((x, y), (red ^ 1, green, blue))
        image.save(lab.pictures / "images" / "05.png")
    assert lab.run() == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "images and ground truth: expected sha256:" in error
    assert "unchanged" in error
    assert not (lab.folder / "results" / "run").exists()
    cached = (lab.folder / "results" / ".cache").glob("*/*")
    assert not any(b'"decoded"' in entry.read_bytes() for entry in cached)


def test_one_other_label_is_refused(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    path = lab.pictures / "labels.csv"
    first, line, *others = path.read_text().splitlines()
    other = (int(line.rpartition(",")[2]) + 1) % 12
    path.write_text("\n".join([first, f"00.png,{other}", *others]) + "\n")
    assert lab.run() == 2
    assert "images and ground truth" in capsys.readouterr().err


def test_no_image_may_fail_under_a_protocol(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    (lab.pictures / "images" / "03.png").write_bytes(b"none")
    assert lab.run("--max-failures", "50") == 2
    assert "1 of 16 images failed" in capsys.readouterr().err


def test_an_unknown_protocol_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--protocol", "mini-v0"]) == 2
    assert "unknown protocol 'mini-v0'; there are: " in " ".join(capsys.readouterr().err.split())


def test_what_is_no_protocol_is_refused(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    del lab.described["analysis"]["policy"]
    lab.described["experiments"][0]["rates"] = [0.5]
    (lab.folder / "site" / "lab.json").write_text(json.dumps(lab.described))
    assert lab.run() == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "protocol lab-v1 (lab 1.0): analysis.policy: Field required" in error
    assert "qps or rates: a protocol has one of them" in error
