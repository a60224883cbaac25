"""The calls of one forward pass judged while the pass goes on: results in execution order, in bounded memory.

A thread runs the forward pass and hands each call to the workers; it waits while more than a few calls, or more than a few
MiB of them, have not been read. Every worker computes on one thread: pools of threads that spin against each other (the
framework's, BLAS', ONNX Runtime's) cost several times what they gain.
"""

import os
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from threadpoolctl import threadpool_limits

from probe.model import Capture

__all__ = ["judged_in_order"]

_WORKERS = 4
_WAITING = 2
_BYTES = 32 << 20

T = TypeVar("T")


class _Stop(BaseException):
    """Ends a forward pass whose reader is gone; not an Exception, so that no model's own handler keeps it."""


class _Gate:
    """Counts what is on its way and holds the forward pass back while that is too much."""

    def __init__(self, calls: int):
        self._calls, self._changed = calls, threading.Condition()
        self._sizes: list[int] = []
        self.closed = self.entered = False

    def enter(self, size: int) -> None:
        with self._changed:
            self._sizes.append(size)
            self.entered = True

    def wait(self) -> None:
        """Returns where there is room again. Raises _Stop once the gate is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self.closed or (len(self._sizes) < self._calls and sum(self._sizes) < _BYTES))
            if self.closed:
                raise _Stop

    def leave(self) -> None:
        with self._changed:
            self._sizes.pop(0)
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self.closed = True
            self._changed.notify_all()


def judged_in_order(forward: Callable[[Callable[[Capture], None]], Any], prepare: Callable[[Capture], Callable[[], T]]) -> Iterator[T]:
    """What came of each call that ``forward`` pushes to its callback, in order.

    ``prepare`` is called on the forward pass' thread, in order, and returns what a worker then does. Closing the iterator
    stops the forward pass, which puts the model back, and ends every thread.
    """
    workers = min(_WORKERS, _cores())
    gate = _Gate(workers + _WAITING)
    found: queue.SimpleQueue[Future[T] | BaseException | None] = queue.SimpleQueue()
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(workers, "probe-judge") as pool:

        def push(capture: Capture) -> None:
            if not gate.entered:
                # Only now, since PyTorch sets its number of threads anew at a thread's first operation; it is this thread's alone.
                threadpool_limits(1, "openmp")
            gate.enter(sum(array.nbytes for array in (*capture.inputs, *capture.outputs)))
            found.put(pool.submit(prepare(capture)))
            del capture
            gate.wait()

        def produce() -> None:
            with suppress(_Stop):
                try:
                    forward(push)
                except Exception as error:
                    found.put(error)
                else:
                    found.put(None)

        producer = threading.Thread(target=produce, name="probe-forward", daemon=True)
        producer.start()
        try:
            while (item := found.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                result = item.result()
                del item
                yield result
                del result
                gate.leave()
        finally:
            gate.close()
            producer.join()
            pool.shutdown(cancel_futures=True)


def _cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
