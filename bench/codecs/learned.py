"""Learned codecs: CompressAI's networks with their own entropy coder, on the processor.

The one module here that imports torch and CompressAI (the extra `learned`), and only inside
functions: they are loaded when such a codec is chosen. A file is a header and the entropy coder's
own bytes, nothing estimated:

    quality, 1 byte · width, height (ue7, as in a .bpg file) · for each string but the last its
    length (ue7) · CRC-32 of all else, 4 bytes · the strings

The checksum is there because the range decoder reads on wherever damaged bytes lead it.
"""

import hashlib
import threading
import warnings
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.codecs.base import CODECS
from bench.codecs.bpg.bits import read_ue7, write_ue7
from bench.codecs.bpg.header import MAX_PIXELS
from bench.codecs.libraries import need, versions
from bench.codecs.options import Option, check_options
from bench.errors import CodecError, ConfigError

METRICS = ("mse", "ms-ssim")
OPTIONS: Mapping[str, Option] = {
    "metric": Option(allowed=METRICS),
    "weights": Option(kind=(str, Mapping), says="a file, or a mapping from quality to file"),
    "quality": Option(kind=int, least=1, says="a whole number from 1 up"),
}
MULTIPLE = 64
"""Sides are padded to a multiple of this by replication, and cropped: six halvings."""

_LOCK = threading.Lock()  # CompressAI's networks share buffers, torch its number of threads


