"""Images needed, against the closed form of a sample of known spread."""

import numpy as np
import pytest

from bench.analysis.power import images_needed


def test_closed_form() -> None:
    """1.96 + 0.84 standard errors of ln 1.05: with 0.0174 on 100 images that is just there."""
    error = np.log(1.05) / (1.959964 + 0.841621)
    assert images_needed(100, error * 0.9999, 5, 0.8) == 100
    assert images_needed(100, 2 * error * 0.9999, 5, 0.8) == 400
    assert images_needed(100, error / 100, 5, 0.8) == 2


@pytest.mark.parametrize("effect", [5.0, 20.0])
def test_as_many_studies_find_it_as_promised(effect: float) -> None:
    rng = np.random.default_rng(0)
    n = images_needed(50, 0.8 / np.sqrt(50), effect, 0.8)
    found = rng.normal(np.log1p(effect / 100), 0.8 / np.sqrt(n), 20_000)
    assert np.mean(np.abs(found) > 1.96 * 0.8 / np.sqrt(n)) == pytest.approx(0.8, abs=0.02)
