"""Checkpoints as training leaves them load, and whatever else a file holds is refused in words."""

import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file, save_model
from torch import Tensor, nn

from bench.errors import ConfigError
from bench.models.base import LIBRARIES, ModelSpec, sha256
from bench.models.weights import load_weights

State = dict[str, Any]
CPU = torch.device("cpu")


def small() -> nn.Module:
    """With a row of layers of one kind, buffers, and a head for five classes."""
    return nn.Sequential(
        OrderedDict(
            stem=nn.Conv2d(3, 4, 3),
            norm=nn.BatchNorm2d(4),
            body=nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)),
            head=nn.Linear(4, 5),
        )
    )


def trained(seed: int) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    state = small().state_dict()
    return {k: torch.rand_like(v) if v.is_floating_point() else v + seed for k, v in state.items()}


PLAIN, MEAN = trained(1), trained(2)
COUNTERS = {"total_ops": torch.zeros(1), "stem.total_params": torch.zeros(1, dtype=torch.float64)}


def behind(prefix: str, state: State) -> State:
    return {f"{prefix}{key}": value for key, value in state.items()}


def flat(state: State) -> State:
    """As mmdet 2 names its second copy."""
    return {f"ema_{key.replace('.', '_')}": value for key, value in state.items()}


def load(content: object, folder: Path, choice: str = "") -> dict[str, Tensor]:
    path = folder / "weights.pth"
    torch.save(content, path)
    spec = ModelSpec("any", "small", f"{path}{choice}")
    assert spec.weights_file == path
    network = small()
    load_weights(network, path, "small", spec.chosen)
    return network.state_dict()


def same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(v, theirs[k]) for k, v in ours.items())


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        {"state_dict": PLAIN, "epoch": 3, "optimizer": {"state": {0: {"step": torch.ones(1)}}}},
        {"model": PLAIN},
        {"net": PLAIN, "acc": 91.2},
        {"checkpoint": {"weights": {"state_dict": PLAIN}}},
        *(
            behind(prefix, PLAIN)
            for prefix in (
                "module.",
                "_orig_mod.",
                "model.",
                "network.",
                "net.",
                "backbone.",
                "module._orig_mod.",
                "_orig_mod.module.model.",
                "anything.at.all.",
            )
        ),
        {"state_dict": behind("model._orig_mod.", PLAIN)},
        {key.replace("body.", "body._orig_mod."): value for key, value in PLAIN.items()},
        {key: value.double() for key, value in PLAIN.items()},
        {1: "one", **PLAIN, None: torch.ones(1), b"bytes": torch.ones(2)},
    ],
)
def test_weights_are_found_wherever_training_leaves_them(content: object, tmp_path: Path) -> None:
    with warnings.catch_warnings(action="error"):
        assert same(load(content, tmp_path), PLAIN)


class Versioned(nn.Linear):
    """Whose files have doubled weights since version 3."""

    _version = 3

    def _load_from_state_dict(self, state: Any, prefix: str, about: Any, *others: Any) -> None:
        if about["version"] < 3:
            state[f"{prefix}weight"] = 2 * state[f"{prefix}weight"]
        super()._load_from_state_dict(state, prefix, about, *others)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "model._orig_mod."])
@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("version", [2, 3, None])
def test_versions_of_modules_are_found_wherever_the_tensors_are(
    prefix: str, nested: bool, version: int | None, tmp_path: Path
) -> None:
    """By them a network reads older files; one without is taken for new if it has to be."""
    one, other = (nn.ModuleDict({"layer": Versioned(2, 2)}) for _ in range(2))
    state = OrderedDict(behind(prefix, one.state_dict()))
    if version:
        about = {"": {}, f"{prefix}layer": {"version": version}}
        state._metadata = about  # type: ignore[attr-defined]
    torch.save({"state_dict": state} if nested else state, tmp_path / "w.pth")
    load_weights(other, tmp_path / "w.pth", "versioned")
    factor = 2 if version == 2 else 1
    weights = [network.get_parameter("layer.weight") for network in (one, other)]
    assert torch.equal(weights[1], factor * weights[0])


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision_becomes_single(kind: torch.dtype, tmp_path: Path) -> None:
    halves = {k: v.to(kind) if v.is_floating_point() else v for k, v in PLAIN.items()}
    found = load(halves, tmp_path)
    assert found["head.weight"].dtype == torch.float32
    assert torch.equal(found["head.weight"], halves["head.weight"].float())


