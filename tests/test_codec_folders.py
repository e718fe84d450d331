"""`codec encode` and `codec decode` of folders, with a preprocessor and without."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import bench
from bench import codecs, coding_folders
from bench.cli import main
from bench.codecs.files import Size
from bench.datasets import mini
from bench.errors import ConfigError, DataError
from bench.preprocessors.controls import control

PICTURE = np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)
PREPROCESSOR = "qa_npp_mini_cls"
QPS = (33, 45)


def run(*words: object) -> int:
    return main(["codec", *map(str, words)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures, one of them in a folder below, and a file that is none."""
    root = tmp_path / "in"
    (root / "below").mkdir(parents=True)
    Image.fromarray(PICTURE).save(root / "a.png")
    Image.fromarray(PICTURE[:16]).save(root / "below" / "b.PPM")
    (root / "notes.txt").write_text("")
    return root


# --- as a sweep codes ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """The coded pictures of a sweep over the first four of the built-in set."""
    methods: dict[str, Any] = {
        "bpg": {"codec": "bpg", "qps": list(QPS)},
        "qa-npp+bpg": {
            "preprocessor": {"name": "qa-npp", "weights": PREPROCESSOR},
            "codec": "bpg",
        },
        "blur+jpeg": {"preprocessor": {"name": "blur", "sigma": 0.8}, "codec": "jpeg"},
    }
    described = {
        "experiments": [
            {
                "task": "cls",
                "dataset": {"format": "mini"},
                "models": [{"library": "mini", "name": "mini_classifier"}],
                "anchor": "bpg",
                "methods": methods,
            }
        ],
        "analysis": {"resamples": 0},
    }
    out = tmp_path_factory.mktemp("sweep") / "run"
    bench.run(described, out=out, limit=4, device="cpu", quiet=True)
    return pd.read_parquet(out / "images.parquet")


@pytest.mark.parametrize("qp", QPS)
@pytest.mark.parametrize(
    ("method", "ending", "words"),
    [
        ("bpg", ".bpg", []),
        ("qa-npp+bpg", ".bpg", ["--preprocessor", PREPROCESSOR]),
        (
            "blur+jpeg",
            ".jpg",
            ["--codec", "jpeg", "--preprocessor", "blur", "--preprocessor-option", "sigma=0.8"],
        ),
    ],
)
def test_files_have_the_bits_of_a_sweep(
    swept: pd.DataFrame, tmp_path: Path, qp: int, method: str, ending: str, words: list[str]
) -> None:
    (tmp_path / "in").mkdir()
    samples = mini.load("cls").samples[:4]
    for i, sample in enumerate(samples):
        Image.fromarray(sample.load()).save(tmp_path / "in" / f"{i}.png")
    words = ["--qp", str(qp), "--device", "cpu", *words]
    assert run("encode", tmp_path / "in", tmp_path / "out", "--jobs", 2, *words) == 0
    bits = [8 * (tmp_path / "out" / f"{i}{ending}").stat().st_size for i in range(4)]
    rows = swept[(swept["method"] == method) & (swept["qp"] == qp)].set_index("image")
    assert bits == [rows.loc[sample.name, "bits"] for sample in samples]
    one = tmp_path / f"one{ending}"
    assert run("encode", tmp_path / "in" / "0.png", one, *words) == 0
    assert one.read_bytes() == (tmp_path / "out" / f"0{ending}").read_bytes()


# --- folders ------------------------------------------------------------------------------------


