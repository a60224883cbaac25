"""Ctrl-C ends what may be ended, and never what puts things back.

Python calls a signal's handler in the main thread between any two instructions: also between a
setting and the ``try`` that puts it back. So what changes the process or a model is entered and
left inside ``held_back()``, where a signal is noted and waits:

    with held_back(), changed(model), interruptible():
        model(x)

A forward pass is interruptible ``at_calls``: what has been noted is raised by the next
``stop_here()``, which every watched call makes, and not inside the framework, whose own settings
would stay half made. Where none comes for half a second it is raised at once.
"""

import _thread
import gc
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import copy_context
from functools import wraps
from types import FrameType
from typing import Any, ParamSpec, TypeVar

import numpy as np

__all__ = [
    "MOMENT",
    "Shared",
    "apart",
    "await_end",
    "ends_when",
    "held_back",
    "interruptible",
    "numbers_kept",
    "stop_here",
    "undisturbed",
]

_P = ParamSpec("_P")
_T = TypeVar("_T")

_SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGALRM", "SIGHUP", "SIGTERM", "SIGINT")
    if hasattr(signal, name)
)
"""Those whose handlers raise; SIGINT's is put back last."""
_FREE, _HELD, _OPEN, _CALLS = range(4)
"""The user's handlers are in place; or ours: a signal waits, is passed on at once, or is passed on
by ``stop_here``."""
_PATIENCE = 0.5
"""Seconds until a signal that waits for ``stop_here`` is passed on at once."""
_ENDING = 10.0
"""Seconds after which an interrupt may leave a thread that does not end behind."""
MOMENT = 0.1
"""Seconds after which whatever waits looks again."""
_AGAIN = 2.0
"""Seconds after a signal was passed on in which further ones wait: what it ended is being put
back."""


class _Main:
    """What the main thread does with signals."""

    mode = around = _FREE
    """Now, and around the innermost ``held_back``."""
    handlers: dict[int, Any] = {}  # noqa: RUF012
    """The user's, while ours stand in their place."""
    noted: list[int] = []  # noqa: RUF012
    since = passed = -_AGAIN
    """When the first of ``noted`` came, and when the last one was passed on."""
    raised = 0
    """The signal whose handler has raised, as long as it is not known whether that ended the
    body."""
    turn = object()
    """Another one for every outermost ``held_back``."""


_COLLECTING = {weakref.__file__, sys.modules[weakref.WeakSet.__module__].__file__}
_LOCK = threading.Lock()
_ENDS = threading.local()


def _arrived(number: int, frame: FrameType | None) -> None:
    now = time.monotonic()
    # ours was left in place by a signal that came while it was being replaced
    if _Main.mode == _FREE:
        _Main.handlers[number](number, frame)
        return
    if not _Main.noted:
        _Main.since = now
    _Main.noted.append(number)
    if now - _Main.passed < _AGAIN:
        return
    due = _Main.mode == _OPEN or (_Main.mode == _CALLS and now - _Main.since >= _PATIENCE)
    if due and not _unheard(frame):
        _pass_on(frame)
    elif due or (_Main.mode == _CALLS and len(_Main.noted) == 1):
        _thread.start_new_thread(_later, (number, _Main.turn))


def _unheard(frame: FrameType | None) -> bool:
    """Whether what is raised here ends nothing and is only printed: in what Python calls as it
    collects garbage or an object."""
    callbacks = {getattr(callback, "__code__", None) for callback in gc.callbacks}
    while frame is not None:
        if (
            frame.f_code.co_name == "__del__"
            or frame.f_code.co_filename in _COLLECTING
            or frame.f_code in callbacks
        ):
            return True
        frame = frame.f_back
    return False


def _later(number: int, turn: object) -> None:
    """Lets the main thread look again at what it has noted, as long as it is still in the same
    ``held_back``."""
    time.sleep(1.1 * _PATIENCE)
    with _LOCK:
        if _Main.turn is turn and _Main.noted:
            _thread.interrupt_main(signal.Signals(number))


def _pass_on(frame: FrameType | None = None) -> None:
    """Calls the user's handlers for what has been noted; they raise, as a rule."""
    while _Main.noted:
        number = _Main.noted[0]
        _Main.noted = [noted for noted in _Main.noted if noted != number]
        _Main.passed, _Main.raised = time.monotonic(), number
        _Main.handlers[number](number, frame)
        _Main.passed, _Main.raised = -_AGAIN, 0


def _in_main() -> bool:
    return threading.get_ident() == threading.main_thread().ident


def _resume(mode: int) -> None:
    _Main.mode = mode
    if not _Main.noted:
        return
    if mode == _OPEN:
        _Main.mode = _HELD
        _pass_on()
        _Main.mode = mode
    elif mode == _CALLS:
        _thread.start_new_thread(_later, (_Main.noted[0], _Main.turn))


