"""A filter after the codec: models see what it delivers, and fidelity is measured on that."""

import json
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

import bench
from bench import codecs, report
from bench import config as configs
from bench.datasets import mini
from bench.datasets.views import native
from bench.errors import ConfigError
from bench.preprocessors import PREPROCESSORS
from bench.preprocessors.controls import control
from bench.sweep.cache import Cache, key, pixels_sha256
from bench.sweep.coding import CODE_VERSION, Picture, Source, code, decoded
from bench.sweep.failures import ImageError
from bench.sweep.fidelity import ms_ssim, psnr
from bench.sweep.plan import Experiment, Point, plan, random_weights
from bench.sweep.workshop import Counts, Workshop

N = 8
QPS = [33, 39, 45]
IDENTITY = {"name": "blur", "sigma": 0}
BLUR = {"name": "blur", "sigma": 1.0}
QA_NPP = {"name": "qa-npp", "weights": "qa_npp_mini_cls"}
CPU = torch.device("cpu")

Methods = dict[str, Any]


class Inverse:
    """Black for white. It is told the QP, which is seen in nothing."""

    def __call__(self, rgb: np.ndarray, qp: int) -> np.ndarray:
        return 255 - rgb

    def fingerprint(self) -> dict[str, str]:
        return {"preprocessor": "inverse"}


@pytest.fixture(autouse=True)
def inverse(monkeypatch: pytest.MonkeyPatch) -> None:
    made = dict(PREPROCESSORS._items) | {"inverse": lambda options, qps, device: Inverse()}
    monkeypatch.setattr(PREPROCESSORS, "_items", made)


def described(methods: Methods, **changes: Any) -> dict[str, Any]:
    """Classifying pictures of mini, `methods` beside the anchor jpeg."""
    experiment = {
        "task": "cls",
        "dataset": {"format": "mini"},
        "models": [{"library": "mini", "name": "mini_classifier"}],
        "anchor": "jpeg",
        "methods": {"jpeg": {"codec": "jpeg", "qps": QPS}} | methods,
    }
    return {"experiments": [experiment | changes], "analysis": {"resamples": 0}}


def run(out: Path, methods: Methods, **options: Any) -> dict[str, Any]:
    """Its manifest."""
    bench.run(described(methods), out=out, limit=N, device="cpu", quiet=True, **options)
    manifest: dict[str, Any] = json.loads((out / "manifest.json").read_text())
    return manifest


@pytest.fixture
def _without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "write", lambda folder: [])


def rows(out: Path, file: str, method: str) -> pd.DataFrame:
    path = out / file
    table = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    own = table[table["method"] == method].drop(columns="method")
    return own.reset_index(drop=True)


# --- closed forms ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("_without_figures")
def test_the_identity_gives_the_rows_of_the_method_without_it(tmp_path: Path) -> None:
    methods = {"same": {"codec": "jpeg", "postprocessor": IDENTITY}}
    done = run(tmp_path / "run", methods)
    for file in ("images.parquet", "points.csv"):
        plain, same = (rows(tmp_path / "run", file, method) for method in ("jpeg", "same"))
        assert len(plain)
        pd.testing.assert_frame_equal(same, plain)
    # Its bits and predictions are those of the plain method, and are not made again.
    assert done["computed"] == {"coded": 3 * N, "predicted": 4 * N, "postprocessed": 3 * N}


