"""Whatever became of a results folder: the same numbers as before, or a sentence naming a file."""

import hashlib
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gated_results as gated
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import bench.report
from bench.analysis import analyse, baseline
from bench.analysis.compare import compare
from bench.analysis.curves import measure
from bench.analysis.power import power_table
from bench.analysis.results import load
from bench.atomic import checksum
from bench.errors import BenchError
from bench.results.files import ResultsError

N = 30
TABLES = ("points.csv", "bd.csv", "equal_accuracy.csv")


def seal(root: Path) -> None:
    """List the files and their hashes in the manifest, and the manifest's own, as a run does."""
    manifest = json.loads((root / "manifest.json").read_text())
    manifest["files"] = {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*.parquet")
    }
    manifest["checksum"] = checksum(manifest)
    (root / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture(scope="module")
def unsealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As older versions wrote it."""
    return gated.write(tmp_path_factory.mktemp("old") / "run", n=N)


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = gated.write(tmp_path_factory.mktemp("new") / "run", n=N)
    seal(root)
    return root


@pytest.fixture(scope="module")
def kept(sealed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("kept") / "base.json"
    baseline.write(sealed, file)
    return file


def numbers(root: Path) -> list[bytes]:
    analyse(root)
    return [(root / name).read_bytes() for name in TABLES]


def power(root: Path) -> None:
    results = load(root)
    for experiment in results.manifest.experiments:
        for model in experiment.models:
            power_table([measure(results, experiment, model)], "pareto", "pchip", 5.0, 0.8)


def is_answered(do: Callable[[], Any]) -> Any:
    """What it gives; None where it is refused in a sentence. Any other error is a fault."""
    try:
        return do()
    except BenchError as error:
        str(error).encode()
        return None


def copied(source: Path, target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    return target


ODD: list[Any] = [
    None, True, False, 0, -1, 10**18, 10**40, 1.5, 1e308, float("nan"), "", "x", "\ud800", "a\x1bb",
    "31", [], {}, [[]], {"a": 1}, [1, 2],
]  # fmt: skip


def places(node: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) of it."""
    keys = node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    return [(node, key) for key in keys] + [p for key in keys for p in places(node[key])]


def swapped(text: str, rng: random.Random) -> str:
    content = json.loads(text)
    found = [p for p in places(content) if not (isinstance(p[1], int) and p[1] > 2)]
    node, key = rng.choice(found)
    if rng.random() < 0.2:
        del node[key]
    else:
        node[key] = rng.choice(ODD)
    return json.dumps(content)


def mangled(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data))
    how = rng.randrange(4)
    if how == 0:
        return data[:start]
    if how == 1:
        return data[:start] + data[start + rng.randint(1, 40) :]
    changed = bytearray(data)
    for _ in range(1 if how == 2 else 8):
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def damage(root: Path, rng: random.Random) -> None:
    files = sorted(p for p in root.rglob("*") if p.suffix in (".parquet", ".json"))
    path = rng.choice([*files, *[p for p in files if p.parent == root] * 3])
    if path.suffix == ".json" and rng.random() < 0.7:
        path.write_text(swapped(path.read_text(), rng))
    else:
        path.write_bytes(mangled(path.read_bytes(), rng))


