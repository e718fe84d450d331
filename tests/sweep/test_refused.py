"""Models that do not fit the data set or their weights: refused before anything is coded."""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from described import N, experiment
from PIL import Image, features
from safetensors.torch import load_file

from bench.assets import __file__ as assets
from bench.cli import main
from bench.datasets import mini

ASSETS = Path(assets).parent


def refusal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], *words: object
) -> str:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"experiments": [experiment() | change]}))
    out = tmp_path / "results" / "run"
    words = ("--config", path, "--out", out, "--device", "cpu", *words)
    assert main([str(word) for word in words]) == 2
    assert not out.exists()
    cached = (tmp_path / "results" / ".cache").glob("*/*")
    assert not any(b'"decoded"' in entry.read_bytes() for entry in cached)
    return " ".join(capsys.readouterr().err.split())


def test_checkpoint_of_another_architecture(
    tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refusal(
        tmp_path, capsys, {}, "--data-root", pictures,
        "--weights", ASSETS / "mini_fcos.safetensors",
    )  # fmt: skip
    for word in ("mini_fcos.safetensors", "do not fit mini_classifier", "missing from the file"):
        assert word in error


def test_a_pillow_that_writes_no_pictures_for_the_report(
    tmp_path: Path,
    pictures: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(features, "check", lambda feature: feature != "webp")
    error = refusal(tmp_path, capsys, {}, "--data-root", pictures)
    assert "this Pillow cannot write WebP" in error


def test_truncated_weights(
    tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (ASSETS / "mini_classifier.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[:-1000])
    words = ("--data-root", pictures, "--weights", tmp_path / "cut.safetensors")
    assert "cut.safetensors" in refusal(tmp_path, capsys, {}, *words)


@pytest.mark.parametrize(
    ("task", "model", "named"),
    [
        (
            "cls",
            "mini_fcos",
            "cls needs a classifier, but model mini_fcos of mini gives boxes",
        ),
        ("det", "mini_classifier", "task det needs a detector, but model mini_classifier"),
    ],
)
def test_model_for_another_task(
    tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str], task: str, model: str,
    named: str,
) -> None:  # fmt: skip
    change = {
        "task": task,
        "dataset": {"format": "folder"},
        "models": [{"library": "mini", "name": model}],
    }
    assert named in refusal(tmp_path, capsys, change, "--data-root", pictures, "--limit", 2)


def test_two_experiments_on_data_of_one_name(
    tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = experiment() | {"dataset": {"format": "folder", "name": "photos"}}
    other = one | {"task": "det", "models": [{"library": "mini", "name": "mini_fcos"}]}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"experiments": [one, other]}))
    words = ["--config", str(path), "--data-root", str(pictures), "--dry-run"]
    assert main(words) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "bpg on data set photos (native view) stands in two experiments" in error


def test_nothing_to_agree_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "flat").mkdir()
    Image.new("RGB", (192, 192), (90, 90, 90)).save(tmp_path / "flat" / "a.png")
    change = {
        "task": "det",
        "dataset": {"format": "folder"},
        "models": [{"library": "mini", "name": "mini_fcos"}],
    }
    error = refusal(tmp_path, capsys, change, "--data-root", tmp_path / "flat")
    assert "agreement-mAP of model mini_fcos is undefined" in error
    assert "it detects nothing with a score of at least 0.3" in error
    assert "flat-det" in error


def test_a_category_of_no_object_is_no_hindrance(tmp_path: Path) -> None:
    """Unknown to the model, or of the name of another one."""
    root, change = scenes(tmp_path / "scenes", extra=("everything", mini.CLASSES[0]))
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"experiments": [experiment() | change]}))
    words = ["--config", path, "--data-root", root, "--out", tmp_path / "out", "--device", "cpu"]
    assert main([str(word) for word in words]) == 0


def test_a_category_of_one_object_is_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, change = scenes(tmp_path / "scenes", extra=("everything",), carried=True)
    error = refusal(tmp_path, capsys, change, "--data-root", root)
    assert "scenes has 1 categories that the model does not know: everything" in error


