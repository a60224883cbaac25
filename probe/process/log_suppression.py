"""Warnings and log lines that a framework makes while we run it, kept from the user: those of our
threads, and nobody else's.

``warnings.catch_warnings`` and a logger's level are the whole process': two threads that set and
restore them end up with one's setting for good, and other threads lose their warnings. So one
filter is put there that looks at the thread, and taken away.
"""

import contextlib
import io
import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from probe.process.interrupts import Shared, held_back

__all__ = ["exporting", "silenced"]


class _Here(threading.local):
    """The beginnings of the names of modules whose warnings this thread keeps to itself, and
    whether it does so with log lines."""

    modules: tuple[str, ...] = ()
    logs = 0


_HERE = _Here()
_LOGGERS = (
    "tensorflow",
    "absl",
    "torch.export",
    "torch.export.pt2_archive._package",
    "torch._export.serde.serialize",
    "torch.utils._pytree",
    "torchao",
    "accelerate.big_modeling",
)
_EXPORTERS = ("tensorflow", "tf2onnx", "torch.onnx")


class _Modules:
    """Stands in a filter of warnings for a pattern of module names; in threads that keep nothing it
    matches none."""

    def match(self, module: str) -> bool:
        return module.startswith(_HERE.modules)


class _Lines(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return not _HERE.logs or record.levelno >= logging.ERROR


@contextmanager
def _filtered() -> Iterator[None]:
    def filters() -> list[Any]:
        return cast(list[Any], warnings.filters)

    # Past warnings.filterwarnings, which would also make each module forget which warnings it has
    # shown.
    entry: Any = ("ignore", None, Warning, _Modules(), 0)
    filters().insert(0, entry)
    lines, loggers = _Lines(), [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        logger.addFilter(lines)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(lines)
        if entry in filters():  # the user may have left a catch_warnings meanwhile
            filters().remove(entry)


_FILTERED = Shared(_filtered)


@contextmanager
def silenced(*modules: str, logs: bool = False) -> Iterator[None]:
    """No warnings from modules whose names begin so ("" for all) in this thread, with ``logs`` no
    log lines below ERROR either.

    Enter it where signals are held back.
    """
    before = _HERE.modules
    with _FILTERED:
        _HERE.modules, _HERE.logs = (*before, *modules), _HERE.logs + logs
        try:
            yield
        finally:
            with held_back():
                _HERE.modules, _HERE.logs = before, _HERE.logs - logs


@contextmanager
def _streams_and_levels() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in _EXPORTERS]
    levels = [logger.level for logger in loggers]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


_EXPORTING = Shared(_streams_and_levels)


@contextmanager
def exporting() -> Iterator[None]:
    """Without what the frameworks' exporters warn of, log and print on the way. Enter it where
    signals are held back."""
    with silenced(""), _EXPORTING:
        yield