@pytest.mark.usefixtures("_without_figures")
def test_an_inversion_is_taken_back_after_the_codec(tmp_path: Path) -> None:
    inverted = {"codec": "jpeg", "preprocessor": {"name": "inverse"}}
    methods = {"negative": inverted, "back": inverted | {"postprocessor": {"name": "inverse"}}}
    run(tmp_path / "run", methods)
    jpeg = codecs.make("jpeg")
    back = rows(tmp_path / "run", "images.parquet", "back").set_index(["index", "qp"])
    negative = rows(tmp_path / "run", "images.parquet", "negative").set_index(["index", "qp"])
    for i, sample in enumerate(mini.load("cls").samples[:N]):
        rgb = sample.load()
        for qp in QPS:
            data = jpeg.encode(255 - rgb, qp)
            seen = jpeg.decode(data)
            assert negative["bits"][i, qp] == back["bits"][i, qp] == 8 * len(data)
            assert negative["psnr"][i, qp] == pytest.approx(psnr(rgb, seen))
            assert back["psnr"][i, qp] == pytest.approx(psnr(rgb, 255 - seen))
            assert back["psnr"][i, qp] == pytest.approx(psnr(255 - rgb, seen))
            assert back["ms_ssim"][i, qp] == pytest.approx(ms_ssim(rgb, 255 - seen))
    points = pd.read_csv(tmp_path / "run" / "points.csv").query("metric == 'top1'")
    top1 = points.groupby("method")["value"].mean()
    assert top1["negative"] < top1["back"]  # the model sees what is delivered


# --- the cache ------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    made = Cache(tmp_path / "cache")
    made.prepare()
    return made


@pytest.fixture
def planned() -> Experiment:
    methods = {
        "plain": {"codec": "jpeg"},
        "blurred": {"codec": "jpeg", "postprocessor": BLUR},
    }
    return plan(configs.validate(described(methods), "test"), CPU, N)[0]


@pytest.fixture
def source(planned: Experiment, cache: Cache) -> Iterator[Source]:
    """The first picture."""
    shop = Workshop([planned], cache, "cpu", 1)
    rgb = planned.dataset.samples[0].load()
    picture = Picture(pixels_sha256(rgb), rgb.shape[1], rgb.shape[0])
    yield Source(planned.dataset.samples[0], native, picture, shop)
    shop.close()


class Counted:
    """A blur of two strengths that notes the QPs at which it is called."""

    def __init__(self) -> None:
        self.blur = control("blur", {"sigma": {33: 1.0, 45: 2.0}})
        self.alike = self.blur.alike
        self.calls: list[int] = []

    def __call__(self, rgb: np.ndarray, qp: int) -> np.ndarray:
        self.calls.append(qp)
        return self.blur(rgb, qp)

    def fingerprint(self) -> dict[str, str]:
        return {"preprocessor": "counted"}


def test_a_picture_is_filtered_once_for_qps_that_are_alike(source: Source) -> None:
    jpeg, counted = codecs.make("jpeg"), Counted()
    for qp in (33, 36, 45):
        coded = code(source, Point("counted", jpeg, qp, counted), Counts())
        expected = jpeg.encode(counted.blur(source.pixels, qp), qp)
        assert coded.bits == 8 * len(expected)
        assert coded.seconds["preprocess"] > 0
    assert counted.calls == [33, 45]


def point(planned: Experiment, method: str, qp: int = 39) -> Point:
    return next(p for p in planned.points if (p.method, p.qp) == (method, qp))


def test_keys_of_methods_without_one_are_what_they_were(
    planned: Experiment, source: Source
) -> None:
    plain, blurred = point(planned, "plain"), point(planned, "blurred")
    under = key(
        "coded",
        version=CODE_VERSION,
        pixels=source.picture.sha256,
        codec=plain.codec.fingerprint(),
        qp=39,
    )
    counts = Counts()
    assert code(source, plain, counts).key == under
    assert code(source, blurred, counts).key == under
    assert dict(counts.computed) == {"coded": 1, "postprocessed": 1}
    assert dict(counts.cached) == {"coded": 1}


