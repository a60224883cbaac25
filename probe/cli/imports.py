"""Packages that Keras imports for convenience and does without, which are half as much again to
import: left out while a command runs, unless something else wants them."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType

__all__ = ["only_what_is_needed"]

_LEFT_OUT = ("sklearn", "scipy")
_BY = (
    *("keras.src.wrappers.", "tf_keras.src.preprocessing.", "tf_keras.src.engine."),
    "tensorflow.python.keras.engine.",
)
"""Who tries them, and takes an ImportError for their absence."""


class _Refusing:
    """An import hook that finds nothing; ModuleNotFoundError where one of ``_BY`` asks."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name in _LEFT_OUT:
            frame = sys._getframe(1)
            while frame.f_back is not None and "importlib" in frame.f_code.co_filename:
                frame = frame.f_back
            if str(frame.f_globals.get("__name__")).startswith(_BY):
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


@contextmanager
def only_what_is_needed() -> Iterator[None]:
    hook = _Refusing()
    sys.meta_path.insert(0, hook)
    try:
        yield
    finally:
        sys.meta_path.remove(hook)
