"""Checkpoints as training leaves them: read without running anything, searched for a network.

A file need not hold the network's tensors under the network's own names. They may stand in a
dictionary of it (`state_dict`, `model`, …) and behind a prefix (`module.`, `model.`, …), and there
may be a second, averaged copy of them.
"""

import re
import warnings
from collections import Counter, OrderedDict, deque
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from bench.errors import ConfigError

COPIES = ("plain", "ema")
"""Which of two copies of the weights to take, as `FILE#plain` and `FILE#ema` say it."""
_AVERAGED = {"ema", "swa", "avg", "average", "averaged"}
"""Words by which the names of averaged copies are known."""
_WRAPPERS = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
"""What torch puts into names; no network has these of its own."""
_PLACES = ("state_dict.", "model.", "")
_PREFIXES = ("module.", "model.", "network.", "net.", "backbone.")
"""Where weights usually are: what comes first is taken first."""
_DEPTH = 4
"""Of dictionaries in dictionaries, as far as they are searched."""


class _Inert:
    """Stands for any object in a checkpoint that is no tensor: nothing of it is ever run."""

    def __init__(self, *args: object, **kwargs: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


def read_checkpoint(path: Path) -> dict[Any, Any]:
    """A dictionary from safetensors, or from what torch.save writes; what there is in it besides
    tensors and plain values (a training's log, say) is dropped unread. Raises ConfigError."""
    try:
        content = _content(path)
    except OSError as error:
        raise ConfigError(f"weights {path}: cannot be read ({error.strerror or error})") from None
    except Exception as error:
        raise ConfigError(
            f"weights {path}: cannot be read ({reason_of(error)}); the file has "
            f"{path.stat().st_size} bytes: is it whole? Fetch or save it again"
        ) from error
    if not isinstance(content, dict):
        what = "an object" if isinstance(content, _Inert) else f"a {type(content).__name__}"
        raise ConfigError(
            f"weights {path}: the file holds {what}, not a state dict: save what the network's "
            "state_dict() gives"
        )
    return content


def _content(path: Path) -> object:
    with path.open("rb") as file:
        head = file.read(9)
    if path.suffix == ".safetensors" or head[8:] == b"{":
        return load_file(path)
    unknown: list[Any] = []
    if head.startswith(b"PK"):  # files of torch before 1.6 cannot be asked
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        unknown = [(_Inert, name) for name in names]
    with torch.serialization.safe_globals(unknown), warnings.catch_warnings(action="ignore"):
        return torch.load(path, map_location="cpu", weights_only=True)


def reason_of(error: Exception) -> str:
    """In a line. torch has its own behind advice that is not for the user of this suite."""
    text = str(error).rpartition("WeightsUnpickler error: ")[2].strip()
    return shown((text or type(error).__name__).splitlines()[0])


def shown(text: str) -> str:
    """What a file says, in a message."""
    short = text if len(text) <= 200 else f"{text[:200]}…"
    return short if short.isprintable() else repr(short)


@dataclass(frozen=True)
class Copy:
    """What stands behind one prefix in one dictionary of a checkpoint: tensors by the network's
    names, and how the file calls them. `covered` is how many of what the network learns is there.
    """

    place: str
    prefix: str
    tensors: dict[str, Tensor]
    names: dict[str, str]
    covered: int
    versions: dict[str, Any]
    averaged: bool
    beside: frozenset[str]
    """The file's names of the other tensors in the dictionary."""

    @property
    def order(self) -> tuple[int, bool, int, int]:
        """The least is taken first."""
        place = _PLACES.index(self.place) if self.place in _PLACES else len(_PLACES)
        prefix = 0 if not self.prefix else 1 if self.prefix.startswith(_PREFIXES) else 2
        return -self.covered, self.averaged, place, prefix


def _copies(content: dict[Any, Any], network: nn.Module) -> list[Copy]:
    """Those with more than half of what the network learns; without any, whole dictionaries."""
    own = network.state_dict().keys()
    learned = _learned(network)
    wholes: list[Copy] = []
    copies: list[Copy] = []
    for place, node in _dictionaries(content):
        found = dict.items(node)  # node.items may be anything that a file puts in its place
        tensors = {k: v for k, v in found if isinstance(k, str) and isinstance(v, Tensor)}
        if not tensors:
            continue
        dotted = _dotted(tensors, own)
        covered = _covered(dotted, learned)
        many = sorted(p for p, n in covered.items() if p and 2 * n > len(learned))
        for prefix in ("", *many):
            names = {d[len(prefix) :]: k for d, k in dotted.items() if d.startswith(prefix)}
            copy = Copy(
                place,
                prefix,
                {name: tensors[k] for name, k in names.items()},
                {name: f"{place}{k}" for name, k in names.items()},
                covered[prefix],
                _versions(node, prefix),
                _is_averaged(place, prefix, dotted),
                frozenset(f"{place}{k}" for k in tensors.keys() - set(names.values())),
            )
            (copies if 2 * copy.covered > len(learned) else wholes).append(copy)
    return [_apart(copy, copies) for copy in copies] or wholes


def _dictionaries(content: dict[Any, Any]) -> Iterator[tuple[str, dict[Any, Any]]]:
    """Those in a checkpoint, itself the first, each with the names that lead to it."""
    waiting, seen = deque([("", content, 1)]), set()
    while waiting:
        place, node, depth = waiting.popleft()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield place, node
        if depth < _DEPTH:
            inner = ((k, v) for k, v in dict.items(node) if isinstance(v, dict))
            waiting.extend((f"{place}{k}.", v, depth + 1) for k, v in inner)


def _learned(network: nn.Module) -> set[str]:
    return {name for name, _ in network.named_parameters(remove_duplicate=False)}


def _dotted(tensors: Collection[str], own: Collection[str]) -> dict[str, str]:
    """Names without torch's wrappers → as they are in the file. mmdet 2's second copy, of which
    `ema_layer1_0_weight` stands beside `layer1.0.weight`, gets a prefix in its place."""
    flat = {name.replace(".", "_"): name for name in own}
    dotted: dict[str, str] = {}
    for key in tensors:
        *outer, last = _parts(key) or [key]
        if last.startswith("ema_") and last[4:] in flat:
            outer, last = [*outer, "ema"], flat[last[4:]]
        dotted.setdefault(".".join([*outer, last]), key)
    return dotted


def _parts(name: str) -> list[str]:
    return [part for part in name.split(".") if part not in _WRAPPERS]


def _covered(names: Iterable[str], learned: Collection[str]) -> Counter[str]:
    """Prefix → how many of the network's names are found behind it."""
    longest = max((name.count(".") for name in learned), default=0)
    covered: Counter[str] = Counter()
    for name in names:
        parts = name.rsplit(".", longest + 1)
        for i in range(len(parts)):
            if (rest := ".".join(parts[i:])) in learned:
                covered[name[: len(name) - len(rest)]] += 1
    return covered


def _versions(node: dict[Any, Any], prefix: str) -> dict[str, Any]:
    """By them, modules that have been renamed since read older files."""
    found = vars(node).get("_metadata") if isinstance(node, OrderedDict) else None
    versions = {
        "".join(f"{part}." for part in _parts(name) if part): version
        for name, version in (dict.items(found) if isinstance(found, dict) else ())
        if isinstance(name, str) and isinstance(version, dict)
    }
    return {
        name[len(prefix) :].removesuffix("."): version
        for name, version in versions.items()
        if name.startswith(prefix)
    }


def _is_averaged(place: str, prefix: str, names: Collection[str]) -> bool:
    """By its name, or by the counter beside the `module.` of torch.optim.swa_utils."""
    words = re.split(r"[^a-z]+", f"{place}{prefix}".lower())
    counter = f"{prefix.removesuffix('module.')}n_averaged"
    return not _AVERAGED.isdisjoint(words) or (prefix.endswith("module.") and counter in names)


def _apart(one: Copy, copies: list[Copy]) -> Copy:
    """A copy without what belongs to the others in the same dictionary."""
    others = [c for c in copies if c is not one and c.place == one.place]
    inside = [c for c in others if c.prefix.startswith(one.prefix)]
    theirs = {n for c in inside for n in c.names.values()}
    names = {k: n for k, n in one.names.items() if n not in theirs}
    return replace(
        one,
        names=names,
        tensors={k: one.tensors[k] for k in names},
        beside=one.beside.difference(*(c.names.values() for c in others)),
    )


def choose(
    content: dict[Any, Any], network: nn.Module, chosen: str | None, path: Path, what: str
) -> tuple[Copy, list[Copy]]:
    """The copy to load, and the others. Raises ConfigError where there is none or no telling."""
    copies = _copies(content, network)
    if not copies:
        keys = ", ".join(shown(str(key)) for key in [*content][:5])
        raise ConfigError(
            f"weights {path}: the file names no tensors, it holds {keys or 'nothing'}: save what "
            "the network's state_dict() gives"
        )
    wanted = [c for c in copies if chosen is None or c.averaged == (chosen == "ema")]
    if not wanted:
        kind = "averaged weights" if chosen == "ema" else "weights but averaged ones"
        raise ConfigError(
            f"weights {path}#{chosen}: the file has no {kind} of {what}; leave #{chosen} out"
        )
    first, *others = sorted(wanted, key=lambda c: c.order)
    whole = 2 * first.covered > len(_learned(network))
    if whole and any(c.order == first.order for c in others):
        raise ConfigError(
            f"weights {path} hold the tensors of {what} more than once ({example(first, *others)})"
            ": save those that you mean in a file of their own, with torch.save(STATE_DICT, FILE)"
        )
    others = [c for c in copies if c is not first]
    first = _with_buffers(first, others, network)
    for key, tensor in network.state_dict().items():
        if key in first.names and (why := _unusable(first.tensors[key], tensor)):
            raise ConfigError(f"weights {path}: tensor {shown(first.names[key])} is {why}")
    return first, others


def _with_buffers(one: Copy, others: list[Copy], network: nn.Module) -> Copy:
    """Averages are often of what is learned alone: the buffers are those of the plain copy."""
    plain = next((c for c in others if one.averaged and not c.averaged), None)
    if plain is None:
        return one
    buffers = network.state_dict().keys() - _learned(network)
    lacking = [k for k in plain.names if k in buffers and k not in one.names]
    return replace(
        one,
        names={k: plain.names[k] for k in lacking} | one.names,
        tensors={k: plain.tensors[k] for k in lacking} | one.tensors,
    )


def _unusable(tensor: Tensor, own: Tensor) -> str:
    """Why no values can be taken from it; empty if they can."""
    if tensor.is_nested or tensor.layout != torch.strided or tensor.is_quantized:
        return "sparse, nested or quantised: save it as a plain tensor"
    if tensor.is_meta:
        return "without values (on the device meta): save the network after they are loaded"
    if own.is_floating_point() and not tensor.is_floating_point():
        kinds = (str(t.dtype).removeprefix("torch.") for t in (tensor, own))
        return "of {} where the network has {}: save it as floating point".format(*kinds)
    return ""


def example(*copies: Copy) -> str:
    """A tensor by its name in each copy."""
    name = next(iter(copies[0].names))
    return ", ".join(shown(c.names.get(name, f"{c.place}{c.prefix}…")) for c in copies)