def test_formats(tmp_path: Path) -> None:
    """What torch wrote before 1.6, safetensors under any name, and what modules share."""
    torch.save(PLAIN, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    save_file(PLAIN, tmp_path / "new.safetensors")
    save_file(PLAIN, tmp_path / "named.bin")
    for name in ("old.pth", "new.safetensors", "named.bin"):
        network = small()
        load_weights(network, tmp_path / name, "small")
        assert same(network.state_dict(), PLAIN)

    def tied() -> nn.Module:
        layer = nn.Linear(3, 3)
        return nn.ModuleDict({"first": layer, "second": layer})

    one, other = tied(), tied()
    save_model(one, str(tmp_path / "tied.safetensors"))  # each tensor once
    load_weights(other, tmp_path / "tied.safetensors", "tied")
    assert same(other.state_dict(), one.state_dict())


BOTH = {
    "mmdet 2": {"meta": {}, "state_dict": PLAIN | flat(MEAN)},
    "mmdet 2, not unwrapped": {"state_dict": behind("module.", PLAIN | flat(MEAN))},
    "timm": {"state_dict": PLAIN, "state_dict_ema": MEAN, "arch": "small"},
    "torchvision's references": {
        "model": PLAIN,
        "model_ema": behind("module.", MEAN) | {"n_averaged": torch.tensor(7)},
    },
    "mmengine": {
        "state_dict": PLAIN,
        "ema_state_dict": behind("module.", MEAN) | {"steps": torch.tensor(7)},
    },
    "Lightning": {"state_dict": behind("model.", PLAIN) | behind("ema_model.module.", MEAN)},
    "detection transformers": {"model": PLAIN, "ema": {"module": MEAN, "updates": 7}},
    "stochastic weight averaging": {"state_dict": PLAIN, "swa_model": behind("module.", MEAN)},
    "beside": PLAIN | behind("ema.", MEAN),
}


@pytest.mark.filterwarnings("ignore:.*has no use for")
@pytest.mark.parametrize("content", BOTH.values(), ids=BOTH.keys())
def test_of_two_copies_the_plain_one_is_taken_and_either_can_be_chosen(
    content: State, tmp_path: Path
) -> None:
    with pytest.warns(UserWarning, match=r"more than once.*first are taken.*pth#ema.*pth#plain"):
        assert same(load(content, tmp_path), PLAIN)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*more than once")
        assert same(load(content, tmp_path, "#ema"), MEAN)
        assert same(load(content, tmp_path, "#plain"), PLAIN)


def test_averages_of_what_is_learned_alone_keep_the_plain_buffers(tmp_path: Path) -> None:
    learned = [name for name, _ in small().named_parameters()]
    content = {"state_dict": PLAIN | flat({k: MEAN[k] for k in learned})}
    assert same(load(content, tmp_path, "#ema"), PLAIN | {k: MEAN[k] for k in learned})


def test_averages_alone_are_taken(tmp_path: Path) -> None:
    with warnings.catch_warnings(action="error"):
        assert same(load({"state_dict_ema": MEAN}, tmp_path), MEAN)
    averaged = torch.optim.swa_utils.AveragedModel(small())
    averaged.module.load_state_dict(MEAN)
    with pytest.warns(UserWarning, match="1 of its tensors, e.g. n_averaged"):
        assert same(load(averaged.state_dict(), tmp_path, "#ema"), MEAN)
    with pytest.raises(ConfigError, match=r"#plain: the file has no weights but averaged ones"):
        load(averaged.state_dict(), tmp_path, "#plain")
    with pytest.raises(ConfigError, match=r"#ema: the file has no averaged weights of small"):
        load(PLAIN, tmp_path, "#ema")


def test_two_copies_that_nothing_tells_apart_are_refused(tmp_path: Path) -> None:
    for content in (
        {"student": PLAIN, "teacher": MEAN},
        {"state_dict": behind("student.", PLAIN) | behind("teacher.", MEAN)},
    ):
        with pytest.raises(ConfigError, match=r"more than once \(.*student\.stem.*teacher\.stem"):
            load(content, tmp_path)
    # What is usual comes first, and that is told.
    with pytest.warns(UserWarning, match=r"model\.stem\.weight, state_dict\.teacher\.stem"):
        found = load({"state_dict": behind("model.", PLAIN) | behind("teacher.", MEAN)}, tmp_path)
    assert same(found, PLAIN)


def test_the_choice_of_a_copy_is_read_off_the_weights(tmp_path: Path) -> None:
    file, odd = tmp_path / "w.pth", tmp_path / "w#ema"
    file.touch()
    odd.touch()
    assert ModelSpec("any", "x", f"{file}").chosen is None
    assert ModelSpec("any", "x", f"{odd}").weights_file == odd
    assert ModelSpec("any", "x", f"{odd}").chosen is None
    both = ModelSpec("any", "x", f"{odd}#plain")
    assert (both.weights_file, both.chosen) == (odd, "plain")
    named = ModelSpec("any", "x", "TAG#1")
    assert (named.weights_file, named.chosen) == (None, None)
    with pytest.raises(ConfigError, match=r"w\.pth#best: after # stands plain or ema"):
        _ = ModelSpec("any", "x", f"{file}#best").weights_file
    with pytest.raises(ConfigError, match=r"gone\.pth#ema: there is no file .*gone\.pth"):
        _ = ModelSpec("any", "x", f"{tmp_path}/gone.pth#ema").weights_file


@pytest.mark.parametrize(
    ("spare", "number", "example"),
    [
        (COUNTERS, 2, "stem.total_params"),
        ({"criterion.weight": torch.ones(5), "accuracy.hits": torch.tensor(3)}, 2, "accuracy.hits"),
        ({"stem.num_batches_tracked": torch.tensor(3)}, 1, "stem.num_batches_tracked"),
        ({"body.mask": torch.ones(4, 4)}, 1, "body.mask"),
        ({"x" * 100_000: torch.ones(3)}, 1, f"{'x' * 200}…"),
        ({"a\x1b[31m\n\ud800": torch.ones(3)}, 1, r"'a\\x1b[31m\\n\\ud800'"),
        ({"odd.one": torch.eye(3).to_sparse(), "odd.two": torch.empty(3, device="meta")}, 2, "odd"),
        ({"odd": torch.ones(1).half().expand(10**13)}, 1, "odd"),
    ],
)
def test_what_belongs_to_nothing_is_left_out_and_told(
    spare: State, number: int, example: str, tmp_path: Path
) -> None:
    said = f"small has no use for is left out, {number} of its tensors"
    with pytest.warns(UserWarning, match=said) as told:
        assert same(load(PLAIN | spare, tmp_path), PLAIN)
    (text,) = [str(w.message) for w in told if said in str(w.message)]
    assert example.replace(r"\\", "\\") in text
    assert len(text) < 500


@pytest.mark.parametrize(
    "more",
    [
        {"body.2.weight": torch.ones(4, 4, 1, 1)},
        {"body.1.gate.weight": torch.ones(4, 4)},
        {"norm.scale.gamma": torch.ones(4)},
    ],
)
def test_a_larger_network_is_refused_though_all_that_is_needed_is_there(
    more: State, tmp_path: Path
) -> None:
    for content in (PLAIN | more, behind("module.", PLAIN | more)):
        with pytest.raises(ConfigError, match=rf"{next(iter(more))}.*larger network.*Name the mod"):
            load(content, tmp_path)


def test_the_first_blocks_of_a_deeper_network_are_not_a_shallower_one(tmp_path: Path) -> None:
    """ResNet-18 is all in ResNet-34, to the shapes."""
    path = tmp_path / "deep.pth"
    torch.save(torchvision.models.resnet34(weights=None).state_dict(), path)
    with pytest.raises(ConfigError, match=r"96 tensors unknown .*layer1\.2\.conv1.*larger"):
        load_weights(torchvision.models.resnet18(weights=None), path, "resnet18")


def test_what_is_missing_is_not_made_up_for_by_spare_tensors(tmp_path: Path) -> None:
    lacking = {k: v for k, v in PLAIN.items() if k != "stem.weight"}
    for content in (lacking, lacking | COUNTERS, behind("module.", lacking)):
        with pytest.raises(ConfigError, match=r"1 tensors missing from the file \(e.g. stem.weig"):
            load(content, tmp_path)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (torch.full((5, 4), torch.nan), "head.weight holds NaN or infinity"),
        (torch.full((5, 4), torch.inf), "head.weight holds NaN or infinity"),
        (torch.full((5, 4), 1e300, dtype=torch.float64), "head.weight holds NaN or infinity"),
        (torch.ones(5, 4).to_sparse(), "head.weight is sparse, nested or quantised"),
        (torch.ones(5, 4).to_sparse_csr(), "head.weight is sparse, nested or quantised"),
        (
            torch.quantize_per_tensor(torch.ones(5, 4), 0.1, 0, torch.qint8),
            "head.weight is sparse, nested or quantised",
        ),
        (torch.nested.nested_tensor([torch.ones(4)] * 5), "sparse, nested or quantised"),
        (torch.empty(5, 4, device="meta"), "head.weight is without values"),
        (torch.ones(5, 4, dtype=torch.int8), "of int8 where the network has float32"),
        (torch.ones(5, 4, dtype=torch.bool), "of bool where the network has float32"),
        (torch.ones(5, 4, dtype=torch.complex64), "of complex64 where the network has float32"),
        (torch.tensor(1.0), r"head.weight: \(\) in the file, \(5, 4\) in the model"),
        (torch.ones(0), r"head.weight: \(0,\) in the file"),
        (torch.ones(1).half().expand(10**13), r"head.weight: \(10000000000000,\) in the file"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.filterwarnings("ignore")
def test_values_that_no_network_runs_on_are_refused_by_name(
    value: Tensor, said: str, prefix: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=rf"weights\.pth.*{said}"):
        load(behind(prefix, PLAIN | {"head.weight": value}), tmp_path)


def test_a_buffer_that_is_infinite_by_design_may_be_so_in_the_file(tmp_path: Path) -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)
            self.register_buffer("mask", torch.full((2, 2), -torch.inf).triu(1))

    save_file(Masked().state_dict(), tmp_path / "masked.safetensors")
    load_weights(Masked(), tmp_path / "masked.safetensors", "masked")


class Shadowed:
    """An ordered dictionary whose methods the file has put something else in the place of."""

    def __reduce__(self) -> tuple[Any, ...]:
        state = {"items": 1, "keys": 2, "get": 3, "values": 4, "_metadata": 5}
        return OrderedDict, (), state, None, iter(PLAIN.items())


def test_dictionaries_that_mislead(tmp_path: Path) -> None:
    inside: State = dict(PLAIN)
    inside["itself"] = inside
    for content in (Shadowed(), {"state_dict": Shadowed()}, {"state_dict": inside}):
        assert same(load(content, tmp_path), PLAIN)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({}, "names no tensors, it holds nothing"),
        ({"state_dict": None, "epoch": 3}, "names no tensors, it holds state_dict, epoch"),
        ({"state_dict": {"stem.weight": 5}}, "names no tensors"),
        ({0: torch.ones(3)}, "names no tensors"),
        ([PLAIN], "holds a list, not a state dict"),
        (torch.ones(3), "holds a Tensor, not a state dict"),
        (small(), "holds an object, not a state dict: save what the network's state_dict"),
        (None, "holds a NoneType, not a state dict"),
    ],
)
def test_files_without_a_state_dict(content: object, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"weights\.pth.*{said}"):
        load(content, tmp_path)


