"""What a config may be: everything else is refused in a sentence that names file, key and value."""

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import config as configs
from bench.config import BenchConfig, narrowed, per_task
from bench.errors import ConfigError

CONFIGS = Path(__file__).parents[1] / "configs"
SHIPPED = sorted(CONFIGS.glob("*.yaml"))


def described() -> dict[str, Any]:
    return {
        "experiments": [
            {
                "task": "cls",
                "dataset": {"format": "mini"},
                "models": [{"library": "mini", "name": "net"}],
                "anchor": "bpg",
                "methods": {"bpg": {"codec": "bpg", "qps": [33, 39]}, "jpeg": {"codec": "jpeg"}},
            }
        ]
    }


def loaded(tmp_path: Path, content: Any, *overrides: str) -> BenchConfig:
    path = tmp_path / "config.yaml"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return configs.load(path, list(overrides))


def refusal(tmp_path: Path, content: Any, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, content, *overrides)
    return str(caught.value)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_shipped_configs_are_valid(path: Path) -> None:
    assert configs.load(path).experiments


@pytest.mark.parametrize(
    "beside", ["", "mini"], ids=["nothing of that name", "a folder of that name"]
)
def test_a_shipped_config_is_known_by_its_name(
    beside: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / beside).mkdir(exist_ok=True)
    monkeypatch.chdir(tmp_path)
    assert configs.found(Path("mini")) == configs.built_in("mini")


def test_a_file_goes_before_the_shipped_config_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mini").touch()
    monkeypatch.chdir(tmp_path)
    assert configs.found(Path("mini")) == Path("mini")


# --- the file -------------------------------------------------------------------------------------

WHOLE = yaml.safe_dump(described())

NO_CONFIG: dict[str, tuple[str | bytes, str]] = {
    "empty": (b"", "expected a mapping"),
    "a list": ("- 1", "expected a mapping"),
    "two documents": ("a: 1\n---\nb: 2", "not valid YAML"),
    "latin-1": ("name: café".encode("latin-1"), "not valid YAML"),
    "zeros": (bytes(100), "not valid YAML"),
    "an escape character": (b"a: \x1b[31m", "not valid YAML"),
    "a key twice": (
        "experiments: []\nanalysis: {seed: 1}\nexperiments: []",
        "'experiments' stands on line 1 and again on line 3",
    ),
    "a key twice in a flow": ("{analysis: {seed: 1, seed: 2}}", "'seed' stands on line 1"),
    "a key twice, once in quotes": ("a: 1\n'a': 2", "'a' stands on line 1 and again on line 2"),
    "a number as key twice": ("a: {39: x, 0x27: y}", "39 stands on line 1"),
    "a key twice beside a merge": (
        "x: &x {a: 1}\ny: {<<: *x, b: 1, b: 2}",
        "'b' stands on line 2",
    ),
    "a key that is no": ("no: 1", "the key False is neither text"),
    "a key that is null": ("~: 1", "the key None is neither text"),
    "a key that is a list": ("? [1]\n: 2", "neither text nor a whole number"),
    "a date": ("a: 2024-05-01", "line 1, column 4: this is a timestamp"),
    "a set": ("a: !!set {b}", "this is a set"),
    "bytes": ("a: !!binary aGk=", "this is a binary"),
    "a Python object": ("a: !!python/object/apply:os.getcwd []", "python/object"),
    "a tag that is none": ("a: !x 1", "not valid YAML"),
    "a converter's error": ("a: !!bool maybe", "not valid YAML: KeyError"),
    "a number of another notation": ("a: 031", "031 is no plain decimal number"),
    "minutes and seconds": ("a: 4:20", "4:20 is no plain decimal number"),
    "a number too long to convert": (f"a: {'9' * 5000}", "is no plain decimal number"),
    "a number too large": (f"a: {10**30}", "too large"),
    "infinite": ("a: -.inf", "-.inf is no finite number"),
    "not a number": ("a: .nan", ".nan is no finite number"),
    "a float that overflows": ("a: 1.0e+999", "no finite number"),
    "deep lists": ("[" * 5000, "nested more than 50 deep"),
    "deep mappings": ("{a: " * 5000, "nested more than 50 deep"),
    "deep by its indents": ("- " * 5000, "nested more than 50 deep"),
    "many values": ("a: [" + "1," * 20_000 + "]", "more than 10,000 values"),
    "too large": (b"#" * 1_000_001, "more than 1,000,000 bytes"),
    "an alias of itself": ("a: &a [*a]", "nested over 50 deep"),
    "aliases of aliases": (
        "a0: &a0 [x]\n"
        + "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 20)),
        "aliases written out it has over 10,000 values",
    ),
    "merges of merges": (
        "a0: &a0 {x: 1}\n"
        + "".join(
            f"a{i}: &a{i} {{<<: [{','.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 20)
        ),
        "more than 10,000 values",
    ),
    "half a character": (r'experiments: ["\ud800"]', "experiments.0: '\\ud800' holds a character"),
    "a zero in a text": (r'experiments: [{dataset: {root: "a\0b"}}]', "experiments.0.dataset.root"),
    "a zero in a key": (r'"a\0b": 1', "holds a character that is no text"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "said"), NO_CONFIG.values(), ids=NO_CONFIG)
