"""The calls of one forward pass judged while the pass goes on: results in execution order, in
bounded memory.

A thread runs the forward pass and lines up what is to be judged. The reader takes it from there
while it waits for its next result, and so do helpers, one for each core beyond two. The pass waits
while more than a few calls, or more than a few MiB of them, have not been judged and read, and
judges meanwhile: so many threads compute as there are cores; on a single one the pass judges each
call itself and waits until it has been read. Each computes on one thread: pools of threads that
spin against each other (the framework's, BLAS', ONNX Runtime's) cost several times what they gain.

The reader may be interrupted anywhere, and lost without a word. So it waits and works where signals
are held back, and the other threads, which no signal reaches, wait for it a moment at a time:
``closed`` ends them, and they put back what they changed.
"""

import atexit
import os
import threading
from collections import deque
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, nullcontext, suppress
from contextvars import copy_context
from typing import Generic, TypeVar

from probe.model import Capture, StopForward
from probe.process.interrupts import (
    MOMENT,
    await_end,
    ends_when,
    held_back,
    interruptible,
    numbers_kept,
    stop_here,
)
from probe.process.model_lock import Reader, reading_for
from probe.process.one_thread import one_blas_thread, one_thread

__all__ = ["judged_in_order"]

_WORKERS = 4
_WAITING = 3
_UNREAD = 8
_BYTES = 32 << 20

T = TypeVar("T")


class _Task(Generic[T]):
    """What is to be done for one call, and what came of it."""

    def __init__(self, work: Callable[[], T], size: int):
        self._work: Callable[[], T] | None = work
        self._error: BaseException | None = None
        self.size, self.done = size, False

    def do(self) -> None:
        assert self._work is not None
        try:
            self._result = self._work()
        except BaseException as error:
            self._error = error
            if (
                isinstance(error, KeyboardInterrupt)
                and threading.current_thread() is threading.main_thread()
            ):
                raise  # by the user, who need not wait for this result's turn
        finally:
            self._work = None  # it holds a call
            self.done = True

    def result(self) -> T:
        if self._error is not None:
            raise self._error
        return self._result


class _Line(Generic[T]):
    """What is to be judged and what has been, in order, for so many ``workers``: the pass, the
    reader and helpers."""

    def __init__(self, workers: int):
        self._lock = threading.RLock()
        """Taken as it is: an interrupt between the locking of a Condition and the body of its
        ``with`` would leave it locked."""
        self._changed = threading.Condition(self._lock)
        self._most = workers - 2 + _WAITING
        self._alone = workers == 1
        self._tasks: deque[_Task[T]] = deque()
        self._unread: deque[_Task[T]] = deque()
        self._ended = False
        self.closed = False
        """Set by the reader, who needs no lock for it; each thread sees it within a moment."""

    def add(self, task: _Task[T]) -> None:
        with self._lock:
            self._tasks.append(task)
            self._unread.append(task)
            if not self._alone:  # on a single core the pass does it, and nobody need wake
                self._changed.notify_all()

    def first(self) -> _Task[T] | None:
        """The first result that has not been read, None after the last; works until it is there."""
        self._work(lambda: self._unread[0].done if self._unread else self._ended)
        if self._unread:
            return self._unread[0]
        return None

    def ready(self) -> _Task[T] | None:
        """The first result, where it is there."""
        if self._unread and self._unread[0].done:
            return self._unread[0]
        return None

    def read(self) -> None:
        """Says that the first result has been read."""
        with self._lock:
            self._unread.popleft()
            self._changed.notify_all()

    def help(self) -> None:
        """Works until the line is closed."""
        self._work(lambda: False)

    def hold(self) -> None:
        """Works while there is no room for another call; on a single core judges it. Raises
        StopForward once the line is closed."""
        if self._alone:
            self._work(lambda: not self._tasks)
            self._wait(lambda: not self._unread)
        else:
            self._work(self._room)
        self.go_on()

    def go_on(self) -> None:
        """Raises StopForward once the line is closed."""
        if self.closed:
            raise StopForward

    def finish(self) -> None:
        """Works until nothing is left, nothing will be added, and waits until all has been read."""
        with self._lock:
            self._ended = True
            self._changed.notify_all()
        if not self._alone:
            self._work(lambda: not self._tasks)
        self._wait(lambda: False)

    def close(self) -> None:
        self.closed = True
        with self._lock:
            self._changed.notify_all()

    def _wait(self, enough: Callable[[], bool]) -> None:
        """Waits until it is ``enough`` or the line is closed."""
        while not (self.closed or enough()):
            with self._lock:
                self._changed.wait_for(lambda: self.closed or enough(), MOMENT)
            if not self.closed:
                stop_here()

    def _work(self, enough: Callable[[], bool]) -> None:
        """Does task after task, waiting for them, until it is ``enough`` or the line is closed."""
        while True:
            self._wait(lambda: bool(self._tasks) or enough())
            with self._lock:
                if self.closed or enough():
                    return
                if not self._tasks:
                    continue
                task = self._tasks.popleft()
            try:
                with interruptible():
                    task.do()
            finally:
                with self._lock:
                    self._changed.notify_all()
            del task

    def _room(self) -> bool:
        few = len(self._tasks) <= self._most and len(self._unread) <= _UNREAD
        return few and sum(task.size for task in self._unread) < _BYTES