def test_what_is_known_is_delivered_again(
    planned: Experiment, source: Source, cache: Cache
) -> None:
    """From the cache, and from an entry that was damaged since."""
    blurred, jpeg = point(planned, "blurred"), codecs.make("jpeg")
    seen = jpeg.decode(jpeg.encode(source.pixels, 39))
    expected = cv2.GaussianBlur(seen, (0, 0), 1.0)
    fresh, known = (code(source, blurred, Counts()) for _ in range(2))
    assert known == replace(fresh, pixels=None)
    assert known.delivered_sha256 == pixels_sha256(expected)
    assert known.psnr == pytest.approx(psnr(source.pixels, expected))
    assert set(known.seconds) == {"encode", "decode", "postprocess"}
    for coded in (fresh, known):
        assert np.array_equal(decoded(source, blurred, coded), expected)
    path = cache.folder / known.key[:2] / known.key[2:]
    path.write_bytes(b"damaged")
    with pytest.warns(UserWarning, match="damaged"):
        assert np.array_equal(decoded(source, blurred, known), expected)


@pytest.mark.parametrize(
    ("change", "computed"),
    [
        ({}, {}),
        ({"postprocessor": BLUR | {"sigma": 1.5}}, {"postprocessed": 1}),
        ({"qp": 40}, {"coded": 1, "postprocessed": 1}),
    ],
)
def test_whatever_can_change_it_is_in_its_key(
    planned: Experiment, source: Source, change: dict[str, Any], computed: dict[str, int]
) -> None:
    blurred = point(planned, "blurred")
    code(source, blurred, Counts())
    if "postprocessor" in change:
        change = {"postprocessor": control("blur", {"sigma": 1.5})}
    counts = Counts()
    code(source, replace(blurred, **change), counts)
    assert {k: n for k, n in counts.computed.items() if n} == computed


def test_fidelity_is_that_of_its_own_original(planned: Experiment, source: Source) -> None:
    """Two pictures that a codec makes equal share no entry."""

    class Gray:
        name = "gray"

        def encode(self, rgb: np.ndarray, qp: int) -> bytes:
            return b"gray"

        def decode(self, data: bytes) -> np.ndarray:
            return np.full(shape, 128, np.uint8)

        def fingerprint(self) -> dict[str, str]:
            return {"codec": "gray"}

    shape = source.pixels.shape
    gray = replace(point(planned, "blurred"), codec=Gray())  # type: ignore[arg-type]
    other = planned.dataset.samples[1]
    second = Source(
        other, native, Picture(pixels_sha256(other.load()), shape[1], shape[0]), source.shop
    )
    for each in (source, second):
        flat = np.full(shape, 128, np.uint8)
        assert code(each, gray, Counts()).psnr == pytest.approx(psnr(each.pixels, flat))


class Flattened:
    """What every picture looks like to a codec behind it: the same."""

    def __call__(self, rgb: np.ndarray, qp: int) -> np.ndarray:
        return np.full(rgb.shape, 128, np.uint8)

    def fingerprint(self) -> dict[str, str]:
        return {"preprocessor": "flattened"}


def test_fidelity_is_that_of_its_own_original_before_a_preprocessor(
    planned: Experiment, source: Source, cache: Cache
) -> None:
    """Two pictures that a preprocessor makes equal share the bits, and no fidelity; nor does the
    picture that it makes of them, where that is an original, too."""
    plain = point(planned, "plain")
    flat = np.full(source.pixels.shape, 128, np.uint8)
    other = planned.dataset.samples[1]
    originals = [source.pixels, other.load(), flat]
    kept = []
    for rgb in originals:
        picture = Picture(pixels_sha256(rgb), rgb.shape[1], rgb.shape[0])
        kept.append(Source(other, lambda _, rgb=rgb: rgb, picture, source.shop))
    counts = Counts()
    filtered = replace(plain, preprocessor=Flattened())
    for each, at in zip(kept, (filtered, filtered, plain), strict=True):
        for _ in range(2):  # fresh, and from the cache
            found = code(each, at, counts)
            assert found.psnr == psnr(each.pixels, decoded(each, at, found))
            assert found.ms_ssim == ms_ssim(each.pixels, decoded(each, at, found))
    assert counts.computed["coded"] == 1
    assert (counts.computed["fidelity"], counts.cached["fidelity"]) == (2, 2)