def test_what_is_no_config(tmp_path: Path, content: str | bytes, said: str) -> None:
    error = refusal(tmp_path, content)
    assert said in error
    assert "config.yaml" in error
    assert len(error) < 1000


def test_no_file_a_folder_and_a_name_that_is_none(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path, tmp_path / ("x" * 300), Path("a\0b")):
        with pytest.raises(ConfigError, match=r"no such file|cannot be read"):
            configs.load(path)


def test_a_file_that_must_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ConfigError, match=r"c\.yaml cannot be read: .*Permission denied"):
        configs.load(tmp_path / "c.yaml")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_encodings_of_unicode_and_line_ends(tmp_path: Path, encoding: str, ends: str) -> None:
    content = described()
    content["experiments"][0]["dataset"]["name"] = "naïve 漢字 😀"
    text = yaml.safe_dump(content, allow_unicode=True).replace("\n", ends)
    config = loaded(tmp_path, text.encode(encoding))
    assert config.experiments[0].dataset.name == "naïve 漢字 😀"


def test_json_is_yaml(tmp_path: Path) -> None:
    content = described()
    content["experiments"][0]["dataset"]["name"] = "😀 ]]> \u202e"
    assert loaded(tmp_path, json.dumps(content)).experiments[0].dataset.name == "😀 ]]> \u202e"


def test_anchors_and_merges(tmp_path: Path) -> None:
    """A merged key may be overruled, and what shares an anchor is still changed by itself."""
    text = """
base: &base {codec: bpg, qps: [30, 40]}
experiments:
  - &one
    task: cls
    dataset: {format: mini}
    models: [{library: mini, name: net}]
    anchor: a
    methods: {a: {<<: *base}, b: {<<: *base, qps: [35]}}
  - {<<: *one, task: det}
"""
    config = loaded(tmp_path, text.replace("base: &base", "analysis: &base"), "analysis={}")
    methods = config.experiments[0].methods
    assert (methods["a"].qps, methods["b"].qps) == ([30, 40], [35])
    assert [e.task for e in config.experiments] == ["cls", "det"]
    changed = configs.load(CONFIGS / "folder.yaml", ["experiments.0.methods.bpg.qps=[30]"])
    assert [len(e.methods["bpg"].qps or []) for e in changed.experiments] == [1, 7]


# --- values ---------------------------------------------------------------------------------------

Key = tuple[str | int, ...]
METHOD: Key = ("experiments", 0, "methods", "jpeg")
QPS: Key = (*METHOD, "qps")
FINGERPRINT = "sha256:" + 64 * "0"
EXPECTED: Key = ("experiments", 0, "expected")


def put(content: Any, key: Key, value: Any) -> Any:
    node = content
    for part in key[:-1]:
        node = node[part] if isinstance(node, list) else node.setdefault(part, {})
    node[key[-1]] = value
    return content


