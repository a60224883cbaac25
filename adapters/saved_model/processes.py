"""SavedModels run in processes of their own: what TensorFlow loads may crash it, run without end,
or take all memory.

One process imports TensorFlow, and forks another for each model that is opened: TensorFlow has
threads as soon as it has computed anything, and a fork of such a process waits for them for ever.
Where no process can be forked the model runs in this one.
"""

import atexit
import gc
import importlib
import math
import os
import pickle
import select
import selectors
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from probe.errors import BadInput, CannotOpen, ForwardFailed, NotTrusted, ProbeError, in_words
from probe.process.interrupts import MOMENT, stop_here
from probe.process.limited_child import exceeded, processor_time

if sys.platform == "linux":
    import resource

__all__ = ["Allowance", "Worker", "start_forking"]

_FORKS = sys.platform != "win32" and hasattr(os, "fork") and hasattr(socket, "send_fds")
_ERRORS = {cls.__name__: cls for cls in (BadInput, CannotOpen, ForwardFailed, NotTrusted)}
_OUT_OF_MEMORY = 3
_RESTING, _BUSY = 3.0, 0.05
"""Seconds in which a process that all threads of sleep takes less than so many of processor time
is waited for no longer: TensorFlow waits many times 10 s for memory that it is not given. One that
a busy machine keeps from running does not sleep."""
_LENGTH = struct.Struct("<Q")
_THREADS = (os.cpu_count() or 1) << 25
"""What the stacks of TensorFlow's threads may take."""


class Allowance(NamedTuple):
    """What an answer may take; inf where it may take what it likes."""

    memory: float
    seconds: float


# The process that asks.


class _Forking(NamedTuple):
    process: "subprocess.Popen[bytes]"
    control: socket.socket


_forking: list[_Forking] = []
_STARTING = threading.Lock()


def start_forking() -> socket.socket | None:
    """Starts the process that forks, unless it runs; what it is asked through, and None where
    there can be none."""
    if not _FORKS:
        return None
    with _STARTING:
        if not _forking:
            _forking.append(_started())
        return _forking[0].control


def _started() -> _Forking:
    ours, theirs = socket.socketpair()
    code = f"from probe.adapters.saved_model.processes import main; main({theirs.fileno()})"
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
            },
            pass_fds=(theirs.fileno(),),
        )
    atexit.register(_end, process, ours, os.getpid())
    return _Forking(process, ours)


def _ask_for_one(descriptors: list[int]) -> None:
    """A fork that answers through these; where the process that forks has ended, of a new one."""
    for _ in range(2):
        control = start_forking()
        assert control is not None
        try:
            socket.send_fds(control, [b"+"], descriptors)
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
        self._link: tuple[int, socket.socket, int] | None = None
        """Its number, what it is asked through, and where its exit status comes from."""

    @property
    def runs(self) -> bool:
        return self._here is not None or self._link is not None

    def ask(self, what: str, allowance: Allowance, method: str, *arguments: Any) -> Any:
        """What a method of the object gives. An error of it is raised here; ForwardFailed where it
        crashes or goes beyond what it may take, with ``what`` it is doing, such as "running x"."""
        if self._here is None and self._link is None:
            self._begin()
        if self._here is not None:
            return getattr(self._here, method)(*arguments)
        try:
            answer = self._answer(what, allowance, (method, arguments))
        except BaseException:
            self.close()
            raise
        if "error" in answer:
            raise _ERRORS[answer["error"]](answer["sentence"])
        return answer["value"]

    def _begin(self) -> None:
        if start_forking() is None:
            self._here = self._make()
            return
        ours, theirs = socket.socketpair()
        status, ended = os.pipe()
        with theirs:
            _ask_for_one([theirs.fileno(), ended])
        os.close(ended)
        self._link = (0, ours, status)
        try:
            number = self._answer("starting TensorFlow", Allowance(math.inf, math.inf), self._make)
        except BaseException:
            self.close()
            raise
        self._link = (number, ours, status)

    def _answer(self, what: str, allowance: Allowance, request: Any) -> Any:
        assert self._link is not None
        number, connection, ended = self._link
        with suppress(BrokenPipeError, ConnectionResetError):  # how it ended is read below
            _send(connection, pickle.dumps((request, allowance)))
        status, received, rest = b"", bytearray(), _Rest(number)
        with selectors.DefaultSelector() as selector:
            selector.register(connection, selectors.EVENT_READ)
            selector.register(ended, selectors.EVENT_READ)
            while not status:
                ready = {key.fd for key, _ in selector.select(MOMENT)}
                if connection.fileno() in ready:
                    received += (piece := _piece(connection))
                    if len(received) >= 8 and len(received) == 8 + _LENGTH.unpack(received[:8])[0]:
                        return pickle.loads(memoryview(received)[8:])
                    if not piece:
                        selector.unregister(connection)
                elif ended in ready:
                    status = os.read(ended, 64) or b"0"
                elif math.isfinite(allowance.seconds) and rest.lasts():
                    raise ForwardFailed(
                        f"{what} waits for what does not come, or for more than "
                        f"{int(allowance.memory) >> 20:,} MiB of memory"
                    )
                stop_here()
        memory, seconds = allowance
        raise ForwardFailed(f"{what} {exceeded(int(status), False, memory, seconds, True)}")

    def close(self) -> None:
        """Ends the process; asked again, another one is started."""
        if self._link is not None:
            self._link[1].close()
            os.close(self._link[2])
            self._link = None

    __del__ = close


