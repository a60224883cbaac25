"""No code of a directory's own runs while transformers builds its model, and nothing is asked.

transformers imports such code wherever a config names some (``auto_map``), also one inside of the
config, once ``trust_remote_code`` says so or somebody answers a question on standard input.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers import dynamic_module_utils

from probe.errors import NotTrusted
from probe.process.interrupts import Shared, held_back

from .directory import CONFIG, Directory

__all__ = ["ALLOWED", "not_run"]

ALLOWED = "--trust (trust=True) allows the code of the class in architectures alone"


class _Trusted(threading.local):
    """The config.json that this thread opens, and whether its author is trusted."""

    place: str = ""
    trust = False


_HERE = _Trusted()


@contextmanager
def _patched() -> Iterator[None]:
    before = {
        name: getattr(dynamic_module_utils, name)
        for name in ("TIME_OUT_REMOTE_CODE", "_raise_timeout_error", "get_cached_module_file")
    }

    def asked(*args: Any) -> None:
        if _HERE.place:
            raise _refused()
        before["_raise_timeout_error"](*args)

    def module_file(*args: Any, **kwargs: Any) -> Any:
        if _HERE.place and not _HERE.trust:
            raise _refused()
        return before["get_cached_module_file"](*args, **kwargs)

    changed = {
        "TIME_OUT_REMOTE_CODE": 0,  # refuses where it would ask
        "_raise_timeout_error": asked,
        "get_cached_module_file": module_file,
    }
    for name, value in changed.items():
        setattr(dynamic_module_utils, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(dynamic_module_utils, name, value)


def _refused() -> NotTrusted:
    return NotTrusted(
        f"{_HERE.place} has transformers import code of the directory's own, which is not run: "
        f"{ALLOWED}"
    )


_PATCHED = Shared(_patched)


@contextmanager
def not_run(directory: Directory, trust: bool) -> Iterator[None]:
    """Without questions; code is imported with ``trust`` alone, in this thread. Other threads are
    not asked either. Enter it where signals are held back."""
    before = _HERE.place, _HERE.trust
    with _PATCHED:
        _HERE.place, _HERE.trust = str(directory.path / CONFIG), trust
        try:
            yield
        finally:
            with held_back():
                _HERE.place, _HERE.trust = before
