"""What two results must share to be compared, what is judged then, and what surrounds both.

*Conditions* (images, ground truth, view, task model, metric, QPs, anchor): a difference makes two
results not comparable. *Subject* (preprocessor, codec and post-processor): a difference is what is
being judged. *Environment* (versions of libraries, machine): what should not matter; the gate holds
the clean accuracy, which no subject touches, to a tolerance to see whether it does.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from bench.results.files import ResultsError
from bench.results.manifest import Device, Experiment, Manifest, Model
from bench.results.names import points_name

ENVIRONMENT = frozenset(
    ("torch", "torchvision", "timm", "mmdet", "mmcv", "mmengine", "mmpretrain", "device")
)
"""Keys of a network's fingerprint that name where it ran, not what it is."""

_OF_A_FILTER = {"preprocessor": "name"}
"""What a filter's fingerprint calls its name, wherever it stands."""

Fingerprint = dict[str, str]


@dataclass(frozen=True)
class Difference:
    """One field of a fingerprint; a side that lacks it has None."""

    what: str
    baseline: str | None
    run: str | None

    def __str__(self) -> str:
        short, other = shortened(self.baseline, self.run)
        return f"{self.what}: {short} → {other}"


def differences(baseline: Mapping[str, str], run: Mapping[str, str]) -> tuple[Difference, ...]:
    fields = dict.fromkeys([*baseline, *run])
    return tuple(
        Difference(field, baseline.get(field), run.get(field))
        for field in fields
        if baseline.get(field) != run.get(field)
    )


def model_conditions(experiment: Experiment, model: Model) -> Fingerprint:
    """Of everything measured with one task model on one data set."""
    return {
        "images and ground truth": experiment.dataset_fingerprint,
        "view": model.view,
        "anchor": experiment.anchor,
        **{f"metric {name}": about for name, about in experiment.metrics.items()},
        **{
            f"task model's {key}": value
            for key, value in model.fingerprint.items()
            if key not in ENVIRONMENT
        },
    }


def method_conditions(experiment: Experiment, method: str) -> Fingerprint:
    """Of one method besides. The anchor's QPs count for every method that is compared with it."""
    anchor = experiment.anchor
    grid = {f"QPs of {m}": experiment.methods.get(m, ()) for m in (method, anchor)}
    return {name: points_name(qps).removeprefix("QP ") for name, qps in grid.items()}


def subject(experiment: Experiment, method: str) -> Fingerprint:
    before = experiment.preprocessors.get(method, {})
    after = experiment.postprocessors.get(method, {})
    return (
        {f"codec's {k}": v for k, v in experiment.codecs[method].items()}
        | {f"preprocessor's {k}": v for k, v in before.items() if k not in ENVIRONMENT}
        | {
            f"postprocessor's {_OF_A_FILTER.get(k, k)}": v
            for k, v in after.items()
            if k not in ENVIRONMENT
        }
    )


def environment(manifest: Manifest) -> Fingerprint:
    """Versions and machine; the number of its cores changes nothing."""
    device = manifest.device or Device()
    where = {"device's kind": device.kind, "device's name": device.name}
    return manifest.versions | {what: said for what, said in where.items() if said}


def require(manifest: Manifest, where: str) -> None:
    """Raises ResultsError where a fingerprint is missing, naming file and field."""
    for i, experiment in enumerate(manifest.experiments):
        missing = [
            *(f for f in ("dataset_fingerprint", "metrics") if not getattr(experiment, f)),
            *(
                f"models.{j}.fingerprint"
                for j, m in enumerate(experiment.models)
                if not m.fingerprint
            ),
            *(f"codecs.{m}" for m in experiment.methods if not experiment.codecs.get(m)),
        ]
        if missing:
            raise ResultsError(
                f"{where}: experiments.{i}.{missing[0]}: missing, so nobody can say what was "
                "measured; run it again with this version"
            )


def shortened(a: str | None, b: str | None) -> tuple[str, str]:
    """Two values cut down to where they differ, so that long settings stay readable."""
    if a is None or b is None:
        return tuple("none" if v is None else _cut(v) for v in (a, b))  # type: ignore[return-value]
    if len(a) <= 40 and len(b) <= 40:
        return a, b
    start = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), 0)
    start = max(0, start - 12)
    dots = "…" if start else ""
    return dots + _cut(a[start:]), dots + _cut(b[start:])


def _cut(text: str) -> str:
    return text if len(text) <= 32 else text[:32] + "…"
