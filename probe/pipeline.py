"""The calls of one forward pass judged while the pass goes on: results in execution order, in bounded memory.

A thread runs the forward pass and lines up what is to be judged; helpers, one for each further core, take it from there. The
pass waits while more than a few calls, or more than a few MiB of them, have not been read, and judges meanwhile: so many
threads compute as there are cores. Each computes on one thread: pools of threads that spin against each other (the
framework's, BLAS', ONNX Runtime's) cost several times what they gain.
"""

import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from threadpoolctl import threadpool_limits

from probe.model import Capture

__all__ = ["judged_in_order"]

_WORKERS = 4
_WAITING = 3
_BYTES = 32 << 20

T = TypeVar("T")


class _Stop(BaseException):
    """Ends a forward pass whose reader is gone; not an Exception, so that no model's own handler keeps it."""


class _Line:
    """What is to be judged, in order, and the sizes of the calls that have not been read."""

    def __init__(self, helpers: int):
        self._helpers, self._changed = helpers, threading.Condition()
        self._tasks: deque[Callable[[], None]] = deque()
        self._unread: deque[int] = deque()
        self._closed = False

    def add(self, task: Callable[[], None], size: int) -> None:
        with self._changed:
            self._tasks.append(task)
            self._unread.append(size)
            self._changed.notify_all()

    def read(self) -> None:
        with self._changed:
            self._unread.popleft()
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def help(self) -> None:
        """Works until the line is closed."""
        self._work(lambda: False)

    def hold(self) -> None:
        """Works while there is no room for another call, or nobody else to do it. Raises _Stop once the line is closed."""
        self._work(self._room)
        if self._closed:
            raise _Stop

    def finish(self) -> None:
        """Works until nothing is left."""
        self._work(lambda: not self._tasks)

    def _work(self, enough: Callable[[], bool]) -> None:
        """Does task after task, waiting for them, until it is ``enough`` or the line is closed."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._tasks or enough())
                if self._closed or enough():
                    return
                task = self._tasks.popleft()
            task()
            del task  # it holds a call

    def _room(self) -> bool:
        if self._tasks and not self._helpers:
            return False
        return len(self._unread) <= self._helpers + _WAITING and sum(self._unread) < _BYTES


def judged_in_order(forward: Callable[[Callable[[Capture], None]], Any], prepare: Callable[[Capture], Callable[[], T]]) -> Iterator[T]:
    """What came of each call that ``forward`` pushes to its callback, in order.

    ``prepare`` is called on the forward pass' thread, in order, and returns what is then done on some thread. Closing the
    iterator stops the forward pass, which puts the model back, and ends every thread.
    """
    helpers = min(_WORKERS, _cores()) - 1
    line = _Line(helpers)
    found: queue.SimpleQueue[Future[T] | BaseException | None] = queue.SimpleQueue()
    first = True

    def push(capture: Capture) -> None:
        nonlocal first
        if first:
            # Only now, since PyTorch sets its number of threads anew at a thread's first operation; it is this thread's alone.
            threadpool_limits(1, "openmp")
            first = False
        size = sum(array.nbytes for array in (*capture.inputs, *capture.outputs))
        future = Future[T]()
        task = partial(_settle, future, prepare(capture))
        found.put(future)
        line.add(task, size)
        del capture, task
        line.hold()

    def produce() -> None:
        with suppress(_Stop):
            try:
                forward(push)
            except Exception as error:
                found.put(error)
            else:
                found.put(None)
            line.finish()

    threads = [threading.Thread(target=produce, name="probe-forward", daemon=True)]
    threads += [threading.Thread(target=line.help, name=f"probe-judge_{number}", daemon=True) for number in range(helpers)]
    with threadpool_limits(1, "blas"):
        for thread in threads:
            thread.start()
        try:
            while (item := found.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                result = item.result()
                del item
                yield result
                del result
                line.read()
        finally:
            line.close()
            for thread in threads:
                thread.join()


def _settle(future: Future[T], work: Callable[[], T]) -> None:
    try:
        future.set_result(work())
    except BaseException as error:
        future.set_exception(error)


def _cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
