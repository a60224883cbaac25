"""One pass at a time over a model: what two would change and put back at once would end up neither as it was nor as it is."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from probe.errors import BadInput
from probe.interrupts import stop_here

__all__ = ["Reader", "reading_for", "turn"]


class Reader:
    """The thread that reads what a pass in another thread gives."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()


_CHANGED = threading.Condition()
_BUSY: dict[int, Reader] = {}
"""The parts of models that are being run, by their ids, and for whom."""
_MINE = threading.local()


@contextmanager
def reading_for(reader: Reader) -> Iterator[None]:
    """The passes of this thread are run for the reader."""
    _MINE.reader = reader
    try:
        yield
    finally:
        del _MINE.reader


@contextmanager
def turn(parts: Iterable[Any]) -> Iterator[None]:
    """Waits until none of the parts is being run. BadInput where they are being run for the same reader, who would wait for itself.

    To be entered where signals are held back: a lock is taken.
    """
    keys = list({id(part) for part in parts})
    reader = getattr(_MINE, "reader", None) or Reader()
    while not _taken(keys, reader):
        stop_here()
    try:
        yield
    finally:
        with _CHANGED:
            for key in keys:
                del _BUSY[key]
            _CHANGED.notify_all()


def _taken(keys: list[int], reader: Reader) -> bool:
    with _CHANGED:
        busy = [_BUSY[key] for key in keys if key in _BUSY]
        if any(one.thread == reader.thread for one in busy):
            raise BadInput("the model is being swept: end the sweep first, as by list(probe.sweep(…)), or close it")
        if busy:
            _CHANGED.wait(0.1)
            return False
        _BUSY.update(dict.fromkeys(keys, reader))
        return True