def test_what_is_no_checkpoint_at_all(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "zip.pth", "w") as archive:
        archive.writestr("readme", "nothing")
    torch.jit.script(small()).save(str(tmp_path / "script.pth"))
    for name, data in {
        "empty.pth": b"",
        "empty.safetensors": b"",
        "text.pth": b"see the release page\n" * 20,
        "html.safetensors": b"<!doctype html>" * 20,
        "header.safetensors": (10**15).to_bytes(8, "little") + b"{}",
        "brace.pth": bytes(8) + b"{",
        "zeros.pth": bytes(1000),
    }.items():
        (tmp_path / name).write_bytes(data)
    for path in tmp_path.iterdir():
        with pytest.raises(ConfigError, match=rf"{path.name}: cannot be read .*is it whole\?"):
            load_weights(small(), path, "small")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_weights(small(), tmp_path, "small")
    with pytest.raises(ConfigError, match="cannot be read"):
        sha256(tmp_path)


class Runs:
    def __init__(self, function: Any, argument: str) -> None:
        self.call = function, (argument,)

    def __reduce__(self) -> Any:
        return self.call


def test_no_code_in_a_file_is_run(tmp_path: Path) -> None:
    import os

    mark = tmp_path / "mark"
    for function, argument in ((os.system, f"touch {mark}"), (exec, f"open({str(mark)!r}, 'w')")):
        for zipped in (True, False):
            path = tmp_path / "weights.pth"
            content = {"state_dict": PLAIN, "x": Runs(function, argument)}
            torch.save(content, path, _use_new_zipfile_serialization=zipped)
            network = small()
            try:
                load_weights(network, path, "small")
            except ConfigError as error:
                assert "weights.pth: cannot be read" in str(error)  # noqa: PT017
            else:
                assert same(network.state_dict(), PLAIN)
            assert not mark.exists()


