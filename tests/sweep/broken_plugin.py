"""A codec and a network with faults, installed for one test: on one picture they do what no program
can catch. Written to a folder of its own, since worker and child processes import it, too."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from joblib.externals.loky import get_reusable_executor

NAME = "broken"
MODULE = '''
import hashlib
import os
import resource
import signal
import time
from dataclasses import replace

from bench import codecs


def segfault():
    os.kill(os.getpid(), signal.SIGSEGV)


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


def sleep():
    time.sleep(3600)


def memory():
    """Without end, up to 200 MB more than there are."""
    with open("/proc/self/statm") as file:
        there = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (there + 200 * 2**20, -1))
    taken = []
    while True:
        taken.append(bytearray(10**7))


def garbage():
    return lambda: "of a kind that no process can send"


FAULTS = {f.__name__: f for f in (segfault, killed, sleep, memory, garbage)}


class Broken:
    """JPEG; `bad` is the hash of the one picture, coded with QP 45, that its `fault` is about."""

    name = "broken"
    qps = range(52)

    def __init__(self, fault, bad):
        self.fault, self.bad, self.jpeg = fault, bad, codecs.make("jpeg")

    @classmethod
    def from_options(cls, options):
        return cls(options.get("fault", ""), options.get("bad", ""))

    def encode(self, rgb, qp):
        if self.fault and qp == 45 and hashlib.sha256(rgb.tobytes()).hexdigest() == self.bad:
            return FAULTS[self.fault]()
        return self.jpeg.encode(rgb, qp)

    def decode(self, data):
        return self.jpeg.decode(data)

    def fingerprint(self):
        return {"codec": "broken"}


class Unsendable(Broken):
    def __init__(self, fault, bad):
        super().__init__(fault, bad)
        self.handle = lambda: None


def library(bad):
    """Lazily: a codec's process has no use for torch."""
    from bench.models import LIBRARIES

    mini = LIBRARIES.get("mini")

    def load(spec, device):
        network = mini.load(replace(spec, library="mini"), device)
        plain = network.predict

        def predict(images, viewed):
            for image in images:
                if hashlib.sha256(image.tobytes()).hexdigest() == bad:
                    sleep()
            return plain(images, viewed)

        network.predict = predict
        return network

    return replace(mini, load=load)


def __getattr__(name):
    if name != "sleepy":
        raise AttributeError(name)
    return library(os.environ["BROKEN_PICTURE"])
'''


@contextmanager
def installed(folder: Path, monkeypatch: pytest.MonkeyPatch, bad: str) -> Iterator[None]:
    """For this process and those that it starts; `bad` is what the network sleeps on."""
    about = folder / "rabench_broken-0.1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: rabench-broken\nVersion: 0.1\n")
    (about / "entry_points.txt").write_text(
        "[bench.codecs]\nbroken = rabench_broken:Broken\nunsendable = rabench_broken:Unsendable\n"
        "[bench.models]\nsleepy = rabench_broken:sleepy\n"
    )
    (folder / "rabench_broken.py").write_text(MODULE)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setenv("BROKEN_PICTURE", bad)
    monkeypatch.syspath_prepend(folder)
    get_reusable_executor().shutdown()  # workers that do not see it, and afterwards those that do
    yield
    get_reusable_executor().shutdown()