@pytest.mark.parametrize("seed", range(3))
def test_damage_is_noticed(sealed: Path, kept: Path, tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    whole = numbers(copied(sealed, tmp_path / "whole"))
    for _ in range(30):
        root = copied(sealed, tmp_path / "run")
        damage(root, rng)
        assert is_answered(lambda: numbers(root)) in (None, whole)  # noqa: B023
        comparison = is_answered(lambda: compare(kept, root, 1.0))  # noqa: B023
        assert comparison is None or comparison.exit_code == 0
        is_answered(lambda: power(root))  # noqa: B023
        is_answered(lambda: baseline.write(root, tmp_path / "again.json"))  # noqa: B023


@pytest.mark.parametrize("seed", range(2))
def test_damage_of_an_older_folder_is_answered(unsealed: Path, tmp_path: Path, seed: int) -> None:
    """Nothing says what was in it, so that only what cannot be is noticed."""
    rng = random.Random(seed)
    for _ in range(30):
        root = copied(unsealed, tmp_path / "run")
        damage(root, rng)
        is_answered(lambda: numbers(root))  # noqa: B023
        is_answered(lambda: power(root))  # noqa: B023


def test_damage_of_a_baseline_is_noticed(sealed: Path, kept: Path, tmp_path: Path) -> None:
    rng = random.Random(0)
    for _ in range(60):
        folder = copied(kept.parent, tmp_path / "kept")
        damage(folder, rng)
        comparison = is_answered(lambda: compare(folder / "base.json", sealed, 1.0))  # noqa: B023
        assert comparison is None or comparison.exit_code == 0


def test_a_baseline_with_a_checksum_of_its_own_is_answered(
    sealed: Path, kept: Path, tmp_path: Path
) -> None:
    """Somebody edited it, and knew how to make it look whole."""
    rng = random.Random(1)
    for _ in range(80):
        folder = copied(kept.parent, tmp_path / "kept")
        base = folder / "base.json"
        try:
            content = json.loads(swapped(base.read_text(), rng))
            content["checksum"] = checksum(content)
        except (UnicodeEncodeError, TypeError):
            continue
        base.write_text(json.dumps(content))
        is_answered(lambda: compare(base, sealed, 1.0))  # noqa: B023


def test_one_flipped_bit_anywhere_in_a_table(sealed: Path, tmp_path: Path) -> None:
    root = copied(sealed, tmp_path / "run")
    path = gated.statistics(root, "bpg", 39)
    data = path.read_bytes()
    for at in range(0, len(data), 97):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(ResultsError, match=r"bpg/39\.parquet: was changed or damaged"):
            analyse(root)


def test_pages_are_checked_where_no_hash_is_listed(unsealed: Path, tmp_path: Path) -> None:
    root = copied(unsealed, tmp_path / "run")
    path = gated.statistics(root, "bpg", 39)
    plain = {"compression": "none", "use_dictionary": False, "write_statistics": False}
    pq.write_table(pq.read_table(path), path, write_page_checksum=True, **plain)
    value = np.float64(2.0).tobytes()
    data = path.read_bytes()
    assert value in data
    path.write_bytes(data.replace(value, np.float64(3.0).tobytes(), 1))
    with pytest.raises(ResultsError, match=r"39\.parquet: cannot be read as Parquet"):
        analyse(root)


def test_statistics_of_another_point(sealed: Path, tmp_path: Path) -> None:
    root = copied(sealed, tmp_path / "run")
    shutil.copy(gated.statistics(root, "bpg", 31), gated.statistics(root, "bpg", 43))
    with pytest.raises(ResultsError, match=r"bpg/43\.parquet: was changed"):
        analyse(root)


def test_a_file_that_the_run_did_not_write(sealed: Path, tmp_path: Path) -> None:
    root = copied(sealed, tmp_path / "run")
    manifest = json.loads((root / "manifest.json").read_text())
    del manifest["files"]["images.parquet"]
    (root / "manifest.json").write_text(json.dumps(manifest | {"checksum": checksum(manifest)}))
    with pytest.raises(ResultsError, match=r"images\.parquet: was changed"):
        analyse(root)


@pytest.mark.parametrize("name", ["manifest.json", "images.parquet", "statistics"])
def test_something_else_in_the_place_of_a_file(sealed: Path, tmp_path: Path, name: str) -> None:
    root = copied(sealed, tmp_path / "run")
    if (root / name).is_dir():
        shutil.rmtree(root / name)
        (root / name).write_text("")
    else:
        (root / name).unlink()
        (root / name).mkdir()
    with pytest.raises(ResultsError, match=rf"{name}.*: (cannot be read|missing)"):
        analyse(root)


def test_files_that_must_not_be_read(
    sealed: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    for method in ("read_text", "read_bytes", "is_dir"):
        with monkeypatch.context() as patch:
            patch.setattr(Path, method, refuse)
            with pytest.raises(ResultsError, match="Permission denied"):
                compare(kept, sealed, 1.0)


# --- what no damage makes, but a hand or another program ------------------------------------------


def column(path: Path, name: str, values: Any) -> None:
    table = pq.read_table(path)
    position = table.column_names.index(name)
    pq.write_table(table.set_column(position, name, pa.array(values)), path)


def images(name: str, change: Callable[[list[Any]], list[Any]]) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        path = root / "images.parquet"
        column(path, name, change(pq.read_table(path)[name].to_pylist()))

    return spoil


def statistics(name: str, change: Callable[[list[Any]], list[Any]]) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        path = gated.statistics(root, "bpg", 39)
        column(path, name, change(pq.read_table(path)[name].to_pylist()))

    return spoil


def manifest(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        content = json.loads((root / "manifest.json").read_text())
        change(content)
        (root / "manifest.json").write_text(json.dumps(content))

    return spoil


def experiment(**values: Any) -> Callable[[Path], None]:
    return manifest(lambda m: m["experiments"][0].update(values))


def analysis(**values: Any) -> Callable[[Path], None]:
    return manifest(lambda m: m["analysis"].update(values))


def nested(levels: int) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        text = (root / "manifest.json").read_text()
        deep = "[" * levels + "]" * levels
        (root / "manifest.json").write_text(text[:-1] + f', "x": {deep}}}')

    return spoil


WRONG: dict[str, tuple[Callable[[Path], Any], str]] = {
    "bits as text": (images("bits", lambda v: list(map(str, v))), "column bits is .*, number"),
    "negative bits": (images("bits", lambda v: [-x for x in v]), "no bits or no size for 30"),
    "infinite bits": (images("bits", lambda v: [float("inf")] * len(v)), "no bits or no size"),
    "no width": (images("width", lambda v: [None, *v[1:]]), "no bits or no size for 1 images"),
    "QPs as floats": (images("qp", lambda v: list(map(float, v))), "column qp is .*, integer"),
    "a QP missing": (images("qp", lambda v: [None, *v[1:]]), "column qp is empty in 1 rows"),
    "names as numbers": (images("method", lambda v: [1] * len(v)), "column method .*, text"),
    "an index beyond": (images("index", lambda v: [99, *v[1:]]), "the manifest says otherwise"),
    "a negative index": (images("index", lambda v: [-1, *v[1:]]), "the manifest says otherwise"),
    "ranks as text": (statistics("rank", lambda v: list(map(str, v))), "rank is .*int32 is exp"),
    "ranks as floats": (statistics("rank", lambda v: list(map(float, v))), "do not fit task cls"),
    "images as floats": (statistics("image", lambda v: list(map(float, v))), "column image is"),
    "images as text": (statistics("image", lambda v: list(map(str, v))), "column image is"),
    "a loss missing": (
        statistics("cross_entropy", lambda v: [None, *v[1:]]),
        "column cross_entropy is empty in 1 rows",
    ),
    "a NUL in the manifest": (lambda r: (r / "manifest.json").write_bytes(b"\0"), "cannot be read"),
    "UTF-16": (lambda r: (r / "manifest.json").write_bytes("{}".encode("utf-16")), "cannot be"),
    "deep": (nested(100), "nested more than 50 deep"),
    "deeper than Python goes": (nested(100_000), "cannot be read"),
    "a huge number": (analysis(x=10**50), "more than 64 bits"),
    "a number too long to convert": (
        lambda r: (r / "manifest.json").write_text('{"schema": ' + "9" * 5000 + "}"),
        "cannot be read",
    ),
    "NaN": (analysis(x=float("nan")), "nan is no number"),
    "half a character": (experiment(task="\ud800"), "surrogates not allowed"),
    "resamples without end": (analysis(resamples=10**9), r"analysis\.resamples"),
    "resamples that are true": (analysis(resamples=True), r"analysis\.resamples"),
    "a negative seed": (analysis(seed=-1), r"analysis\.seed"),
    "a huge seed": (analysis(seed=2**40), r"analysis\.seed"),
    "levels beyond": (analysis(within=[1, 100]), r"analysis\.within"),
    "QPs as text": (experiment(methods={"bpg": ["31"]}), r"methods\.bpg\.0"),
    "QPs that are true": (experiment(methods={"bpg": [True]}), r"methods\.bpg\.0"),
    "no images": (experiment(n_images=0, images=[]), "n_images"),
    "a name of two lines": (experiment(dataset="a\nb"), r"dataset: .*control character"),
    "the clean score's name": (
        experiment(methods={"bpg": [31], "uncompressed": [31]}),
        r"methods\.uncompressed",
    ),
    "a list of methods": (experiment(methods=["bpg"]), "methods"),
    "an object of images": (experiment(images={"a": 1}), "images"),
    "experiments that are none": (manifest(lambda m: m.update(experiments=5)), "experiments"),
    "failures that are none": (manifest(lambda m: m.update(failures=[5])), r"failures\.0"),
    "files that are none": (manifest(lambda m: m.update(files=[])), "files"),
}


@pytest.mark.parametrize(("spoil", "said"), WRONG.values(), ids=WRONG)
def test_what_no_run_writes(
    unsealed: Path, tmp_path: Path, spoil: Callable[[Path], Any], said: str
) -> None:
    root = copied(unsealed, tmp_path / "run")
    spoil(root)
    with pytest.raises(ResultsError, match=said) as caught:
        analyse(root)
    assert str(root) in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_tables_are_made_anew_and_not_believed(sealed: Path, tmp_path: Path) -> None:
    root = copied(sealed, tmp_path / "run")
    whole = numbers(root)
    for name in TABLES:
        (root / name).write_text("cut off in the mid")
    assert numbers(root) == whole
    bench.report.write(root)


def test_rows_of_a_column_twice(unsealed: Path, tmp_path: Path) -> None:
    root = copied(unsealed, tmp_path / "run")
    table = pq.read_table(root / "images.parquet")
    pq.write_table(table.append_column("bits", table["bits"]), root / "images.parquet")
    with pytest.raises(ResultsError, match=r"images\.parquet: two columns of one name"):
        analyse(root)