def test_entries_that_do_not_say_of_which_original_they_are_are_compared_again(
    planned: Experiment, source: Source, cache: Cache
) -> None:
    """As those of older versions; nothing is coded again."""
    plain = point(planned, "plain")
    fresh = code(source, plain, Counts())
    entry = cache.get(fresh.key)
    assert entry is not None
    del entry["original"]
    cache.put(fresh.key, entry | {"psnr": np.array(1.0)})
    for computed in (1, 0):
        counts = Counts()
        assert code(source, plain, counts) == replace(fresh, pixels=None)
        assert counts.computed["coded"] == 0
        assert counts.computed["fidelity"] == computed


def test_pixels_that_do_not_come_again_are_no_measurement(
    planned: Experiment, source: Source
) -> None:
    class Different:
        made = 0

        def __call__(self, rgb: np.ndarray, qp: int) -> np.ndarray:
            self.made += 1
            return rgb + np.uint8(self.made)

        def fingerprint(self) -> dict[str, str]:
            return {"preprocessor": "different"}

    different = replace(point(planned, "plain"), postprocessor=Different())
    code(source, different, Counts())
    known = code(source, different, Counts())
    with pytest.raises(ImageError, match="postprocess: it does not make the same pixels again"):
        decoded(source, different, known)


def test_with_a_target_rate_it_is_told_the_qp_that_was_found(
    planned: Experiment, source: Source
) -> None:
    class Told(Inverse):
        qps: ClassVar[list[int]] = []

        def __call__(self, rgb: np.ndarray, qp: int) -> np.ndarray:
            self.qps.append(qp)
            return 255 - rgb

    plain, told = point(planned, "plain"), Told()
    wanted = code(source, plain, Counts())
    rate = wanted.bits / (source.picture.width * source.picture.height)
    searched = replace(plain, qp=-1, postprocessor=told, rate=rate, tries=tuple(QPS))
    found = code(source, searched, Counts())
    assert (found.qp, found.bits) == (39, wanted.bits)
    known = code(source, searched, Counts())
    assert np.array_equal(decoded(source, searched, known), decoded(source, searched, found))
    assert told.qps == [39, 39]


# --- whole runs -----------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*was trained for")
def test_a_run_says_what_it_was_and_what_it_took(tmp_path: Path) -> None:
    methods = {"sandwich": {"codec": "jpeg", "preprocessor": BLUR, "postprocessor": QA_NPP}}
    out = tmp_path / "run"
    first = run(out, methods)
    (experiment,) = first["experiments"]
    assert set(experiment["postprocessors"]) == set(experiment["preprocessors"]) == {"sandwich"}
    assert experiment["postprocessors"]["sandwich"]["preprocessor"] == "qa-npp"
    costs = rows(out, "costs.parquet", "sandwich")
    assert set(costs["stage"]) == {"preprocess", "encode", "decode", "postprocess", "predict"}
    assert (costs.groupby("stage").size() == 3 * N).all()
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "postprocessing took" in page
    assert ">Postprocess</th>" in page
    assert "postprocessors of sandwich" in page
    assert json.loads((out / "pictures" / "pictures.json").read_text())["pictures"]

    again = run(out, methods)
    assert set(again["computed"].values()) == {0}
    assert again["cached"]["postprocessed"] == 3 * N


@pytest.mark.usefixtures("_without_figures")
def test_threads_and_processes_give_the_same(tmp_path: Path) -> None:
    methods = {"blurred": {"codec": "jpeg", "postprocessor": BLUR}}
    tables = []
    for backend in ("threading", "loky"):
        out = tmp_path / backend
        run(out, methods, backend=backend, jobs=2, cache=tmp_path / f"{backend}-cache")
        found = [*out.rglob("*.parquet"), *out.glob("*.csv")]
        kept = [p for p in found if p.name != "costs.parquet"]
        tables.append({p.relative_to(out): p.read_bytes() for p in kept})
    assert tables[0] == tables[1]