class held_back(AbstractContextManager[None]):
    """No handler of a signal runs in the body: what came meanwhile comes at its end. In other
    threads none ever runs."""

    def __enter__(self) -> None:
        self._outer = False
        self._main = _in_main()
        if not self._main:
            return
        self._before, self._around = _Main.mode, _Main.around
        self._outer = _Main.mode == _FREE
        if not self._outer:
            _Main.mode = _HELD
            _Main.around = self._before
            return
        _Main.noted = []
        current = {number: signal.getsignal(number) for number in _SIGNALS}
        _Main.handlers = {
            number: _Main.handlers[number] if handler is _arrived else handler
            for number, handler in current.items()
            if callable(handler)
        }
        try:
            for number in _Main.handlers:
                signal.signal(number, _arrived)
            _Main.mode = _HELD
        except BaseException:
            self._put_back()
            raise

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if not self._main:
            return
        _Main.mode = _HELD
        _Main.around = self._around
        if not self._outer:
            _resume(self._before)
            return
        with _LOCK:
            _Main.turn = object()
        try:
            self._put_back()
        finally:  # also where the user's handlers, which are in place again, have raised
            _Main.mode = _Main.around = _FREE
            _Main.passed, _Main.raised = -_AGAIN, 0
            noted, _Main.noted = _Main.noted, []
        for number in dict.fromkeys(noted):
            if kind is None or not issubclass(kind, KeyboardInterrupt):
                signal.raise_signal(number)

    def _put_back(self) -> None:
        for number, handler in _Main.handlers.items():
            signal.signal(number, handler)


class interruptible(AbstractContextManager[None]):
    """Inside ``held_back``: signals are passed on in the body as they are around it, or
    ``at_calls`` of ``stop_here``."""

    def __init__(self, at_calls: bool = False) -> None:
        self._calls = at_calls

    def __enter__(self) -> None:
        self._main = _in_main() and _Main.mode != _FREE
        if self._main:
            stop_here()
            if self._calls:
                mode = _CALLS
            elif _Main.around in (_OPEN, _CALLS):
                mode = _Main.around
            else:
                mode = _OPEN
            _resume(mode)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if not self._main:
            return
        _Main.mode = _HELD
        if _Main.raised and kind is None:  # the body has swallowed it: it comes again, at the end
            _Main.noted.append(_Main.raised)
        _Main.raised = 0


def stop_here() -> None:
    """Where an interrupt may end what is going on: raises what was noted, or what ends the work of
    this thread (``ends_when``)."""
    if (ends := getattr(_ENDS, "check", None)) is not None:
        ends()
    elif _Main.noted and _in_main():
        _pass_on()


@contextmanager
def ends_when(check: Callable[[], None]) -> Iterator[None]:
    """``stop_here`` in this thread, which is not the main one, calls ``check``, which may raise."""
    _ENDS.check = check
    try:
        yield
    finally:
        del _ENDS.check


def apart(work: Callable[[], _T], end: Callable[[], None] | None = None) -> _T:
    """What the work gives in a thread of its own, which has set nothing and which no signal
    reaches.

    An interrupt calls ``end``, and is raised when the thread has ended.
    """
    results: list[_T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(
        target=copy_context().run, args=(run,), name="probe-apart", daemon=True
    )
    with held_back():
        thread.start()
        try:
            while thread.is_alive():
                thread.join(MOMENT)
                stop_here()
        except BaseException:
            if end is not None:
                end()
            await_end([thread])
            raise
    if failed:
        raise failed[0]
    return results[0]


def await_end(threads: Sequence[threading.Thread]) -> None:
    """Waits until the threads have put back what they changed; for one that does not end, no longer
    than the user wants."""
    patient = time.monotonic() + _ENDING
    for thread in threads:
        while (
            thread.is_alive()
            and thread is not threading.current_thread()
            and not (_Main.noted and _in_main() and time.monotonic() > patient)
        ):
            thread.join(MOMENT)


class numbers_kept(AbstractContextManager[None]):
    """NumPy's error handling and buffers as they were: any of the ``np.errstate`` within may be
    left half-way."""

    def __enter__(self) -> None:
        self._before = np.geterr(), np.getbufsize()

    def __exit__(self, *_: object) -> None:
        errors, size = self._before
        np.seterr(**errors)
        np.setbufsize(size)


def undisturbed(work: Callable[_P, _T]) -> Callable[_P, _T]:
    """The function, leaving NumPy's settings as they were also where it is interrupted."""

    @wraps(work)
    def done(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        with held_back(), numbers_kept(), interruptible():
            return work(*args, **kwargs)

    return done


class Shared(AbstractContextManager[None]):
    """A setting of the whole process, which several threads may want at once: made by the first,
    put back by the last. Enter it where signals are held back, or decorate a function with it."""

    def __init__(self, setting: Callable[[], AbstractContextManager[Any]]) -> None:
        self._setting, self._lock, self._count = setting, threading.Lock(), 0

    def __enter__(self) -> None:
        with held_back(), self._lock:
            if not self._count:
                self._made = self._setting()
                self._made.__enter__()
            self._count += 1

    def __exit__(self, *_: object) -> None:
        with held_back(), self._lock:
            self._count -= 1
            if not self._count:
                self._made.__exit__(None, None, None)

    def __call__(self, work: Callable[_P, _T]) -> Callable[_P, _T]:
        @wraps(work)
        def done(*args: _P.args, **kwargs: _P.kwargs) -> _T:
            with held_back(), self, interruptible():
                return work(*args, **kwargs)

        return done
