"""What can be chosen when a .bpg file is written, in the words of a config file."""

from collections.abc import Mapping
from dataclasses import dataclass

from bench.codecs.bpg.header import ColorSpace, Header, PixelFormat
from bench.codecs.options import Option, check_options
from bench.errors import ConfigError

PIXEL_FORMATS = {
    "gray": PixelFormat.GRAY,
    "4:2:0": PixelFormat.YUV420_CENTRED,
    "4:2:2": PixelFormat.YUV422_CENTRED,
    "4:4:4": PixelFormat.YUV444,
    "4:2:0-left": PixelFormat.YUV420_LEFT,
    "4:2:2-left": PixelFormat.YUV422_LEFT,
}
_OTHER_NAMES = {
    # as bpgenc's -f has them, and as YAML 1.1 reads an unquoted 4:2:0: a number to the base 60
    **{420: "4:2:0", 422: "4:2:2", 444: "4:4:4"},
    **{14520: "4:2:0", 14522: "4:2:2", 14644: "4:4:4"},
}
COLOR_SPACES = {
    "ycbcr": ColorSpace.YCBCR_BT601,
    "rgb": ColorSpace.RGB,
    "ycgco": ColorSpace.YCGCO,
    "ycbcr_bt709": ColorSpace.YCBCR_BT709,
    "ycbcr_bt2020": ColorSpace.YCBCR_BT2020,
}
"""As bpgenc's -c names them."""

BIT_DEPTHS = (8, 10, 12)
LEVELS = range(1, 10)

OPTIONS: Mapping[str, Option] = {
    "pixel_format": Option(allowed=tuple(PIXEL_FORMATS)),
    "color_space": Option(allowed=tuple(COLOR_SPACES)),
    "bit_depth": Option(allowed=BIT_DEPTHS),
    "limited_range": Option(allowed=(False, True)),
    "level": Option(allowed=LEVELS),
    "lossless": Option(allowed=(False, True)),
}


@dataclass(frozen=True)
class Settings:
    """How pixels are coded; the defaults are those of `bpgenc -q QP`.

    level: 1 (fast) to 9 (dense), bpgenc's -m. lossless: the planes are kept exactly, and the QP
    has no effect; the pixels themselves are kept with RGB, and with YCgCo of 10 bits or more.
    Raises ConfigError for what a .bpg file cannot hold.
    """

    pixel_format: PixelFormat = PixelFormat.YUV420_CENTRED
    color_space: ColorSpace = ColorSpace.YCBCR_BT601
    bit_depth: int = 8
    limited_range: bool = False
    level: int = 8
    lossless: bool = False

    def __post_init__(self) -> None:
        if self.bit_depth not in BIT_DEPTHS:
            raise ConfigError(f"bpg: bit_depth {self.bit_depth} is not one of {BIT_DEPTHS}")
        if self.level not in LEVELS:
            raise ConfigError(f"bpg: level {self.level} is outside {LEVELS[0]}…{LEVELS[-1]}")
        if self.color_space is ColorSpace.RGB and self.pixel_format is not PixelFormat.YUV444:
            raise ConfigError(
                f"bpg: color_space rgb needs pixel_format 4:4:4, not {self.format_name}"
            )
        if self.pixel_format is PixelFormat.GRAY and (
            self.color_space is not ColorSpace.YCBCR_BT601
        ):
            raise ConfigError("bpg: pixel_format gray needs color_space ycbcr")

    @classmethod
    def from_options(cls, options: Mapping[str, object]) -> "Settings":
        """Options by their names in a config file → settings. Raises ConfigError.

        As with bpgenc, lossless means RGB unless a colour space or a pixel format is named, and
        RGB means 4:4:4 unless a pixel format is named.
        """
        values = dict(options)
        if type(values.get("pixel_format")) is int:
            given = values["pixel_format"]
            values["pixel_format"] = _OTHER_NAMES.get(given, given)  # type: ignore[call-overload]
        check_options("bpg", values, OPTIONS)
        if values.get("lossless") and "pixel_format" not in values:
            values.setdefault("color_space", "rgb")
        if values.get("color_space") == "rgb":
            values.setdefault("pixel_format", "4:4:4")
        if "pixel_format" in values:
            values["pixel_format"] = PIXEL_FORMATS[str(values["pixel_format"])]
        if "color_space" in values:
            values["color_space"] = COLOR_SPACES[str(values["color_space"])]
        return cls(**values)  # type: ignore[arg-type]  # check_options has looked at every value

    @property
    def format_name(self) -> str:
        return next(k for k, v in PIXEL_FORMATS.items() if v is self.pixel_format)

    @property
    def color_name(self) -> str:
        return next(k for k, v in COLOR_SPACES.items() if v is self.color_space)

    def header(self, width: int, height: int) -> Header:
        """The header of a picture of that many pixels, without alpha."""
        return Header(
            width,
            height,
            self.pixel_format,
            self.color_space,
            bit_depth=self.bit_depth,
            limited_range=self.limited_range,
        )

    def describe(self) -> str:
        """For people and fingerprints: everything that is chosen, in the words of the options."""
        value_range = "limited range" if self.limited_range else "full range"
        return (
            f"{self.bit_depth}-bit {self.format_name}, {self.color_name}, {value_range}, "
            f"level {self.level}{', lossless' if self.lossless else ''}"
        )
