"""Whether a run meets its protocol: what differs, what was expected, and what to do."""

import hashlib
import json
from collections.abc import Sequence

from bench.analysis.fingerprints import ENVIRONMENT, Fingerprint, differences, shortened
from bench.errors import ConfigError
from bench.protocols.base import Conditions, Protocol
from bench.results import manifest
from bench.results.manifest import Experiment, Manifest
from bench.results.names import point_name, rate_label

UNKNOWN = "images and ground truth"
"""What a protocol may leave open."""
HASH = "sha256:"
"""How a field of a fingerprint begins in a protocol that has its hash in its place."""
DIGITS = 8
"""Of the conditions' hash."""

REMEDIES = {
    "number of images": "take the whole data set of the protocol, without --limit",
    UNKNOWN: "take the pictures and labels that the protocol names, unchanged",
    "data set": "name it so by dataset.name",
    "view": "set dataset.view",
    "weights": "give that file by --weights",
    "anchor": "set anchor",
    "QPs": "leave out --qps, or set methods.NAME.qps",
    "rates": "leave out --qps, or set methods.NAME.rates",
    "number of points": "set methods.NAME.qps",
    "codec": "set methods.NAME.codec, or install the version that the protocol names",
    "metric": "use the version of this program that has it",
    "analysis": "set it so by --set, or leave it out",
    "experiments": "run all of the protocol's, in its order: leave out --tasks",
    "models": "run the protocol's models",
}
"""How a field's name begins, after the data set's → what to do."""


def require(protocol: Protocol, begun: Manifest) -> None:
    """Of what is known before anything is measured. Raises ConfigError naming every difference."""
    _require(protocol, begun, _pairs(protocol, begun))


def held(protocol: Protocol, begun: Manifest) -> Manifest:
    """With the protocol's name, once the data sets' fingerprints are known. Raises ConfigError
    where they are others."""
    pairs = _pairs(protocol, begun)
    _require(protocol, begun, pairs)
    unverified = tuple(
        f"{UNKNOWN} of {expected.dataset}" for expected, _ in pairs if not expected.fingerprint
    )
    named = manifest.Protocol(
        name=protocol.name,
        conditions=_hash(protocol, [e.dataset_fingerprint for _, e in pairs]),
        unverified=unverified,
        columns=protocol.columns,
    )
    experiments = (e.model_copy(update={"protocol": named}) for e in begun.experiments)
    return begun.model_copy(update={"experiments": tuple(experiments)})


Pairs = list[tuple[Conditions, Experiment]]


def _pairs(protocol: Protocol, begun: Manifest) -> Pairs:
    """What belongs together. Raises ConfigError where something has no partner."""
    wanted = [f"{c.task} on {c.dataset}" for c in protocol.experiments]
    there = [f"{e.task} on {e.dataset}" for e in begun.experiments]
    tasks = [c.task for c in protocol.experiments], [e.task for e in begun.experiments]
    if tasks[0] != tasks[1]:
        expected, found = (Fingerprint(experiments=", ".join(own)) for own in (wanted, there))
        raise _refusal(protocol, expected, found)
    return list(zip(protocol.experiments, begun.experiments, strict=True))


def _require(protocol: Protocol, begun: Manifest, pairs: Pairs) -> None:
    expected, found = _analysis(protocol), _analysis_of(begun)
    for conditions, experiment in pairs:
        where = f"{conditions.task} on {conditions.dataset}: "
        own, there = _expected(conditions, experiment), _found(conditions, experiment)
        expected |= {where + k: v for k, v in own.items()}
        found |= {where + k: v for k, v in there.items()}
    if expected != found:
        raise _refusal(protocol, expected, found)


def _refusal(protocol: Protocol, expected: Fingerprint, found: Fingerprint) -> ConfigError:
    lines = []
    for d in differences(expected, found):
        wanted, there = shortened(d.baseline, d.run)
        lines.append(f"  {d.what}: expected {wanted}, found {there}{_remedy(d.what)}")
    return ConfigError(
        f"protocol {protocol.name} is not met, so nothing was coded:\n" + "\n".join(lines)
    )


def _remedy(what: str) -> str:
    field = what.rpartition(": ")[2]
    known = (told for begins, told in REMEDIES.items() if field.startswith(begins))
    told = next(known, "")
    return f"; {told}" if told else ""


# --- fields ---------------------------------------------------------------------------------------


def _analysis(protocol: Protocol) -> Fingerprint:
    told = protocol.analysis.model_dump(mode="json")
    return {f"analysis.{key}": _text(value) for key, value in told.items()}


def _analysis_of(begun: Manifest) -> Fingerprint:
    told = begun.analysis.model_dump(mode="json", exclude={"seed"})
    return {f"analysis.{key}": _text(value) for key, value in told.items()}