@pytest.mark.usefixtures("_without_figures")
def test_one_that_fails_on_an_image_costs_that_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jpeg = codecs.make("jpeg")
    bad = jpeg.decode(jpeg.encode(mini.load("cls").samples[5].load(), 39))

    def smaller(self: Inverse, rgb: np.ndarray, qp: int) -> np.ndarray:
        return rgb[1:] if np.array_equal(rgb, bad) else rgb

    monkeypatch.setattr(Inverse, "__call__", smaller)
    methods = {"x": {"codec": "jpeg", "postprocessor": {"name": "inverse"}}}
    with pytest.warns(UserWarning, match="test-00005 is left out"):
        done = run(tmp_path / "run", methods, max_failures=0.5)
    (failure,) = done["failures"]
    assert (failure["index"], failure["method"], failure["qp"]) == (5, "x", 39)
    assert failure["stage"] == "postprocess"
    assert "an array (95, 96, 3) of uint8; an array (96, 96, 3)" in failure["error"]
    points = pd.read_csv(tmp_path / "run" / "points.csv")
    assert set(points["n_images"]) == {N - 1}


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": "sharpen"}, "unknown preprocessor 'sharpen'; there are: blur"),
        ({"name": "blur"}, "preprocessor blur: takes `sigma`"),
        ({"name": "npp", "weights": "gone"}, "preprocessor weights 'gone': neither a file"),
        ({"name": "npp", "weights": "qa_npp_mini_cls"}, "are of preprocessor 'qa-npp'"),
        ({}, "its `name` is missing"),
    ],
)
def test_one_that_is_none_is_refused_naming_the_method(given: dict[str, Any], said: str) -> None:
    methods = {"x": {"codec": "jpeg", "postprocessor": given}}
    with pytest.raises(ConfigError, match=r"methods\.x\.postprocessor: ") as refused:
        plan(configs.validate(described(methods), "test"), CPU, N)
    assert said in str(refused.value)


def grid(methods: Methods) -> dict[str, list[int]]:
    methods = {"jpeg": {"codec": "jpeg", "qps": "auto"}} | methods
    return plan(configs.validate(described(methods), "test"), CPU, N)[0].grid()


def test_a_qp_that_it_was_not_trained_for_is_told() -> None:
    methods = {"x": {"codec": "jpeg", "qps": [39, 51], "postprocessor": QA_NPP}}
    with pytest.warns(UserWarning, match=r"trained for QP 27…47; QP 51 is outside"):
        plan(configs.validate(described(methods), "test"), CPU, N)


def test_a_pilot_looks_where_both_networks_were_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    held = {"name": "npp", "weights": {30: "npp_mini_cls_30", 37: "npp_mini_cls_37"}}  # 27…40
    both = {"codec": "jpeg", "preprocessor": QA_NPP, "postprocessor": held}
    with warnings.catch_warnings(action="error"):
        found = grid({"x": both, "after": {"codec": "jpeg", "postprocessor": QA_NPP}})
    assert (found["x"][0], found["x"][-1]) == (27, 40)
    assert (found["after"][0], found["after"][-1]) == (27, 47)

    monkeypatch.setattr(Inverse, "trained", range(48, 60), raising=False)
    both["postprocessor"] = {"name": "inverse"}
    said = r"x\.qps: auto: its preprocessor .* QP 27…47 and its postprocessor .* QP 48…59, none"
    with pytest.raises(ConfigError, match=said):
        grid({"x": both})


@pytest.mark.filterwarnings("ignore")
def test_one_without_weights_is_untrained_where_that_is_asked_for() -> None:
    methods = {"x": {"codec": "jpeg", "postprocessor": {"name": "npp", "weights": None}}}
    config = configs.narrowed(configs.validate(described(methods), "test"), random_weights=True)
    (experiment,) = plan(config, CPU, N)
    assert "x" in random_weights([experiment])
