"""LPIPS: how far apart two pictures are to a network that was trained on what people say of that.

R. Zhang et al., *The unreasonable effectiveness of deep features as a perceptual metric*, CVPR
2018, version 0.1, with AlexNet. torchmetrics has the definition and the linear layers. AlexNet's
weights are a file of the user's: nothing is fetched.
"""

import warnings
from collections import OrderedDict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench import devices
from bench.errors import ConfigError
from bench.models.base import sha256
from bench.models.weights import load_weights
from bench.registry import existing_file

Pixels = NDArray[np.uint8]

VERSION = 1
"""Of what is stored."""
DIGITS = "7be5be79"
"""The first of the sha256 of the weights that LPIPS was trained on."""
PUBLISHED = f"alexnet-owt-{DIGITS}.pth"
"""What torchvision calls them."""
LEAST = 31
"""Pixels of a side: of fewer, AlexNet's second pooling leaves none."""
KEY = "fidelity.lpips"


class Lpips:
    def __init__(self, file: str, device: torch.device) -> None:
        """Raises ConfigError where torchmetrics is missing, or the file is none of AlexNet's."""
        self._device = device
        self._network = _network(file).to(device)
        weights = sha256(Path(file))
        if not weights.startswith(DIGITS):
            warnings.warn(
                f"{KEY}: {file} is not torchvision's {PUBLISHED}: LPIPS is comparable "
                "with other people's only if the same weights are in it",
                stacklevel=2,
            )
        self.fingerprint = {
            "network": "AlexNet",
            "weights": weights,
            "torchmetrics": version("torchmetrics"),
            "torch": torch.__version__,
        }

    @property
    def key(self) -> dict[str, str]:
        """Whatever can change it, beside the two pictures."""
        return self.fingerprint | {"device": devices.arithmetic(self._device)}

    def __call__(self, a: Pixels, b: Pixels) -> float:
        """Of two (H, W, 3) pictures of 8-bit RGB, 0 for equal ones; NaN for a side under 31
        pixels. The mean over the picture."""
        if min(a.shape[:2]) < LEAST:
            return float("nan")
        with torch.inference_mode():
            found = float(self._network(self._tensor(a), self._tensor(b), normalize=True))
        if not np.isfinite(found):
            raise ValueError(f"LPIPS is {found}")
        return found

    def _tensor(self, rgb: Pixels) -> Tensor:
        """(1, 3, H, W) in [0, 1]"""
        pixels = torch.tensor(rgb).to(self._device)
        return pixels.permute(2, 0, 1)[None].float() / 255


def _network(file: str) -> nn.Module:
    """Raises ConfigError."""
    path = existing_file(file)
    if path is None:
        raise ConfigError(
            f"{KEY}: {file}: there is no such file. It should hold the weights of torchvision's "
            f"AlexNet, {PUBLISHED}; leave the key out to measure without LPIPS"
        )
    try:
        from torchmetrics.functional.image.lpips import _LPIPS
    except ImportError as error:
        raise ConfigError(
            f"{KEY}: LPIPS needs torchmetrics, which cannot be imported ({error}). Install it: "
            "pip install -c constraints.txt -e '.[lpips]'"
        ) from None
    with torch.random.fork_rng([]):  # it draws AlexNet's weights, to be replaced
        network: Any = _LPIPS(net="alex", pnet_rand=True)
    layers = OrderedDict(
        (name, layer) for part in network.net.children() for name, layer in part.named_children()
    )
    trunk = nn.ModuleDict({"features": nn.Sequential(layers)})
    try:
        load_weights(trunk, path, "LPIPS's AlexNet", aside=("classifier.",))
    except ConfigError as error:
        raise ConfigError(
            f"{KEY}: {error}. What is meant is torchvision's AlexNet, {PUBLISHED}"
        ) from None
    lpips: nn.Module = network.eval()
    return lpips
