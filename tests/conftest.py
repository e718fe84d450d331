"""Where the optional real images and weights lie: a folder `shared` beside the repository."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip(f"no real images and weights here: {SHARED.name}/ beside the repository")
    return SHARED