BAD_VALUES: list[tuple[Key, Any, str]] = [
    (("analysis", "resamples"), 10**9, "less than or equal to 10000"),
    (("analysis", "resamples"), -1, "greater than or equal to 0"),
    (("analysis", "resamples"), True, "valid integer (given: True)"),
    (("analysis", "resamples"), "1000", "valid integer (given: '1000')"),
    (("analysis", "resamples"), 1000.0, "valid integer"),
    (("analysis", "resamples"), None, "valid integer"),
    (("analysis", "seed"), -1, "greater than or equal to 0"),
    (("analysis", "seed"), 2**32, "less than or equal to 4294967295"),
    (("analysis", "seed"), False, "valid integer"),
    (("analysis", "within"), [5, 1], "rising percentages"),
    (("analysis", "within"), [1, 1], "rising percentages"),
    (("analysis", "within"), [1], "rising percentages"),
    (("analysis", "within"), [1, 100], "below 100"),
    (("analysis", "within"), ["1", 2], "valid number (given: '1')"),
    (("analysis", "within"), [True, 2], "valid number"),
    (("analysis", "within"), list(range(101)), "at most 100"),
    (QPS, [], "at least 1"),
    (QPS, list(range(1001)), "at most 1000"),
    (QPS, [37, 37], "37 stands twice"),
    (QPS, [37.0], "valid integer"),
    (QPS, [True], "valid integer"),
    (QPS, ["37"], "valid integer (given: '37')"),
    (QPS, 37, "valid list"),
    (QPS, {}, "valid list"),
    (QPS, "37,40", "a list of QPs or auto is expected (given: '37,40')"),
    (QPS, "Auto", "a list of QPs or auto is expected"),
    (QPS, ["auto"], "valid integer (given: 'auto')"),
    (EXPECTED, {"dataset": FINGERPRINT, "top1": [0.9, -0.1]}, "greater than or equal to 0"),
    (EXPECTED, {"dataset": FINGERPRINT, "top1": ["0.9", 0.1]}, "valid number"),
    (EXPECTED, {"dataset": FINGERPRINT, "top1": 0.9}, "valid tuple"),
    (EXPECTED, {"dataset": "sha256:12", "top1": [0.9, 0.1]}, "should match pattern"),
    ((*METHOD, "codec"), 5, "valid string"),
    (("experiments", 0, "dataset", "root"), "", "no path"),
    (("experiments", 0, "dataset", "root"), "x" * 5000, "no path"),
    (("experiments", 0, "models", 0, "weights"), "x" * 5000, "no path"),
    (("experiments", 0, "task"), "pose", "unknown task 'pose'; there are: cls, det"),
    (("experiments",), [], "at least 1"),
    (("experiments",), {}, "valid list"),
]


@pytest.mark.parametrize(("key", "value", "said"), BAD_VALUES)
def test_values_out_of_range(tmp_path: Path, key: Key, value: Any, said: str) -> None:
    error = refusal(tmp_path, put(described(), key, value))
    assert said in error
    assert ".".join(map(str, key)) in error


@pytest.mark.parametrize("value", ["[1, .inf]", "[.nan, 2]"])
def test_levels_that_are_no_numbers(tmp_path: Path, value: str) -> None:
    text = f"{WHOLE}analysis: {{within: {value}}}"
    assert "no finite number" in refusal(tmp_path, text)


def test_expected_scores_that_the_task_does_not_have(tmp_path: Path) -> None:
    content = put(described(), EXPECTED, {"dataset": FINGERPRINT, "mAP": [0.3, 0.1]})
    error = refusal(tmp_path, content)
    assert "experiments.0: expected.mAP: task cls has no such score; there are: top1" in error


@pytest.mark.parametrize(("resamples", "seed"), [(0, 0), (10_000, 2**32 - 1)])
def test_ends_of_the_ranges(tmp_path: Path, resamples: int, seed: int) -> None:
    content = put(described(), ("analysis",), {"resamples": resamples, "seed": seed})
    content = put(content, ("analysis", "within"), [0, 99.9])
    content = put(content, EXPECTED, {"dataset": FINGERPRINT, "top1": [1, 0], "agreement": [1, 1]})
    assert loaded(tmp_path, content).analysis.resamples == resamples


GOOD_NAMES = [
    "<script>alert(1)</script>", "=1+1", "@SUM(1)", "a/b", "..", "../../up", "/absolute", "x" * 200,
    "a|b`c*d_e", "[bold red]x[/bold red]", "\u202eRTL", "naïve 漢字 😀", "%s{0}", "a,b;c",
    "Uncompressed",
]  # fmt: skip
BAD_NAMES = [
    "", " ", "\t", "\u00a0\u3000", "\u200b", "new\nline", "\r\nx", "a\tb", "nul\0x", "\x1b[31mred",
    "\x7f", "\x85", "\uffff", "\ufffe", "x" * 201,
]  # fmt: skip