@pytest.fixture(scope="module")
def formats(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("formats")
    torch.save({"state_dict": PLAIN, "meta": {"epoch": 3}}, folder / "a")
    torch.save(PLAIN, folder / "b", _use_new_zipfile_serialization=False)
    save_file(PLAIN, folder / "c", metadata={"format": "pt"})
    return [(folder / name).read_bytes() for name in "abc"]


@pytest.mark.filterwarnings("ignore")
@given(data=st.data(), which=st.integers(0, 2))
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_a_damaged_file_is_refused_or_loads_finite(
    data: st.DataObject, which: int, formats: list[bytes], tmp_path: Path
) -> None:
    """Nothing in most formats tells of damage to the values themselves."""
    damaged = bytearray(formats[which])
    place = st.integers(0, len(damaged) - 1)
    if data.draw(st.booleans(), label="cut"):
        del damaged[data.draw(place) :]
    for at, byte in data.draw(st.lists(st.tuples(place, st.integers(0, 255)), max_size=8)):
        if at < len(damaged):
            damaged[at] = byte
    path = tmp_path / "damaged.pth"
    path.write_bytes(damaged)
    network = small()
    try:
        load_weights(network, path, "small")
    except ConfigError as error:
        assert "damaged.pth" in str(error)  # noqa: PT017
    else:
        state = network.state_dict()
        assert all(torch.isfinite(v).all() for v in state.values())
        assert same(state, PLAIN) or len(damaged) == len(formats[which])


CLASSIFIERS = [
    ("timm", "resnet10t"),
    ("timm", "tf_efficientnet_lite0"),
    ("timm", "deit_tiny_distilled_patch16_224"),
    ("torchvision", "resnet18"),
    ("torchvision", "squeezenet1_1"),
    ("torchvision", "shufflenet_v2_x0_5"),
    ("torchvision", "mnasnet0_5"),
]


def make(library: str, name: str, classes: int, **options: Any) -> nn.Module:
    if library == "timm":
        return timm.create_model(name, num_classes=classes, **options)
    return torchvision.models.get_model(name, weights=None, num_classes=classes, **options)


@pytest.mark.parametrize(("library", "name"), CLASSIFIERS)
@pytest.mark.parametrize("content", ["as it is", "behind a prefix"])
def test_a_head_for_other_classes_is_built_as_the_file_has_it(
    library: str, name: str, content: str, tmp_path: Path
) -> None:
    state = make(library, name, 12).state_dict()
    path = tmp_path / "tuned.pth"
    torch.save(behind("module.", state) if content == "behind a prefix" else state, path)
    model: Any = LIBRARIES.get(library).load(ModelSpec(library, name, str(path)), CPU)
    assert same(model.network.state_dict(), state)
    with torch.inference_mode():
        assert model.network(torch.zeros(1, 3, 224, 224)).shape == (1, 12)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "classes", "aux"),
    [
        ("googlenet", 12, True),
        ("googlenet", 12, False),
        ("googlenet", 1000, False),
        ("inception_v3", 12, False),
    ],
)
def test_heads_that_only_training_looks_at_do_not_count(
    name: str, classes: int, aux: bool, tmp_path: Path
) -> None:
    network = make("torchvision", name, 1000, aux_logits=aux, init_weights=False)
    network.fc = nn.Linear(network.fc.in_features, classes)  # type: ignore[union-attr,arg-type]
    path = tmp_path / "tuned.pth"
    torch.save(network.state_dict(), path)
    model: Any = LIBRARIES.get("torchvision").load(ModelSpec("torchvision", name, str(path)), CPU)
    own = {k: v for k, v in model.network.state_dict().items() if not k.lower().startswith("aux")}
    assert own["fc.weight"].shape[0] == classes
    assert all(torch.equal(v, network.state_dict()[k]) for k, v in own.items())