def _text(value: object) -> str:
    return ", ".join(f"{v:g}" for v in value) if isinstance(value, list) else str(value)


def _fixed(conditions: Conditions) -> Fingerprint:
    """What the protocol itself says."""
    return {
        "data set": conditions.dataset,
        "number of images": str(conditions.images),
        **({UNKNOWN: conditions.fingerprint} if conditions.fingerprint else {}),
        "models": ", ".join(conditions.models),
        **{f"view of {m}": conditions.view for m in conditions.models},
        **{f"metric {name}": about for name, about in conditions.metrics.items()},
        **{f"{k} of {m}": v for m, own in conditions.models.items() for k, v in own.items()},
        "anchor": conditions.anchor,
        **{f"codec of {conditions.anchor}, {k}": v for k, v in conditions.codec.items()},
        f"{_grid_name(conditions)} of {conditions.anchor}": _grid(conditions),
    }


def _expected(conditions: Conditions, experiment: Experiment) -> Fingerprint:
    """And what follows for the methods that the run has."""
    fixed = _fixed(conditions)
    if not experiment.dataset_fingerprint:
        fixed.pop(UNKNOWN, None)
    for method in experiment.methods:
        kind = _kind(conditions, experiment, method)
        count = str(len(conditions.qps or []))
        fixed[f"{kind} of {method}"] = count if kind == "number of points" else _grid(conditions)
    return fixed


def _found(conditions: Conditions, experiment: Experiment) -> Fingerprint:
    """The same fields of a run."""
    found = {
        "data set": experiment.dataset,
        "number of images": str(experiment.n_images),
        "models": ", ".join(m.name for m in experiment.models),
        "anchor": experiment.anchor,
        **{f"metric {name}": about for name, about in experiment.metrics.items()},
    }
    if conditions.fingerprint and experiment.dataset_fingerprint:
        found[UNKNOWN] = experiment.dataset_fingerprint
    for model in experiment.models:
        if model.name in conditions.models:
            found[f"view of {model.name}"] = model.view
            wanted = conditions.models[model.name]
            told = {k: v for k, v in model.fingerprint.items() if k not in ENVIRONMENT}
            own = _fields(dict.fromkeys(told, "") | wanted, told)
            found |= {f"{k} of {model.name}": v for k, v in own.items()}
    anchor = conditions.anchor
    codec = _fields(conditions.codec, experiment.codecs.get(anchor, {}))
    found |= {f"codec of {anchor}, {k}": v for k, v in codec.items()}
    for method, labels in experiment.methods.items():
        kind = _kind(conditions, experiment, method)
        listed = ", ".join(_plain(label) for label in sorted(labels))
        found[f"{kind} of {method}"] = str(len(labels)) if kind == "number of points" else listed
    return found


def _fields(wanted: dict[str, str], told: Fingerprint) -> Fingerprint:
    """Those that a protocol names, as it has them."""
    found = {}
    for key, expected in wanted.items():
        value = told.get(key)
        if value is None:
            continue
        if expected.startswith(HASH):
            value = HASH + hashlib.sha256(value.encode()).hexdigest()
        begins = key == "weights" and expected and value.startswith(expected)
        found[key] = expected if begins else value
    return found


def _kind(conditions: Conditions, experiment: Experiment, method: str) -> str:
    """What of a method's operating points is compared."""
    codec = experiment.codecs.get(method, {}).get("codec")
    if conditions.rates or codec == conditions.codec.get("codec") or method == conditions.anchor:
        return _grid_name(conditions)
    return "number of points"


def _grid_name(conditions: Conditions) -> str:
    return "rates" if conditions.rates else "QPs"


def _grid(conditions: Conditions) -> str:
    labels = [rate_label(r) for r in conditions.rates or []] or (conditions.qps or [])
    return ", ".join(_plain(label) for label in sorted(labels))


def _plain(label: int) -> str:
    """A QP alone, a rate with its unit."""
    return point_name(label).removeprefix("QP ")


def _hash(protocol: Protocol, fingerprints: Sequence[str]) -> str:
    """Of all that must be equal; `fingerprints` of the data sets."""
    told = [_analysis(protocol)]
    for conditions, fingerprint in zip(protocol.experiments, fingerprints, strict=True):
        told.append({"task": conditions.task, **_fixed(conditions), UNKNOWN: fingerprint})
    text = json.dumps(told, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def identity(protocol: Protocol) -> str:
    """The conditions' hash; empty where it takes what a run finds."""
    known = [c.fingerprint for c in protocol.experiments if c.fingerprint]
    return _hash(protocol, known) if len(known) == len(protocol.experiments) else ""
