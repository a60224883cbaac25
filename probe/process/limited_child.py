"""What a file may make a library do without end, done in a child of this process: with a limit of
memory and of processor time, and with nothing to read from or print to.

A fork, and no new interpreter: a framework is imported in seconds, and is in the child already.
Systems other than Linux do not let a process fork that has threads, or have no such limits: there
the work is done in this process.
"""

import contextlib
import faulthandler
import gc
import json
import math
import os
import selectors
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from probe.errors import BadInput, CannotOpen, ForwardFailed, NotTrusted, ProbeError, in_words
from probe.process.interrupts import MOMENT, held_back, interruptible, stop_here
from probe.process.log_suppression import silenced

if sys.platform == "linux":
    import resource

__all__ = ["exceeded", "limited", "processor_time"]

_T = TypeVar("_T")

_FORKS = sys.platform == "linux"
_ERRORS = {cls.__name__: cls for cls in (BadInput, CannotOpen, ForwardFailed, NotTrusted)}
_OUT_OF_MEMORY = 3
"""The exit status of a child that had no memory left to answer."""
_WAITED, _BUSY = 5.0, 0.05
"""A child that in so many times its seconds takes less than this share of them of processor time
is idle, and is waited for no longer: it waits for a lock of a thread that it does not have."""
_STARTING = threading.Lock()


def limited(
    work: Callable[[], _T],
    what: str,
    *,
    memory: float,
    seconds: float,
    prepare: Callable[[], object] = lambda: None,
    meanwhile: Callable[[], object] = lambda: None,
    error: type[ProbeError] = CannotOpen,
    elsewhere: Callable[[], _T] | None = None,
) -> _T:
    """What the work gives, which must be of JSON's values: in a child that may take so many bytes
    more than this process has, and so many seconds of processor time.

    ``prepare`` is called in the child alone, and ``meanwhile`` here while it works. An error of
    ``work`` is raised here; ``error`` where it goes beyond a limit, with ``what`` it is doing, such
    as "reading FILE". ``elsewhere`` does the work where no process can be forked, by default this
    one; who gives it has work that may crash.
    """
    otherwise = elsewhere or work
    if not _FORKS:
        return otherwise()
    with held_back(), silenced(__name__):  # Python warns of forks where there are threads
        try:
            child, end = _started(partial(_in_the_child, work, what, memory, seconds, prepare))
        except OSError:  # no process more, or none of this size
            with interruptible():
                return otherwise()
        try:
            with interruptible():
                meanwhile()
                text, idle = _text(child, end, seconds)
        finally:
            os.close(end)
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            status, used = _ended(child)
    if text.endswith(b"\n"):
        answer = json.loads(text)
        if "error" in answer:
            raise _ERRORS[answer["error"]](answer["sentence"])
        value: _T = answer["value"]
        return value
    if idle and used < _BUSY * seconds:
        return otherwise()
    raise error(f"{what} {exceeded(status, idle, memory, seconds, elsewhere is not None)}")


def _started(answer: Callable[[int], NoReturn]) -> tuple[int, int]:
    """The child, and the end of the pipe that it answers through."""
    with _STARTING:  # no child holds the end that another one writes to
        end, writing = os.pipe()
        try:
            child = os.fork()
        except OSError:
            os.close(end)
            os.close(writing)
            raise
        if not child:
            answer(writing)
        os.close(writing)
    return child, end


def _in_the_child(
    work: Callable[[], object],
    what: str,
    memory: float,
    seconds: float,
    prepare: Callable[[], object],
    writing: int,
) -> NoReturn:
    """Answers and ends; nothing that this process would do at its end is done."""
    status = 1
    try:
        while writing < 3:  # where this process has no standard streams
            writing = os.dup(writing)
        _confine(memory, seconds)
        prepare()
        os.write(writing, json.dumps(_answer(work, what)).encode() + b"\n")
        status = 0
    except MemoryError:
        status = _OUT_OF_MEMORY
    finally:
        os._exit(status)


def _answer(work: Callable[[], object], what: str) -> dict[str, Any]:
    try:
        return {"value": work()}
    except tuple(_ERRORS.values()) as error:
        return {"error": type(error).__name__, "sentence": str(error)}
    except MemoryError:
        raise
    except Exception as error:
        return {"error": CannotOpen.__name__, "sentence": f"{what} fails ({in_words(error)})"}


def _confine(memory: float, seconds: float) -> None:
    gc.freeze()  # what is here already is not gone through, which would copy it
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGXCPU, signal.SIGABRT):
        signal.signal(number, signal.SIG_DFL)
    faulthandler.disable()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nowhere, descriptor)
    _lower(resource.RLIMIT_CORE, 0)
    if math.isfinite(seconds):
        _lower(resource.RLIMIT_CPU, max(1, round(seconds)))
    if math.isinf(memory):
        return
    with contextlib.suppress(FileNotFoundError):  # without /proc it is not known what is taken
        pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[5])
        _lower(resource.RLIMIT_DATA, pages * os.sysconf("SC_PAGE_SIZE") + int(memory))


def _lower(kind: int, limit: int) -> None:
    soft, hard = resource.getrlimit(kind)
    least = limit if soft == resource.RLIM_INFINITY else min(limit, soft)
    resource.setrlimit(kind, (least, hard))


def _text(child: int, end: int, seconds: float) -> tuple[bytes, bool]:
    """What the child writes, a line, and whether it was left idle before it had. A child that gets
    little of a busy machine is waited for: its limit of processor time ends it."""
    text, used, until = b"", 0.0, time.monotonic() + _WAITED * seconds
    with selectors.DefaultSelector() as selector:
        selector.register(end, selectors.EVENT_READ)
        while True:
            if time.monotonic() >= until:
                before, used = used, processor_time(child)
                if used - before < _BUSY * seconds:
                    return text, True
                until = time.monotonic() + _WAITED * seconds
            if selector.select(MOMENT):
                piece = os.read(end, 1 << 16)
                text += piece
                if not piece or text.endswith(b"\n"):
                    return text, False
            stop_here()


def processor_time(child: int) -> float:
    """The seconds of processor time that a child took so far; inf once it has ended."""
    try:
        # CPUCLOCK_SCHED of a process, as clock_getcpuclockid(3) makes it on Linux.
        return time.clock_gettime(~child << 3 | 2)
    except OSError:
        return float("inf")


def _ended(child: int) -> tuple[int, float]:
    """The status of the child, and the seconds of processor time that it took."""
    try:
        _, status, usage = os.wait4(child, 0)
    except ChildProcessError:  # the user has it that children leave no status
        return 0, 0.0
    return status, usage.ru_utime + usage.ru_stime


def exceeded(status: int, idle: bool, memory: float, seconds: float, native: bool) -> str:
    """``native`` says that the work may crash by itself, which may end as want of memory does."""
    if idle:
        return f"does not end within {_WAITED * seconds:.0f} s"
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if number == signal.SIGXCPU:
        return f"takes more than {seconds:.0f} s of processor time"
    bound = "there is" if math.isinf(memory) else f"{int(memory) >> 20:,} MiB"
    if number == signal.SIGABRT and native:
        return f"crashes (SIGABRT), or takes more than {bound} of memory"
    if number in (signal.SIGABRT, signal.SIGKILL) or os.WEXITSTATUS(status) == _OUT_OF_MEMORY:
        return f"takes more than {bound} of memory"
    if number:
        return f"crashes ({signal.Signals(number).name})"
    return "ends without an answer"
