"""A network that begins as a detector's backbone sees what that sees."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from bench.preprocessors.context import Context
from bench.preprocessors.npp import QANPP


def test_it_begins_as_a_yolox_nano_backbone() -> None:
    pytest.importorskip("mmcv.ops", reason="the extra mmlab is not installed")
    from mmdet.models.backbones import CSPDarknet

    torch.manual_seed(0)
    backbone = CSPDarknet(
        deepen_factor=0.33, widen_factor=0.25, out_indices=(1, 2, 3, 4), use_depthwise=True
    )
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight, module.running_var):
                nn.init.uniform_(values, 0.5, 2)
            for values in (module.bias, module.running_mean):
                nn.init.normal_(values)
    backbone.eval()
    context = Context(8)
    context.begin_as(backbone)
    x = torch.rand(2, 3, 136, 200)
    with torch.no_grad():
        bgr = 255 * functional.avg_pool2d(x, 2).flip(1)
        for ours, theirs in zip(context.stage_maps(x), backbone(bgr), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)
    with pytest.raises(ValueError, match="Conv2d with 1 convolutions is not YOLOX-nano's"):
        context.begin_as(nn.Conv2d(3, 3, 3))


def test_it_reaches_far_and_says_nothing_at_first() -> None:
    torch.manual_seed(0)
    network = QANPP(8, context=True)
    assert network.context is not None
    x = torch.rand(1, 3, 256, 256, requires_grad=True)
    assert not network.context(x).any()
    nn.init.normal_(network.context.out.weight)
    network.context(x)[0, :, 0, 0].sum().backward()
    assert x.grad is not None
    assert x.grad[..., 200:, 200:].any()


def test_it_fits_what_may_ship() -> None:
    assert sum(p.numel() for p in QANPP(24, context=True).parameters()) <= 800_000
