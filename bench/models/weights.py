"""The tensors of a checkpoint put into a network: what fits is loaded, what does not is told."""

import re
import warnings
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bench.errors import ConfigError
from bench.models.checkpoints import Copy, choose, example, read_checkpoint, reason_of, shown

_DIGITS = re.compile(r"\d+")


def load_weights(
    network: nn.Module,
    path: Path,
    what: str,
    chosen: str | None = None,
    *,
    known_by: Literal["model", "config"] = "model",
    aside: tuple[str, ...] = (),
    classes: int = 0,
    rebuilt: Callable[[int], nn.Module] | None = None,
) -> nn.Module:
    """Load all that the network needs; `what` names it, `chosen` is that of the `ModelSpec`.

    A prefix before the file's names is taken off. Of two copies of the weights the one that is not
    called averaged is taken, and tensors that belong to nothing are left out; a warning tells of
    either. But what would go on where the network ends, or is a layer inside its modules, is of a
    larger network, whose file is refused however much of it fits. Tensors whose names begin with
    one of `aside` do not count; `known_by` is what the user can name another of.

    The network is returned. Where it tells `classes` apart, and the file differs from it in their
    number alone, that is what `rebuilt` makes for that number.

    Raises ConfigError naming both sides if the file does not fit.
    """
    copy, others = choose(read_checkpoint(path), network, chosen, path, what)
    n = _classes(network, copy, classes, aside)
    if rebuilt and n is not None:
        network = rebuilt(n)
    own = network.state_dict()
    finite = [key for key, tensor in own.items() if _is_finite(tensor)]
    fit = _fitted(network, copy, aside)
    if fit.missing or fit.larger or fit.reason:
        raise ConfigError(
            f"weights {path} do not fit {what}: {'; '.join(fit.faults)}. {fit.remedy(known_by)}"
        )
    own = network.state_dict()
    astray = next((key for key in finite if not _is_finite(own[key])), None)
    if astray is not None:
        raise ConfigError(
            f"weights {path}: tensor {shown(copy.names.get(astray, astray))} holds NaN or "
            f"infinity, with which {what} answers nothing: take a checkpoint from before training "
            "went astray"
        )
    if others and not chosen:
        _tell_of_copies(copy, others, path, what, known_by)
    left = sorted([*(copy.names.get(key, key) for key in fit.unknown), *copy.beside])
    if left:
        warnings.warn(
            f"weights {path}: what {what} has no use for is left out, {len(left)} of its tensors, "
            f"e.g. {shown(left[0])}",
            stacklevel=2,
        )
    return network


def _classes(network: nn.Module, copy: Copy, classes: int, aside: tuple[str, ...]) -> int | None:
    """How many the file has, where nothing but their number tells it from the network."""
    own = network.state_dict()
    differ = [
        (own[key].shape, tensor)
        for key, tensor in copy.tensors.items()
        if key in own and own[key].shape != tensor.shape and not key.startswith(aside)
    ]
    numbers = {tuple(tensor.shape[:1]) for _, tensor in differ}
    alike = all(
        shape[:1] == (classes,) and shape[1:] == tensor.shape[1:] and _is_stored(tensor)
        for shape, tensor in differ
    )
    if not alike or len(numbers) != 1 or numbers <= {(), (0,)}:
        return None
    return int(numbers.pop()[0])


def _tell_of_copies(copy: Copy, others: list[Copy], path: Path, what: str, known_by: str) -> None:
    text = (
        f"weights {path} hold the tensors of {what} more than once ({example(copy, *others)}): the "
        "first are taken"
    )
    if any(c.averaged for c in others):
        text += f". {path}#ema takes those called averaged, {path}#plain these and no notice of it"
        if known_by == "config":
            text += " (where mmengine or mmdet averages, it is these that are averaged)"
    warnings.warn(text, stacklevel=3)


