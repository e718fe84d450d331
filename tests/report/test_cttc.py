"""CSV files in the columns of the script for MPEG's common test conditions."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

from bench import protocols
from bench.cli import main
from bench.report import cttc
from bench.results.names import statistics_path

QPS = [41, 33]
N = 6


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of two data sets, each in place of a sequence."""
    folder = tmp_path_factory.mktemp("cttc")
    told = {
        "task": "cls",
        "models": [{"library": "mini", "name": "mini_classifier"}],
        "anchor": "bpg",
        "methods": {"bpg": {"codec": "bpg", "qps": QPS}, "a/b": {"codec": "jpeg"}},
    }
    sets = [{"format": "mini", "split": split} for split in ("test", "train")]
    config = {"experiments": [told | {"dataset": own} for own in sets]}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    words = ["run", "--config", folder / "config.yaml", "--out", folder / "run", "--limit", N]
    assert main([*map(str, words), "--device", "cpu"]) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def files(results: Path) -> dict[str, Path]:
    return {path.name: path for path in cttc.write(results)}


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_file_for_each_model_and_method(files: dict[str, Path]) -> None:
    assert set(files) == {"cttc-mini_classifier-bpg.csv", "cttc-mini_classifier-a%2Fb.csv"}
    for path in files.values():
        assert path.read_text().splitlines()[0] == (
            "Dataset,qp,avg_bpp,end_accuracy,y_psnr,nn_part_1,encode,decode,nn_part_2"
        )
        places = [(line["Dataset"], line["qp"]) for line in lines(path)]
        sets = [(name, qp) for name in ("mini-cls", "mini-cls-train") for qp in ("33", "41")]
        assert places == [*sets, ("ALL", "0"), ("ALL", "1")]


def test_a_data_sets_lines_are_its_operating_points(results: Path, files: dict[str, Path]) -> None:
    points = pd.read_csv(results / "points.csv")
    for line in lines(files["cttc-mini_classifier-bpg.csv"])[:4]:
        (row,) = points[
            (points["dataset"] == line["Dataset"])
            & (points["qp"] == int(line["qp"]))
            & (points["metric"] == "top1")
            & (points["method"] == "bpg")
        ].itertuples()
        assert float(line["avg_bpp"]) == pytest.approx(row.bpp_total)
        assert float(line["end_accuracy"]) == pytest.approx(100 * row.value)


def test_accuracy_of_all_is_computed_on_all_images(results: Path, files: dict[str, Path]) -> None:
    """Top-1 of all is the share of all images, rates all bits over all pixels."""
    images = pd.read_parquet(results / "images.parquet")
    for line, qp in zip(lines(files["cttc-mini_classifier-bpg.csv"])[4:], (33, 41), strict=True):
        ranks = [
            pq.read_table(
                statistics_path(results, "cls", name, "mini_classifier", "bpg", qp)
            ).to_pandas()
            for name in ("mini-cls", "mini-cls-train")
        ]
        right = np.concatenate([table["rank"] < 1 for table in ranks])
        assert len(right) == 2 * N
        assert float(line["end_accuracy"]) == pytest.approx(100 * right.mean())
        own = images[(images["method"] == "bpg") & (images["qp"] == qp)]
        bpp = own["bits"].sum() / (own["width"] * own["height"]).sum()
        assert float(line["avg_bpp"]) == pytest.approx(bpp)


def test_only_a_protocol_asks_for_them() -> None:
    from bench.results.manifest import Experiment, Manifest, Protocol

    def of(protocol: Protocol | None) -> Manifest:
        run = Experiment(
            task="cls", dataset="a", n_images=1, images=("a",), models=(), anchor="a",
            methods={"a": (1,)}, protocol=protocol,
        )  # fmt: skip
        return Manifest(experiments=(run,))

    columns = protocols.load("fcm-like").columns
    assert not cttc.wanted(of(None))
    assert not cttc.wanted(of(Protocol(name="mini-v1", conditions="0")))
    assert cttc.wanted(of(Protocol(name="fcm-like", conditions="0", columns=columns)))
