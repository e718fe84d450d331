"""Data sets to train on are read, and refused, as those of a run are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from qa_npp_config import QA_NPP
from rich.console import Console
from test_proxy import PROXY
from test_training import TASK

from bench import config as configs
from bench.errors import ConfigError, DataError
from bench.sweep.plan import plan
from bench.training import controls, learned_proxy, npp, task_model

CPU = torch.device("cpu")
QUIET = Console(quiet=True)

TRAININGS: dict[str, Callable[[dict[str, Any], Path], Path]] = {
    "qa-npp": lambda data, out: npp.train(
        "qa-npp", QA_NPP | {"dataset": data}, out, CPU, False, QUIET
    ),
    "controls": lambda data, out: controls.choose(QA_NPP | {"dataset": data}, out, CPU, QUIET),
    "proxy": lambda data, out: learned_proxy.train(
        PROXY | {"dataset": data}, out, CPU, False, QUIET
    ),
    "task": lambda data, out: task_model.train(TASK | {"dataset": data}, out, CPU, False),
}


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises((ConfigError, DataError)) as caught:
        call()
    return str(caught.value)


def of_a_run(data: dict[str, Any]) -> str:
    experiment = {
        "task": "cls",
        "dataset": data,
        "models": [{"library": "mini", "name": "mini_classifier"}],
        "anchor": "jpeg",
        "methods": {"jpeg": {"codec": "jpeg", "qps": [40, 45]}},
    }
    return refusal(lambda: plan(configs.load({"experiments": [experiment]}), CPU, None))


@pytest.mark.parametrize("training", TRAININGS)
@pytest.mark.parametrize(
    ("data", "named"),
    [
        ({"format": "imagenet", "root": "nowhere"}, "no such folder"),
        ({"format": "imagenet", "root": "empty"}, "empty"),
        ({"format": "imagenet"}, "dataset.root"),
        ({"format": "coco", "root": "empty"}, "coco is for det, ins, seg, not for"),
        ({"format": "mini", "split": "trian"}, "trian"),
        ({"format": "mini", "splits": "train"}, "splits"),
        ({"format": "imagnet"}, "imagnet"),
    ],
)
def test_a_wrong_data_set_is_refused_as_a_run_refuses_it(
    training: str,
    data: dict[str, Any],
    named: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    said = of_a_run(data)
    assert named in said
    data = {**data, "task": "cls"}
    assert refusal(lambda: TRAININGS[training](data, tmp_path / "out")) == said
