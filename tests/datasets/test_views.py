"""The model view: sides rounded to the nearest pixel, the middle kept."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.datasets.views import ModelView
from bench.errors import ConfigError


@given(width=st.integers(1, 300), height=st.integers(1, 300))
def test_any_size_becomes_the_crop(width: int, height: int) -> None:
    rgb = np.zeros((height, width, 3), np.uint8)
    assert ModelView(64, 56, "bicubic")(rgb).shape == (56, 56, 3)


def test_middle_is_kept() -> None:
    rgb = np.zeros((64, 96, 3), np.uint8)
    rgb[20:44, 36:60] = 255
    view = ModelView(64, 40, "bilinear")(rgb)
    np.testing.assert_array_equal(view, rgb[12:52, 28:68])


def test_what_cannot_be_made_is_refused() -> None:
    with pytest.raises(ConfigError, match="hamming"):
        ModelView(256, 224, "hamming")
    with pytest.raises(ConfigError, match="crop"):
        ModelView(200, 224, "bicubic")
