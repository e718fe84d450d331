"""A codec in processes of its own: a crash of native code, or a call that never ends, costs one
picture.

Each call of a thread takes a child that is idle, or starts one, and sends it pixels or bytes
through a socket. A child that dies takes nothing with it: the call is made once more in a new one,
and a codec that ends that one, too, raises CodecError. Children import `bench.codecs` and what the
codec needs, nothing else, and end with the process that started them. They are started as programs:
to fork a process with threads is not safe, and multiprocessing's `spawn` would run a person's
script again and is forbidden to Dask's workers.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.codecs.base import Codec
from bench.errors import BenchError, CodecError, ConfigError

START = 120.0
"""Seconds in which a child has to be there: it imports the codec's libraries, perhaps over a slow
network."""
_PROGRAM = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[2]); "
    "from bench.codecs.isolated import serve; serve(int(sys.argv[1]))"
)
_FOLDER = "rabench-codec-"
_ANSWERED, _RAISED = "answered", "raised"


class DiedError(Exception):
    """Of a child; says how it ended."""


class OverdueError(Exception):
    """Of a call: its child was ended."""


class Isolated:
    """The same codec, by name, QPs and fingerprint, in other processes. timeout: seconds for one
    call."""

    def __init__(self, codec: Codec, timeout: float | None = None) -> None:
        self.codec, self.timeout, self.name = codec, timeout, codec.name

    @property
    def qps(self) -> Sequence[int]:
        return self.codec.qps

    def encode(self, rgb: NDArray[np.uint8], qp: int) -> bytes:
        """(H, W, 3) sRGB → the whole file. Raises CodecError."""
        data: bytes = self._call("encode", rgb, qp)
        return data

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        """The whole file → (H, W, 3) sRGB. Raises CodecError."""
        rgb: NDArray[np.uint8] = self._call("decode", data)
        return rgb

    def fingerprint(self) -> dict[str, str]:
        return self.codec.fingerprint()

    def require_sendable(self) -> None:
        """Raises ConfigError for a codec that a child cannot be given."""
        try:
            there = self._call("fingerprint")
        except CodecError as error:
            raise ConfigError(
                f"codec {self.name} cannot run in a process of its own (--isolate): {error}; its "
                "objects have to be picklable and its module importable by another process. Run "
                "without --isolate, or change the codec"
            ) from error
        if there != (here := self.fingerprint()):
            raise ConfigError(
                f"codec {self.name} is another one in a process of its own (--isolate): its "
                f"fingerprint is {there} there and {here} here; run without --isolate"
            )

    def _call(self, method: str, *arguments: Any) -> Any:
        """Raises CodecError."""
        for last in (False, True):
            try:
                with _child() as child:
                    return child.call(self, method, arguments)
            except OverdueError:
                raise CodecError(overdue(self.timeout)) from None
            except DiedError as died:
                # What an earlier picture has broken in a child does not happen again in a new one.
                if last:
                    raise CodecError(f"the codec's process {died}, twice (--isolate)") from None
        raise AssertionError("unreachable")


def overdue(seconds: float | None) -> str:
    return f"took longer than {seconds:g} s (--timeout)"


_idle: list["_Child"] = []
_lock = threading.Lock()


@contextmanager
def processes() -> Iterator[None]:
    """Children that are idle at the end of it are ended."""
    try:
        yield
    finally:
        with _lock:
            children, _idle[:] = list(_idle), []
        for child in children:
            child.end()


@contextmanager
def _child() -> Iterator["_Child"]:
    """One for the calling thread alone. It is kept unless a call raises `DiedError` or
    `OverdueError`. Raises DiedError."""
    with _lock:
        child = _idle.pop() if _idle else None
    child = child or _Child()
    kept = False
    try:
        yield child
        kept = True
    except CodecError:
        kept = True
        raise
    finally:
        if kept and child.usable:
            with _lock:
                _idle.append(child)
        else:
            child.end()


class _Child:
    """A process that runs codecs for one thread at a time. Raises DiedError where it does not
    start."""

    def __init__(self) -> None:
        self._ours, theirs = Pipe()
        # For temporary files, of which a process that is killed deletes none.
        self._folder = tempfile.mkdtemp(prefix=_FOLDER)
        self._known: dict[Isolated, int] = {}
        self.usable = True
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _PROGRAM, str(theirs.fileno()), json.dumps(sys.path)],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=os.environ | {"TMPDIR": self._folder},
                process_group=0,  # with the programs that a codec starts
            )
        try:
            with self._within(START):
                self._ours.recv()
        except (EOFError, OSError, OverdueError) as error:
            how = "did not start" if isinstance(error, OverdueError) else self._how()
            self.end()
            raise DiedError(how) from None

    def call(self, codec: Isolated, method: str, arguments: tuple[Any, ...]) -> Any:
        """Raises CodecError for what the codec raises, or that cannot be sent, DiedError and
        OverdueError."""
        try:
            with self._within(codec.timeout):
                if codec not in self._known:  # with all that it was prepared with
                    self._asked(len(self._known), None, codec.codec)
                    self._known[codec] = len(self._known)
                return self._asked(self._known[codec], method, arguments)
        except (EOFError, OSError) as error:
            raise DiedError(self._how()) from error
        except (CodecError, OverdueError):
            raise
        except Exception as error:  # pickle's, and those of __reduce__
            raise CodecError(_said(error)) from error

    def _asked(self, number: int, method: str | None, given: Any) -> Any:
        """Raises CodecError for what was raised there."""
        self._ours.send((number, method, given))
        kind, value = self._ours.recv()
        if kind == _RAISED:
            raise CodecError(value)
        return value

    @contextmanager
    def _within(self, seconds: float | None) -> Iterator[None]:
        """Sending waits, too, where nobody reads: so the child is ended from another thread. Raises
        OverdueError."""
        if seconds is None:
            yield
            return
        turn, over, late = threading.Lock(), False, False

        def end() -> None:
            nonlocal late
            with turn:
                if not over:
                    late, self.usable = True, False
                    self._kill()

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()
        try:
            yield
        except (EOFError, OSError):
            if late:
                raise OverdueError from None
            raise
        finally:
            with turn:
                over = True
            timer.cancel()

    def _how(self) -> str:
        """How it ended, or is ended now."""
        self.usable = False
        try:
            code = self._process.wait(5)
        except subprocess.TimeoutExpired:
            return "closed its connection"
        if code >= 0:
            return f"ended with exit code {code}"
        name = signal.Signals(-code).name
        return f"ended by {name}" + (" (out of memory?)" if code == -signal.SIGKILL else "")

    def _kill(self) -> None:
        """With the programs that it runs."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def end(self) -> None:
        self.usable = False
        self._kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # of one that the system itself holds
            self._process.wait(5)
        self._ours.close()
        shutil.rmtree(self._folder, ignore_errors=True)


