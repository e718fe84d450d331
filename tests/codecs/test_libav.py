"""Encoders of libav where the system gives no more memory."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import re, resource, sys
import numpy as np
from bench.codecs import make
codec = make("bpg")
rgb = np.full((64, 64, 3), 128, np.uint8)
status = open("/proc/self/status").read()
size = 1024 * int(re.search(r"VmSize:\\s+(\\d+)", status)[1])
resource.setrlimit(resource.RLIMIT_AS, (size + (int(sys.argv[1]) << 20),) * 2)
try:
    codec.encode(rgb, 30)
    print("coded")
except MemoryError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_an_encoder_without_room_for_its_threads_does_not_wait_for_them() -> None:
    def said(mebibytes: int) -> str:
        return subprocess.run(
            [sys.executable, "-c", PROGRAM, str(mebibytes)],
            cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True, timeout=120,
        ).stdout.strip()  # fmt: skip

    assert said(6) == "no 64 MiB for an encoder"
    assert said(1024) == "coded"