def scenes(
    root: Path, extra: tuple[str, ...], carried: bool = False
) -> tuple[Path, dict[str, Any]]:
    """Two of mini's scenes as COCO has them, and an experiment on them. The categories `extra`
    stand in front, without objects or `carried` by one."""
    (root / "images").mkdir(parents=True)
    names = [*extra, *mini.CLASSES]
    images, objects = [], []
    for i in range(2):
        picture, target = mini.render_detection("test", i)
        Image.fromarray(picture).save(root / "images" / f"{i}.png")
        height, width = picture.shape[:2]
        images.append({"id": i, "file_name": f"{i}.png", "width": width, "height": height})
        for label, (x1, y1, x2, y2) in zip(
            target.labels.tolist(), target.boxes.tolist(), strict=True
        ):
            box = [x1, y1, x2 - x1, y2 - y1]
            about = {"id": len(objects), "image_id": i, "category_id": len(extra) + label}
            objects.append(about | {"bbox": box, "area": box[2] * box[3], "iscrowd": 0})
    if carried:
        objects[0]["category_id"] = 0
    categories = [{"id": i, "name": name} for i, name in enumerate(names)]
    content = {"images": images, "annotations": objects, "categories": categories}
    (root / "instances.json").write_text(json.dumps(content))
    methods = {"bpg": {"codec": "bpg", "qps": [45]}}
    models = [{"library": "mini", "name": "mini_fcos"}]
    dataset = {"format": "coco"}
    return root, {"task": "det", "models": models, "dataset": dataset, "methods": methods}


def averaged(path: Path) -> Path:
    """The shipped classifier, and as its average one that knows nothing."""
    state = load_file(ASSETS / "mini_classifier.safetensors")
    blank = {f"ema.module.{k}": torch.zeros_like(v) for k, v in state.items()}
    torch.save({"model": {f"module.{k}": v for k, v in state.items()} | blank}, path)
    return path


