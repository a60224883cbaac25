"""TensorFlow and Keras for tests that mostly ask PyTorch and ONNX Runtime: imported when something
of them is called."""

import sys
from importlib import import_module
from typing import Any


class Lazy:
    """A module or what lies in it, by its name: ``Lazy("keras").ops.exp`` imports nothing, and
    Keras where it is called."""

    def __init__(self, module: str, *path: str) -> None:
        self._module, self._path = module, path
        self.__name__ = path[-1] if path else module

    def __getattr__(self, name: str) -> "Lazy":
        if name.startswith("_"):
            raise AttributeError(name)
        return Lazy(self._module, *self._path, name)

    def __call__(self, *args: Any, **options: Any) -> Any:
        found = import_module(self._module)
        for name in self._path:
            found = getattr(found, name)
        return found(*args, **options)


def available() -> bool:
    """Whether it may be imported: not under ``--without-tensorflow`` (``tests/conftest.py``)."""
    return sys.modules.get("tensorflow", ...) is not None


keras = Lazy("keras")
tf = Lazy("tensorflow")