@dataclass(frozen=True)
class _Fit:
    """Names of the network's that are missing from a file, of the file's that the network has no
    use for and, of them, those that a larger network would have, and shapes that differ."""

    missing: list[str]
    unknown: list[str]
    larger: list[str]
    shapes: list[str]
    reason: str
    """Of the refusal by torch or the network; empty if it took what is there."""

    @property
    def faults(self) -> list[str]:
        faults = [
            f"{len(found)} tensors {title} (e.g. {shown(found[0])})"
            for title, found in (
                ("missing from the file", self.missing),
                ("unknown to the model", self.unknown),
                ("of another shape", self.shapes),
            )
            if found
        ]
        return faults or [self.reason]

    def remedy(self, known_by: str) -> str:
        another = f"Name the {known_by} that the file was trained with, or another file"
        if self.larger and not self.missing:
            return f"It looks like a larger network of the same kind. {another}"
        if self.missing or self.unknown or not self.shapes:
            return another
        if known_by == "config":
            return (
                "It looks like the same network for another number of classes: name the config "
                "that it was trained with"
            )
        return (
            "It looks like the same network for another number of classes, or for pictures of "
            "another size or kind: offer it in a package of your own, which builds it so and names "
            "its classes (docs/extending.md)"
        )


def _fitted(network: nn.Module, copy: Copy, aside: tuple[str, ...]) -> _Fit:
    """Load what fits."""
    own = network.state_dict()
    state = OrderedDict((k, v) for k, v in copy.tensors.items() if not k.startswith(aside))
    reason, shapes = "", list[str]()
    try:
        for key, tensor in state.items():
            if key in own and tensor.is_floating_point() and _is_stored(tensor):
                state[key] = tensor.float()
        missing, unknown = _taken(network, state, copy.versions)
    except Exception as error:
        reason = reason_of(error)
        missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
        shapes = [
            f"{key}: {tuple(state[key].shape)} in the file, {tuple(own[key].shape)} in the model"
            for key in sorted(own.keys() & state.keys())
            if own[key].shape != state[key].shape
        ]
    there = {own[key].data_ptr() for key in own.keys() & state.keys()}
    missing = [
        key
        for key in missing
        if not key.endswith("num_batches_tracked")  # a counter, which converted files lack
        and not key.startswith(aside)
        and not (key in own and own[key].numel() and own[key].data_ptr() in there)  # shared
    ]
    return _Fit(missing, unknown, _of_larger(unknown, state, own), shapes, reason)


def _taken(
    network: nn.Module, state: "OrderedDict[str, Tensor]", versions: dict[str, Any]
) -> tuple[list[str], list[str]]:
    """What the network misses and what it does not know. It may resize what is of another shape,
    and rename what is in files of an older version. Raises what it raises."""
    state._metadata = versions  # type: ignore[attr-defined]
    try:
        return network.load_state_dict(state, strict=False)
    except Exception:
        if versions:
            raise
    # A few demand a version, and safetensors, for one, has none.
    state._metadata = network.state_dict()._metadata  # type: ignore[attr-defined]
    return network.load_state_dict(state, strict=False)


def _of_larger(unknown: list[str], state: Mapping[str, Tensor], own: Collection[str]) -> list[str]:
    """What a larger network has learned: of one more layer in a row (`layer1.2.conv1.weight`, where
    the network ends with `layer1.1`), or of a layer inside the network's own modules."""
    rows = {_DIGITS.sub("0", name) for name in own}
    modules = {name[: dot.start()] for name in own for dot in re.finditer(r"\.", name)}

    def is_more(key: str) -> bool:
        if key in state and not (state[key].is_floating_point() and state[key].numel() > 1):
            return False  # a counter
        module, _, last = key.rpartition(".")
        inside = key.partition(".")[0] in modules
        layer = module not in modules or last in ("weight", "bias")
        return _DIGITS.sub("0", key) in rows or (inside and layer)

    return [key for key in unknown if is_more(key)]


def _is_stored(tensor: Tensor) -> bool:
    """Not one value that stands for many."""
    return tensor.nbytes <= tensor.untyped_storage().nbytes()


def _is_finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())
