"""`mini`: pictures to detect, segment and classify, rendered by this module: nothing to download.

Textured silhouettes over cluttered backgrounds. A class is a silhouette and a fine surface pattern:
the silhouette survives coarse coding, the pattern (a period of a few pixels, contrast from faint to
strong) goes first, so that accuracy falls smoothly with the QP. Backgrounds have a 1/f amplitude
spectrum, irregular regions with sharp edges, uneven lighting and sensor noise: bits that a codec
spends and a network ignores.

Every pixel is the result of integer arithmetic on raw Philox words: no floating point, no
Generator distribution, no FFT. The bytes are the same on every CPU and NumPy; a test holds their
checksum. The generator is frozen: another picture is another data set, under another name.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.datasets.base import DATASETS, Dataset, Sample
from bench.datasets.images import annotations_sha256
from bench.errors import ConfigError
from bench.tasks.masks import encoded
from bench.tasks.records import Label, MaskedObjects, Objects, Record, Regions

SILHOUETTES = ("disc", "square", "triangle", "cross")
PATTERNS = ("striped", "dotted", "chequered")
CLASSES = tuple(f"{pattern} {shape}" for shape in SILHOUETTES for pattern in PATTERNS)

SIZES = {"det": 192, "cls": 96}
"""Side of the (square) pictures in pixels, of scenes and of single objects."""
_PICTURES = {"det": "det", "seg": "det", "ins": "det", "cls": "cls"}
"""By task: scenes, whatever is asked of them, or single objects."""
_COUNTS = {
    ("det", "train"): 3000,
    ("det", "test"): 160,
    ("cls", "train"): 8000,
    ("cls", "test"): 480,
}
COUNTS = {
    (task, split): n
    for task, pictures in _PICTURES.items()
    for (kind, split), n in _COUNTS.items()
    if kind == pictures
}
"""Pictures by task and split."""
BACKGROUND = 0
"""Of label maps; class i is i + 1."""

# Streams of random words that share no counter: the Philox key is (stream, picture).
_STREAMS = {("det", "train"): 11, ("det", "test"): 12, ("cls", "train"): 21, ("cls", "test"): 22}

Int = NDArray[np.int32]
_LEVEL = 16  # fixed point: pixel levels are held in sixteenths
_AA = 3  # silhouettes are supersampled 3 × 3


class _Words:
    """Raw 64-bit words of one Philox stream, and integers made of them by shifts alone.

    `textured=False` is for who asks where objects are, not how they look: the same words are drawn,
    and no noise is made of them.
    """

    def __init__(self, stream: int, picture: int, textured: bool = True) -> None:
        self._philox = np.random.Philox(key=np.array([stream, picture], dtype=np.uint64))
        self.textured = textured

    def below(self, n: int) -> int:
        """An integer in [0, n)."""
        return (int(self._philox.random_raw()) >> 32) * n >> 32

    def between(self, low: int, high: int) -> int:
        """An integer in [low, high]."""
        return low + self.below(high - low + 1)

    def bytes(self, n: int) -> Int:
        """(n,) in 0…255."""
        words = np.atleast_1d(self._philox.random_raw(-(-n // 8))).astype("<u8")
        return words.view(np.uint8)[:n].astype(np.int32)


@functools.lru_cache(maxsize=4096)
def _ramp(side: int, period: int, offset: int) -> tuple[Int, Int]:
    """Lattice cell and smoothstep weight (0…256) of every pixel along an axis."""
    position: Int = np.arange(side, dtype=np.int32) + offset
    t = (position % period) * 256 // period
    return position // period, (t * t * (768 - 2 * t)) >> 16


def _value_noise(words: _Words, side: int, period: int) -> Int:
    """(side, side) value noise in −128…127, interpolated between lattice points `period` apart."""
    cells = side // period + 3
    lattice = words.bytes(cells * cells).reshape(cells, cells) - 128
    x, y = words.below(period), words.below(period)
    if not words.textured:
        return np.zeros((side, side), np.int32)
    i, wx = _ramp(side, period, x)
    rows: Int = lattice[:, i] * (256 - wx) + lattice[:, i + 1] * wx
    i, wy = _ramp(side, period, y)
    wy = wy[:, None]
    noise: Int = rows[i] * (256 - wy) + rows[i + 1] * wy
    return noise >> 16


def _fractal(words: _Words, side: int, coarsest: int, smoothness: int = 1) -> Int:
    """(side, side) noise of many octaves, about ±128.

    An octave's amplitude is its period to the power smoothness / 2. Together with the regions'
    borders and the grain, the default gives a power spectrum that falls with the square of the
    frequency or a little faster, as photographs' does.
    """
    total = np.zeros((side, side), np.int32)
    period = coarsest
    while period >= 2:
        total += _value_noise(words, side, period) * math.isqrt(period**smoothness * 256)
        period = period * 5 // 9
    return total // math.isqrt(coarsest**smoothness * 256)


def _colour(words: _Words, low: int, high: int) -> Int:
    """(3,) a colour around a random gray, its channels at most 45 levels off."""
    gray = words.between(low, high)
    return np.array([gray + words.between(-45, 45) for _ in range(3)], np.int32) * _LEVEL


def _background(words: _Words, side: int) -> Int:
    """(side, side, 3) regions with irregular borders, each with its colour and texture."""
    canvas: Int = np.zeros((side, side, 3), np.int32)
    for layer in range(words.between(3, 5)):
        texture = _fractal(words, side, words.between(8, side // 3))
        grain = _value_noise(words, side, words.between(2, 4))
        surface = (
            _colour(words, 60, 190)
            + (texture * words.between(3, 12) + grain * words.between(0, 6))[..., None]
        )
        tint = _value_noise(words, side, words.between(16, 48))
        surface += tint[..., None] * np.array([words.between(-3, 3) for _ in range(3)], np.int32)
        region = _fractal(words, side, words.between(side // 4, side // 2), smoothness=2)
        # The border is a pixel or two wide, as a lens would draw it.
        border = (region - words.between(0, 40)) * words.between(16, 96)
        cover = np.clip(border, 0, 256) if layer else np.full_like(border, 256)
        canvas = (canvas * 256 + (surface - canvas) * cover[..., None]) >> 8
    return canvas


@dataclass(frozen=True)
class _Object:
    label: int
    x: int
    y: int
    radius: int


def _silhouette(
    shape: str, u: NDArray[np.int64], v: NDArray[np.int64], r: int
) -> NDArray[np.bool_]:
    """Inside or not; u, v and r in the same unit, each shape reaching out to about r."""
    if shape == "disc":
        return u * u + v * v <= r * r * 81 // 100
    if shape == "square":
        return np.maximum(abs(u), abs(v)) <= r * 78 // 100
    if shape == "triangle":
        return (v <= r * 55 // 100) & (7 * abs(u) - 4 * (v + r) <= 0)
    arm = r * 36 // 100
    return np.minimum(abs(u), abs(v)) <= np.where(
        np.maximum(abs(u), abs(v)) <= r * 95 // 100, arm, -1
    )


def _wave(position: NDArray[np.int64], period: int) -> Int:
    """A triangle wave in −64…64."""
    phase = (position % period) * 256 // period
    return (abs(phase - 128) - 64).astype(np.int32)


def _pattern(name: str, u: NDArray[np.int64], v: NDArray[np.int64], period: int) -> Int:
    """About −64…64, of the same mean and contrast whatever the pattern."""
    a, b = _wave(u, period), _wave(v, period)
    if name == "striped":
        return a
    if name == "dotted":
        return np.clip((a + b) * 5 // 4 + 20, -64, 64)
    return np.clip(a * b // 20, -64, 64)


def _draw(words: _Words, canvas: Int, owner: Int, index: int, item: _Object) -> None:
    """Paint one object over the canvas and write `index` into `owner` where it covers a pixel."""
    side, r = canvas.shape[0], item.radius
    top, left = max(0, item.y - r), max(0, item.x - r)
    bottom, right = min(side, item.y + r + 1), min(side, item.x + r + 1)
    t = words.between(-64, 64)  # the rational rotation (1 − t²)/(1 + t²), 2t/(1 + t²)
    cos, sin = ((4096 - t * t) << 12) // (4096 + t * t), ((128 * t) << 12) // (4096 + t * t)
    stretch = words.between(200, 256)

    def axes(step: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Object coordinates in 1/4096 of a sub-pixel, `step` sub-pixels to a pixel."""
        y = np.arange(top * step, bottom * step, dtype=np.int64)[:, None] * 2 + 1
        x = np.arange(left * step, right * step, dtype=np.int64)[None] * 2 + 1
        dy, dx = y - (2 * item.y + 1) * step, x - (2 * item.x + 1) * step
        return (cos * dx + sin * dy) // 2, (cos * dy - sin * dx) * 256 // (2 * stretch)

    inside = _silhouette(SILHOUETTES[item.label // len(PATTERNS)], *axes(_AA), r * _AA << 12)
    h, w = bottom - top, right - left
    alpha = inside.reshape(h, _AA, w, _AA).sum(axis=(1, 3), dtype=np.int32)

    u, v = axes(1)
    period = words.between(16, 40)  # quarter pixels: 4 to 10 pixels
    contrast = words.between(6, 13) ** 2  # 36…169, faint ones more often
    pattern = _pattern(PATTERNS[item.label % len(PATTERNS)], u, v, period << 10)
    texture = _fractal(words, side, words.between(6, 24))[:h, :w]
    shade = ((u * words.between(-40, 40) + v * words.between(-40, 40)) // (r << 12)).astype(
        np.int32
    )
    luma = pattern * contrast // 16 + texture * words.between(1, 5) + shade * _LEVEL
    surface = _colour(words, 70, 185) + luma[..., None]

    # A soft contact shadow: the covered area, shifted, darkens what lies below.
    shift = words.between(1, 3)
    shadow = np.zeros_like(alpha)
    shadow[shift:, shift:] = alpha[:-shift, :-shift]
    below = canvas[top:bottom, left:right]
    below -= below * shadow[..., None] // (_AA * _AA * 4)
    a = alpha[..., None]
    below[:] = (below * (_AA * _AA - a) + surface * a) // (_AA * _AA)
    owner[top:bottom, left:right][alpha * 2 > _AA * _AA] = index


def _finish(words: _Words, canvas: Int, noise: _Words | None) -> NDArray[np.uint8]:
    """Lighting, sensor noise (of `noise` where given) and 8 bits."""
    side = canvas.shape[0]
    light = (
        256
        + _value_noise(words, side, words.between(side // 2, side)) * words.between(20, 90) // 128
    )
    lit = np.clip(canvas, 0, 255 * _LEVEL) * light[..., None] // 256
    # Four bytes make a bell of standard deviation 148; the noise has one of 1 to 4 levels.
    bell = (noise or words).bytes(side * side * 12).reshape(4, side, side, 3).sum(axis=0) - 510
    noisy = lit + bell * words.between(7, 28) * _LEVEL // 1036
    return np.clip((noisy + _LEVEL // 2) // _LEVEL, 0, 255).astype(np.uint8)


def _fresh(task: str, split: str, picture: int, noise: int) -> _Words | None:
    """Words for the sensor noise of that number; None for 0, the set's own noise."""
    return _Words(_STREAMS[task, split] + 1000 * noise, picture) if noise else None


def _boxes(owner: Int, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Tight boxes (n, 4) around what is visible of each object, and the visible areas (n,)."""
    boxes, areas = np.zeros((count, 4)), np.zeros(count)
    for i in range(count):
        ys, xs = np.nonzero(owner == i)
        if len(xs):
            boxes[i] = xs.min(), ys.min(), xs.max() + 1, ys.max() + 1
        areas[i] = len(xs)
    return boxes, areas


@dataclass(frozen=True, eq=False)
class _Scene:
    canvas: Int
    owner: Int
    """Of each pixel the place of its object in `placed`, −1 for the background."""
    placed: list[_Object]


def _scene(words: _Words) -> _Scene:
    side = SIZES["det"]
    canvas = _background(words, side)
    owner = np.full((side, side), -1, np.int32)
    placed: list[_Object] = []
    for _ in range(words.between(2, 7)):
        radius = words.between(4, 7) ** 2 * words.between(8, 12) // 10  # 12…58 pixels
        candidate = _Object(
            words.below(len(CLASSES)),
            words.between(8, side - 9),
            words.between(8, side - 9),
            radius,
        )
        # An object may hide a part of an earlier one, never most of it.
        if all(
            max(abs(candidate.x - o.x), abs(candidate.y - o.y)) * 10 > (radius + o.radius) * 7
            for o in placed
        ):
            _draw(words, canvas, owner, len(placed), candidate)
            placed.append(candidate)
    return _Scene(canvas, owner, placed)


def _photographed(split: str, picture: int, noise: int) -> tuple[NDArray[np.uint8], _Scene]:
    words = _Words(_STREAMS["det", split], picture)
    scene = _scene(words)
    return _finish(words, scene.canvas, _fresh("det", split, picture, noise)), scene


def render_detection(split: str, picture: int, noise: int = 0) -> tuple[NDArray[np.uint8], Objects]:
    """One scene of two to seven objects: (192, 192, 3) RGB and its ground truth.

    Another `noise` is the same scene under other sensor noise: no picture of the set.
    """
    pixels, scene = _photographed(split, picture, noise)
    return pixels, _objects(scene)


def _objects(scene: _Scene) -> Objects:
    n = len(scene.placed)
    boxes, area = _boxes(scene.owner, n)
    return Objects(
        boxes=boxes,
        labels=np.array([o.label for o in scene.placed], np.int64),
        area=area,
        iscrowd=np.zeros(n, bool),
        ignore=np.zeros(n, bool),
    )


def render_segmentation(
    split: str, picture: int, noise: int = 0
) -> tuple[NDArray[np.uint8], Regions]:
    """The picture of `render_detection`, and what every pixel of it shows: BACKGROUND, or its class
    and 1."""
    pixels, scene = _photographed(split, picture, noise)
    return pixels, _regions(scene)


def _regions(scene: _Scene) -> Regions:
    classes = np.array([BACKGROUND, *(o.label + 1 for o in scene.placed)], np.uint8)
    return Regions(classes[scene.owner + 1])


def render_instances(
    split: str, picture: int, noise: int = 0
) -> tuple[NDArray[np.uint8], MaskedObjects]:
    """The picture and the ground truth of `render_detection`, and a mask of what is visible of each
    object."""
    pixels, scene = _photographed(split, picture, noise)
    return pixels, _masked(scene)


def _masked(scene: _Scene) -> MaskedObjects:
    masks = scene.owner == np.arange(len(scene.placed))[:, None, None]
    return MaskedObjects(**_objects(scene).to_arrays(), **encoded(masks))


def render_classification(
    split: str, picture: int, noise: int = 0
) -> tuple[NDArray[np.uint8], Label]:
    """One object near the middle, (96, 96, 3) RGB, sometimes partly behind another region.

    Another `noise` is the same scene under other sensor noise: no picture of the set.
    """
    words = _Words(_STREAMS["cls", split], picture)
    side = SIZES["cls"]
    canvas = _background(words, side)
    owner = np.full((side, side), -1, np.int32)
    target = _label(picture)
    item = _Object(
        int(target.label), words.between(36, 60), words.between(36, 60), words.between(20, 42)
    )
    _draw(words, canvas, owner, 0, item)
    if words.below(2):  # a strip of another surface hides up to a third of the object
        cut = item.radius * words.between(1, 8) // 8
        flip, swap = words.below(2), words.below(2)
        strip = _colour(words, 60, 190) + _fractal(words, side, words.between(8, 32))[..., None] * 6
        edge = (item.x if swap else item.y) + (cut if flip else -cut)
        line = np.arange(side)
        hidden = (line > edge) if flip else (line < edge)
        if swap:
            canvas[:, hidden] = strip[:, hidden]
        else:
            canvas[hidden] = strip[hidden]
    picture_of_8_bits = _finish(words, canvas, _fresh("cls", split, picture, noise))
    return picture_of_8_bits, target


def _label(picture: int) -> Label:
    return Label(np.array(picture % len(CLASSES), np.int64))


_RENDER: dict[str, Callable[[str, int], tuple[NDArray[np.uint8], Record]]] = {
    "det": render_detection,
    "seg": render_segmentation,
    "ins": render_instances,
    "cls": render_classification,
}


_TARGET: dict[str, Callable[[_Scene], Record]] = {
    "det": _objects,
    "seg": _regions,
    "ins": _masked,
}


@functools.cache
def _rendered(task: str, split: str, picture: int) -> NDArray[np.uint8]:
    return _RENDER[task](split, picture)[0]


def _picture(task: str, split: str, picture: int) -> NDArray[np.uint8]:
    return _rendered(task, split, picture).copy()


def _target(task: str, split: str, picture: int) -> Record:
    """For this no picture is rendered: a run that has all its results in the cache needs none."""
    if task == "cls":
        return _label(picture)
    return _TARGET[task](_scene(_Words(_STREAMS["det", split], picture, textured=False)))


@DATASETS.register("mini")
def load(task: str, split: str = "test") -> Dataset:
    """The part of a task; pictures stay in memory once they are rendered."""
    if (task, split) not in COUNTS:
        raise ConfigError(
            f"mini has no split {split!r} for task {task!r}; splits: train, test; tasks: "
            f"{', '.join(_PICTURES)}"
        )
    categories = dict(enumerate(CLASSES))
    if task == "seg":
        categories = dict(enumerate(("background", *CLASSES)))
    samples = [
        Sample(
            f"{split}-{i:05d}",
            functools.partial(_picture, task, split, i),
            _target(task, split, i),
            functools.partial("mini {} {} {}".format, _PICTURES[task], split, i),
        )
        for i in range(COUNTS[task, split])
    ]
    return Dataset(
        name=f"mini-{task}" + ("" if split == "test" else f"-{split}"),
        task=task,
        samples=samples,
        categories=categories,
        annotations_sha256=annotations_sha256(samples),
        n_classes=len(categories),
    )