class _Rest:
    """How long a process has slept."""

    def __init__(self, number: int) -> None:
        self._number, self._since, self._used = number, 0.0, math.inf

    def lasts(self) -> bool:
        """Whether it did nothing for some seconds; to be asked some times a second."""
        used = processor_time(self._number) if self._number else math.inf
        if not used - self._used < _BUSY or not _sleeps(self._number):
            self._since, self._used = time.monotonic(), used
        return time.monotonic() - self._since > _RESTING


def _sleeps(number: int) -> bool:
    """Whether no thread of a process runs, waits for a processor, or for a disk; False where that
    is not known."""
    try:
        stats = [
            (task / "stat").read_text(encoding="utf-8")
            for task in Path(f"/proc/{number}/task").iterdir()
        ]
    except OSError:
        return False
    return all(stat.rpartition(")")[2].split()[0] == "S" for stat in stats)


def _piece(connection: socket.socket) -> bytes:
    """What there is to read; nothing where the other side has ended."""
    try:
        return connection.recv(1 << 20)
    except ConnectionResetError:
        return b""


def _send(connection: socket.socket, content: bytes) -> None:
    connection.sendall(_LENGTH.pack(len(content)))
    connection.sendall(content)


# The process that forks.


def main(descriptor: int) -> NoReturn:
    """Forks whenever it is asked to, until whoever started it has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal: who asks ends what was asked
    control = socket.socket(fileno=descriptor)
    importlib.import_module("tensorflow")
    importlib.import_module(".serving", __package__)
    gc.freeze()
    wakes, waking = os.pipe()
    os.set_blocking(waking, False)
    signal.set_wakeup_fd(waking)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    children: dict[int, int] = {}
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(wakes, select.POLLIN)
    while True:
        for ready, _ in poll.poll():
            if ready == wakes:
                os.read(wakes, 4096)
            elif ready == control.fileno():
                _fork(control, children, (wakes, waking))
            else:  # nobody waits for it
                _kill([number for number, ended in children.items() if ended == ready])
                poll.unregister(ready)
        for ended in children.values():
            poll.register(ended, 0)
        _reap(children, poll)


def _fork(control: socket.socket, children: dict[int, int], others: tuple[int, int]) -> None:
    found, descriptors, _, _ = socket.recv_fds(control, 1, 2)
    if not found:
        _kill(children)
        os._exit(0)
    connection, ended = descriptors
    number = os.fork()
    if not number:
        signal.set_wakeup_fd(-1)
        for descriptor in (control.fileno(), ended, *others, *children.values()):
            os.close(descriptor)
        _serve(socket.socket(fileno=connection))
    os.close(connection)
    children[number] = ended


def _kill(numbers: Any) -> None:
    for number in numbers:
        os.kill(number, signal.SIGKILL)


def _reap(children: dict[int, int], poll: Any) -> None:
    """Says how children ended that did."""
    for number, ended in list(children.items()):
        done, status = os.waitpid(number, os.WNOHANG)
        if done:
            with suppress(KeyError):
                poll.unregister(ended)
            with suppress(BrokenPipeError):
                os.write(ended, str(status).encode())
            os.close(ended)
            del children[number]


# The process of one model.


def _serve(connection: socket.socket) -> NoReturn:
    status = 1
    try:
        for number in (signal.SIGCHLD, signal.SIGXCPU, signal.SIGABRT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        make, _ = pickle.loads(_received(connection))
        served = make()
        _send(connection, pickle.dumps(os.getpid()))
        while True:
            (method, arguments), allowance = pickle.loads(_received(connection))
            _confine(allowance)
            _send(connection, pickle.dumps(_attempt(getattr(served, method), arguments)))
    except MemoryError:
        status = _OUT_OF_MEMORY
    except (EOFError, ConnectionError):
        status = 0
    finally:
        os._exit(status)


def _received(connection: socket.socket) -> bytes:
    with connection.makefile("rb") as file:
        head = file.read(8)
        if len(head) < 8:
            raise EOFError
        return file.read(_LENGTH.unpack(head)[0])


def _attempt(work: Callable[..., Any], arguments: Any) -> Mapping[str, Any]:
    try:
        return {"value": work(*arguments)}
    except ProbeError as error:
        name = type(error).__name__
        kept = name if name in _ERRORS else ForwardFailed.__name__
        return {"error": kept, "sentence": str(error)}
    except MemoryError:
        raise
    except Exception as error:  # nothing of it may end the process without a word
        return {"error": ForwardFailed.__name__, "sentence": f"TensorFlow: {in_words(error)}"}


def _confine(allowance: Allowance) -> None:
    """From here on; the limits of the answers before are lifted."""
    if sys.platform != "linux":
        return
    memory, seconds = resource.RLIM_INFINITY, resource.RLIM_INFINITY
    with suppress(FileNotFoundError):
        pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[5])
        if math.isfinite(allowance.memory):
            memory = pages * os.sysconf("SC_PAGE_SIZE") + int(allowance.memory) + _THREADS
    if math.isfinite(allowance.seconds):
        seconds = math.ceil(time.process_time() + allowance.seconds)
    for kind, limit in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_DATA, memory),
        (resource.RLIMIT_CPU, seconds),
    ):
        hard = resource.getrlimit(kind)[1]
        least = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (hard if limit == resource.RLIM_INFINITY else least, hard))
