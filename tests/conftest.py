"""Where the optional real images and weights lie, a folder `shared` beside the repository; and
hypothesis on a machine that is busy."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip(f"no real images and weights here: {SHARED.name}/ beside the repository")
    return SHARED
