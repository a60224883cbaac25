"""The process that imports TensorFlow and forks one for each SavedModel, and these."""

import gc
import importlib
import math
import os
import pickle
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from probe.errors import ForwardFailed, ProbeError, in_words

from .processes import ERRORS, LENGTH, Allowance, send

if sys.platform == "linux":
    import resource

__all__ = ["main"]

_OUT_OF_MEMORY = 3
"""As in ``probe.process.limited_child``."""
_THREADS = (os.cpu_count() or 1) << 25
"""What the stacks of TensorFlow's threads may take."""


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


def _kill(numbers: Iterable[int]) -> None:
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
        send(connection, pickle.dumps(None))  # it has started
        while True:
            (method, arguments), allowance = pickle.loads(_received(connection))
            _confine(allowance)
            send(connection, pickle.dumps(_attempt(getattr(served, method), arguments)))
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
        return file.read(LENGTH.unpack(head)[0])


def _attempt(work: Callable[..., Any], arguments: Any) -> Mapping[str, Any]:
    try:
        return {"value": work(*arguments)}
    except ProbeError as error:
        name = type(error).__name__
        kept = name if name in ERRORS else ForwardFailed.__name__
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