def with_name(where: str, name: str) -> dict[str, Any]:
    content = described()
    experiment = content["experiments"][0]
    if where == "method":
        experiment["methods"][name] = {"codec": "webp"}
    elif where == "model":
        experiment["models"][0]["name"] = name
    elif where == "data set":
        experiment["dataset"]["name"] = name
    else:
        experiment["dataset"]["categories"] = {"cat": name} if where == "category" else {name: "x"}
    return content


PLACES = ["method", "model", "data set", "category", "own category"]


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("name", GOOD_NAMES)
def test_any_printable_text_is_a_name(tmp_path: Path, where: str, name: str) -> None:
    content = with_name(where, name)
    assert loaded(tmp_path, json.dumps(content)).model_dump()["experiments"][0] is not None
    assert loaded(tmp_path, yaml.safe_dump(content, allow_unicode=True))


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("name", BAD_NAMES, ids=range(len(BAD_NAMES)))
def test_names_that_cannot_be_shown_are_refused(tmp_path: Path, where: str, name: str) -> None:
    if where == "model" and len(name) == 201:
        name *= 40  # a path to a model's own config is a name, too
    error = refusal(tmp_path, json.dumps(with_name(where, name)))
    assert "experiments.0." in error
    assert error.replace("\n", "").isprintable()
    assert len(error) < 600


def test_the_name_of_the_clean_pictures_is_taken(tmp_path: Path) -> None:
    assert "methods.uncompressed" in refusal(tmp_path, with_name("method", "uncompressed"))
    assert loaded(tmp_path, with_name("data set", "uncompressed"))


def test_many_faults_are_cut(tmp_path: Path) -> None:
    content = described()
    content["experiments"] *= 300
    for experiment in content["experiments"]:
        experiment["speed"] = "x" * 500
    error = refusal(tmp_path, json.dumps(content))
    assert "… and 280 more" in error
    assert len(error) < 5000


# --- the command line's options -------------------------------------------------------------------

BAD_OVERRIDES = [
    ("nonsense", "key=value"),
    ("=1", "key=value"),
    ("a..b=1", "key=value"),
    (".=1", "key=value"),
    (".".join("a" * 60) + "=1", "key=value"),
    ("experiments.-1.task=det", "-1 is no position in a list of 1"),
    ("experiments.1.task=det", "1 is no position"),
    ("experiments.x.task=det", "x is no position"),
    ("experiments.²=det", "² is no position"),
    (f"experiments.{'9' * 5000}.task=det", "no position"),
    ("experiments.0.task.deep=1", "below 'cls', which has no keys"),
    ("experiments.0.methods.jpeg.qps.0=5", "which has no keys"),
    ("analysis.seed=[", "--set analysis.seed=[ is not valid YAML"),
    ("analysis.seed={a: 1, a: 2}", "'a' stands on line 1"),
    ("analysis.seed=&x [*x]", "nested over 50 deep"),
    ("analysis.seed=" + "[" * 3000, "nested more than 50 deep"),
    ("analysis.seed=.nan", "no finite number"),
    ("analysis.seed=\x1b[31m", "'analysis.seed=\\x1b"),
    ("analysis.seed=\udcff", "\\udcff"),
    ("analysis.sead=1", "analysis.sead"),
    ("analysis=", "analysis"),
]


@pytest.mark.parametrize(("override", "said"), BAD_OVERRIDES, ids=range(len(BAD_OVERRIDES)))
def test_overrides_that_lead_nowhere(tmp_path: Path, override: str, said: str) -> None:
    content = put(described(), QPS, None)
    error = refusal(tmp_path, content, override)
    assert said in error
    assert len(error) < 1000


@pytest.mark.parametrize("content", [b"", "- 1", "text"])
def test_overrides_of_what_is_no_mapping(tmp_path: Path, content: str | bytes) -> None:
    refusal(tmp_path, content, "analysis.seed=1")


