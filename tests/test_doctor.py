"""`doctor` tells a machine with the extra `mmlab` from one without it."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from bench import doctor
from bench.cli import main
from bench.errors import ConfigError
from bench.models import mmlab
from bench.models.base import LIBRARIES, ModelSpec

ROOT = Path(__file__).parents[1]


def findings(capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["doctor"]) == 0
    return capsys.readouterr().out


@pytest.mark.filterwarnings("ignore")
def test_with_the_extra(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("mmcv", reason="the extra mmlab is not installed")
    text = findings(capsys)
    for part in ("codec bpg", "mmcv", "models of mmdet", "models of mmpretrain"):
        assert f"{part}: usable" in text


def test_without_the_extra(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [n for n in sys.modules if n.split(".")[0] in ("mmcv", "mmdet", "mmpretrain")]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("mmcv", "mmdet", "mmpretrain"):
        monkeypatch.setitem(sys.modules, name, None)
    text = findings(capsys)
    assert "codec bpg: usable" in text
    for part in ("mmcv", "models of mmdet", "models of mmpretrain"):
        assert f"{part}: not installed" in text
    assert all(command in text for command in mmlab.INSTALL)

    monkeypatch.setattr(mmlab.importlib.util, "find_spec", lambda name: None)
    for library in ("mmdet", "mmpretrain", "mmcls"):
        spec = ModelSpec(library, "resnet50_8xb32_in1k", "random")
        for ask in (
            lambda of, s: of.fingerprint(s),  # the first thing that a plan does
            lambda of, s: of.load(s, torch.device("cpu")),
        ):
            with pytest.raises(ConfigError) as refused:
                ask(LIBRARIES.get(library), spec)
            assert all(command in str(refused.value) for command in mmlab.INSTALL)


def test_an_mmcv_without_operators_for_the_device_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def nms(*_: object) -> None:
        raise RuntimeError("nms_impl: implementation for device cuda:0 not found.")

    monkeypatch.setitem(sys.modules, "mmcv.ops", SimpleNamespace(nms=nms))
    with pytest.raises(ConfigError, match=r"do not run on cpu here \(nms_impl.*--device cpu"):
        mmlab.require_nms(torch.device("cpu"))


def test_a_broken_core_package_is_an_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise ImportError("undefined symbol: avcodec_open2")

    monkeypatch.setattr(doctor, "_core", broken)
    assert main(["doctor"]) == 2
    said = capsys.readouterr()
    assert "broken (" in said.out
    assert "undefined symbol" in said.out
    assert doctor.CORE in said.out
    assert "mended" in said.err


def test_the_readme_has_the_same_commands() -> None:
    text = (ROOT / "README.md").read_text()
    assert all(command in text for command in mmlab.INSTALL)
