"""SavedModels run in processes of their own: what TensorFlow loads may crash it, run without end,
or take all memory.

One process imports TensorFlow, and forks another for each model that is opened: TensorFlow has
threads as soon as it has computed anything, and a fork of such a process waits for them for ever.
Where no process can be forked the model runs in this one.
"""

import atexit
import math
import os
import pickle
import selectors
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from probe.errors import BadInput, CannotOpen, ForwardFailed, NotTrusted
from probe.process.interrupts import MOMENT, stop_here
from probe.process.limited_child import exceeded

__all__ = ["ERRORS", "LENGTH", "Allowance", "Worker", "send", "start_forking"]

_FORKS = sys.platform != "win32" and hasattr(os, "fork") and hasattr(socket, "send_fds")
ERRORS = {cls.__name__: cls for cls in (BadInput, CannotOpen, ForwardFailed, NotTrusted)}
LENGTH = struct.Struct("<Q")
"""Before each message: its bytes."""


class Allowance(NamedTuple):
    """What an answer may take; inf where it may take what it likes."""

    memory: float
    seconds: float


class Forking(NamedTuple):
    """The process that forks, and what it is asked through."""

    process: "subprocess.Popen[bytes]"
    control: socket.socket


_forking: list[Forking] = []
_STARTING = threading.Lock()


def start_forking() -> "Forking | None":
    """The process that forks, started unless it runs; None where there can be none."""
    if not _FORKS:
        return None
    with _STARTING:
        if not _forking:
            _forking.append(_started())
        return _forking[0]


def _started() -> Forking:
    ours, theirs = socket.socketpair()
    code = f"from probe.adapters.saved_model.forking import main; main({theirs.fileno()})"
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(str(Path(path).absolute()) for path in sys.path),
                "CUDA_VISIBLE_DEVICES": "-1",
                # Its own allocator waits 10 s for each piece of memory that it is not given.
                "TF_ONEDNN_USE_SYSTEM_ALLOCATOR": "1",
            },
            pass_fds=(theirs.fileno(),),
        )
    atexit.register(_end, process, ours, os.getpid())
    return Forking(process, ours)


def _ask_for_process(descriptors: list[int]) -> None:
    """A fork that answers through these; where the process that forks has ended, of a new one."""
    for _ in range(2):
        forking = start_forking()
        assert forking is not None
        try:
            socket.send_fds(forking.control, [b"+"], descriptors)
            return
        except OSError:
            _forking.clear()
    raise CannotOpen("the process that imports TensorFlow ends as soon as it is started")


def _end(process: "subprocess.Popen[bytes]", control: socket.socket, owner: int) -> None:
    if os.getpid() == owner:
        control.close()
        process.kill()
        process.wait()


class Worker:
    """A process with one model in it, which answers with what a method of an object gives."""

    def __init__(self, make: Callable[[], Any]) -> None:
        """``make`` is what makes the object: a class of a module."""
        self._make = make
        self._here: Any = None
        self._link: tuple[socket.socket, int] | None = None
        """What it is asked through, and where its exit status comes from."""

    @property
    def runs(self) -> bool:
        return self._here is not None or self._link is not None

    def ask(self, what: str, allowance: Allowance, method: str, *arguments: Any) -> Any:
        """What a method of the object gives. An error of it is raised here; ForwardFailed where it
        crashes or goes beyond what it may take, with ``what`` it is doing, such as "running x"."""
        self.start()
        if self._here is not None:
            return getattr(self._here, method)(*arguments)
        try:
            answer = self._answer(what, allowance, (method, arguments))
        except BaseException:
            self.close()
            raise
        if "error" in answer:
            raise ERRORS[answer["error"]](answer["sentence"])
        return answer["value"]

    def start(self) -> None:
        """Does nothing where it runs."""
        if self.runs:
            return
        if start_forking() is None:
            self._here = self._make()
            return
        ours, theirs = socket.socketpair()
        status, ended = os.pipe()
        with theirs:
            _ask_for_process([theirs.fileno(), ended])
        os.close(ended)
        self._link = (ours, status)
        try:
            self._answer("starting TensorFlow", Allowance(math.inf, math.inf), self._make)
        except BaseException:
            self.close()
            raise

    def _answer(self, what: str, allowance: Allowance, request: Any) -> Any:
        assert self._link is not None
        connection, ended = self._link
        with suppress(BrokenPipeError, ConnectionResetError):  # how it ended is read below
            send(connection, pickle.dumps((request, allowance)))
        status, received = b"", bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(connection, selectors.EVENT_READ)
            selector.register(ended, selectors.EVENT_READ)
            while not status:
                ready = {key.fd for key, _ in selector.select(MOMENT)}
                if connection.fileno() in ready:
                    received += (piece := _piece(connection))
                    if len(received) >= 8 and len(received) == 8 + LENGTH.unpack(received[:8])[0]:
                        return pickle.loads(memoryview(received)[8:])
                    if not piece:
                        selector.unregister(connection)
                elif ended in ready:
                    status = os.read(ended, 64) or b"0"
                stop_here()
        memory, seconds = allowance
        raise ForwardFailed(f"{what} {exceeded(int(status), False, memory, seconds, True)}")

    def close(self) -> None:
        """Ends the process; asked again, another one is started."""
        if self._link is not None:
            self._link[0].close()
            os.close(self._link[1])
            self._link = None

    __del__ = close


def _piece(connection: socket.socket) -> bytes:
    """What there is to read; nothing where the other side has ended."""
    try:
        return connection.recv(1 << 20)
    except ConnectionResetError:
        return b""


def send(connection: socket.socket, content: bytes) -> None:
    connection.sendall(LENGTH.pack(len(content)))
    connection.sendall(content)