def test_overrides(tmp_path: Path) -> None:
    content = described()
    content["experiments"][0]["methods"]["npp"] = {
        "preprocessor": {"name": "npp", "weights": {39: "a", "44": "b"}},
        "codec": "bpg",
    }
    config = loaded(
        tmp_path,
        content,
        "experiments.0.methods.jpeg.qps=[1, 2]",
        "analysis.seed=3",
        "experiments.0.methods.npp.preprocessor.weights.39=c",
        "experiments.0.methods.npp.preprocessor.weights.44=d",
        "experiments.0.dataset.root=",
    )
    methods = config.experiments[0].methods
    assert methods["jpeg"].qps == [1, 2]
    assert config.analysis.seed == 3
    assert methods["npp"].preprocessor == {"name": "npp", "weights": {39: "c", "44": "d"}}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (None, {}),
        ("dir", {"": "dir"}),
        ("a,b=c", {"": "a,b=c"}),
        ("det", {"": "det"}),
        ("net", {"": "net"}),
        ("det=a,cls=b", {"det": "a", "cls": "b"}),
        ("net=x=y,net2=b", {"net": "x=y", "net2": "b"}),
        ("a=b=c", {"a=b": "c"}),
        ("other=c", {"": "other=c"}),
    ],
)
def test_values_by_task_or_by_name(text: str | None, found: dict[str, str]) -> None:
    assert per_task("--weights", text, ["net", "net2", "a=b"]) == found


def test_qps_that_a_pilot_chooses(tmp_path: Path) -> None:
    (listed,) = loaded(tmp_path, put(described(), QPS, "auto")).experiments
    assert (listed.qps("bpg"), listed.qps("jpeg")) == ([33, 39], "auto")
    config = loaded(tmp_path, described(), "experiments.0.methods.bpg.qps=auto")
    (whole,) = config.experiments
    assert (whole.qps("bpg"), whole.qps("jpeg")) == ("auto", "auto")
    assert BenchConfig.model_validate_json(config.model_dump_json()) == config


def test_further_measures_of_pictures_are_told_where_they_are_asked_for(tmp_path: Path) -> None:
    plain = loaded(tmp_path, described())
    assert plain.fidelity is None
    assert "fidelity" not in plain.model_dump()
    asked = loaded(tmp_path, described(), "fidelity.lpips=weights/alexnet.pth")
    assert asked.model_dump()["fidelity"] == {"lpips": "weights/alexnet.pth"}
    for config in (plain, asked):
        assert BenchConfig.model_validate_json(config.model_dump_json()) == config
        assert configs.load(config) == narrowed(config) == config
    with pytest.raises(ConfigError, match=r"fidelity\.dists: Extra inputs"):
        loaded(tmp_path, described(), "fidelity.dists=FILE")


def test_auto_on_the_command_line_is_for_every_method(tmp_path: Path) -> None:
    config = loaded(tmp_path, put(described(), QPS, [5]))
    (narrow,) = narrowed(config, qps="auto").experiments
    assert [method.qps for method in narrow.methods.values()] == ["auto", "auto"]
    (listed,) = narrowed(narrowed(config, qps="auto"), qps=[40]).experiments
    assert [method.qps for method in listed.methods.values()] == [[40], "auto"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("det=", "empty"),
        ("det=a,cls=", "empty"),
        ("det=a,", "give one value"),
        (",det=a", "give one value"),
        ("det=a,b", "give one value"),
        ("a,det=b", "give one value"),
        ("det=a,det=b", "det stands twice"),
        ("net=a,net=b", "net stands twice"),
    ],
)
def test_values_by_task_that_are_odd(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=rf"--weights.*{said}"):
        per_task("--weights", text, ["net"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tasks": []}, "--tasks: it names nothing"),
        ({"methods": []}, "--methods: it names nothing"),
        ({"qps": []}, "--qps: it names nothing"),
        ({"tasks": ["cls", "cls"]}, "--tasks cls,cls: cls stands twice"),
        ({"methods": ["bpg", "bpg"]}, "bpg stands twice"),
        ({"qps": [37, 37]}, "--qps 37,37: 37 stands twice"),
        ({"tasks": ["seg"]}, "--tasks seg: the config has cls"),
        ({"methods": ["bpg", "x"]}, "--methods x: the config has bpg, jpeg"),
        ({"data_root": {"det": "a"}}, "--data-root det=a: the config has cls"),
        ({"weights": {"det": "a"}}, "--weights det=a: the config has cls, net"),
        ({"data_root": {"": "a\0b"}}, "experiments.0.dataset.root"),
        ({"data_root": {"": "caf\udce9"}}, "experiments.0.dataset.root"),
        ({"weights": {"net": "a\0b"}}, "experiments.0.models.0.weights"),
        ({"qps": list(range(2000))}, "at most 1000"),
    ],
)
def test_options_that_are_odd(options: dict[str, Any], said: str) -> None:
    config = configs.validate(described(), "of the test")
    with pytest.raises(ConfigError) as caught:
        narrowed(config, **options)
    assert said in str(caught.value)