def refused(library: str, name: str, network: nn.Module, folder: Path) -> str:
    torch.save(network.state_dict(), folder / "other.pth")
    spec = ModelSpec(library, name, str(folder / "other.pth"))
    with pytest.raises(ConfigError) as error:
        LIBRARIES.get(library).load(spec, CPU)
    return str(error.value)


def test_what_is_no_matter_of_the_number_of_classes_is_refused_with_a_way_on(
    tmp_path: Path,
) -> None:
    way = "offer it in a package of your own"
    for library in ("timm", "torchvision"):
        grey = make(library, "resnet18", 12)
        grey.conv1 = nn.Conv2d(1, 64, 7, bias=False)
        assert way in refused(library, "resnet18", grey, tmp_path)
        none = make(library, "resnet18", 1)
        none.fc = nn.Linear(512, 0)
        assert way in refused(library, "resnet18", none, tmp_path)
    deep = make("torchvision", "resnet18", 12)
    deep.fc = nn.Sequential(nn.Dropout(), nn.Linear(512, 12))
    said = refused("torchvision", "resnet18", deep, tmp_path)
    assert "fc.weight" in said
    assert "Name the model that the file was trained with" in said
    detector = torchvision.models.detection.ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=5
    )
    said = refused("torchvision", "ssdlite320_mobilenet_v3_large", detector, tmp_path)
    assert way in said
    assert "names its classes" in said
