"""CompressAI's codecs with small networks of random weights: the real entropy coder, real bytes."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pictures import natural_picture

from bench.codecs import make
from bench.codecs.learned import MULTIPLE, LearnedCodec, _alone
from bench.errors import CodecError, ConfigError

pytest.importorskip("compressai", reason="CompressAI is not installed (the extra `learned`)")

SIZES = {  # constructor arguments of small networks
    "bmshj2018-factorized": (8, 12),
    "bmshj2018-hyperprior": (8, 12),
    "mbt2018-mean": (8, 12),
    "mbt2018": (12, 12),
    "cheng2020-anchor": (12,),
    "cheng2020-attn": (12,),
}
NAMES = list(SIZES)
AUTOREGRESSIVE = ("mbt2018", "cheng2020-anchor", "cheng2020-attn")


def _network(name: str, seed: int = 0) -> Any:
    from compressai.zoo.image import model_architectures

    torch.manual_seed(seed)
    network = model_architectures[name](*SIZES[name])
    with torch.no_grad():
        for parameter in network.g_a.parameters():  # so that the latent has something to code
            parameter.mul_(2)
    network.eval()
    return network


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("learned")
    found = {}
    for name in NAMES:
        found[name] = folder / f"{name}.pth.tar"
        torch.save(_network(name).state_dict(), found[name])
    return found


def _codec(files: dict[str, Path], name: str, quality: int = 3) -> LearnedCodec:
    codec = make({"name": name, "weights": {quality: str(files[name])}})
    assert isinstance(codec, LearnedCodec)
    return codec


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("width", "height"), [(1, 1), (17, 40), (70, 65)])
def test_the_decoder_puts_out_what_the_network_does_without_a_file(
    name: str, width: int, height: int, files: dict[str, Path]
) -> None:
    """Pixels equal those of `compress` and `decompress` without our file in between, exactly. They
    equal the forward pass to a level where no part of the latent is predicted from its neighbours:
    there the forward pass rounds the latent itself, and the coder its distance from the mean."""
    codec, rgb = _codec(files, name), natural_picture(width, height)
    data = codec.encode(rgb, 38)
    decoded = codec.decode(data)
    assert decoded.shape == rgb.shape
    network = _network(name)
    network.update()
    pad = ((0, -height % MULTIPLE), (0, -width % MULTIPLE), (0, 0))
    x = torch.from_numpy(np.pad(rgb, pad, mode="edge").transpose(2, 0, 1)[None].copy()) / 255
    with _alone():  # on one thread, as the codec
        coded = network.compress(x)
        direct = network.decompress(coded["strings"], coded["shape"])["x_hat"]
        forward = network(x)["x_hat"].clamp(0, 1)
    assert np.array_equal(decoded, _pixels(direct)[:height, :width])
    if name not in AUTOREGRESSIVE:
        apart = np.abs(decoded.astype(int) - _pixels(forward)[:height, :width])
        assert apart.max() <= 1
    # the file is the strings and the header: quality, two sides, a length, a checksum
    strings = sum(len(s[0]) for s in coded["strings"])
    header = (
        1 + 1 + 1 + 4 + (name != "bmshj2018-factorized") * (1 + (len(coded["strings"][0][0]) > 127))
    )
    assert len(data) == strings + header


def _pixels(x: torch.Tensor) -> NDArray[np.uint8]:
    return (255 * x[0]).round().to(torch.uint8).permute(1, 2, 0).numpy()


@pytest.mark.parametrize("name", NAMES)
def test_threads_do_not_change_bytes_or_pixels(name: str, files: dict[str, Path]) -> None:
    codec = pickle.loads(pickle.dumps(_codec(files, name)))
    pictures = [natural_picture(60 + i, 50, i) for i in range(3)]
    expected = [codec.encode(p, 38) for p in pictures]
    threads = torch.get_num_threads()
    torch.set_num_threads(2)  # a caller's choice is neither used nor lost
    try:
        with ThreadPoolExecutor(3) as pool:
            assert list(pool.map(lambda p: codec.encode(p, 38), pictures)) == expected
            decoded = list(pool.map(codec.decode, expected))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    for data, pixels in zip(expected, decoded, strict=True):
        assert np.array_equal(codec.decode(data), pixels)


@pytest.mark.parametrize("name", NAMES)
def test_damage_is_refused(name: str, files: dict[str, Path]) -> None:
    codec = _codec(files, name)
    data = codec.encode(natural_picture(40, 30), 38)
    rng = np.random.default_rng(0)
    broken = [data[:n] for n in range(0, len(data), 1 + len(data) // 30)]
    for _ in range(30):
        flipped = bytearray(data)
        at = rng.integers(1, len(data))
        flipped[at] ^= rng.integers(1, 256)
        broken.append(bytes(flipped))
    for damaged in [*broken, b"\x00", b"\x09", rng.bytes(100)]:
        with pytest.raises(CodecError):
            codec.decode(damaged)


def test_qps_and_qualities(files: dict[str, Path]) -> None:
    codec = make(
        {"name": "mbt2018", "weights": {1: str(files["mbt2018"]), 8: str(files["mbt2018"])}}
    )
    assert list(codec.qps) == [23, 44]
    assert codec.encode(natural_picture(8, 8), 44)[0] == 1
    assert codec.encode(natural_picture(8, 8), 23)[0] == 8
    with pytest.raises(CodecError, match="mbt2018 has QP 23, 44, not 38"):
        codec.encode(natural_picture(8, 8), 38)
    with pytest.raises(CodecError, match="uint8"):
        codec.encode(natural_picture(8, 8).astype(float), 44)  # type: ignore[arg-type]


def test_the_fingerprint_knows_the_weights(files: dict[str, Path], tmp_path: Path) -> None:
    seen = _codec(files, "mbt2018").fingerprint()
    assert seen["compressai"][0].isdigit()
    other = tmp_path / "other.pth"
    torch.save({"state_dict": _network("mbt2018", 1).state_dict()}, other)
    changed = make({"name": "mbt2018", "weights": str(other), "quality": 3}).fingerprint()
    assert {k for k in seen if seen[k] != changed[k]} == {"weights_3"}


def test_weights_that_are_refused_before_coding(files: dict[str, Path], tmp_path: Path) -> None:
    whole = files["mbt2018"].read_bytes()
    cut, junk = tmp_path / "cut.pth.tar", tmp_path / "junk.pth.tar"
    cut.write_bytes(whole[: len(whole) // 2])
    junk.write_bytes(b"no checkpoint at all")
    pickled = tmp_path / "pickled.pth"
    pickled.write_bytes(pickle.dumps({"a": Path("x")}))
    for file in (cut, junk, pickled):
        with pytest.raises(ConfigError, match=rf"codec mbt2018: weights: {file} cannot be read"):
            make({"name": "mbt2018", "weights": {3: str(file)}})
    with pytest.raises(ConfigError, match="does not hold a mbt2018"):
        make({"name": "mbt2018", "weights": {3: str(files["bmshj2018-hyperprior"])}})
    for weights, says in [
        ({3: "nowhere.pth"}, r"nowhere\.pth: there is no such file"),
        ({9: str(cut)}, r"9: .* is not a quality of 1…8"),
        (str(cut), "one file needs its quality"),
    ]:
        with pytest.raises(ConfigError, match=says):
            make({"name": "mbt2018", "weights": weights})
    with pytest.raises(ConfigError, match="unknown option 'width'"):
        make({"name": "mbt2018", "width": 3})


def test_no_weights_and_no_network_says_where_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    codec = make("mbt2018")
    assert isinstance(codec, LearnedCodec)
    with pytest.raises(
        ConfigError, match=r"weights of quality 3 are not here.*Get https://.*mbt2018-3-"
    ):
        codec.prepare([38])