# --- in the child ---------------------------------------------------------------------------------


def serve(descriptor: int) -> None:
    """Calls as they come, until nobody is left to answer."""
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    codecs: dict[int, Codec] = {}
    with Connection(descriptor) as caller, contextlib.suppress(EOFError, ConnectionError):
        caller.send(_ANSWERED)
        while True:
            answer = _answer(caller, codecs)
            try:
                caller.send(answer)
            except ConnectionError:
                raise
            except Exception as error:  # pickle's
                caller.send((_RAISED, f"what it returned cannot be sent: {_said(error)}"))
    _remove_temporary()


def _answer(caller: Any, codecs: dict[int, Codec]) -> tuple[str, Any]:
    """To the next call, or to a codec that is introduced. Raises EOFError, ConnectionError."""
    try:
        number, method, given = caller.recv()
    except (EOFError, ConnectionError):
        raise
    except Exception as error:  # a codec that cannot be unpickled here
        return _RAISED, _said(error)
    if method is None:
        codecs[number] = given
        return _ANSWERED, None
    try:
        return _ANSWERED, getattr(codecs[number], method)(*given)
    except (Exception, SystemExit) as error:
        return _RAISED, _said(error)


def _end_with(parent: int) -> None:
    """In the midst of a call, too; with the programs that run for it."""
    while os.getppid() == parent:
        time.sleep(0.5)
    _remove_temporary()
    os.killpg(0, signal.SIGKILL)


def _remove_temporary() -> None:
    """The folder that the caller made for this process."""
    folder = Path(os.environ["TMPDIR"])
    if folder.name.startswith(_FOLDER):
        shutil.rmtree(folder, ignore_errors=True)


def _said(error: BaseException) -> str:
    """What the caller would say of it, had it been raised there."""
    text = " ".join(str(error).split())
    if isinstance(error, BenchError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