@dataclass(frozen=True)
class LearnedCodec:
    """A network of CompressAI's zoo; each of its qualities is a checkpoint and a QP.

    QP 44 - 3 (quality - 1): neighbouring qualities were trained with a λ about twice as large, and
    in HEVC λ doubles every three QPs; docs/codecs.md says why it begins at 44. Rates are the
    network's affair and were not fitted.

    weights: files by quality; for those that are not there, CompressAI's hub. Pictures are coded
    one at a time on one thread: the decoder must find the very numbers that the encoder had.
    """

    metric: str = "mse"
    weights: tuple[tuple[int, str], ...] = ()

    name = ""
    qualities = range(1, 9)

    @classmethod
    def from_options(cls, options: Mapping[str, object]) -> "LearnedCodec":
        """Refuses a file that is missing, cut short or another network's: ConfigError."""
        check_options(cls.name, options, OPTIONS)
        cls._compressai()
        codec = cls(str(options.get("metric", "mse")), cls._files(options))
        for quality, _ in codec.weights:
            codec._network(quality)
        return codec

    @classmethod
    def _files(cls, options: Mapping[str, object]) -> tuple[tuple[int, str], ...]:
        weights, quality = options.get("weights"), options.get("quality")
        if isinstance(weights, str):
            if quality is None:
                raise ConfigError(
                    f"codec {cls.name}: weights: one file needs its quality beside it, "
                    f"{cls.qualities[0]}…{cls.qualities[-1]}; or a mapping from quality to file"
                )
            weights = {quality: weights}
        elif quality is not None:
            raise ConfigError(f"codec {cls.name}: quality: it goes with weights: FILE alone")
        files = []
        for key, value in (weights or {}).items():  # type: ignore[attr-defined]
            if key not in cls.qualities or not isinstance(value, str):
                raise ConfigError(
                    f"codec {cls.name}: weights: {key!r}: {value!r} is not a quality of "
                    f"{cls.qualities[0]}…{cls.qualities[-1]} and a file"
                )
            if not Path(value).is_file():
                raise ConfigError(f"codec {cls.name}: weights: {value}: there is no such file")
            files.append((key, value))
        return tuple(sorted(files))

    @classmethod
    def _compressai(cls) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of its video models, unused here
            return need(cls.name, "compressai.zoo.image", "compressai", "learned")

    @property
    def qps(self) -> Sequence[int]:
        known = [quality for quality, _ in self.weights] or self.qualities
        return tuple(sorted(44 - 3 * (quality - 1) for quality in known))

    def prepare(self, qps: Iterable[int]) -> None:
        """Loads, and from the hub fetches, what these QPs need. Raises ConfigError."""
        for qp in qps:
            self._network(self._quality(qp))

    def _quality(self, qp: int) -> int:
        if qp not in self.qps:
            raise CodecError(f"{self.name} has QP {', '.join(map(str, self.qps))}, not {qp}")
        return (44 - qp) // 3 + 1

    def _network(self, quality: int) -> Any:
        return _load(self.name, str(self._file(quality)))

    def _file(self, quality: int) -> Path:
        file = dict(self.weights).get(quality)
        if file is not None:
            return Path(file)
        url = self._compressai().model_urls[self.name][self.metric][quality]
        import torch

        target = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[1]
        if not target.is_file():
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                begun = target.with_suffix(".tmp")
                torch.hub.download_url_to_file(url, str(begun), _hash_of(target), progress=False)
                begun.rename(target)
            except (OSError, RuntimeError) as error:
                raise ConfigError(
                    f"codec {self.name}: the weights of quality {quality} are not here and "
                    f"cannot be fetched ({error}). Get {url} and put it into {target.parent}, or "
                    f"name a file: {{name: {self.name}, weights: {{{quality}: FILE}}}}"
                ) from None
        return target

    def encode(self, rgb: NDArray[np.uint8], qp: int) -> bytes:
        """(H, W, 3) sRGB from 1×1 up, a QP of `qps` → the whole file. Raises CodecError."""
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or not rgb.size:
            raise CodecError(
                f"{self.name} codes (H, W, 3) uint8 pixels, not {rgb.shape} {rgb.dtype}"
            )
        import torch

        quality = self._quality(qp)
        network = self._network(quality)
        height, width = rgb.shape[:2]
        pad = ((0, -height % MULTIPLE), (0, -width % MULTIPLE), (0, 0))
        x = torch.from_numpy(np.pad(rgb, pad, mode="edge").transpose(2, 0, 1)[None].copy())
        with _alone():
            strings = [s[0] for s in network.compress(x.float() / 255)["strings"]]
        head = bytes([quality]) + write_ue7(width) + write_ue7(height)
        head += b"".join(write_ue7(len(s)) for s in strings[:-1])
        body = b"".join(strings)
        return head + zlib.crc32(head + body).to_bytes(4, "big") + body

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        """The whole file → (H, W, 3) sRGB. Raises CodecError."""
        import torch

        if not data or data[0] not in self.qualities:
            raise CodecError(f"{self.name}: not a file of this codec's")
        quality = data[0]
        width, at = read_ue7(data, 1)
        height, at = read_ue7(data, at)
        if not 0 < width * height <= MAX_PIXELS:
            raise CodecError(f"{self.name}: a picture of {width}×{height} pixels is not decoded")
        factorized = self.name == FactorizedCodec.name
        lengths = []
        if not factorized:
            length, at = read_ue7(data, at)
            lengths.append(length)
        body = data[at + 4 :]
        if zlib.crc32(data[:at] + body).to_bytes(4, "big") != data[at : at + 4]:
            raise CodecError(f"{self.name}: the data are damaged or end early")
        strings = [[body]] if factorized else [[body[: lengths[0]]], [body[lengths[0] :]]]
        shape = [-(-side // MULTIPLE) * MULTIPLE for side in (height, width)]
        stride = 16 if factorized else MULTIPLE
        network = self._network(quality)
        with _alone():
            decoded = network.decompress(strings, [side // stride for side in shape])["x_hat"]
        pixels = (255 * decoded[0, :, :height, :width]).round().to(torch.uint8)
        return np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())

    def fingerprint(self) -> dict[str, str]:
        with_files = {f"weights_{q}": _sha256(file) for q, file in self.weights}
        hub = {} if self.weights else {"weights": f"hub, {self.metric}"}
        return {
            "codec": self.name,
            **versions("compressai", "torch"),
            "settings": f"cpu, one thread, padded to {MULTIPLE}",
            **hub,
            **with_files,
        }


@CODECS.register("bmshj2018-factorized")
class FactorizedCodec(LearnedCodec):
    """Ballé et al., ICLR 2018: factorized prior."""

    name = "bmshj2018-factorized"


@CODECS.register("bmshj2018-hyperprior")
class HyperpriorCodec(LearnedCodec):
    """Ballé et al., ICLR 2018: scale hyperprior."""

    name = "bmshj2018-hyperprior"


@CODECS.register("mbt2018-mean")
class MeanScaleCodec(LearnedCodec):
    """Minnen et al., NeurIPS 2018: mean and scale hyperprior, no context."""

    name = "mbt2018-mean"


@CODECS.register("mbt2018")
class JointCodec(LearnedCodec):
    """Minnen et al., NeurIPS 2018: hyperprior and autoregressive context."""

    name = "mbt2018"


@CODECS.register("cheng2020-anchor")
class ChengAnchorCodec(LearnedCodec):
    """Cheng et al., CVPR 2020, without attention."""

    name = "cheng2020-anchor"
    qualities = range(1, 7)


@CODECS.register("cheng2020-attn")
class ChengAttentionCodec(LearnedCodec):
    """Cheng et al., CVPR 2020, with attention."""

    name = "cheng2020-attn"
    qualities = range(1, 7)


@contextmanager
def _alone() -> Iterator[None]:
    """One network at a time, on one thread: sums of convolutions depend on how many share them."""
    import torch

    with _LOCK, torch.inference_mode():
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


@cache
def _load(name: str, file: str) -> Any:
    """A network of the zoo with a checkpoint in it, ready to code. Raises ConfigError."""
    import torch
    from compressai.zoo.image import model_architectures
    from compressai.zoo.pretrained import load_pretrained
    from safetensors.torch import load_file

    try:
        if file.endswith(".safetensors"):
            state = load_file(file)
        else:
            state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged archive makes of it
        raise ConfigError(
            f"codec {name}: weights: {file} cannot be read: it is damaged or no checkpoint "
            f"({type(error).__name__}: {str(error).splitlines()[0][:200]})"
        ) from None
    try:
        state = load_pretrained(state.get("state_dict", state))
        network = model_architectures[name].from_state_dict(state)
    except (KeyError, RuntimeError, AttributeError, ValueError, TypeError) as error:
        raise ConfigError(
            f"codec {name}: weights: {file} does not hold a {name}: "
            f"{str(error).splitlines()[0][:200]}"
        ) from None
    network.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network.update()
    return network


@cache
def _sha256(file: str) -> str:
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


def _hash_of(target: Path) -> str:
    """The first digits of the SHA-256 that CompressAI puts into its files' names."""
    return target.name.removesuffix(".pth.tar").rsplit("-", 1)[1]