# --- whatever it is -------------------------------------------------------------------------------

ODD: list[Any] = [
    None, True, False, 0, -1, 10**18, 1.5, -1e300, "", " ", "x" * 5000, "\u202e", "null", "37", [],
    {}, [[]], [None], {"name": "x"}, {"": ""}, {1: 2}, [37, 37], {"a": {"b": {"c": [1, "2"]}}},
]  # fmt: skip


def places(node: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) of it."""
    keys = node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    found = [(node, key) for key in keys]
    return found + [place for key in keys for place in places(node[key])]


def restructured(content: Any, rng: random.Random) -> Any:
    for _ in range(rng.randint(1, 3)):
        if not (found := places(content)):
            break
        node, key = rng.choice(found)
        change = rng.randrange(4)
        if change == 0:
            del node[key]
        elif change == 1 and isinstance(node, dict):
            node[rng.choice(["x", "name", "qps", 5, "uncompressed", "\u00a0"])] = node.pop(key)
        elif change == 2:
            node[key] = [node[key]] if rng.random() < 0.5 else {"name": node[key]}
        else:
            node[key] = copy.deepcopy(rng.choice(ODD))
    return content


def retyped(text: str, rng: random.Random) -> str:
    marks = [*"{}[]:,&*!|>'\"%@`#-? \n\t0.~", "<<: ", "\0", "\x1b", "\ud800", "*methods", "1e400"]
    for _ in range(rng.randint(1, 4)):
        start = rng.randrange(len(text))
        end = start + rng.choice([0, 0, 1, 1, 5, 60])
        text = text[:start] + rng.choice(["", *marks]) + text[end:]
    return text


def is_answered(read: Callable[[], BenchConfig]) -> None:
    """With a config that a manifest can hold, or with a sentence."""
    try:
        config = read()
    except ConfigError:
        return
    json.dumps(config.model_dump(), allow_nan=False)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_whatever_becomes_of_a_shipped_config_is_answered(path: Path, tmp_path: Path) -> None:
    rng = random.Random(path.stem)
    text = path.read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    for _ in range(15):
        changed = restructured(copy.deepcopy(content), rng)
        is_answered(lambda: configs.validate(changed, "of the test"))  # noqa: B023
        mangled = retyped(text, rng).encode("utf-8", "surrogatepass")
        is_answered(lambda: loaded(tmp_path, mangled))  # noqa: B023
        narrowing = {"data_root": {"": "d"}, "random_weights": True, "qps": [rng.randint(-9, 99)]}
        is_answered(lambda: narrowed(configs.load(path), **narrowing))  # noqa: B023


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60), st.text(max_size=20))
def test_whatever_is_set_is_answered(override: str, value: str) -> None:
    for text in (
        override,
        f"analysis.{override}",
        f"analysis.within={override}",
        f"{override}={value}",
    ):
        is_answered(lambda: configs.load(CONFIGS / "ci.yaml", [text]))  # noqa: B023


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_whatever_an_option_says_is_answered(text: str) -> None:
    try:
        found = per_task("--weights", text, ["net", "a,b", "c=d"])
    except ConfigError:
        return
    assert all(found.values())


def test_the_default_runs_two_of_its_tasks_and_has_a_third() -> None:
    default = configs.load(configs.built_in("mini"))
    chosen = [configs.narrowed(default), configs.narrowed(default, tasks=["seg"])]
    assert [[e.task for e in c.experiments] for c in chosen] == [["det", "cls"], ["seg"]]


def test_tasks_of_the_config_must_be_there() -> None:
    raw = configs.load(configs.built_in("mini")).model_dump() | {"tasks": ["det", "ins"]}
    with pytest.raises(ConfigError, match=r"tasks: ins: the config has cls, det, seg"):
        configs.narrowed(configs.load(raw))