def test_there_and_back(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    coded, back = tmp_path / "new" / "coded", tmp_path / "back"
    assert run("encode", folder, coded, "--qp", 30) == 0
    said = capsys.readouterr()
    codec = codecs.make("bpg")
    for name, pixels in (("a", PICTURE), ("below/b", PICTURE[:16])):
        assert (coded / f"{name}.bpg").read_bytes() == codec.encode(pixels, 30)
    n = [(coded / f"{name}.bpg").stat().st_size * 8 for name in ("a", "below/b")]
    pixels = 24 * 32, 16 * 32
    mean = (n[0] / pixels[0] + n[1] / pixels[1]) / 2
    total = f"2 files, {sum(n)} bits, bpp {mean:.4f}, bpp_total {sum(n) / sum(pixels):.4f}"
    assert total in said.out
    assert "1 other files" in said.err
    assert run("decode", coded, back) == 0
    assert "2 files" in capsys.readouterr().out
    decoded = np.array(Image.open(back / "below" / "b.png"))
    assert np.array_equal(decoded, codec.decode(codec.encode(PICTURE[:16], 30)))


def test_a_file_that_fails_is_named_after_all_others_are_done(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "A.jpg").write_bytes(b"no picture")
    alpha = np.full((24, 32, 1), 9, np.uint8)
    Image.fromarray(np.dstack([PICTURE, alpha])).save(folder / "t.png")
    assert run("encode", folder, tmp_path / "out", "--qp", 30, "--codec", "jpeg") == 2
    said = capsys.readouterr()
    assert f"failed: {folder / 'A.jpg'}: not a picture" in said.err
    assert f"failed: {folder / 't.png'} is transparent" in said.err
    assert "2 of 4 files failed; the others are written" in said.err
    assert "2 files," in said.out
    assert len(list((tmp_path / "out").rglob("*.jpg"))) == 2


def test_any_fault_of_a_codec_is_one_files_failure(folder: Path, tmp_path: Path) -> None:
    def each(source: Path, target: Path) -> str:
        if source.name == "a.png":
            raise ZeroDivisionError("of a plug-in")
        return source.name

    pairs = coding_folders.paired(folder, tmp_path / "out", (".png", ".ppm"), ".x", False).pairs
    done = coding_folders.code(pairs, each, 2, lambda steps, note="": None)
    assert done.made == ["b.PPM"]
    assert done.failures == [f"{folder / 'a.png'}: ZeroDivisionError: of a plug-in"]


def test_nothing_is_coded_where_a_file_is_there(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    (out / "below").mkdir(parents=True)
    (out / "below" / "b.bpg").write_text("mine")
    assert run("encode", folder, out, "--qp", 30) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"{out / 'below' / 'b.bpg'}: there already" in said
    assert "--overwrite" in said
    assert not (out / "a.bpg").exists()
    assert run("encode", folder, out, "--qp", 30, "--overwrite") == 0
    assert (out / "below" / "b.bpg").read_bytes() != b"mine"


def test_an_output_folder_inside_the_input_is_not_coded_again(folder: Path) -> None:
    for _ in range(2):
        words = ["--qp", 30, "--codec", "jpeg", "--overwrite"]
        assert run("encode", folder, folder / "out", *words) == 0
        made = sorted(path.relative_to(folder) for path in (folder / "out").rglob("*.*"))
        assert made == [Path("out/a.jpg"), Path("out/below/b.jpg")]


def test_no_file_of_the_input_is_replaced(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the folder of the input itself"):
        coding_folders.paired(folder, folder / "below" / "..", (".png",), ".bpg", True)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"file: is a file; name another"):
        coding_folders.paired(folder, tmp_path / "file", (".png",), ".bpg", True)
    (folder / "in").mkdir()
    (folder / "in" / "a.png").write_text("")
    with pytest.raises(ConfigError, match=r"a\.png: is a file of the input"):
        coding_folders.paired(folder, tmp_path / "in" / ".." / "in" / "..", (".png",), ".png", True)


def test_pictures_of_one_name_are_refused(folder: Path, tmp_path: Path) -> None:
    Image.fromarray(PICTURE).save(folder / "a.jpg")
    with pytest.raises(ConfigError, match=r"a\.jpg and .*a\.png would both become .*a\.bpg"):
        coding_folders.paired(folder, tmp_path / "out", (".png", ".jpg"), ".bpg", False)
    with pytest.raises(DataError, match=r"ends in \.webp"):
        coding_folders.paired(folder, tmp_path / "out", (".webp",), ".bpg", False)


def test_totals() -> None:
    assert coding_folders.total([]) == "0 files"
    sizes = [Size(10, 10, 100), Size(30, 10, 100)]
    assert coding_folders.total(sizes) == "2 files, 1600 bits, bpp 5.3333, bpp_total 4.0000"


# --- preprocessors ------------------------------------------------------------------------------


def test_a_plain_filter_and_its_option(folder: Path, tmp_path: Path) -> None:
    words = ["--qp", 30, "--preprocessor", "blur", "--preprocessor-option", "sigma=2"]
    assert run("encode", folder / "a.png", tmp_path / "a.bpg", *words) == 0
    expected = codecs.make("bpg").encode(control("blur", {"sigma": 2})(PICTURE, 30), 30)
    assert (tmp_path / "a.bpg").read_bytes() == expected


def test_a_transparent_picture_is_filtered_and_keeps_its_alpha(tmp_path: Path) -> None:
    alpha = np.full((24, 32), 90, np.uint8)
    Image.fromarray(np.dstack([PICTURE, alpha])).save(tmp_path / "a.png")
    words = ["--qp", 10, "--preprocessor", "blur", "--preprocessor-option", "sigma=2"]
    assert run("encode", tmp_path / "a.png", tmp_path / "a.bpg", *words) == 0
    blurred = control("blur", {"sigma": 2})(PICTURE, 10)
    expected = codecs.bpg.BpgCodec().encode_with_alpha(blurred, alpha, 10)
    assert (tmp_path / "a.bpg").read_bytes() == expected


def test_filtered_on_either_side(folder: Path, tmp_path: Path) -> None:
    coded, back = tmp_path / "coded", tmp_path / "back"
    assert run("encode", folder, coded, "--qp", 30) == 0
    words = ["--qp", 30, "--postprocessor", "blur", "--postprocessor-option", "sigma=2"]
    assert run("decode", coded, back, *words) == 0
    codec, blur = codecs.make("bpg"), control("blur", {"sigma": 2})
    for name, pixels in (("a", PICTURE), ("below/b", PICTURE[:16])):
        expected = blur(codec.decode(codec.encode(pixels, 30)), 30)
        assert np.array_equal(np.array(Image.open(back / f"{name}.png")), expected)


def test_a_transparent_picture_keeps_its_alpha_after_the_codec_too(tmp_path: Path) -> None:
    alpha = np.full((24, 32), 90, np.uint8)
    Image.fromarray(np.dstack([PICTURE, alpha])).save(tmp_path / "a.png")
    assert run("encode", tmp_path / "a.png", tmp_path / "a.bpg", "--qp", 10) == 0
    assert run("decode", tmp_path / "a.bpg", tmp_path / "plain.png") == 0
    words = ["--qp", 10, "--postprocessor", "blur", "--postprocessor-option", "sigma=2"]
    assert run("decode", tmp_path / "a.bpg", tmp_path / "blurred.png", *words) == 0
    plain, blurred = (np.array(Image.open(tmp_path / f"{n}.png")) for n in ("plain", "blurred"))
    assert np.array_equal(blurred[..., 3], plain[..., 3])
    rgb = np.ascontiguousarray(plain[..., :3])
    assert np.array_equal(blurred[..., :3], control("blur", {"sigma": 2})(rgb, 10))


@pytest.mark.parametrize(
    ("action", "words", "named"),
    [
        ("decode", ["--postprocessor", "blur"], ["--qp None", "0…51"]),
        ("decode", ["--qp", "30", "--postprocessor", "blur"], ["preprocessor blur", "`sigma`"]),
        ("decode", ["--postprocessor-option", "sigma=2"], ["needs a --postprocessor"]),
        ("decode", ["--preprocessor", "blur"], ["--preprocessor blur", "codec encode has"]),
        ("encode", ["--postprocessor", "blur"], ["--postprocessor blur", "codec decode has"]),
    ],
)
def test_a_filter_on_the_wrong_side_is_refused(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    action: str,
    words: list[str],
    named: list[str],
) -> None:
    assert run(action, folder, tmp_path / "out", *words) == 2
    said = " ".join(capsys.readouterr().err.split())
    for part in named:
        assert part in said
    assert not (tmp_path / "out").exists()


def test_a_qp_that_was_not_trained_is_told(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--qp", 20, "--device", "cpu", "--preprocessor", PREPROCESSOR]
    assert run("encode", folder / "a.png", tmp_path / "a.bpg", *words) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "warning: preprocessor qa-npp" in said
    assert "QP 20 is outside" in said


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--preprocessor", "qa_npp"], ["'qa_npp'", "qa_npp_mini_det", "blur, denoise"]),
        (["--preprocessor", "blur"], ["preprocessor blur", "takes `sigma`"]),
        (["--preprocessor", PREPROCESSOR, "--preprocessor-option", "a=1"], ["takes `weights`"]),
        (["--preprocessor", "blur", "--preprocessor-option", "2"], ["option '2'", "key=value"]),
        (["--preprocessor-option", "sigma=2"], ["needs a --preprocessor"]),
        (["--preprocessor", "a.png"], ["a.png: not a safetensors file"]),
        (["--preprocessor", "MODEL"], ["are of no preprocessor", "npp, qa-npp"]),
        (["--qp", "99", "--preprocessor", "blur"], ["--qp 99", "0…51"]),
        (["--codec", "bpq"], ["'bpq'", "bpg"]),
    ],
)
def test_what_is_refused(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    named: list[str],
) -> None:
    model = Path(bench.__file__).parent / "assets" / "mini_fcos.safetensors"
    paths = {"a.png": str(folder / "a.png"), "MODEL": str(model)}
    given = ["--qp", "30", *(paths.get(word, word) for word in words)]
    assert run("encode", folder, tmp_path / "out", *given) == 2
    said = " ".join(capsys.readouterr().err.split())
    for part in named:
        assert part in said
    assert not (tmp_path / "out").exists()
