"""One pass at a time over a model: what two would change and put back at once would end up neither
as it was nor as it is."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from probe.errors import BadInput
from probe.process.interrupts import MOMENT, stop_here

__all__ = ["Reader", "reading_for", "turn"]


class Reader:
    """The thread that reads what a pass in another thread gives."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.gone = False
        """Whether it reads no more, and the pass is ending."""


_CHANGED = threading.Condition()
_BUSY: dict[int, Reader] = {}
"""The parts of models that are being run, by their ids, and for whom."""
_MINE = threading.local()
_OURS: ContextVar[frozenset[int]] = ContextVar("_OURS", default=frozenset())
"""Those that this thread has, or the one that waits for it (``interrupts.apart``)."""


@contextmanager
def reading_for(reader: Reader) -> Iterator[None]:
    """The passes of this thread are run for the reader."""
    _MINE.reader = reader
    try:
        yield
    finally:
        del _MINE.reader


@contextmanager
def turn(parts: Iterable[object]) -> Iterator[None]:
    """Waits until none of the parts is being run. BadInput where they are being run for the same
    reader, who would wait for itself.

    To be entered where signals are held back: a lock is taken.
    """
    keys = list({id(part) for part in parts})
    reader = getattr(_MINE, "reader", None) or Reader()
    while (taken := _taken(keys, reader)) is None:
        stop_here()
    token = _OURS.set(_OURS.get().union(taken))
    try:
        yield
    finally:
        _OURS.reset(token)
        with _CHANGED:
            for key in taken:
                del _BUSY[key]
            _CHANGED.notify_all()


def _taken(keys: list[int], reader: Reader) -> list[int] | None:
    """The parts that are now the reader's, or None after having waited for them for a moment."""
    with _CHANGED:
        busy = {key: _BUSY[key] for key in keys if key in _BUSY}
        if any(sweep.thread == reader.thread and not sweep.gone for sweep in busy.values()):
            raise BadInput(
                "a sweep of this model is still running: exhaust it first, as by "
                "list(probe.sweep(…)), or call its close()"
            )
        if not busy.keys() <= _OURS.get():
            _CHANGED.wait(MOMENT)
            return None
        free = [key for key in keys if key not in busy]
        _BUSY.update(dict.fromkeys(free, reader))
        return free