class _JudgedPass(Generic[T]):
    """A forward pass on a thread of its own, whose calls are judged there, by the reader, and on
    further threads."""

    def __init__(
        self,
        forward: Callable[[Callable[[Capture], None]], object],
        prepare: Callable[[Capture], Callable[[], T]],
        settings: AbstractContextManager[None] | None,
    ):
        self._forward, self._prepare, self._settings = forward, prepare, settings
        workers = min(_WORKERS, _cores())
        self.line = _Line[T](workers)
        self.failed: list[BaseException] = []
        self.reader = Reader()
        run = copy_context().run
        self._threads = [
            threading.Thread(target=run, args=(self._produce,), name="probe-forward", daemon=True)
        ]
        self._threads += [
            threading.Thread(target=self.line.help, name=f"probe-judge_{number}", daemon=True)
            for number in range(workers - 2)
        ]

    def start(self) -> None:
        with held_back():
            for thread in self._threads:
                thread.start()

    def first(self) -> _Task[T] | None:
        """The first result that has not been read, None after the last."""
        if (task := self.line.ready()) is not None:
            return task
        with held_back(), numbers_kept():
            try:
                return self.line.first()
            except BaseException:
                self._close()
                raise

    def end(self) -> None:
        """Stops the pass and ends every thread."""
        self.line.closed = self.reader.gone = True
        self._close()

    def _close(self) -> None:
        self.line.close()
        await_end(self._threads)

    def _push(self, capture: Capture) -> None:
        size = sum(array.nbytes for array in (*capture.inputs, *capture.outputs))
        self.line.add(_Task(self._prepare(capture), size))
        del capture
        self.line.hold()

    def _produce(self) -> None:
        line = self.line
        with (
            suppress(StopForward),
            one_blas_thread,
            reading_for(self.reader),
            ends_when(line.go_on),
        ):
            try:
                with self._settings or nullcontext(), one_thread():
                    self._forward(self._push)
            except StopForward:
                raise
            # a model may end the program, too, which in a thread ends nothing
            except BaseException as error:
                self.failed.append(error)
            line.finish()


def judged_in_order(
    forward: Callable[[Callable[[Capture], None]], object],
    prepare: Callable[[Capture], Callable[[], T]],
    settings: AbstractContextManager[None] | None = None,
) -> Generator[T, None, None]:
    """What came of each call that ``forward`` pushes to its callback, in order.

    ``prepare`` is called on the forward pass' thread, in order, and returns what is then done on
    some thread. ``settings`` is entered on the forward pass' thread: what the reader has set that
    belongs to a thread. Closing the iterator stops the forward pass, which puts the model back, and
    ends every thread.
    """
    judged = _JudgedPass(forward, prepare, settings)
    try:
        _OPEN.add(judged.end)
        judged.start()
        while (task := judged.first()) is not None:
            result = task.result()
            del task
            yield result
            judged.reader.thread = threading.get_ident()  # whoever asks for the next
            del result
            judged.line.read()
        if judged.failed:
            raise judged.failed[0]
    finally:
        # before anything that an interrupt could take the place of
        judged.line.closed = judged.reader.gone = True
        try:
            with held_back():
                judged.end()
        except BaseException:  # one that came before signals were held back
            with held_back():
                judged.end()
            raise
        finally:
            _OPEN.discard(judged.end)


_OPEN: set[Callable[[], None]] = set()
"""What ends those that go on."""


@atexit.register
def _end_all() -> None:
    """Threads that the interpreter takes away at its end, within C++, take the process with
    them."""
    for end in list(_OPEN):
        end()


def _cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
