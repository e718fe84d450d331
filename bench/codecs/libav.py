"""One picture through libav's encoders and decoders, on one thread. libav releases the GIL."""

import mmap
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from numpy.typing import NDArray

Plane = NDArray[np.uint8] | NDArray[np.uint16]

ROOM = 64 << 20
"""Bytes of address space for an encoder's threads and tables."""


def encode_frame(encoder: str, frame: av.VideoFrame, options: Mapping[str, str]) -> bytes:
    """The stream of one picture. Raises av.FFmpegError, and MemoryError where there is no `ROOM`:
    x265 waits forever for a thread that the system could not start."""
    try:
        mmap.mmap(-1, ROOM).close()
    except OSError as error:
        raise MemoryError(f"no {ROOM >> 20} MiB for an encoder") from error
    context = VideoCodecContext.create(encoder, "w")
    assert isinstance(context, VideoCodecContext)  # for the type checker
    context.width, context.height = frame.width, frame.height
    context.pix_fmt = frame.format.name
    context.framerate, context.time_base = Fraction(25), Fraction(1, 25)
    context.thread_count = 1
    context.options = dict(options)
    with _ordinary_priority():
        context.open()
    frame.pts = 0
    return b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])


@contextmanager
def _ordinary_priority() -> Iterator[None]:
    """As root, SVT-AV1 gives the thread that opens it, and its own, the highest real-time priority:
    while they code, nothing else on the machine would get a core."""
    if not hasattr(os, "sched_getscheduler"):  # not Linux
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    yield
    if os.sched_getscheduler(0) == policy:
        return
    for thread in Path("/proc/self/task").iterdir():
        with suppress(ProcessLookupError):  # it has just ended
            if os.sched_getscheduler(int(thread.name)) == os.SCHED_FIFO:
                os.sched_setscheduler(int(thread.name), policy, parameters)


def decode_frames(
    decoder: str, stream: bytes, max_pixels: int | None = None
) -> list[av.VideoFrame]:
    """All pictures of a stream; a decoder is told to refuse damage, and pictures that claim more
    than `max_pixels`. Raises av.FFmpegError."""
    context = VideoCodecContext.create(decoder, "r")
    assert isinstance(context, VideoCodecContext)
    context.thread_count = 1
    context.options = {"err_detect": "explode"}
    if max_pixels is not None:
        context.options |= {"max_pixels": str(max_pixels)}
    return [*context.decode(av.Packet(stream)), *context.decode(None)]


def rows(frame: av.VideoFrame, index: int) -> Plane:
    """A plane in libav's own memory, (h, w), writable: its rows are longer than the picture's."""
    plane = frame.planes[index]
    wide = frame.format.components[0].bits > 8
    buffer = memoryview(plane)
    whole: Plane = np.frombuffer(buffer, np.uint16) if wide else np.frombuffer(buffer, np.uint8)
    stride = plane.line_size // whole.itemsize
    return whole.reshape(-1, stride)[: plane.height, : plane.width]


def fill(frame: av.VideoFrame, index: int, samples: Plane) -> None:
    """Copies samples into a plane and replicates their last column and row over its rest."""
    target = rows(frame, index)
    height, width = samples.shape
    target[:height, :width] = samples
    target[:height, width:] = samples[:, -1:]
    target[height:] = target[height - 1]