def test_the_copy_of_the_weights_that_is_run_is_told_and_can_be_chosen(
    tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, weights = tmp_path / "config.yaml", averaged(tmp_path / "both.pth")
    change = {"methods": {"bpg": {"codec": "bpg", "qps": [45]}}}
    path.write_text(yaml.safe_dump({"experiments": [experiment() | change]}))
    scores = {}
    for choice in ("", "#plain", "#ema"):
        out = tmp_path / f"out{choice}"
        words = ["--config", path, "--data-root", pictures, "--device", "cpu", "--out", out]
        words += ["--cache", tmp_path / "cache", "--weights", f"{weights}{choice}"]
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            assert main([str(word) for word in words]) == 0
        said = [str(w.message) for w in told if "more than once" in str(w.message)]
        assert bool(said) == (not choice)
        assert all("both.pth#ema" in text for text in said)
        scores[choice] = (out / "points.csv").read_text()
    assert scores[""] == scores["#plain"] != scores["#ema"]
    error = refusal(tmp_path, capsys, {}, "--data-root", pictures, "--weights", f"{weights}#best")
    assert "both.pth#best: after # stands plain or ema" in error
    error = refusal(
        tmp_path, capsys, {}, "--data-root", pictures, "--weights", f"{tmp_path}/gone.pth#ema"
    )
    assert "there is no file" in error


def test_a_classifier_that_was_trained_on_for_other_classes(
    tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is built for the twelve that its file has, and refused for fewer than the labels need."""
    import timm

    for classes in (12, 3):
        weights = tmp_path / f"{classes}.pth"
        torch.save(timm.create_model("resnet10t", num_classes=classes).state_dict(), weights)
        change = {
            "models": [{"library": "timm", "name": "resnet10t", "weights": str(weights)}],
            "methods": {"bpg": {"codec": "bpg", "qps": [45]}},
        }
        words = ["--data-root", pictures]
        if classes == 3:
            error = refusal(tmp_path, capsys, change, *words)
            assert "resnet10t gives 3 classes" in error
            continue
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump({"experiments": [experiment() | change]}))
        words += ["--config", path, "--out", tmp_path / "out", "--device", "cpu"]
        assert main([str(word) for word in words]) == 0


def folders(root: Path, classes: int) -> Path:
    for i in range(classes):
        (root / f"class {i:02d}").mkdir(parents=True)
    Image.fromarray(mini.render_classification("test", 0)[0]).save(root / "class 00" / "a.png")
    return root


@pytest.mark.parametrize("classes", [11, 13])
def test_class_folders_of_another_number_than_the_models_classes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], classes: int
) -> None:
    error = refusal(tmp_path, capsys, {}, "--data-root", folders(tmp_path / "set", classes))
    for word in (f"set has {classes} classes", "mini_classifier gives 12", "labels.csv"):
        assert word in error


def test_class_index_that_the_model_does_not_have(
    tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = pictures / "labels.csv"
    labels.write_text(labels.read_text().replace("05.png,5", "05.png,12"))
    error = refusal(tmp_path, capsys, {}, "--data-root", pictures)
    for word in ("pictures has class index 12", "mini_classifier gives 12 classes (0 to 11)"):
        assert word in error
    assert N == 24


def voc(root: Path, category: str) -> Path:
    for folder in ("Annotations", "JPEGImages"):
        (root / folder).mkdir(parents=True)
    picture, target = mini.render_detection("test", 0)
    Image.fromarray(picture).save(root / "JPEGImages" / "a.png")
    objects = "".join(
        f"<object><name>{category if i == 0 else mini.CLASSES[label]}</name><bndbox>"
        f"<xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox>"
        "</object>"
        for i, (label, (x1, y1, x2, y2)) in enumerate(
            zip(target.labels, target.boxes.tolist(), strict=True)
        )
    )
    (root / "Annotations" / "a.xml").write_text(f"<annotation>{objects}</annotation>")
    return root


def test_categories_that_the_model_does_not_know(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = mini.CLASSES[int(mini.render_detection("test", 0)[1].labels[0])]
    root = voc(tmp_path / "scenes", "gizmo")
    detector = {"task": "det", "models": [{"library": "mini", "name": "mini_fcos"}]}
    change = detector | {"dataset": {"format": "voc"}}
    error = refusal(tmp_path, capsys, change, "--data-root", root)
    for word in ("scenes", "does not know: gizmo", "12 classes", "dataset.categories: {gizmo:"):
        assert word in error

    change["dataset"] = {"format": "voc", "categories": {"gadget": first}}
    error = refusal(tmp_path, capsys, change, "--data-root", root)
    assert "'gadget' is none of the categories of scenes: " in error

    # With the name that the message asks for it runs.
    change["dataset"] = {"format": "voc", "categories": {"gizmo": first.upper().replace(" ", "_")}}
    path = tmp_path / "config.yaml"
    change["methods"] = {"bpg": {"codec": "bpg", "qps": [45]}}
    path.write_text(yaml.safe_dump({"experiments": [experiment() | change]}))
    words = ["--config", path, "--data-root", root, "--out", tmp_path / "out", "--device", "cpu"]
    assert main([str(word) for word in words]) == 0


def test_two_categories_of_one_name(tmp_path: Path) -> None:
    from dataclasses import replace

    from bench.datasets.base import DATASETS
    from bench.errors import ConfigError
    from bench.models.base import LIBRARIES, ModelSpec
    from bench.tasks.categories import categories_of_classes

    spec = ModelSpec("mini", "mini_fcos", str(ASSETS / "mini_fcos.safetensors"))
    model = LIBRARIES.get("mini").load(spec, torch.device("cpu"))
    data = DATASETS.get("mini")("det").first(64)
    assert {1, 2} <= {int(i) for s in data.samples for i in s.target.labels}
    twice = replace(data, categories={1: "striped disc", 2: "Striped_Disc"})
    with pytest.raises(ConfigError, match="'striped disc' and 'Striped_Disc' are the same"):
        categories_of_classes(model, twice)
