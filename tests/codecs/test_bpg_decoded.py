"""Files that this codec wrote, and the pixels that libbpg's own decoder makes of them.

`perf/bpg_elsewhere.py --keep` made both: a file for each setting that is not bpgenc's default.
"""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.codecs.bpg import picture

FILES = sorted((Path(__file__).parent / "libbpg").glob("*.bpg"))


def test_every_setting_has_its_file() -> None:
    names = "_".join(file.stem for file in FILES)
    for setting in ("gray", "420", "422", "444", "420-left", "422-left", "rgb", "ycgco"):
        assert f"{setting}_" in names
    for setting in ("ycbcr_bt709", "ycbcr_bt2020", "_10_", "_12_", "limited", "alpha"):
        assert setting in names


@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_they_decode_to_libbpgs_pixels(file: Path) -> None:
    with Image.open(file.with_suffix(".png")) as image:
        expected = np.array(image)
    decoded = picture.decode(file.read_bytes())
    assert np.array_equal(decoded.rgb, expected[..., :3])
    if "alpha" in file.stem:
        assert decoded.alpha is not None
        assert np.array_equal(decoded.alpha, expected[..., 3])
    else:
        assert decoded.alpha is None
