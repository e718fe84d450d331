"""The manifest of a small run."""

from bench.results.manifest import Device, Experiment, Failure, Git, Manifest, Model

WHOLE = Manifest(
    name="a run",
    experiments=(
        Experiment(
            task="cls",
            dataset="data",
            notes=("a note",),
            n_images=2,
            images=("a.png", "b.png"),
            models=(Model(name="net", view="model", fingerprint={"weights": "1"}),),
            anchor="bpg",
            methods={"bpg": (31, 37)},
        ),
    ),
    config={"experiments": [{"sigma": {"39": 0, "45": 1.5}}]},
    git=Git(revision="0f3c", dirty=True),
    device=Device(kind="cpu", name="x86_64", cpus=2),
    computed={"coded": 4},
    failures=(
        Failure(
            dataset="data",
            model=None,
            method=None,
            qp=None,
            image="b.png",
            index=1,
            stage="load",
            error="cut",
        ),
    ),
    timings={"points": 1.25},
)
